//! 3x3 convolutions directly, by Winograd's minimal filtering and in int8, in turns: what else the machine does meets all.
//!
//! `cargo run --release -p dyn-perceiver-kernels --example winograd` prints medians and ratios for sizes of the networks. With
//! `direct|winograd|int8 SIZE CHANNELS GROUPS COUNT` it computes one convolution COUNT times and prints nothing: for a program
//! that counts instructions.

use std::time::{Duration, Instant};

use dyn_perceiver_kernels::convolution::{Shape, Window, convolve, convolve_i8, winograd};
use dyn_perceiver_kernels::gemm::{Epilogue, PackedI8, Rescale};
use dyn_perceiver_kernels::testing::values;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Rows and columns, channels, groups.
const SIZES: [[usize; 3]; 8] =
    [[56, 24, 1], [28, 48, 1], [14, 96, 1], [7, 192, 1], [56, 64, 4], [28, 144, 9], [14, 320, 20], [7, 784, 49]];
const ROUNDS: usize = 31;

/// What a step of the bytes of an image stands for.
const SCALE: f32 = 2.0 / 255.0;
const FORMS: [&str; 3] = ["direct", "winograd", "int8"];

/// A convolution in all forms, with what each needs.
struct Convolution {
    pool: ThreadPool,
    shape: Shape,
    x: Vec<f32>,
    direct: Vec<f32>,
    transformed: Vec<f32>,
    int8: PackedI8,
    scales: Vec<f32>,
    scratch: Vec<f32>,
    bytes: Vec<u8>,
    out: Vec<f32>,
}

impl Convolution {
    fn new([size, channels, groups]: [usize; 3]) -> Convolution {
        let window = Window { input: [size; 2], output: [size; 2], kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
        let shape = Shape { window, channels_in: channels, channels_out: channels, groups };
        let direct = shape.pack(&values(2, channels * channels / groups * 9));
        let int8 = shape.pack_i8(&direct);
        Convolution {
            pool: ThreadPool::single(),
            shape,
            x: values(1, size * size * channels),
            transformed: winograd::transform(&shape, &direct),
            direct,
            scales: int8.scales.iter().map(|weights| SCALE * weights).collect(),
            int8,
            bytes: vec![0; shape.scratch_len_i8()],
            scratch: vec![0.0; shape.scratch_len(1).max(winograd::scratch_len(&shape, 1))],
            out: vec![0.0; size * size * channels],
        }
    }

    fn run(&mut self, form: &str) {
        let Convolution { pool, shape, x, direct, transformed, int8, scales, scratch, bytes, out } = self;
        let epilogue = Epilogue::default();
        match form {
            "winograd" => winograd::convolve(pool, x, shape, transformed, epilogue, scratch, out),
            "int8" => {
                let rescale = Rescale { zero_point: 128, column_sums: &int8.column_sums, scales, wide: false };
                convolve_i8(pool, x, SCALE, shape, &int8.weights, rescale, epilogue, bytes, out);
            }
            _ => convolve(pool, x, shape, direct, epilogue, scratch, out),
        }
        std::hint::black_box(&self.out);
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [form, size @ ..] = arguments.as_slice() {
        let numbers: Vec<usize> = size.iter().filter_map(|number| number.parse().ok()).collect();
        let &[size, channels, groups, count] = numbers.as_slice() else {
            eprintln!("usage: winograd [direct|winograd|int8 SIZE CHANNELS GROUPS COUNT]");
            std::process::exit(2);
        };
        let mut convolution = Convolution::new([size, channels, groups]);
        (0..count).for_each(|_| convolution.run(form));
        return;
    }
    println!("| size, channels, groups | direct, ms | Winograd, ms | ratio | int8, ms | ratio | Winograd pays |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for sizes in SIZES {
        let mut convolution = Convolution::new(sizes);
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (form, times) in FORMS.iter().zip(&mut times) {
                let begun = Instant::now();
                convolution.run(form);
                times.push(begun.elapsed());
            }
        }
        let [direct, transformed, int8] = times.map(|times| median(times).as_secs_f64() * 1e3);
        let (pays, ratios) = (winograd::pays(&convolution.shape), [transformed, int8].map(|time| time / direct));
        println!(
            "| {sizes:?} | {direct:.3} | {transformed:.3} | {:.2} | {int8:.3} | {:.2} | {pays} |",
            ratios[0], ratios[1]
        );
    }
}
