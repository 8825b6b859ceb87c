//! Activation functions of fused epilogues, applied to results while they are in registers.

use crate::math::{gelu_row, sigmoid};
use crate::simd::Simd;

/// A function applied to every element of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Activation {
    /// `x`.
    #[default]
    Identity,
    /// `x` limited to `low..=high`; with 0 and infinity, ReLU. Neither limit is NaN.
    Clamp {
        /// Lower limit.
        low: f32,
        /// Upper limit.
        high: f32,
    },
    /// `x * clamp(x / 6 + 1/2, 0, 1)`.
    HardSwish,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * Phi(x)` with the normal distribution function Phi.
    Gelu,
}

impl Eq for Activation {}

impl Activation {
    /// Whether applying it takes longer than storing a result and loading it again: then it is better applied to whole
    /// rows, as a loop that vectorises, than to the few values in registers.
    #[inline(always)]
    pub(crate) fn is_costly(self) -> bool {
        matches!(self, Activation::Sigmoid | Activation::Gelu)
    }

    /// Applies it to a row.
    #[inline(always)]
    pub(crate) fn apply_row<S: Simd>(self, simd: S, row: &mut [f32]) {
        match self {
            Activation::Sigmoid => row.iter_mut().for_each(|x| *x = sigmoid(simd, *x)),
            Activation::Gelu => gelu_row(simd, row),
            Activation::HardSwish => hard_swish_row(simd, row),
            Activation::Identity | Activation::Clamp { .. } => {
                row.iter_mut().for_each(|x| self.apply::<S, 1>(simd, std::array::from_mut(x)));
            }
        }
    }

    /// Applies it to the values of one row of accumulators.
    #[inline(always)]
    pub(crate) fn apply<S: Simd, const N: usize>(self, simd: S, values: &mut [f32; N]) {
        match self {
            Activation::Identity => {}
            // Comparisons in this order keep NaN, as the operators replaced do.
            // Loops, and no `for_each`: its closure may be called, compiled for the baseline of the target.
            Activation::Clamp { low, high } => {
                for x in values {
                    let raised = if *x < low { low } else { *x };
                    *x = if raised > high { high } else { raised };
                }
            }
            Activation::HardSwish => {
                for x in values {
                    *x *= simd.mul_add_scalar(*x, 1.0 / 6.0, 0.5).clamp(0.0, 1.0);
                }
            }
            Activation::Sigmoid => values.iter_mut().for_each(|x| *x = sigmoid(simd, *x)),
            Activation::Gelu => gelu_row(simd, values),
        }
    }
}

/// Hardswish of a row, vector by vector: of its limits the compiler makes branches.
#[inline(always)]
fn hard_swish_row<S: Simd>(simd: S, row: &mut [f32]) {
    let [sixth, half] = [simd.splat(1.0 / 6.0), simd.splat(0.5)];
    let [zero, one] = [simd.splat(0.0), simd.splat(1.0)];
    let mut vectors = row.chunks_exact_mut(S::LANES);
    for vector in vectors.by_ref() {
        // SAFETY: a chunk has as many floats as a vector, and is this function's alone.
        let x = unsafe { simd.load(vector.as_ptr()) };
        let gate = simd.min(simd.max(simd.mul_add(x, sixth, half), zero), one);
        // SAFETY: as above.
        unsafe { simd.store(vector.as_mut_ptr(), simd.mul(x, gate)) };
    }
    for x in vectors.into_remainder() {
        Activation::HardSwish.apply::<S, 1>(simd, std::array::from_mut(x));
    }
}
