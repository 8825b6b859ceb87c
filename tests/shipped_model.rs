//! What the shipped model promises: PyTorch's logits, the model card's accuracy, weights held once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dyn_perceiver::Classifier;
use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::camera::{Frame, FrameSource, IdxSource};
use dyn_perceiver::exit::Measure;
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver_models::{Config, Metadata, Network, Seeded};

/// Counts the bytes that are allocated and not freed, and of these the ones of tensors: tract aligns them to vectors.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIVE_IN_TENSORS: AtomicUsize = AtomicUsize::new(0);

fn in_tensors(layout: Layout) -> usize {
    if layout.align() >= 32 { layout.size() } else { 0 }
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        LIVE_IN_TENSORS.fetch_add(in_tensors(layout), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of the trait, which is also the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        LIVE_IN_TENSORS.fetch_sub(in_tensors(layout), Ordering::Relaxed);
        // SAFETY: as above; the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist")
}

fn plan() -> Arc<Plan> {
    Arc::new(Plan::new(Model::load(folder().join("model.onnx")).unwrap()).unwrap())
}

fn frames() -> IdxSource {
    let labels = folder().join("frames-labels-idx1-ubyte.gz");
    IdxSource::open(folder().join("frames-images-idx3-ubyte.gz"), Some(&labels)).unwrap()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// One test, so that nothing else allocates while bytes are counted.
#[test]
fn the_shipped_model_keeps_its_promises() {
    // Library statics that are made on first use are not the model's.
    drop(plan());
    let before = LIVE_IN_TENSORS.load(Ordering::Relaxed);
    let plan = plan();
    let loaded = LIVE_IN_TENSORS.load(Ordering::Relaxed) + plan.weight_memory() - before;
    let file = plan.info().file_bytes as usize;
    let weights: u64 = plan.stages().iter().map(|stage| stage.weight_bytes).sum();
    assert!(loaded as f64 <= 1.3 * file as f64, "{loaded} bytes of tensors held for a file of {file}");
    assert!(loaded as u64 >= weights, "tensors are counted: {loaded} bytes for weights of {weights}");
    assert!(file <= 4_000_000);
    full_size_weights_are_held_once();
    a_bundle_holds_no_copy_of_its_weights();

    assert_eq!(plan.info().exits, ["early3", "att", "cnn", "merge"]);
    let stages = plan.stages();
    assert!(stages[0].exit_alone_macs as f64 <= 0.4 * stages[3].cumulative_macs as f64);

    let mut classifier = Classifier::new(plan.clone()).unwrap();
    matches_pytorch(&mut classifier);
    let card = json(&folder().join("accuracy.json"));
    let mut right = [0; 4];
    let mut source = frames();
    let mut frame = Frame::default();
    let mut count = 0;
    while source.read(&mut frame).unwrap() {
        let image = classifier.tensor(&frame).unwrap().to_vec();
        count += 1;
        for (right, logits) in right.iter_mut().zip(classifier.runtime().all_logits(&image).unwrap()) {
            let class = Measure::MaxSoftmax.read(&logits).unwrap().class;
            *right += u32::from(Some(class as u32) == frame.label);
        }
    }
    assert_eq!(count, 1000);
    for (name, right) in plan.info().exits.iter().zip(right) {
        assert_eq!(f64::from(right) / 1000.0, card["frames"]["accuracy"][name].as_f64().unwrap(), "{name}");
    }
}

/// Everything that a full-size model holds, nodes and names included, is at most 1.3 times its file.
fn full_size_weights_are_held_once() {
    let network = Network::new(&Config::from_name("mobilenetV3_0x5_perceiver_t128").unwrap()).unwrap();
    let bytes = network.to_bytes(&mut Seeded, &Metadata::imagenet(1000)).unwrap();
    let file = bytes.len();
    let before = LIVE.load(Ordering::Relaxed) - file;
    let plan = Plan::new(Model::from_bytes(bytes, "seeded.onnx", &LoadOptions::default()).unwrap()).unwrap();
    let loaded = LIVE.load(Ordering::Relaxed) + plan.weight_memory() - before;
    assert!(loaded as f64 <= 1.3 * file as f64, "{loaded} bytes held for a file of {file}");
    drop(plan);
}

/// A bundle's weights are used where the file has them: of tensors, its plan holds next to none beside.
fn a_bundle_holds_no_copy_of_its_weights() {
    let network = Network::new(&Config::from_name("mobilenetV3_0x5_perceiver_t128").unwrap()).unwrap();
    let bytes = network.to_bytes(&mut Seeded, &Metadata::imagenet(1000)).unwrap();
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("model.dynp");
    let model = Model::from_bytes(bytes, "seeded.onnx", &LoadOptions::default()).unwrap();
    let compiled = bundle::compile(model, None, Target::host(), &path).unwrap();
    let before = [&LIVE, &LIVE_IN_TENSORS].map(|live| live.load(Ordering::Relaxed));
    let plan = Plan::load(&path, &LoadOptions::default()).unwrap();
    let after = [&LIVE, &LIVE_IN_TENSORS].map(|live| live.load(Ordering::Relaxed));
    let [loaded, in_tensors] = [0, 1].map(|i| after[i] - before[i]);
    assert_eq!(plan.weight_memory(), 0);
    let weights = compiled.weight_bytes;
    assert!(in_tensors as f64 <= 0.01 * weights as f64, "{in_tensors} bytes of tensors beside weights of {weights}");
    assert!(loaded as f64 <= 0.2 * weights as f64, "{loaded} bytes held, nodes and all, beside weights of {weights}");
    drop(plan);
}

/// Logits of all exits within 1e-4 relative (L2) of PyTorch's, from the same images.
fn matches_pytorch(classifier: &mut Classifier) {
    let fixture = json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch_logits.json"));
    let mut source = frames();
    let names = classifier.runtime().plan().info().exits.clone();
    for index in 0..fixture["frames"].as_u64().unwrap() as usize {
        let frame = source.next().unwrap().unwrap();
        let image = classifier.tensor(&frame).unwrap().to_vec();
        for (name, logits) in names.iter().zip(classifier.runtime().all_logits(&image).unwrap()) {
            let expected: Vec<f64> =
                fixture["logits"][name][index].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            assert_eq!(logits.len(), expected.len());
            let distance: f64 = logits.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
            let norm: f64 = expected.iter().map(|b| b * b).sum();
            assert!((distance / norm).sqrt() < 1e-4, "frame {index}, {name}: {logits:?} instead of {expected:?}");
        }
    }
}
