//! Exponential and error function in float32, as straight-line code that vectorises.

use crate::simd::Simd;

/// `exp(x)` to about 2 ulp; 0 below -87.3 and `exp(88.0)` above 88, so that neither end leaves the normal range.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: f32) -> f32 {
    let e = exp_within(simd, x.clamp(LEAST, 88.0));
    if x < LEAST { 0.0 } else { e }
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

/// The exact GELU, `x * Phi(x)` with the normal distribution function Phi.
///
/// `Phi(-u) = exp(-h(u))` for `u >= 0`, where h is a polynomial fitted to `-ln Phi(-u)` on 0..6.5, weighted by what an
/// error costs there. It is off by at most 6e-8, an error function by twice that, which is 1 ulp of 1.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, x: f32) -> f32 {
    const H: [f32; 9] = [
        std::f32::consts::LN_2,
        0.797_885_7,
        0.318_296_58,
        0.036_393_713,
        -0.004_904_343_3,
        1.011_093_1e-4,
        1.265_324_4e-4,
        -2.676_988_5e-5,
        1.921_440_6e-6,
    ];
    let u = x.abs().min(12.0);
    let h = H.iter().rev().fold(0.0, |h, c| simd.mul_add_scalar(h, u, *c));
    // x * (1 - tail) for positive x, x * tail for negative, without a branch that would keep this from vectorising.
    simd.mul_add_scalar(-x.abs(), exp_within(simd, (-h).max(LEAST)), x.max(0.0))
}

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

    #[test]
    fn gelu_follows_the_error_function() {
        for x in sweep(-14.0, 14.0) {
            let phi = 0.5 * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
            for y in on_each!(gelu, x) {
                let error = (f64::from(y) - f64::from(x) * phi).abs();
                assert!(error <= f64::from(x.abs().max(1.0)) * 1.2e-7, "gelu({x}) = {y}, off by {error}");
            }
        }
        assert!(on_each!(gelu, 0.0).all(|y| y == 0.0));
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
        assert!(on_each!(gelu, f32::NAN).all(f32::is_nan));
    }
}
