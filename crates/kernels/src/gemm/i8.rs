//! Reference int8 micro-kernel, i8 x i8 -> i32, in portable code: 4 x 8 tiles, four entries of a column together.
//!
//! Its geometry and layout are those that dot-product instructions want (SDOT on ARM, VPDPBUSD on x86), and differ from
//! the f32 kernel's in every constant: it keeps the seam honest, and kernels with these instructions are tested against it.

use std::ops::Range;

use super::family::{Element, KernelFamily, Reduction};
use super::micro_kernel::{MicroKernel, Tile};
use super::{Columns, Split, gemm_body};
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

const MR: usize = 4;
const NR: usize = 8;
/// Entries of a column that one lane of a dot-product instruction takes.
const GROUP: usize = 4;

/// Packed layout of the int8 kernel.
pub(super) const FAMILY: KernelFamily = KernelFamily::new(Element::I8, NR, GROUP);

/// The reference kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct I8Reference;

impl MicroKernel for I8Reference {
    type Lhs = i8;
    type Rhs = i8;
    type Out = i32;
    type Row = [i32; NR];
    /// One bias per column.
    type Epilogue<'a> = Option<&'a [i32]>;

    const MR: usize = MR;
    const FAMILY: KernelFamily = FAMILY;

    fn columns<'a>(bias: Self::Epilogue<'a>, columns: Range<usize>) -> Self::Epilogue<'a> {
        bias.map(|bias| &bias[columns])
    }

    fn start(self, bias: Option<&[i32]>, columns: Range<usize>) -> [i32; NR] {
        let mut row = [0; NR];
        if let Some(bias) = bias {
            row[..columns.len()].copy_from_slice(&bias[columns]);
        }
        row
    }

    fn tile(self, tile: &Tile<'_, '_, I8Reference>, out: &mut Sink<'_, i32>) {
        let operands = &tile.operands;
        let fragment_len = operands.len.next_multiple_of(GROUP) * NR;
        for row in 0..tile.rows {
            let mut sums = *tile.start;
            let list = &operands.list[row * operands.per_row..][..operands.per_row];
            for (fragment, weights) in list.iter().zip(operands.panel.chunks_exact(fragment_len)) {
                let fragment = &fragment[operands.offset..][..operands.len];
                for (entries, weights) in fragment.chunks(GROUP).zip(weights.as_chunks::<{ GROUP * NR }>().0) {
                    for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<GROUP>().0) {
                        // The last group of a fragment may be short: its weights are padded, its entries are not.
                        *sum += entries.iter().zip(weights).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum::<i32>();
                    }
                }
            }
            let at = tile.at + row * tile.stride;
            out.entries(at, tile.width).copy_from_slice(&sums[..tile.width]);
        }
    }
}

/// `out = x * weights + bias` in integers: `x` is row-major with rows of `reduction` entries, `packed` the weights in the
/// layout of [`KernelFamily`] `i8-nr8-k4`, `out` row-major with `columns` entries a row. Sums are exact up to a reduction
/// of 131,071 entries, where the bias leaves room.
pub fn gemm_i8(
    pool: &mut ThreadPool,
    x: &[i8],
    reduction: usize,
    packed: &[i8],
    columns: usize,
    bias: Option<&[i32]>,
    out: &mut [i32],
) {
    let split = Split { reduction: Reduction::whole(reduction), columns };
    split.run::<I8Reference>(pool, x, packed, bias, out, &|x, packed, to: Columns, bias, out| {
        gemm_body(I8Reference, x, reduction, packed, to, bias, out);
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gemm::{Fragments, Prefetch, gemm_rows};
    use crate::oracle::{cases, for_each_pool};

    fn integers(seed: u64, len: usize) -> Vec<i8> {
        crate::testing::values(seed, len).into_iter().map(|x| (x * 128.0) as i8).collect()
    }

    fn three_loops(x: &[i8], w: &[i8], bias: &[i32], k: usize, n: usize) -> Vec<i32> {
        let entry = |m: usize, column: usize| -> i32 {
            bias[column] + (0..k).map(|k_| i32::from(x[m * k + k_]) * i32::from(w[k_ * n + column])).sum::<i32>()
        };
        (0..x.len() / k).flat_map(|m| (0..n).map(move |column| entry(m, column))).collect()
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn gemm_i8_matches_three_loops(m in 1_usize..60, k in 1_usize..70, n in 1_usize..40) {
            let (x, w) = (integers(1, m * k), integers(2, k * n));
            let bias: Vec<i32> = integers(3, n).into_iter().map(|b| 1000 * i32::from(b)).collect();
            let expected = three_loops(&x, &w, &bias, k, n);
            let mut packed = vec![0; FAMILY.packed_len(Reduction::whole(k), n)];
            FAMILY.pack(Reduction::whole(k), n, |k, column| w[k * n + column], &mut packed);
            for_each_pool(|pool| {
                let mut out = vec![i32::MIN; m * n];
                gemm_i8(pool, &x, k, &packed, n, Some(&bias), &mut out);
                assert_eq!(out, expected);
            });
        }

        /// Fragments whose length is no multiple of the group, at an offset: what an implicit-GEMM convolution asks for.
        #[test]
        fn gemm_i8_of_fragments_matches_three_loops(
            m in 1_usize..30, fragments in 1_usize..5, len in 1_usize..11, offset in 0_usize..3, n in 1_usize..20,
        ) {
            let (row, k) = (offset + len, fragments * len);
            let (slices, w) = (integers(1, m * fragments * row), integers(2, k * n));
            let list: Vec<&[i8]> = slices.chunks_exact(row).collect();
            let x: Vec<i8> = list.iter().flat_map(|slice| slice[offset..].iter().copied()).collect();
            let reduction = Reduction { fragments, len };
            let mut packed = vec![0; FAMILY.packed_len(reduction, n)];
            FAMILY.pack(reduction, n, |k, column| w[k * n + column], &mut packed);
            let mut out = vec![i32::MIN; m * n];
            let rows = Fragments { list: &list, per_row: fragments, offset, len };
            let to = Columns { first: 0, stride: n, offset: 0, columns: n };
            gemm_rows(I8Reference, rows, &packed, to, None, Prefetch::NextPanel, Sink::new(&mut out));
            prop_assert_eq!(out, three_loops(&x, &w, &vec![0; n], k, n));
        }
    }
}
