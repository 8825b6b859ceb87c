//! Products in f32, f16 and int8 side by side, in turns: what else the machine does meets both.
//!
//! `cargo run --release -p dyn-perceiver-kernels --example precision` prints medians and ratios for sizes of the networks.
//! With `f32|f16|int8|halves|relu|swish ROWS REDUCTION COLUMNS COUNT` it computes one product COUNT times and prints nothing: for a
//! program that counts instructions. `halves` is f16 with rows and results kept as halves where the CPU multiplies them, `relu` and `swish`
//! are that with an activation.

use std::time::{Duration, Instant};

use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::gemm::{
    Epilogue, Reduction, Rescale, gemm, gemm_f16, gemm_i8, pack, pack_f16, pack_i8, packed_len, padded_i8, quantise,
    scratch_len_f16,
};
use dyn_perceiver_kernels::halves::Ends;
use dyn_perceiver_kernels::testing::values;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

const SIZES: [[usize; 3]; 9] = [
    [12544, 16, 48],
    [3136, 48, 24],
    [784, 320, 320],
    [196, 504, 88],
    [128, 96, 96],
    [49, 720, 720],
    [32, 144, 576],
    [16, 320, 1280],
    [1, 960, 1000],
];
const ROUNDS: usize = 31;

/// A product in both precisions, with what each needs.
struct Product {
    pool: ThreadPool,
    x: Vec<f32>,
    kept: Vec<f32>,
    reduction: usize,
    weights: Vec<f32>,
    f16: Vec<u16>,
    scratch: Vec<f32>,
    int8: Vec<i8>,
    column_sums: Vec<i32>,
    scales: Vec<f32>,
    bytes: Vec<u8>,
    out: Vec<f32>,
}

impl Product {
    fn new([m, k, n]: [usize; 3]) -> Product {
        let w = values(2, k * n);
        let mut weights = vec![0.0; packed_len(k, n)];
        pack(k, n, |k, column| w[k * n + column], &mut weights);
        let int8 = pack_i8(Reduction::whole(k), n, |k, column| w[k * n + column]);
        let scales = int8.scales.iter().map(|scale| scale * 2.0 / 255.0).collect();
        let (mut pool, x) = (ThreadPool::single(), values(1, m * k));
        Product {
            kept: kept(&mut pool, &x, k),
            pool,
            x,
            reduction: k,
            weights,
            f16: pack_f16(k, n, |k, column| w[k * n + column]).expect("weights are small"),
            scratch: vec![0.0; scratch_len_f16(m * k, m * n, Ends::default())],
            int8: int8.weights,
            column_sums: int8.column_sums,
            scales,
            bytes: vec![0; m * padded_i8(k)],
            out: vec![0.0; m * n],
        }
    }

    fn f32(&mut self) {
        let columns = self.scales.len();
        gemm(&mut self.pool, &self.x, self.reduction, &self.weights, columns, Epilogue::default(), &mut self.out);
    }

    fn f16(&mut self) {
        let (columns, epilogue, ends) = (self.scales.len(), Epilogue::default(), Ends::default());
        let (pool, scratch, out) = (&mut self.pool, &mut self.scratch, &mut self.out);
        gemm_f16(pool, &self.x, self.reduction, &self.f16, columns, epilogue, ends, scratch, out);
    }

    /// With rows that were made halves before, and results that stay so.
    fn halves(&mut self, activation: Activation) {
        let (columns, ends) = (self.scales.len(), Ends { input: true, residual: false, output: true });
        let epilogue = Epilogue { bias: Some(&self.scales), activation, ..Epilogue::default() };
        let (pool, scratch, out) = (&mut self.pool, &mut self.scratch, &mut self.out);
        gemm_f16(pool, &self.kept, self.reduction, &self.f16, columns, epilogue, ends, scratch, out);
    }

    /// Rows are quantised each time, as a layer does.
    fn int8(&mut self) {
        let rescale = Rescale { zero_point: 128, column_sums: &self.column_sums, scales: &self.scales, wide: false };
        quantise(&mut self.pool, &self.x, self.reduction, 2.0 / 255.0, 128, &mut self.bytes);
        let (bytes, out) = (&self.bytes, &mut self.out);
        gemm_i8(&mut self.pool, bytes, self.reduction, &self.int8, rescale, Epilogue::default(), out);
    }
}

/// Rows as another product leaves them: halves where the CPU multiplies them.
fn kept(pool: &mut ThreadPool, x: &[f32], k: usize) -> Vec<f32> {
    let unit = pack_f16(k, k, |i, j| f32::from(u8::from(i == j))).expect("weights are small");
    let (mut out, mut scratch) = (vec![0.0; x.len()], vec![0.0; scratch_len_f16(x.len(), x.len(), Ends::default())]);
    let ends = Ends { output: true, ..Ends::default() };
    gemm_f16(pool, x, k, &unit, k, Epilogue::default(), ends, &mut scratch, &mut out);
    out
}

fn time(times: usize, mut work: impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..times).for_each(|_| work());
    begun.elapsed() / times as u32
}

fn table() {
    let pool = ThreadPool::single();
    let (isa, half, int8) = (pool.isa(), pool.half_isa(), pool.int8_isa());
    println!("{isa} for f32, {half} for f16, {int8} for int8; medians of {ROUNDS} rounds in turns, ratios to f32");
    println!("{:>16}  {:>9}  {:>9}  {:>5}  {:>9}  {:>5}", "size", "f32, us", "f16, us", "", "int8, us", "");
    for size @ [m, k, n] in SIZES {
        let mut product = Product::new(size);
        let times = (20_000_000 / (m * k * n)).max(1);
        let mut rounds: Vec<[f64; 3]> = (0..=ROUNDS)
            .map(|_| {
                let f32 = time(times, || product.f32());
                let f16 = time(times, || product.f16());
                [f32, f16, time(times, || product.int8())].map(|time| time.as_secs_f64())
            })
            .collect();
        // The first round warms up.
        rounds.remove(0);
        let median = |of: &dyn Fn(&[f64; 3]) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let [f32, f16, int8] = [0, 1, 2].map(|kind| 1e6 * median(&|round| round[kind]));
        let [half, byte] = [1, 2].map(|kind| median(&|round| round[kind] / round[0]));
        println!("{:>16}  {f32:>9.1}  {f16:>9.1}  {half:>5.2}  {int8:>9.1}  {byte:>5.2}", format!("{m}x{k}x{n}"));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, numbers @ ..] = arguments.as_slice() else { return table() };
    let numbers: Vec<usize> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    let [m, k, n, count] = numbers[..] else {
        return eprintln!("expected f32|f16|int8|halves|relu|swish ROWS REDUCTION COLUMNS COUNT");
    };
    let mut product = Product::new([m, k, n]);
    for _ in 0..count {
        match kind.as_str() {
            "f32" => product.f32(),
            "f16" => product.f16(),
            "halves" => product.halves(Activation::Identity),
            "relu" => product.halves(Activation::Clamp { low: 0.0, high: f32::INFINITY }),
            "swish" => product.halves(Activation::HardSwish),
            _ => product.int8(),
        }
    }
}
