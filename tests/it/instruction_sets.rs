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

fn seeded(name: &str, size: usize) -> Model {
    let config = Config::from_name(name).unwrap().with_input_size(size).with_classes(10);
    let bytes = Network::new(&config).unwrap().to_bytes(&mut Seeded, &Metadata::imagenet(10)).unwrap();
    Model::from_bytes(bytes, Path::new("seeded.onnx"), &LoadOptions::default()).unwrap()
}

/// Exit by exit, the last first, and the last alone: each way branches run beside other parts of the network.
fn in_other_orders(runtime: &mut Runtime, image: &[f32], expected: &[Vec<f32>]) {
    let exits: Vec<usize> = (0..expected.len()).collect();
    let reversed: Vec<usize> = exits.iter().rev().copied().collect();
    for order in [&exits[..], &reversed, &exits[exits.len() - 1..]] {
        // What another image has left in memory is of no use to this one.
        let other: Vec<f32> = image.iter().map(|x| 0.25 - x).collect();
        runtime.all_logits(&other).unwrap();
        runtime.begin(image).unwrap();
        for &exit in order {
            assert_eq!(runtime.advance(exit).unwrap(), expected[exit], "exit {exit} of {order:?}");
        }
    }
}

/// Logits of every exit, by instruction set: the same bits on any number of threads, and alike on all sets.
fn agree(plan: Plan) {
    let plan = Arc::new(plan);
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
            if isa != Isa::Plain {
                in_other_orders(&mut runtime, &image, &logits);
            }
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
    agree(Plan::new(shipped()).unwrap());
}

#[test]
fn family_networks_agree_on_every_instruction_set_and_number_of_threads() {
    for name in ["mobilenetV3_0x5_perceiver_t32", "reg800m_perceiver_t32", "resnet50_0375_perceiver_t32"] {
        agree(Plan::new(seeded(name, 64)).unwrap());
    }
}

#[test]
fn branches_beside_the_backbone_change_no_bit() {
    for name in ["mobilenetV3_0x5_perceiver_t128", "reg400m_perceiver_t128"] {
        let plan = Plan::new(seeded(name, 128)).unwrap();
        // The latent code beside each stage of the backbone.
        assert_eq!(plan.branches(), 4, "{name}");
        agree(plan);
        let unstaged = Plan::unstaged(seeded(name, 128)).unwrap();
        assert_eq!(unstaged.branches(), 4, "{name}");
        agree(unstaged);
    }
}
