//! What the tests of the kernels share: reference implementations in double precision, comparisons, and every path on
//! which a kernel can run.

use std::cell::RefCell;

use proptest::prelude::*;

use crate::Activation;
use crate::convolution::{Shape, Window};
use crate::dispatch::Isa;
use crate::dispatch::{HalfIsa, Int8Isa};
use crate::gemm::f16::convert::{from_f32, to_f32};
use crate::halves::{Form, Halves, keep, room};
use crate::thread_pool::ThreadPool;

thread_local! {
    /// For each instruction set of this CPU, pools of 1 to 4 threads.
    static POOLS: RefCell<Vec<Vec<ThreadPool>>> = RefCell::new(pools());
}

fn pools() -> Vec<Vec<ThreadPool>> {
    let most = if cfg!(miri) { 2 } else { 4 };
    let pool = |isa: Isa, threads: usize| {
        let mut pool = ThreadPool::with_isa(threads.try_into().unwrap(), isa).unwrap();
        // Nearly every size is cut into parts, as large ones are in networks.
        pool.set_grain(500);
        pool
    };
    Isa::available().map(|isa| (1..=most).map(|threads| pool(isa, threads)).collect()).collect()
}

/// Calls `f` with a pool of every number of threads on every instruction set of this CPU.
pub(crate) fn for_each_pool(mut f: impl FnMut(&mut ThreadPool)) {
    POOLS.with_borrow_mut(|pools| pools.iter_mut().flatten().for_each(&mut f));
}

/// Calls `f` with pools as [`for_each_pool`], for each of the int8 instructions that belong to their instruction set.
pub(crate) fn for_each_int8(mut f: impl FnMut(&mut ThreadPool)) {
    for_each_pool(|pool| {
        let best = pool.dot();
        for int8 in Int8Isa::available(pool.isa()) {
            pool.set_dot(int8.token().expect("it is available"));
            f(pool);
        }
        pool.set_dot(best);
    });
}

/// Calls `f` with pools as [`for_each_pool`], for each of the f16 instructions that belong to their instruction set.
pub(crate) fn for_each_half(mut f: impl FnMut(&mut ThreadPool)) {
    for_each_pool(|pool| {
        let best = pool.half();
        for half in HalfIsa::available(pool.isa()) {
            pool.set_half(half.token().expect("it is available"));
            f(pool);
        }
        pool.set_half(best);
    });
}

/// Runs a kernel that fills `len` entries on every instruction set of this CPU and every number of threads. `check`
/// is given the result of each instruction set; on more threads it must be the same bits.
pub(crate) fn for_each_isa(len: usize, kernel: impl Fn(&mut ThreadPool, &mut [f32]), check: impl Fn(&[f32])) {
    POOLS.with_borrow_mut(|pools| {
        for pools in pools {
            let mut first: Option<Vec<f32>> = None;
            for pool in pools {
                // NaN where nothing is stored.
                let mut out = vec![f32::NAN; len];
                kernel(pool, &mut out);
                match &first {
                    None => {
                        check(&out);
                        first = Some(out);
                    }
                    Some(first) => {
                        let equal = first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(equal, "{pool:?} gives other bits than one thread");
                    }
                }
            }
        }
    });
}

/// So many cases of a property, few under Miri, which is a thousand times slower.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig::with_cases(if cfg!(miri) { 2 } else { cases })
}

/// The largest of a size in a property, small under Miri: a panel and a bit.
pub(crate) fn most(size: usize) -> usize {
    if cfg!(miri) { size.min(18) } else { size }
}

/// Asserts equality to 1e-5 of the largest value expected.
pub(crate) fn assert_close(found: &[f32], expected: &[f32]) {
    assert_close_to(found, expected, 1e-3);
}

/// The same where rounding errors are those of values at least as large as `scale`: sums before an activation.
pub(crate) fn assert_close_to(found: &[f32], expected: &[f32], scale: f32) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(scale, |m, x| m.max(x.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 1e-5 * largest, "element {i}: {f} instead of {e}, largest {largest}");
    }
}

