//! The int8 micro-kernel for NEON with the dot-product extension.
//!
//! It reads what the one without reads: sixteen bytes of packed weights are four columns of four entries, and `sdot` adds the four
//! products of a column to one lane.

use super::neon::rescaled;
use super::{Accumulators, Dot, DotKernel, GROUP, NR, Operands, PanelRow, Tile, some_columns, whole};
use crate::dispatch::int8::NeonDot;
use crate::gemm::neon_loop::{add_i8, begin_i8};
use crate::simd::Neon as Floats;
use crate::sink::Sink;

impl DotKernel for NeonDot {
    type Simd = Floats;
    /// 24 accumulators, six of entries, and what is left for weights.
    const MR: usize = 6;
    const HAS_HALVES: bool = true;
    const IS_SIGNED: bool = true;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn results<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, u8, i8>,
        row: &PanelRow,
    ) -> Accumulators<Floats, M> {
        let Operands { panel, per_row, len, .. } = *operands;
        assert!(panel.len() >= per_row * len * NR);
        let (mut weights, groups) = (panel.as_ptr(), len / GROUP);
        // SAFETY: the token proves the extension. A fragment has `len` bytes, whole groups, and the panel as
        // many times NR weights for it, those of a fragment behind those of the one before.
        unsafe {
            let mut sums = begin_i8::<M, N>(row.offset.first_chunk().expect("columns of a panel"));
            if per_row == 1 {
                add_i8::<M, N>(&mut sums, operands.fragments(0), &mut weights, groups);
            } else {
                for t in 0..per_row {
                    add_i8::<M, N>(&mut sums, operands.fragments(t), &mut weights, groups);
                }
            }
            rescaled::<M, N>(sums, row)
        }
    }

    #[inline(always)]
    fn run<const M: usize, const N: usize>(self, first: &Tile<'_, '_, Dot<NeonDot>>, count: usize, out: &mut Sink<'_>) {
        // SAFETY: the token proves that the CPU has what the function is compiled for.
        unsafe { run::<M, N>(self, first, count, out) }
    }
}

/// Computes tiles and stores them. A function of its own: among others the compiler keeps their constants in memory.
#[inline(never)]
#[target_feature(enable = "neon,dotprod")]
fn run<const M: usize, const N: usize>(
    kernel: NeonDot,
    first: &Tile<'_, '_, Dot<NeonDot>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    if first.width == N {
        first.each(count, |tile| whole::<_, M, N>(kernel, tile, out));
    } else {
        first.each(count, |tile| some_columns::<_, M, N>(kernel, tile, out));
    }
}
