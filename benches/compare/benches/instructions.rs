//! Instructions of the decision path and of one frame of the shipped model, counted by valgrind:
//! `cargo bench -p compare --features instructions`, which needs valgrind and `cargo install gungraun-runner`.
//!
//! The counts repeat on a noisy machine. A rise of more than 2 % over the run before fails.

#[path = "../../setup/mod.rs"]
mod setup;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::energy::{BudgetGovernor, Governor as _, GovernorInput};
use dyn_perceiver::exit::{ExitPolicy, Frontier, Measure};
use dyn_perceiver::model::Model;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;
use gungraun::prelude::*;

/// A governor that has decided before, and what it sees next.
fn governor() -> (BudgetGovernor, GovernorInput) {
    let (mut governor, settings) = setup::governor();
    for call in 1..4 {
        governor.choose(&setup::input(&settings, call));
    }
    (governor, setup::input(&settings, 4))
}

#[library_benchmark]
#[bench::longest_ladder(setup = governor)]
fn decide((mut governor, input): (BudgetGovernor, GovernorInput)) -> usize {
    black_box(governor.choose(black_box(&input))).point
}

#[library_benchmark]
#[bench::longest_frontier(setup = setup::frontier)]
fn operating_point(frontier: Frontier) -> Option<usize> {
    black_box(frontier.by_budget(black_box(1.5)))
}

#[library_benchmark]
#[bench::thousand_classes(setup = setup::logits)]
fn confidence(logits: Vec<f32>) -> usize {
    black_box(Measure::MaxSoftmax.read(black_box(&logits)).unwrap()).class
}

/// A warm runtime of the shipped model, which always leaves at the exit.
fn runtime(exit: usize) -> (Runtime, ExitPolicy, Vec<f32>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = Model::load(root.join("models/pretrained/fashion-mnist/model.onnx")).unwrap();
    let plan = Arc::new(Plan::new(model).unwrap());
    let image: Vec<f32> = (0..plan.info().input.len()).map(|i| (i % 255) as f32 / 127.5 - 1.0).collect();
    let policy = ExitPolicy::only(exit, plan.stages().len()).unwrap();
    let mut runtime = Runtime::new(plan).unwrap();
    runtime.run(&image, &policy).unwrap();
    (runtime, policy, image)
}

#[library_benchmark]
#[bench::first_exit(args = (0,), setup = runtime)]
#[bench::last_exit(args = (3,), setup = runtime)]
fn frame((mut runtime, policy, image): (Runtime, ExitPolicy, Vec<f32>)) -> usize {
    let class = black_box(runtime.run(black_box(&image), &policy)).unwrap().class;
    // Freeing a runtime is no part of a frame.
    std::mem::forget(runtime);
    class
}

library_benchmark_group!(name = counts, benchmarks = [decide, operating_point, confidence, frame]);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().soft_limits([(EventKind::Ir, 2.0)]));
    library_benchmark_groups = counts
);
