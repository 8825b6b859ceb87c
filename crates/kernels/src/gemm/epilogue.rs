//! Fused epilogue: bias, residual and activation are applied to f32 accumulators before they are stored.

use super::store;
use crate::activation::Activation;
use crate::fake_quantise::Stage;
use crate::simd::Simd;
use crate::sink::Sink;

/// Columns of a panel of the f32 kernels (NR): one row of a panel is a cache line.
pub const NR: usize = 16;

/// What is done to a product before it is stored: `activation(product + bias + residual)`, and stages behind it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One value per column.
    pub bias: Option<&'a [f32]>,
    /// Laid out as the output.
    pub residual: Option<&'a [f32]>,
    /// Applied behind the residual.
    pub activation: Activation,
    /// Applied last, one after another, to whole rows while these are in the cache.
    pub then: &'a [Stage<'a>],
}

/// Vectors that hold a panel's columns, at most: with four lanes, the fewest of any instruction set.
const VECTORS: usize = NR / 4;

/// Accumulators of `M` rows, in the first `N / LANES` vectors of each row.
pub(crate) type Accumulators<S, const M: usize> = [[<S as Simd>::Vector; VECTORS]; M];

/// How many vectors hold `N` columns. Refused at compile time where lanes do not divide them: loops over the vectors
/// would store nothing, silently.
#[inline(always)]
pub(crate) const fn vectors<S: Simd, const N: usize>() -> usize {
    const { assert!(N.is_multiple_of(S::LANES) && N >= S::LANES && N / S::LANES <= VECTORS, "lanes divide the columns") };
    N / S::LANES
}

/// Accumulators of `N` columns, all rows `start`.
#[inline(always)]
pub(crate) fn start<S: Simd, const M: usize, const N: usize>(simd: S, start: &[f32; NR]) -> Accumulators<S, M> {
    let mut row = [simd.splat(0.0); VECTORS];
    for (v, row) in row.iter_mut().enumerate().take(const { vectors::<S, N>() }) {
        // SAFETY: the first N of the panel's values are read.
        *row = unsafe { simd.load(start.as_ptr().add(v * S::LANES)) };
    }
    [row; M]
}

impl<'a> Epilogue<'a> {
    /// What a tile does of it, and whether anything is left for whole rows: stages, and an activation that is costly or is to be
    /// applied `by_rows`.
    #[inline(always)]
    pub(crate) fn split(self, by_rows: bool) -> (Epilogue<'a>, bool) {
        if by_rows || self.activation.is_costly() || !self.then.is_empty() {
            (Epilogue { activation: Activation::Identity, then: &[], ..self }, true)
        } else {
            (self, false)
        }
    }
}

