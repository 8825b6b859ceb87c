//! int8 layers in a whole network: near float, the same bits everywhere, and stored in bundles as they are.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::Classifier;
use dyn_perceiver::bundle::Target;
use dyn_perceiver::camera::{Frame, FrameSource as _, IdxSource};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::quantise::{QuantiseError, QuantiseOptions, Quantiser, Verdict};
use dyn_perceiver::runtime::{Isa, Runtime};
use dyn_perceiver_models::{Config, Metadata, Network, Seeded, seeded_image};

fn shipped() -> Model {
    Model::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/model.onnx")).unwrap()
}

/// Images that the shipped model was made for, as it takes them.
fn images(count: usize) -> Vec<Vec<f32>> {
    let frames =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/frames-images-idx3-ubyte.gz");
    let mut source = IdxSource::open(&frames, None).unwrap();
    let mut classifier = Classifier::new(Arc::new(Plan::new(shipped()).unwrap())).unwrap();
    let mut frame = Frame::default();
    let mut image = || {
        assert!(source.read(&mut frame).unwrap());
        classifier.tensor(&frame).unwrap().to_vec()
    };
    (0..count).map(|_| image()).collect()
}

fn calibrated(images: &[Vec<f32>]) -> Quantiser {
    let mut quantiser = Quantiser::new(shipped()).unwrap();
    quantiser.calibrate(images).unwrap();
    quantiser
}

fn logits(plan: &Arc<Plan>, image: &[f32], threads: usize) -> Vec<Vec<f32>> {
    let runtime = Runtime::new(plan.clone()).unwrap();
    runtime.with_threads(NonZeroUsize::new(threads).unwrap()).unwrap().all_logits(image).unwrap()
}

#[test]
fn every_layer_in_int8_is_near_float_and_the_same_bits_on_any_number_of_threads() {
    let images = images(24);
    let quantiser = calibrated(&images[..16]);
    assert!(quantiser.layers().iter().all(|layer| layer.range.is_some() && layer.error < 0.05), "{quantiser:?}");
    let plan = quantiser.plan_with(&vec![true; quantiser.layers().len()]).unwrap();
    assert_ne!(plan.info().digest, quantiser.plan().info().digest, "policies of the float model are not for it");
    assert_eq!(plan.stages(), quantiser.plan().stages());
    let mut same = 0;
    for image in &images[16..] {
        let (float, int8) = (logits(quantiser.plan(), image, 1), logits(&plan, image, 1));
        for threads in 2..=4 {
            assert_eq!(logits(&plan, image, threads), int8, "{threads} threads");
        }
        let class = |logits: &[f32]| (0..10).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        same += float.iter().zip(&int8).filter(|(float, int8)| class(float) == class(int8)).count();
    }
    assert!(same >= 28, "{same} of 32 answers are those of float");
}

#[test]
fn a_bundle_gives_the_bits_of_the_quantised_plan() {
    let images = images(12);
    let mut quantiser = calibrated(&images);
    // Every layer is worth it, whatever this machine says, so that each is stored.
    let options = {
        let mut options = QuantiseOptions::default().with_tolerance(1.0);
        (options.layer_time, options.frame_time) = (f64::INFINITY, f64::INFINITY);
        options
    };
    let mut chosen = quantiser.choose(&images, None, &options).unwrap();
    assert!(chosen.pays && chosen.verdicts.iter().all(|verdict| *verdict == Verdict::Int8));
    assert_eq!(chosen.filters, quantiser.filters(), "no tolerance is broken by filters either");
    let folder = tempfile::tempdir().unwrap();
    let [int8, float, rounded] = ["int8.dynp", "float.dynp", "rounded.dynp"].map(|name| folder.path().join(name));
    let smallest = quantiser.compile(&chosen, None, Target::host(), &rounded).unwrap();
    let of_rounded = quantiser.plan_of(&chosen).unwrap();
    chosen.filters.clear();
    let small = quantiser.compile(&chosen, None, Target::host(), &int8).unwrap();
    let large = dyn_perceiver::bundle::compile(shipped(), None, Target::host(), &float).unwrap();
    assert!(small.weight_bytes < large.weight_bytes / 2, "{small:?}, {large:?}");
    let loaded = Arc::new(Plan::load(&int8, &LoadOptions::default()).unwrap());
    let plan = quantiser.plan_with(&vec![true; quantiser.layers().len()]).unwrap();
    assert_eq!(loaded.info().digest, plan.info().digest);
    assert_eq!(loaded.weight_memory(), 0, "weights stay in the file");
    let with_filters = Arc::new(Plan::load(&rounded, &LoadOptions::default()).unwrap());
    assert_eq!(with_filters.info().digest, of_rounded.info().digest);
    assert_ne!(with_filters.info().digest, plan.info().digest, "policies of the one are not for the other");
    // What is not in the file as floats is in memory so.
    let (saved, widened) = (small.weight_bytes - smallest.weight_bytes, with_filters.weight_memory());
    assert!(saved > widened / 2 && saved < widened, "{saved} bytes saved, {widened} in memory");
    for image in &images[..4] {
        assert_eq!(logits(&loaded, image, 1), logits(&plan, image, 1));
        assert_eq!(logits(&with_filters, image, 1), logits(&of_rounded, image, 1));
    }
}

