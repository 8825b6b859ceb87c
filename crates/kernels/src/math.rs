//! Exponential and error function in float32, as straight-line code that vectorises.

use super::arch::Arch;

/// `exp(x)` to about 2 ulp; 0 below -87.3 and `exp(88.0)` above 88, so that neither end leaves the normal range.
#[inline(always)]
pub fn exp<A: Arch>(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: the first has few bits, so that n * LN2_HIGH is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // 1.5 * 2^23: adding it rounds to the nearest integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.0);
    let shifted = A::mul_add(clamped, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = A::mul_add(n, -LN2_LOW, A::mul_add(n, -LN2_HIGH, clamped));
    // exp(r) - 1 - r over r^2, |r| <= ln(2)/2: the Taylor terms to r^7.
    let mut p = A::mul_add(1.0 / 5040.0, r, 1.0 / 720.0);
    p = A::mul_add(p, r, 1.0 / 120.0);
    p = A::mul_add(p, r, 1.0 / 24.0);
    p = A::mul_add(p, r, 1.0 / 6.0);
    p = A::mul_add(p, r, 0.5);
    let e = A::mul_add(p * r, r, r) + 1.0;
    let scale = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { e * scale }
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid<A: Arch>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<A>(-x))
}

/// The exact GELU, `x * Phi(x)` with the normal distribution function Phi.
///
/// `Phi(-u) = exp(-h(u))` for `u >= 0`, where h is a polynomial fitted to `-ln Phi(-u)` on 0..6.5, weighted by what an
/// error costs there. It is off by at most 6e-8, an error function by twice that, which is 1 ulp of 1.
#[inline(always)]
pub fn gelu<A: Arch>(x: f32) -> f32 {
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
    let h = H.iter().rev().fold(0.0, |h, c| A::mul_add(h, u, *c));
    // x * (1 - tail) for positive x, x * tail for negative, without a branch that would keep this from vectorising.
    A::mul_add(-x.abs(), exp::<A>(-h), x.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::arch::{Native, Plain};
    use super::*;

    fn sweep(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| from + (to - from) * i as f32 / 200_000.0)
    }

    #[test]
    fn exp_is_within_two_ulp_and_ends_well() {
        for x in sweep(-87.0, 88.0) {
            let expected = f64::from(x).exp();
            for y in [exp::<Native>(x), exp::<Plain>(x)] {
                assert!((f64::from(y) - expected).abs() <= 2.5 * 1.2e-7 * expected, "exp({x}) = {y}, not {expected}");
            }
        }
        assert_eq!(exp::<Native>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<Native>(0.0), 1.0);
        assert!(exp::<Native>(f32::INFINITY).is_finite());
    }

    #[test]
    fn gelu_follows_the_error_function() {
        for x in sweep(-14.0, 14.0) {
            let phi = 0.5 * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
            for y in [gelu::<Native>(x), gelu::<Plain>(x)] {
                let error = (f64::from(y) - f64::from(x) * phi).abs();
                assert!(error <= f64::from(x.abs().max(1.0)) * 1.2e-7, "gelu({x}) = {y}, off by {error}");
            }
        }
        assert_eq!(gelu::<Native>(0.0), 0.0);
    }

    #[test]
    fn sigmoid_follows_its_definition() {
        for x in sweep(-80.0, 80.0) {
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid::<Native>(x)) - expected).abs() <= 2e-7, "sigmoid({x})");
        }
    }

    #[test]
    fn nan_stays_nan() {
        assert!(exp::<Native>(f32::NAN).is_nan());
        assert!(gelu::<Native>(f32::NAN).is_nan());
    }
}
