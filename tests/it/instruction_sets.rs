//! Whole networks on every instruction set that this CPU has, on 1 to 4 threads.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{Isa, Runtime};
use dyn_perceiver_models::{Config, Metadata, Network, Seeded};

fn shipped() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/model.onnx");
    Model::load(path).unwrap()
}

fn seeded(name: &str) -> Model {
    let config = Config::from_name(name).unwrap().with_input_size(64).with_classes(10);
    let bytes = Network::new(&config).unwrap().to_bytes(&mut Seeded, &Metadata::imagenet(10)).unwrap();
    Model::from_bytes(bytes, Path::new("seeded.onnx"), &LoadOptions::default()).unwrap()
}

/// Logits of every exit, by instruction set: the same bits on any number of threads, and alike on all sets.
fn agree(model: Model) {
    let plan = Arc::new(Plan::new(model).unwrap());
    let image: Vec<f32> = (0..plan.info().input.len()).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
    let mut expected: Option<Vec<Vec<f32>>> = None;
    let available: Vec<Isa> = Isa::available().collect();
    assert!(available.contains(&Isa::Plain));
    for isa in available {
        let mut of_isa: Option<Vec<Vec<f32>>> = None;
        for threads in 1..=4 {
            let threads = NonZeroUsize::new(threads).unwrap();
            let mut runtime = Runtime::new(plan.clone()).unwrap().with_isa(isa).unwrap().with_threads(threads).unwrap();
            assert_eq!((runtime.isa(), runtime.threads()), (isa, threads.get()));
            let logits = runtime.all_logits(&image).unwrap();
            let same = of_isa.get_or_insert_with(|| logits.clone());
            assert_eq!(*same, logits, "{isa} on {threads} threads");
        }
        let logits = of_isa.unwrap();
        let first = expected.get_or_insert_with(|| logits.clone());
        for (a, b) in first.iter().flatten().zip(logits.iter().flatten()) {
            let scale = first.iter().flatten().fold(1.0_f32, |most, x| most.max(x.abs()));
            assert!((a - b).abs() <= 1e-4 * scale, "{isa}: {b} instead of {a}");
        }
    }
}

#[test]
fn shipped_network_agrees_on_every_instruction_set_and_number_of_threads() {
    agree(shipped());
}

#[test]
fn family_networks_agree_on_every_instruction_set_and_number_of_threads() {
    for name in ["mobilenetV3_0x5_perceiver_t32", "reg800m_perceiver_t32", "resnet50_0375_perceiver_t32"] {
        agree(seeded(name));
    }
}