#[test]
fn layers_that_do_not_pay_or_harm_stay_float() {
    let images = images(12);
    let mut quantiser = calibrated(&images);
    let mut options = QuantiseOptions::default();
    options.layer_time = 0.0;
    let chosen = quantiser.choose(&images, None, &options).unwrap();
    assert!(!chosen.pays && chosen.layers() == 0);
    assert!(chosen.verdicts.iter().all(|verdict| *verdict == Verdict::NotFaster));
    // No layer may change anything: the most harmful are left out until that holds.
    options.layer_time = f64::INFINITY;
    let options = options.with_tolerance(0.0);
    let chosen = quantiser.choose(&images, None, &options).unwrap();
    assert!(chosen.exits.iter().all(|exit| exit.changed == 0.0), "{:?}", chosen.exits);
    let harmful = |verdict: Verdict| {
        let layers = quantiser.layers().iter().zip(&chosen.verdicts);
        layers.filter(|(_, v)| **v == verdict).map(|(layer, _)| layer.error).collect::<Vec<_>>()
    };
    let (left, taken) = (harmful(Verdict::Accuracy), harmful(Verdict::Int8));
    let least = left.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(taken.iter().all(|error| *error <= least), "the most harmful are left first");
    assert!(matches!(Quantiser::new(shipped()).unwrap().calibrate(&[]), Err(QuantiseError::NoImages { .. })));
}

#[test]
fn the_same_plan_answers_alike_on_every_instruction_set() {
    let images = images(8);
    let quantiser = calibrated(&images);
    let plan = quantiser.plan_with(&vec![true; quantiser.layers().len()]).unwrap();
    for isa in Isa::available() {
        let mut runtime = Runtime::new(plan.clone()).unwrap().with_isa(isa).unwrap();
        for image in &images {
            for (found, expected) in runtime.all_logits(image).unwrap().iter().zip(logits(&plan, image, 1)) {
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 0.5, "{isa}: {found}, {expected}");
                }
            }
        }
    }
}

#[test]
fn layers_that_float_computes_by_winograds_filtering_are_told() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx/winograd.onnx");
    let quantiser = Quantiser::new(Model::load(file).unwrap()).unwrap();
    let of = |winograd: bool| quantiser.layers().iter().filter(|layer| layer.winograd == winograd).count();
    assert!(of(true) > 0 && of(false) > 0, "{quantiser:?}");
    assert!(quantiser.layers().iter().all(|layer| !layer.winograd || layer.reduction % 9 == 0), "{quantiser:?}");
}

#[test]
fn convolutions_in_int8_are_near_float_and_the_same_bits_on_any_number_of_threads() {
    let config = Config::from_name("reg400m_perceiver_t8").unwrap().with_input_size(64).with_classes(10);
    let bytes = Network::new(&config).unwrap().to_bytes(&mut Seeded, &Metadata::imagenet(10)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [onnx, bundle] = ["m.onnx", "m.dynp"].map(|name| folder.path().join(name));
    std::fs::write(&onnx, bytes).unwrap();
    let image = seeded_image(config.input_size);
    let mut quantiser = Quantiser::new(Model::load(&onnx).unwrap()).unwrap();
    quantiser.calibrate(std::slice::from_ref(&image)).unwrap();
    // Three by three pixels of a group's eight channels; nothing else has so many entries a row.
    let convolutions = quantiser.layers().iter().filter(|layer| layer.reduction == 9 * 8).count();
    assert!(convolutions > 10, "{quantiser:?}");
    assert!(quantiser.layers().iter().all(|layer| layer.error < 0.05), "{quantiser:?}");
    let options = {
        let mut options = QuantiseOptions::default().with_tolerance(1.0);
        (options.layer_time, options.frame_time) = (f64::INFINITY, f64::INFINITY);
        options
    };
    let chosen = quantiser.choose(std::slice::from_ref(&image), None, &options).unwrap();
    quantiser.compile(&chosen, None, Target::host(), &bundle).unwrap();
    let plan = quantiser.plan_of(&chosen).unwrap();
    let int8 = logits(&plan, &image, 1);
    for threads in 2..=3 {
        assert_eq!(logits(&plan, &image, threads), int8, "{threads} threads");
    }
    assert_eq!(logits(&Arc::new(Plan::load(&bundle, &LoadOptions::default()).unwrap()), &image, 1), int8, "the bundle");
}
