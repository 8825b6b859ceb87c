//! What a gate costs for each frame: `cargo bench -p dyn-perceiver-core`. Beside a whole frame it stands in the library's
//! bench `frame`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dyn_perceiver_core::gate::{Gate, GateSettings, LatentGate, LatentSettings, Luma, Scene};

fn gate(c: &mut Criterion) {
    for (name, width, height, pixel) in [
        ("28x28 grey", 28, 28, 1),
        ("640x480 YUYV", 640, 480, 2),
        ("640x480 NV12", 640, 480, 1),
        ("1920x1080 NV12", 1920, 1080, 1),
    ] {
        let bytes: Vec<u8> = (0..width * height * pixel).map(|at| (at * 31 / 7 % 200) as u8).collect();
        let luma = Luma::new(&bytes, (width, height), pixel, width * pixel).unwrap();
        let mut gate = Gate::new(GateSettings::new(GateSettings::THRESHOLD, Duration::MAX));
        c.bench_function(&format!("gate of {name}"), |b| {
            b.iter(|| gate.judge(Duration::ZERO, Scene::of(black_box(luma))));
        });
    }
}

fn latent(c: &mut Criterion) {
    for width in [128, 256, 1280] {
        let code: Vec<f32> = (0..width).map(|at| (at * 31 % 200) as f32 / 100.0 - 1.0).collect();
        let mut gate = LatentGate::new(LatentSettings::new(0.1, Duration::MAX), vec![0.0; width]);
        gate.ran(Duration::ZERO, &code);
        c.bench_function(&format!("gate of a code of {width}"), |b| {
            b.iter(|| gate.judge(Duration::ZERO, black_box(&code)));
        });
    }
}

criterion_group!(benches, gate, latent);
criterion_main!(benches);
