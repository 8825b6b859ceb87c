//! What every fuzz target does with its bytes: one function per format that is read from outside.
//!
//! The targets of cargo-fuzz call these, and so does the test that replays all seeds and past crashes. A function returns
//! whatever the reader says; it must neither panic, hang, nor allocate without bound.

#[cfg(feature = "tract")]
pub(crate) mod bundles;

use std::path::{Path, PathBuf};
#[cfg(feature = "tract")]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dyn_perceiver::camera::{FrameSource as _, IdxSource, ImageSource, MjpegSplitter};
use dyn_perceiver::energy::companion::Decoder;
use dyn_perceiver::frame::{Frame, PixelFormat};
use dyn_perceiver::policy_file;
use dyn_perceiver::preprocess::{Preprocess, Preprocessor};
use dyn_perceiver::sensors::store;
#[cfg(feature = "tract")]
use dyn_perceiver::{Model, Plan, model::LoadOptions, runtime::Runtime};
use dyn_perceiver_calibrate::records::Records;
#[cfg(feature = "tract")]
use dyn_perceiver_models::{Checkpoint, Config, Weights as _};

/// A target by its name.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target; a folder of seeds has the same name. Those of models need tract, which takes long to build with sanitizers.
pub(crate) const TARGETS: &[Target] = &[
    #[cfg(feature = "tract")]
    ("bundle", bundle),
    #[cfg(feature = "tract")]
    ("checkpoint", checkpoint),
    ("companion", companion),
    ("idx", idx),
    ("image", image),
    ("jpeg", jpeg),
    ("mjpeg", mjpeg),
    #[cfg(feature = "tract")]
    ("onnx", onnx),
    ("policy", policy),
    ("records", records),
    ("state", state),
    ("board", board),
];

/// Tensors of a checkpoint that are read.
#[cfg(feature = "tract")]
const MOST_TENSORS: usize = 16;
/// A plan whose input is larger is loaded but not run.
#[cfg(feature = "tract")]
const MOST_FLOATS: usize = 1 << 16;

/// The bytes as a file of their own, for readers that take a path; removed again.
fn with_file<T>(data: &[u8], extension: &str, read: impl FnOnce(&Path) -> T) -> Option<T> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("fuzz-{}-{}.{extension}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path: PathBuf = std::env::temp_dir().join(name);
    std::fs::write(&path, data).ok()?;
    let result = read(&path);
    let _ = std::fs::remove_file(&path);
    Some(result)
}

#[cfg(feature = "tract")]
fn run(plan: Plan) {
    let floats = plan.info().input.len();
    if floats <= MOST_FLOATS
        && let Ok(mut runtime) = Runtime::new(Arc::new(plan))
    {
        let _ = runtime.all_logits(&vec![0.5; floats]);
    }
}

/// An ONNX file: loaded, planned and run once.
#[cfg(feature = "tract")]
pub(crate) fn onnx(data: &[u8]) {
    if let Ok(model) = Model::from_bytes(data.to_vec(), "fuzz.onnx", &LoadOptions::default())
        && let Ok(plan) = Plan::new(model)
    {
        run(plan);
    }
}

/// A bundle: loaded and run once, as it is, and as edits of a valid one with the right checksums.
#[cfg(feature = "tract")]
pub(crate) fn bundle(data: &[u8]) {
    let edited = bundles::edited(data);
    for data in [data, &edited] {
        if let Some(Ok(plan)) = with_file(data, "dynp", |path| Plan::load(path, &LoadOptions::default())) {
            run(plan);
        }
    }
}

/// A policy file, JSON or postcard.
pub(crate) fn policy(data: &[u8]) {
    if let Ok(policy) = policy_file::parse(data, Path::new("fuzz.json")) {
        let _ = policy_file::to_json(&policy);
    }
}

/// Calibration records.
pub(crate) fn records(data: &[u8]) {
    let _ = with_file(data, "csv", Records::read);
}

/// A PyTorch or safetensors checkpoint: its directory, its network, and the first of its tensors.
#[cfg(feature = "tract")]
pub(crate) fn checkpoint(data: &[u8]) {
    let _ = with_file(data, "pth", |path| {
        let mut weights = Checkpoint::open(path)?;
        let shapes = weights.shapes().cloned().unwrap_or_default();
        for (key, shape) in shapes.iter().take(MOST_TENSORS) {
            let _ = weights.read(key, shape);
        }
        Config::recognise(path, &shapes, None)
    });
}

/// An image file: decoded and preprocessed.
pub(crate) fn image(data: &[u8]) {
    let frame = with_file(data, "png", |path| ImageSource::files([path.to_path_buf()]).next());
    if let Some(Ok(Some(frame))) = frame {
        preprocess(&frame);
    }
}

/// One MJPEG frame.
pub(crate) fn jpeg(data: &[u8]) {
    let mut frame = Frame::default();
    frame.pixels.extend_from_slice(data);
    (frame.format, frame.width, frame.height) = (PixelFormat::Mjpeg, 1, 1);
    preprocess(&frame);
}

fn preprocess(frame: &Frame) {
    if let Ok(mut preprocessor) = Preprocessor::new(Preprocess::new(8, 8)) {
        let mut out = vec![0.0; preprocessor.preprocess().len()];
        let _ = preprocessor.run(frame, &mut out);
    }
}

/// A stream of MJPEG frames, in pieces.
pub(crate) fn mjpeg(data: &[u8]) {
    let mut splitter = MjpegSplitter::default();
    let mut frame = Vec::new();
    for piece in data.chunks(97) {
        splitter.push(piece);
        while splitter.next_piece(&mut frame).is_some() {}
    }
}

/// An IDX file, gzipped or not.
pub(crate) fn idx(data: &[u8]) {
    if let Ok(mut frames) = IdxSource::from_bytes("fuzz", data, None) {
        while let Ok(Some(_)) = frames.next() {}
    }
}

/// Stored state.
pub(crate) fn state(data: &[u8]) {
    let _ = with_file(data, "json", store::load);
}

/// Messages of a companion microcontroller.
pub(crate) fn companion(data: &[u8]) {
    let mut decoder = Decoder::new();
    for byte in data {
        let _ = decoder.push(*byte);
    }
}

/// Data of a board.
pub(crate) fn board(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = dyn_perceiver_host::Board::parse("fuzz.toml", text);
    }
}
