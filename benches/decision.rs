//! What deciding costs on this machine: `cargo bench -p dyn-perceiver --bench decision`. Instructions are counted by the comparison's
//! `instructions` bench, and on a microcontroller by `boards/companion-mcu/check.sh`.

#[path = "setup/mod.rs"]
mod setup;

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use dyn_perceiver::energy::Governor as _;
use dyn_perceiver::exit::Measure;

fn decision(c: &mut Criterion) {
    let frontier = setup::frontier();
    let mut call = 0u32;
    c.bench_function("operating point by budget, 64 points", |b| {
        b.iter(|| {
            call = call.wrapping_add(1);
            frontier.by_budget(black_box(1.0 + (call % 1000) as f32 / 1000.0))
        })
    });
    let (mut governor, settings) = setup::governor();
    let mut call = 0u32;
    c.bench_function("governor, one decision, 64 points", |b| {
        b.iter(|| {
            call = call.wrapping_add(1);
            governor.choose(black_box(&setup::input(&settings, call)))
        })
    });
    let logits = setup::logits();
    for measure in Measure::ALL {
        c.bench_function(&format!("confidence of 1,000 logits, {measure}"), |b| {
            b.iter(|| measure.read(black_box(&logits)).unwrap())
        });
    }
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/policy.json");
    c.bench_function("load a policy file", |b| b.iter(|| dyn_perceiver::policy_file::load(&policy).unwrap()));
}

criterion_group!(benches, decision);
criterion_main!(benches);
