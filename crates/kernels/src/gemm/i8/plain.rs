//! The int8 inner loop in portable code: the reference that kernels with special instructions are tested against.

use super::{Accumulators, DotKernel, Epilogue, GROUP, NR, Operands, PanelRow};
use crate::dispatch::int8::Plain;
use crate::simd::Fused;

impl DotKernel for Plain {
    type Simd = Fused;
    const MR: usize = 4;
    const IS_SIGNED: bool = false;

    #[inline(always)]
    fn simd(self) -> Fused {
        Fused
    }

    #[inline(always)]
    fn results<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, u8, i8>,
        row: &PanelRow,
    ) -> Accumulators<Fused, M> {
        let mut sums = [row.offset; M];
        for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
            for (sums, fragment) in sums.iter_mut().zip(operands.fragments::<M>(t)) {
                // SAFETY: a fragment has `len` entries, which the driver has checked.
                let fragment = unsafe { std::slice::from_raw_parts(fragment, operands.len) };
                let groups = fragment.as_chunks::<GROUP>().0;
                for (entries, weights) in groups.iter().zip(weights.as_chunks::<{ GROUP * NR }>().0) {
                    for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<GROUP>().0) {
                        let products = entries.iter().zip(weights).map(|(x, w)| i32::from(*x) * i32::from(*w));
                        *sum = sum.wrapping_add(products.sum());
                    }
                }
            }
        }
        let sums = sums.map(|row| std::array::from_fn(|v| std::array::from_fn(|lane| row[4 * v + lane] as f32)));
        Epilogue::default().rescale::<Fused, M, NR>(Fused, sums, &row.scale, &row.bias)
    }
}