/// An activation by its definition.
pub(crate) fn activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Clamp { low, high } => x.max(f64::from(low)).min(f64::from(high)),
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Gelu => x * 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2),
    }
}

/// Any activation.
pub(crate) fn activations() -> impl Strategy<Value = Activation> {
    proptest::sample::select(vec![
        Activation::Identity,
        Activation::Clamp { low: 0.0, high: f32::INFINITY },
        Activation::Clamp { low: -0.25, high: 0.5 },
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::Gelu,
    ])
}

/// Any window with its padding, that has an output.
pub(crate) fn windows() -> impl Strategy<Value = Window> {
    let pair = |to: usize| prop::array::uniform2(0..to);
    // The direct convolution that results are compared with is the slow part under Miri.
    let (side, kernel, padding) = if cfg!(miri) { (6, 4, 3) } else { (17, 8, 5) };
    (pair(side), pair(kernel), pair(3), pair(padding), pair(padding)).prop_filter_map(
        "no output",
        |(size, k, s, before, after)| {
            let (input, kernel, stride) = (size.map(|d| d + 1), k.map(|d| d + 1), s.map(|d| d + 1));
            let room: Vec<Option<usize>> =
                (0..2).map(|a| (input[a] + before[a] + after[a]).checked_sub(kernel[a])).collect();
            let output = [room[0]? / stride[0] + 1, room[1]? / stride[1] + 1];
            Some(Window { input, output, kernel, stride, padding: before })
        },
    )
}

/// A convolution by its definition: `bias + sum` over the taps inside.
pub(crate) fn convolution(x: &[f32], shape: &Shape, oihw: &[f32], bias: &[f32]) -> Vec<f64> {
    let Shape { window: w, channels_in, channels_out, groups } = *shape;
    let (ci, co) = (channels_in / groups, channels_out / groups);
    let mut out = vec![];
    for (oy, ox, n) in
        (0..w.output[0]).flat_map(|y| (0..w.output[1]).flat_map(move |x| (0..channels_out).map(move |n| (y, x, n))))
    {
        let mut sum = f64::from(bias[n]);
        for (ky, kx, i) in
            (0..w.kernel[0]).flat_map(|y| (0..w.kernel[1]).flat_map(move |x| (0..ci).map(move |i| (y, x, i))))
        {
            let y = (oy * w.stride[0] + ky).checked_sub(w.padding[0]).filter(|y| *y < w.input[0]);
            let column = (ox * w.stride[1] + kx).checked_sub(w.padding[1]).filter(|x| *x < w.input[1]);
            if let (Some(y), Some(column)) = (y, column) {
                let value = x[(y * w.input[1] + column) * channels_in + n / co * ci + i];
                let weight = oihw[((n * ci + i) * w.kernel[0] + ky) * w.kernel[1] + kx];
                sum += f64::from(value) * f64::from(weight);
            }
        }
        out.push(sum);
    }
    out
}

/// The largest magnitude of some sums, at least 1.
pub(crate) fn largest(sums: &[f64]) -> f32 {
    sums.iter().fold(1.0, |m: f64, x| m.max(x.abs())) as f32
}

/// What a buffer holds, as floats, and whether as halves.
pub(crate) fn read(buffer: &[f32]) -> (Vec<f32>, bool) {
    match Form::of(buffer) {
        Form::Floats(floats) => (floats.into(), false),
        Form::Halves(Halves { values, .. }) => (values.iter().map(|half| to_f32(*half)).collect(), true),
    }
}

/// A buffer that holds halves of `x`.
pub(crate) fn kept(x: &[f32]) -> Vec<f32> {
    let mut buffer = vec![f32::NAN; x.len()];
    let halves: Vec<u16> = x.iter().map(|x| from_f32(*x)).collect();
    room(&mut buffer).unwrap().copy_from_slice(&halves);
    let largest = halves.iter().map(|half| half & 0x7FFF).max().unwrap();
    assert!(keep(&mut buffer, largest));
    buffer
}
