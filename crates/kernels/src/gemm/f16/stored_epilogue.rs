//! The end of a tile whose results stay halves: bias, residual and activation of eight columns an instruction.

use std::arch::aarch64::{uint16x8_t, vdupq_n_u16, vld1q_f32, vld1q_u16, vst1q_u16};
use std::arch::asm;

use super::convert::from_f32;
use super::products::Sums;
use super::{HALF, NR};
use crate::Activation;
use crate::halves::Largest;
use crate::halves::neon::{Extremes, activate, add, eight, extremes, largest};
use crate::sink::Sink;

/// What products are scaled by, and what is done to them then. Magnitudes of results are told to `largest`.
#[derive(Clone, Copy)]
pub(crate) struct StoredEpilogue<'a> {
    pub(crate) scale: f32,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) residual: Residual<'a>,
    pub(crate) activation: Activation,
    pub(crate) largest: &'a Largest,
}

/// What is added to a product, laid out as the output.
#[derive(Clone, Copy)]
pub(crate) enum Residual<'a> {
    Zeros,
    Floats(&'a [f32]),
    Halves(&'a [u16]),
}

impl Residual<'_> {
    /// Adds it to sums of `N` columns, row `i` of them from `at + i * stride`. Inlined always, since sums are to stay in registers.
    ///
    /// # Safety
    /// The CPU computes in halves.
    #[inline(always)]
    pub(super) unsafe fn add<const M: usize, const N: usize>(self, sums: &mut Sums<M>, at: usize, stride: usize) {
        // One check for all rows: one for each costs as much as adding it.
        let len = (M - 1) * stride + N;
        match self {
            Residual::Zeros => {}
            Residual::Floats(residual) => {
                let (residual, stride) = (residual[at..][..len].as_ptr(), hidden(stride));
                for (i, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate().take(const { N / 8 }) {
                        // SAFETY: the N values of the row end before the last that was checked.
                        *sum = unsafe {
                            let from = residual.add(i * stride + 8 * v);
                            add(*sum, eight(vld1q_f32(from), vld1q_f32(from.add(4))))
                        };
                    }
                }
            }
            Residual::Halves(residual) => {
                let (residual, stride) = (residual[at..][..len].as_ptr(), hidden(stride));
                for (i, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate().take(const { N / 8 }) {
                        // SAFETY: as above.
                        *sum = unsafe { add(*sum, vld1q_u16(residual.add(i * stride + 8 * v))) };
                    }
                }
            }
        }
    }

    /// Sums with it as by [`Residual::add`], where only the first `width` of the columns exist. By value: sums that something points to
    /// are kept in memory.
    #[inline(never)]
    #[target_feature(enable = "neon,fp16")]
    pub(super) fn add_some<const M: usize>(self, mut sums: Sums<M>, width: usize, at: usize, stride: usize) -> Sums<M> {
        for (i, row) in sums.iter_mut().enumerate() {
            let (mut values, at) = ([0; NR], at + i * stride);
            match self {
                Residual::Zeros => return sums,
                Residual::Floats(all) => {
                    values.iter_mut().zip(&all[at..][..width]).for_each(|(value, x)| *value = from_f32(*x));
                }
                Residual::Halves(all) => values[..width].copy_from_slice(&all[at..][..width]),
            }
            for (v, sum) in row.iter_mut().enumerate() {
                // SAFETY: eight of the sixteen halves are read.
                *sum = add(*sum, unsafe { vld1q_u16(values.as_ptr().add(8 * v)) });
            }
        }
        sums
    }
}

/// The number, hidden from the optimiser, which would keep a pointer to each row from tile to tile, also where nothing is added.
#[inline(always)]
fn hidden(mut number: usize) -> usize {
    // SAFETY: no instruction.
    unsafe { asm!("/* {0} */", inout(reg) number, options(nomem, nostack, preserves_flags)) };
    number
}

/// The bias of `N` columns.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn bias<const N: usize>(start: &[u16; NR]) -> [uint16x8_t; NR / 8] {
    let mut bias = [vdupq_n_u16(0); NR / 8];
    for (v, bias) in bias.iter_mut().enumerate().take(const { N / 8 }) {
        // SAFETY: eight of the sixteen biases are read.
        *bias = unsafe { vld1q_u16(start.as_ptr().add(8 * v)) };
    }
    bias
}

/// Adds `N` columns of a row to another's.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn add_row<const N: usize>(sums: &mut [uint16x8_t; NR / 8], row: [uint16x8_t; NR / 8]) {
    for (sum, x) in sums.iter_mut().zip(row).take(const { N / 8 }) {
        *sum = add(*sum, x);
    }
}

/// Applies the activation, and takes results into `most`. Inlined always, as above.
///
/// # Safety
/// The CPU computes in halves.
#[inline(always)]
pub(super) unsafe fn finish<const M: usize, const N: usize>(
    sums: &mut Sums<M>,
    activation: Activation,
    most: &mut Extremes,
) {
    let is_looked_at_behind = activation == Activation::HardSwish;
    if !is_looked_at_behind {
        match N {
            HALF => extremes::<M, 1, { NR / 8 }>(sums, most),
            _ => extremes::<M, { NR / 8 }, { NR / 8 }>(sums, most),
        }
    }
    // SAFETY: by the caller's promise.
    unsafe {
        match N {
            HALF => activate::<M, 1, { NR / 8 }>(activation, sums),
            _ => activate::<M, { NR / 8 }, { NR / 8 }>(activation, sums),
        }
    }
    if is_looked_at_behind {
        most.positive = match N {
            HALF => largest::<M, 1, { NR / 8 }>(activation, sums, most.positive),
            _ => largest::<M, { NR / 8 }, { NR / 8 }>(activation, sums, most.positive),
        };
    }
}

/// Stores sums of `N` columns.
#[inline(always)]
pub(super) fn store<const M: usize, const N: usize>(sums: &Sums<M>, at: usize, stride: usize, out: &mut Sink<'_, u16>) {
    let to = out.tile_within(at, M, stride, N);
    for (i, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate().take(const { N / 8 }) {
            // SAFETY: the N halves of the row are written, which are the tile's.
            unsafe { vst1q_u16(to.add(i * stride + 8 * v), *sum) };
        }
    }
}
