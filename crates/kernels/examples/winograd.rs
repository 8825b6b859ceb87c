//! 3x3 convolutions directly and by Winograd's minimal filtering, in turns: what else the machine does meets both.
//!
//! `cargo run --release -p dyn-perceiver-kernels --example winograd` prints medians and ratios for sizes of the networks. With
//! `direct|winograd SIZE CHANNELS GROUPS COUNT` it computes one convolution COUNT times and prints nothing: for a program
//! that counts instructions.

use std::time::{Duration, Instant};

use dyn_perceiver_kernels::convolution::{Shape, Window, convolve, winograd};
use dyn_perceiver_kernels::gemm::Epilogue;
use dyn_perceiver_kernels::testing::values;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Rows and columns, channels, groups.
const SIZES: [[usize; 3]; 8] =
    [[56, 24, 1], [28, 48, 1], [14, 96, 1], [7, 192, 1], [56, 64, 4], [28, 144, 9], [14, 320, 20], [7, 784, 49]];
const ROUNDS: usize = 31;

/// A convolution in both forms, with what each needs.
struct Convolution {
    pool: ThreadPool,
    shape: Shape,
    x: Vec<f32>,
    direct: Vec<f32>,
    transformed: Vec<f32>,
    scratch: Vec<f32>,
    out: Vec<f32>,
}

impl Convolution {
    fn new([size, channels, groups]: [usize; 3]) -> Convolution {
        let window = Window { input: [size; 2], output: [size; 2], kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
        let shape = Shape { window, channels_in: channels, channels_out: channels, groups };
        let direct = shape.pack(&values(2, channels * channels / groups * 9));
        Convolution {
            pool: ThreadPool::single(),
            shape,
            x: values(1, size * size * channels),
            transformed: winograd::transform(&shape, &direct),
            direct,
            scratch: vec![0.0; shape.scratch_len(1).max(winograd::scratch_len(&shape, 1))],
            out: vec![0.0; size * size * channels],
        }
    }

    fn run(&mut self, transformed: bool) {
        let Convolution { pool, shape, x, direct, transformed: weights, scratch, out } = self;
        if transformed {
            winograd::convolve(pool, x, shape, weights, Epilogue::default(), scratch, out);
        } else {
            convolve(pool, x, shape, direct, Epilogue::default(), scratch, out);
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
        let (&[size, channels, groups, count], "direct" | "winograd") = (numbers.as_slice(), form.as_str()) else {
            eprintln!("usage: winograd [direct|winograd SIZE CHANNELS GROUPS COUNT]");
            std::process::exit(2);
        };
        let mut convolution = Convolution::new([size, channels, groups]);
        (0..count).for_each(|_| convolution.run(form == "winograd"));
        return;
    }
    println!("| size, channels, groups | direct, ms | Winograd, ms | ratio | pays |\n| --- | --- | --- | --- | --- |");
    for sizes in SIZES {
        let mut convolution = Convolution::new(sizes);
        let mut times: [Vec<Duration>; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (form, times) in times.iter_mut().enumerate() {
                let begun = Instant::now();
                convolution.run(form == 1);
                times.push(begun.elapsed());
            }
        }
        let [direct, transformed] = times.map(|times| median(times).as_secs_f64() * 1e3);
        let pays = winograd::pays(&convolution.shape);
        println!("| {sizes:?} | {direct:.3} | {transformed:.3} | {:.2} | {pays} |", transformed / direct);
    }
}
