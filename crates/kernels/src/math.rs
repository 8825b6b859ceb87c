//! Exponential and error function in float32, as straight-line code that vectorises.

use crate::simd::Simd;

/// `exp(x)` to about 2 ulp; 0 below -87.3 and `exp(88.0)` above 88, so that neither end leaves the normal range.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: f32) -> f32 {
    let e = exp_within(simd, x.clamp(LEAST, 88.0));
    if x < LEAST { 0.0 } else { e }
}

/// [`exp`] of what is not above zero, in fewer instructions.
#[inline(always)]
pub(crate) fn exp_below_zero<S: Simd>(simd: S, x: f32) -> f32 {
    let is_least = x < LEAST;
    let e = exp_within(simd, if is_least { LEAST } else { x });
    if is_least { 0.0 } else { e }
}

/// Below it `exp` leaves the normal range.
const LEAST: f32 = -87.3;

/// `exp(x)` for x from [`LEAST`] to 88.
#[inline(always)]
fn exp_within<S: Simd>(simd: S, x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: the first has few bits, so that n * LN2_HIGH is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // 1.5 * 2^23: adding it rounds to the nearest integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = simd.mul_add_scalar(x, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = simd.mul_add_scalar(n, -LN2_LOW, simd.mul_add_scalar(n, -LN2_HIGH, x));
    // exp(r) - 1 - r over r^2, |r| <= ln(2)/2: the Taylor terms to r^7.
    let mut p = simd.mul_add_scalar(1.0 / 5040.0, r, 1.0 / 720.0);
    p = simd.mul_add_scalar(p, r, 1.0 / 120.0);
    p = simd.mul_add_scalar(p, r, 1.0 / 24.0);
    p = simd.mul_add_scalar(p, r, 1.0 / 6.0);
    p = simd.mul_add_scalar(p, r, 0.5);
    let e = simd.mul_add_scalar(p * r, r, r) + 1.0;
    e * f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23)
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: f32) -> f32 {
    1.0 / (1.0 + exp(simd, -x))
}

/// GELU, `x * Phi(x)` with the normal distribution function Phi, off by at most 2.5e-7, or by as much times `|x|`.
///
/// `Phi(-u)` is the fourth power of a polynomial on 0..5.4: the fourth root falls from 0.84 to 0.01 so evenly that degree 8 meets it
/// within 4e-8 of what counts, and squaring twice takes the place of an exponential.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    // Of the powers of -u.
    const ROOT: [f32; 9] = [
        0.840_896_96,
        0.167_738_65,
        -0.050_184_12,
        -0.004_631_578_5,
        0.003_807_603_1,
        3.899_845_3e-5,
        -3.070_284_7e-4,
        -5.846_384_4e-5,
        -3.409_987_4e-6,
    ];
    let zero = simd.splat(0.0);
    let below = simd.min(x, simd.sub(zero, x));
    let u = simd.max(below, simd.splat(-5.4));
    let mut root = simd.splat(ROOT[8]);
    for coefficient in ROOT[..8].iter().rev() {
        root = simd.mul_add(root, u, simd.splat(*coefficient));
    }
    let square = simd.mul(root, root);
    // x * (1 - tail) for positive x, x * tail for negative.
    simd.mul_add(below, simd.mul(square, square), simd.max(x, zero))
}

/// [`gelu`] of every entry, four vectors at once: each waits for itself at every step.
#[inline(always)]
pub(crate) fn gelu_row<S: Simd>(simd: S, row: &mut [f32]) {
    const AT_ONCE: usize = 4;
    let mut blocks = row.chunks_exact_mut(AT_ONCE * S::LANES);
    for block in blocks.by_ref() {
        let at = block.as_mut_ptr();
        // SAFETY: a block has as many floats as the four vectors, and is this function's alone.
        unsafe {
            let mut vectors = [simd.splat(0.0); AT_ONCE];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = simd.load(at.add(v * S::LANES));
            }
            for vector in &mut vectors {
                *vector = gelu(simd, *vector);
            }
            for (v, vector) in vectors.iter().enumerate() {
                simd.store(at.add(v * S::LANES), *vector);
            }
        }
    }
    for rest in blocks.into_remainder().chunks_mut(S::LANES) {
        let mut padded = [0.0; WIDEST];
        padded[..rest.len()].copy_from_slice(rest);
        // SAFETY: no vector has more floats than `padded`.
        unsafe { simd.store(padded.as_mut_ptr(), gelu(simd, simd.load(padded.as_ptr()))) };
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

/// Floats in the widest vector.
const WIDEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "x86_64")]
    use crate::simd::Avx2 as Native;
    #[cfg(target_arch = "aarch64")]
    use crate::simd::Neon as Native;
    use crate::simd::Plain;

    /// Points of a sweep: fewer under Miri, which is slow.
    const POINTS: usize = if cfg!(miri) { 200 } else { 200_000 };

    fn sweep(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=POINTS).map(move |i| from + (to - from) * i as f32 / POINTS as f32)
    }

    /// A function on every instruction set of this CPU.
    macro_rules! on_each {
        ($f:ident, $x:expr) => {
            [Some($f(Plain, $x)), Native::detect().map(|native| $f(native, $x))].into_iter().flatten()
        };
    }

    #[test]
    fn exp_is_within_two_ulp_and_ends_well() {
        for x in sweep(-87.0, 88.0) {
            let expected = f64::from(x).exp();
            for y in on_each!(exp, x) {
                assert!((f64::from(y) - expected).abs() <= 2.5 * 1.2e-7 * expected, "exp({x}) = {y}, not {expected}");
            }
        }
        assert!(on_each!(exp, f32::NEG_INFINITY).all(|y| y == 0.0));
        assert!(on_each!(exp, 0.0).all(|y| y == 1.0));
        assert!(on_each!(exp, f32::INFINITY).all(f32::is_finite));
    }

    /// GELU of one value, among others.
    fn gelu_of<S: Simd>(simd: S, x: f32) -> f32 {
        let mut row = [1.0; 19];
        row[17] = x;
        gelu_row(simd, &mut row);
        row[17]
    }

    #[test]
    fn gelu_follows_the_error_function() {
        for x in sweep(-14.0, 14.0) {
            let phi = 0.5 * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
            for y in on_each!(gelu_of, x) {
                let error = (f64::from(y) - f64::from(x) * phi).abs();
                assert!(error <= f64::from(x.abs().max(1.0)) * 2.5e-7, "gelu({x}) = {y}, off by {error}");
            }
        }
        assert!(on_each!(gelu_of, 0.0).all(|y| y == 0.0));
    }

    #[test]
    fn gelu_gives_an_entry_the_same_wherever_it_is_in_a_row() {
        fn row<S: Simd>(simd: S, shift: usize) -> [f32; 90] {
            let mut row = std::array::from_fn(|i| (i + shift) as f32 * 0.11 - 6.0);
            gelu_row(simd, &mut row);
            row
        }
        for (first, second) in on_each!(row, 0).zip(on_each!(row, 7)) {
            assert_eq!(first[7..], second[..83]);
        }
    }

    #[test]
    fn sigmoid_follows_its_definition() {
        for x in sweep(-80.0, 80.0) {
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            for y in on_each!(sigmoid, x) {
                assert!((f64::from(y) - expected).abs() <= 2e-7, "sigmoid({x})");
            }
        }
    }

    #[test]
    fn exp_and_gelu_keep_nan() {
        assert!(on_each!(exp, f32::NAN).all(f32::is_nan));
        assert!(on_each!(gelu_of, f32::NAN).all(f32::is_nan));
    }
}
