//! Hostile bundles with the right checksums: valid bundles whose manifest and weights are edited.
//!
//! Bytes from outside are edits here, not a file, so that what a fuzzer finds stays meaningful when the format changes, and
//! so that few of its inputs fail at the first check.

use std::error::Error;
use std::path::Path;
use std::sync::OnceLock;

use dyn_perceiver::bundle::{self, MAGIC, Precision, Target, VERSION};
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::quantise::{QuantiseOptions, Quantiser};
use dyn_perceiver::{Model, Plan};
use dyn_perceiver_models::{Config, Metadata, Network, Seeded};

/// Bytes in front of the manifest, see the documentation of the format.
const HEADER: usize = 64;
/// Bytes of an edit: what is done, where (three), and the value.
const EDIT: usize = 5;
/// Side of the images of the small networks.
const SIDE: usize = 64;

type Made<T> = Result<T, Box<dyn Error>>;

/// A bundle apart: its manifest and its weights.
#[derive(Clone)]
struct Parts {
    manifest: Vec<u8>,
    weights: Vec<u8>,
}

/// A small network of the family: attention, layer norms, convolutions of every kind, linear layers.
fn family(name: &str) -> Made<Model> {
    let config = Config::from_name(name)?.with_input_size(SIDE).with_classes(3).with_sa_widening(1);
    let bytes = Network::new(&config)?.to_bytes(&mut Seeded, &Metadata::imagenet(3))?;
    Ok(Model::from_bytes(bytes, "family.onnx", &LoadOptions::default())?)
}

/// A small ONNX file.
fn onnx(bytes: &[u8]) -> Made<Model> {
    Ok(Model::from_bytes(bytes.to_vec(), "small.onnx", &LoadOptions::default())?)
}

/// The parts of the file that `write` makes.
fn parts(write: impl FnOnce(&Path) -> Made<()>) -> Made<Parts> {
    let read = |path: &Path| -> Made<Parts> {
        write(path)?;
        let bytes = std::fs::read(path)?;
        let manifest = u64::from_le_bytes(bytes[16..24].try_into()?) as usize;
        let weights = (HEADER + manifest).next_multiple_of(HEADER);
        Ok(Parts { manifest: bytes[HEADER..HEADER + manifest].to_vec(), weights: bytes[weights..].to_vec() })
    };
    super::with_file(&[], "dynp", read).ok_or("no file can be written")?
}

fn compiled(model: Model, precision: Precision) -> Made<Parts> {
    parts(|path| Ok(bundle::compile_with(model, None, Target::host(), precision, path).map(|_| ())?))
}

/// Every layer that can be int8 is, whether that pays or not.
fn quantised(model: Model) -> Made<Parts> {
    let image: Vec<f32> = (0..model.info().input.len()).map(|at| (at % 17) as f32 / 8.0 - 1.0).collect();
    let mut quantiser = Quantiser::new(model)?;
    quantiser.calibrate(std::slice::from_ref(&image))?;
    let mut options = QuantiseOptions::default().with_tolerance(1.0);
    options.layer_time = f64::MAX;
    let chosen = quantiser.choose(&[image], None, &options)?;
    parts(|path| Ok(quantiser.compile(&chosen, None, Target::host(), path).map(|_| ())?))
}

/// What edits begin with, made once.
fn bases() -> &'static [Parts] {
    static BASES: OnceLock<Vec<Parts>> = OnceLock::new();
    BASES.get_or_init(|| {
        // Far narrower than a published one: most of a run goes into copying and checking weights.
        let mobile = || family("mobilenetV3_0x05_perceiver_t8");
        let made = [
            onnx(include_bytes!("../tests/fixtures/onnx/two_exits.onnx"))
                .and_then(|model| compiled(model, Precision::F32)),
            onnx(include_bytes!("../tests/fixtures/onnx/winograd.onnx"))
                .and_then(|model| compiled(model, Precision::F32)),
            mobile().and_then(|model| compiled(model, Precision::F32)),
            mobile().and_then(|model| compiled(model, Precision::F16)),
            mobile().and_then(quantised),
        ];
        made.into_iter().map(|parts| parts.unwrap_or_else(|error| panic!("a bundle to edit: {error}"))).collect()
    })
}

/// How many valid bundles there are to edit.
pub(crate) fn count() -> usize {
    bases().len()
}

/// Does what one edit says.
fn edit(bytes: &mut Vec<u8>, what: u8, at: usize, value: u8) {
    let at = at % bytes.len().max(1);
    match what % 6 {
        0 if at < bytes.len() => bytes[at] = value,
        1 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(value),
        2 => bytes.insert(at, value),
        3 if at < bytes.len() => drop(bytes.remove(at)),
        // A number of the manifest, which has seven bits in a byte, becomes a large one.
        4 => drop(bytes.splice(at..(at + 1).min(bytes.len()), [0xff; 9].into_iter().take(value.into()).chain([1]))),
        // A stretch of bytes comes again.
        5 => {
            let stretch = bytes[at..(at + usize::from(value)).min(bytes.len())].to_vec();
            drop(bytes.splice(at..at, stretch));
        }
        _ => {}
    }
}

/// The bundle that `data` describes: the number of a valid one, then edits of its manifest (`what` below 192) or weights.
pub(crate) fn edited(data: &[u8]) -> Vec<u8> {
    let (base, edits) = data.split_first().unwrap_or((&0, &[]));
    let mut parts = bases()[usize::from(*base) % bases().len()].clone();
    for chunk in edits.chunks_exact(EDIT) {
        let at = u32::from_le_bytes([chunk[1], chunk[2], chunk[3], 0]) as usize;
        let bytes = if chunk[0] < 192 { &mut parts.manifest } else { &mut parts.weights };
        edit(bytes, chunk[0], at, chunk[4]);
    }
    joined(&parts)
}

/// A whole bundle of this version with the right checksums.
fn joined(parts: &Parts) -> Vec<u8> {
    let start = (HEADER + parts.manifest.len()).next_multiple_of(HEADER);
    let mut bytes = vec![0; start];
    bytes[HEADER..HEADER + parts.manifest.len()].copy_from_slice(&parts.manifest);
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&(parts.manifest.len() as u64).to_le_bytes());
    bytes[24..32].copy_from_slice(&(parts.weights.len() as u64).to_le_bytes());
    let described = crc32fast::hash(&bytes[HEADER..]);
    bytes[32..36].copy_from_slice(&described.to_le_bytes());
    bytes[36..40].copy_from_slice(&crc32fast::hash(&parts.weights).to_le_bytes());
    let header = crc32fast::hash(&bytes[16..HEADER]);
    bytes[12..16].copy_from_slice(&header.to_le_bytes());
    bytes.extend_from_slice(&parts.weights);
    bytes
}

/// Whether a bundle loads. Without edits it must, or nothing behind the first checks would be tried.
pub(crate) fn loads(bytes: &[u8]) -> bool {
    matches!(super::with_file(bytes, "dynp", |path| Plan::load(path, &LoadOptions::default())), Some(Ok(_)))
}
