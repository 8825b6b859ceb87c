//! Speed of the kernels on the sizes the networks have, printed as the table of docs/performance.md:
//! `cargo test --release --lib plan::kernels::speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::attention::{Sizes, attention};
use super::convolution::{Shape, Window, convolve};
use super::depthwise::depthwise;
use super::matmul::{Epilogue, matmul, packed_len};
use super::norm::layer_norm;
use super::oracle::values;
use super::team::Team;

/// Seconds of the fastest of the runs that fit in a fifth of a second.
fn fastest(mut run: impl FnMut()) -> f64 {
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while begin.elapsed() < Duration::from_millis(200) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn report(what: &str, macs: usize, seconds: f64) {
    println!("| {what} | {:.3} | {:.1} |", seconds * 1e3, 2e-9 * macs as f64 / seconds);
}

fn window(side: usize, kernel: usize, stride: usize) -> Window {
    let output = (side + 2 * (kernel / 2) - kernel) / stride + 1;
    Window { input: [side; 2], output: [output; 2], kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 2] }
}

#[test]
#[ignore = "a measurement, to be run in release"]
fn table() {
    let mut team = Team::alone();
    println!("| kernel | ms | GFLOP/s |\n| --- | --- | --- |");
    for (m, k, n) in [
        (12544, 16, 48),
        (3136, 48, 24),
        (196, 504, 88),
        (12544, 147, 24),
        (784, 320, 320),
        (49, 720, 720),
        (196, 320, 784),
        (196, 1728, 192),
        (16, 320, 1280),
        (32, 144, 576),
        (1, 960, 1000),
    ] {
        let (x, w, mut out) = (values(1, m * k), values(2, packed_len(k, n)), vec![0.0; m * n]);
        let seconds = fastest(|| matmul(&mut team, &x, k, &w, n, Epilogue::default(), &mut out));
        report(&format!("product {m} x {k} x {n}"), m * k * n, seconds);
    }
    for (ci, co, side, kernel, stride, groups) in [
        (3, 16, 224, 3, 2, 1),
        (3, 24, 224, 7, 2, 1),
        (24, 24, 56, 3, 1, 1),
        (96, 96, 14, 3, 1, 1),
        (64, 64, 112, 3, 2, 4),
        (144, 144, 28, 3, 1, 9),
        (784, 784, 14, 3, 2, 49),
    ] {
        let shape = Shape { window: window(side, kernel, stride), channels_in: ci, channels_out: co, groups };
        let weights = shape.pack(&values(2, co * ci / groups * kernel * kernel));
        let pixels = shape.window.output[0] * shape.window.output[1];
        let (x, mut out) = (values(1, ci * side * side), vec![0.0; co * pixels]);
        let seconds = fastest(|| convolve(&mut team, &x, &shape, &weights, Epilogue::default(), &mut out));
        let what =
            format!("{kernel}x{kernel} stride {stride}, {ci} to {co} channels at {side}x{side}, {groups} groups");
        report(&what, co * pixels * kernel * kernel * ci / groups, seconds);
    }
    for (channels, side, kernel, stride) in [
        (16, 112, 3, 1),
        (48, 112, 3, 2),
        (56, 56, 5, 2),
        (88, 28, 5, 1),
        (24, 56, 7, 1),
        (504, 14, 3, 1),
        (720, 7, 5, 1),
    ] {
        let window = window(side, kernel, stride);
        let pixels = window.output[0] * window.output[1];
        let (x, w) = (values(1, channels * side * side), values(2, channels * kernel * kernel));
        let mut out = vec![0.0; channels * pixels];
        let seconds = fastest(|| depthwise(&mut team, &x, &window, channels, &w, Epilogue::default(), &mut out));
        let what = format!("depthwise {kernel}x{kernel} stride {stride}, {channels} channels at {side}x{side}");
        report(&what, channels * pixels * kernel * kernel, seconds);
    }
    for (queries, keys, heads, depth) in [(128, 128, 1, 24), (3136, 64, 1, 8), (32, 32, 4, 36), (16, 16, 8, 40)] {
        let sizes = Sizes { queries, keys, heads, depth, value_depth: depth };
        let [q, k, v] = [queries, keys, keys].map(|n| values(n as u64, n * heads * depth));
        let mut out = vec![0.0; q.len()];
        let seconds = fastest(|| attention(&mut team, &q, &k, &v, sizes, 0.5, &mut out));
        let what = format!("attention of {queries} to {keys}, {heads} heads of {depth}");
        report(&what, 2 * queries * keys * heads * depth, seconds);
    }
    for (rows, width) in [(3136, 64), (196, 320), (49, 720)] {
        let (x, scale, mut out) = (values(1, rows * width), values(2, width), vec![0.0; rows * width]);
        let seconds = fastest(|| layer_norm(&mut team, &x, &scale, &scale, 1e-5, &mut out));
        println!("| layer normalisation {rows} x {width} | {:.3} | |", seconds * 1e3);
    }
}
