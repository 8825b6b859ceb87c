//! Speed of the kernels on the sizes that the networks have, on one thread: the source of the table in
//! docs/performance.md. Throughput is in multiply-accumulates; two operations each.
//!
//! `cargo bench -p dyn-perceiver-kernels`; `DYN_PERCEIVER_ISA=plain` before it measures the portable path.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::attention::{Roundings, Sizes, attention};
use dyn_perceiver_kernels::convolution::{Shape, Window, convolve};
use dyn_perceiver_kernels::depthwise::depthwise;
use dyn_perceiver_kernels::gemm::{Epilogue, gemm, packed_len};
use dyn_perceiver_kernels::norm::layer_norm;
use dyn_perceiver_kernels::pooled_depthwise::{Windows, filters_len, pooled_depthwise};
use dyn_perceiver_kernels::testing::values;
use dyn_perceiver_kernels::thread_pool::ThreadPool;
use dyn_perceiver_kernels::transpose::transpose;

fn window(side: usize, kernel: usize, stride: usize) -> Window {
    let output = (side + 2 * (kernel / 2) - kernel) / stride + 1;
    Window { input: [side; 2], output: [output; 2], kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 2] }
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: String, macs: usize, mut kernel: impl FnMut()) {
    group.throughput(Throughput::Elements(macs as u64));
    group.bench_function(name, |b| b.iter(&mut kernel));
}

fn gemms(c: &mut Criterion) {
    let (mut pool, mut group) = (ThreadPool::single(), c.benchmark_group("gemm"));
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
        measure(&mut group, format!("{m}x{k}x{n}"), m * k * n, || {
            gemm(&mut pool, &x, k, &w, n, Epilogue::default(), &mut out);
        });
    }
}

fn activations(c: &mut Criterion) {
    let (mut pool, mut group) = (ThreadPool::single(), c.benchmark_group("activation"));
    let (m, k, n) = (1280, 32, 184);
    let (x, w, bias, mut out) = (values(1, m * k), values(2, packed_len(k, n)), values(3, n), vec![0.0; m * n]);
    let relu = Activation::Clamp { low: 0.0, high: f32::INFINITY };
    for (name, activation) in [
        ("none", Activation::Identity),
        ("relu", relu),
        ("hardswish", Activation::HardSwish),
        ("sigmoid", Activation::Sigmoid),
        ("gelu", Activation::Gelu),
    ] {
        let epilogue = Epilogue { bias: Some(&bias), activation, ..Epilogue::default() };
        measure(&mut group, format!("{name} behind {m}x{k}x{n}"), m * k * n, || {
            gemm(&mut pool, &x, k, &w, n, epilogue, &mut out);
        });
    }
}

fn convolutions(c: &mut Criterion) {
    let (mut pool, mut group) = (ThreadPool::single(), c.benchmark_group("convolution"));
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
        let mut scratch = vec![0.0; shape.scratch_len(1)];
        let name = format!("{kernel}x{kernel} stride {stride} {ci} to {co} at {side}x{side} groups {groups}");
        measure(&mut group, name, co * pixels * kernel * kernel * ci / groups, || {
            convolve(&mut pool, &x, &shape, &weights, Epilogue::default(), &mut scratch, &mut out);
        });
    }
}

fn depthwise_convolutions(c: &mut Criterion) {
    let (mut pool, mut group) = (ThreadPool::single(), c.benchmark_group("depthwise"));
    for (channels, side, kernel, stride) in [
        (16, 112, 3, 1),
        (56, 72, 3, 1),
        (88, 36, 5, 1),
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
        let name = format!("{kernel}x{kernel} stride {stride} {channels} at {side}x{side}");
        measure(&mut group, name, channels * pixels * kernel * kernel, || {
            depthwise(&mut pool, &x, &window, channels, &w, Epilogue::default(), &mut out);
        });
    }
}

/// Windows of a 7x7 convolution under an adaptive pooling of `from` positions to seven.
fn adaptive(from: usize) -> Windows {
    let pooled: Vec<_> = (0..7).map(|i| i * from / 7..((i + 1) * from).div_ceil(7)).collect();
    let mut lengths: Vec<usize> = pooled.iter().map(|window| window.len() + 6).collect();
    let kinds = lengths.clone();
    lengths.sort_unstable();
    lengths.dedup();
    let kinds = kinds.iter().map(|length| lengths.partition_point(|other| other < length)).collect();
    Windows { input: from, padding: 3, starts: pooled.iter().map(|window| window.start).collect(), kinds, lengths }
}

fn pooled_depthwise_convolutions(c: &mut Criterion) {
    let (mut pool, mut group) = (ThreadPool::single(), c.benchmark_group("pooled_depthwise"));
    for (channels, down, across) in [(24, 64, 80), (56, 32, 40), (88, 16, 20)] {
        let (rows, columns) = (adaptive(down), adaptive(across));
        let kinds = rows.lengths.len() * columns.lengths.len();
        let (x, filters) = (values(1, channels * down * across), values(2, filters_len(&rows, &columns, channels)));
        let (bias, mut out) = (values(3, kinds * channels), vec![0.0; 49 * channels]);
        let macs = rows.taps() * columns.taps() * channels;
        measure(&mut group, format!("7x7 {channels} at {down}x{across} to 7x7"), macs, || {
            pooled_depthwise(&mut pool, &x, [&rows, &columns], channels, [&filters, &bias], &mut out);
        });
    }
}

fn attentions(c: &mut Criterion) {
    let (mut pool, mut group) = (ThreadPool::single(), c.benchmark_group("attention"));
    for (queries, keys, heads, depth) in
        [(128, 128, 1, 24), (3136, 64, 1, 8), (320, 8, 1, 2), (32, 32, 4, 36), (16, 16, 8, 40)]
    {
        let sizes = Sizes { queries, keys, heads, depth, value_depth: depth };
        let [q, k, v] = [queries, keys, keys].map(|n| values(n as u64, n * heads * depth));
        let (mut out, mut scratch) = (vec![0.0; q.len()], vec![0.0; sizes.scratch_len(1)]);
        let name = format!("{queries} to {keys} heads {heads} of {depth}");
        measure(&mut group, name, 2 * queries * keys * heads * depth, || {
            attention(&mut pool, [&q, &k, &v], sizes, 0.5, Roundings::default(), &mut scratch, &mut out);
        });
    }
}

fn norms(c: &mut Criterion) {
    let (mut pool, mut group) = (ThreadPool::single(), c.benchmark_group("layer_norm"));
    for (rows, width) in [(3136, 64), (196, 320), (49, 720)] {
        let (x, scale, mut out) = (values(1, rows * width), values(2, width), vec![0.0; rows * width]);
        measure(&mut group, format!("{rows}x{width}"), rows * width, || {
            layer_norm(&mut pool, &x, &scale, &scale, 1e-5, &mut out);
        });
    }
}

/// Throughput is in values here.
fn transpositions(c: &mut Criterion) {
    let mut group = c.benchmark_group("transpose");
    for (rows, columns) in [(320, 45), (1280, 8), (8, 1280), (64, 49), (196, 320), (3136, 64), (3, 25600)] {
        let (x, mut out) = (values(1, rows * columns), vec![0.0; rows * columns]);
        measure(&mut group, format!("{rows}x{columns}"), rows * columns, || {
            transpose(&x, &[rows, columns], &[1, 0], &mut out);
        });
    }
}

criterion_group!(
    kernels,
    gemms,
    activations,
    convolutions,
    depthwise_convolutions,
    pooled_depthwise_convolutions,
    attentions,
    norms,
    transpositions
);
criterion_main!(kernels);