impl Epilogue<'_> {
    /// Sums of `N` columns times `scales` plus `bias`, rounded once.
    #[inline(always)]
    pub(crate) fn rescale<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        mut sums: Accumulators<S, M>,
        scales: &[f32; NR],
        bias: &[f32; NR],
    ) -> Accumulators<S, M> {
        for row in &mut sums {
            for (v, sum) in row.iter_mut().enumerate().take(const { vectors::<S, N>() }) {
                // SAFETY: the first N scales and biases are read.
                let (scale, bias) = unsafe {
                    (simd.load(scales.as_ptr().add(v * S::LANES)), simd.load(bias.as_ptr().add(v * S::LANES)))
                };
                *sum = simd.mul_add(*sum, scale, bias);
            }
        }
        sums
    }

    /// Sums of `N` columns plus `bias`.
    #[inline(always)]
    pub(crate) fn add_bias<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        mut sums: Accumulators<S, M>,
        bias: &[f32; NR],
    ) -> Accumulators<S, M> {
        for row in &mut sums {
            for (v, sum) in row.iter_mut().enumerate().take(const { vectors::<S, N>() }) {
                // SAFETY: the first N biases are read.
                *sum = simd.add(*sum, unsafe { simd.load(bias.as_ptr().add(v * S::LANES)) });
            }
        }
        sums
    }

    /// Applies it to accumulators of `N` columns that began with their bias, and stores row `i` of them from
    /// `at + i * stride`, where the caller has checked that `out` has them.
    #[inline(always)]
    pub(crate) fn finish<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        mut accumulators: Accumulators<S, M>,
        at: usize,
        stride: usize,
        out: &mut Sink<'_>,
    ) {
        let vectors = const { vectors::<S, N>() };
        if let Some(residual) = self.residual {
            // One check for all rows: one for each costs as much as storing it.
            let residual = residual[at..][..(M - 1) * stride + N].as_ptr();
            for (i, row) in accumulators.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate().take(vectors) {
                    // SAFETY: row `i` is laid out as the output, and its N values end before the last that was checked.
                    *sum = simd.add(*sum, unsafe { simd.load(residual.add(i * stride + v * S::LANES)) });
                }
            }
        }
        self.activate::<S, M, N>(simd, &mut accumulators);
        let to = out.tile_within(at, M, stride, N);
        for (i, row) in accumulators.iter().enumerate() {
            for (v, sum) in row.iter().enumerate().take(vectors) {
                // SAFETY: the N values of the row are written, which are the tile's.
                unsafe { simd.store(to.add(i * stride + v * S::LANES), *sum) };
            }
        }
        // Apart from the loop above, which is short enough to be unrolled: accumulators never leave the registers before.
        if self.activation.is_costly() {
            for i in 0..M {
                simd.activate_row(self.activation, out.entries(at + i * stride, N));
            }
        }
    }

    /// Applies an activation that is not costly to accumulators of `N` columns.
    #[inline(always)]
    pub(crate) fn activate<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        accumulators: &mut Accumulators<S, M>,
    ) {
        let vectors = const { vectors::<S, N>() };
        match self.activation {
            // Without an upper limit, as ReLU is.
            Activation::Clamp { low, high: f32::INFINITY } => {
                let low = simd.splat(low);
                for row in accumulators {
                    for sum in row.iter_mut().take(vectors) {
                        *sum = simd.max(*sum, low);
                    }
                }
            }
            Activation::Clamp { low, high } => {
                let (low, high) = (simd.splat(low), simd.splat(high));
                for row in accumulators {
                    for sum in row.iter_mut().take(vectors) {
                        *sum = simd.min(simd.max(*sum, low), high);
                    }
                }
            }
            Activation::HardSwish => {
                // Hidden from the optimiser, which would load them in the loop over the reduction, where registers are scarce.
                let constants = std::hint::black_box([1.0 / 6.0, 0.5, 0.0, 1.0]);
                // No `map`: its closure would be called, compiled for the baseline of the target.
                let [sixth, half] = [simd.splat(constants[0]), simd.splat(constants[1])];
                let [zero, one] = [simd.splat(constants[2]), simd.splat(constants[3])];
                for row in accumulators {
                    for sum in row.iter_mut().take(vectors) {
                        let gate = simd.min(simd.max(simd.mul_add(*sum, sixth, half), zero), one);
                        *sum = simd.mul(*sum, gate);
                    }
                }
            }
            Activation::Identity | Activation::Sigmoid | Activation::Gelu => {}
        }
    }

    /// As [`Epilogue::finish`], where only the first `width` of the columns exist. The activation is not applied to whole
    /// rows.
    #[inline(always)]
    pub(crate) fn finish_some<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        accumulators: &Accumulators<S, M>,
        width: usize,
        at: usize,
        stride: usize,
        out: &mut Sink<'_>,
    ) {
        for (i, sums) in accumulators.iter().enumerate() {
            let mut values = [0.0; N];
            for (v, sum) in sums.iter().enumerate().take(const { vectors::<S, N>() }) {
                // SAFETY: the N values are written.
                unsafe { simd.store(values.as_mut_ptr().add(v * S::LANES), *sum) };
            }
            let at = at + i * stride;
            if let Some(residual) = self.residual {
                values.iter_mut().zip(&residual[at..at + width]).for_each(|(v, r)| *v += r);
            }
            if self.activation.is_costly() {
                simd.activate_row(self.activation, &mut values);
            } else {
                self.activation.apply::<S, N>(simd, &mut values);
            }
            store(out.entries(at, width), &values);
        }
    }
}
