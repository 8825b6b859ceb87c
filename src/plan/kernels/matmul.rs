//! Matrix product with packed weights: rows of the left factor are read where they lie, sixteen output columns at a
//! time, and bias, residual and activation are applied before the result leaves the registers.
//!
//! A row may be made of several pieces ("taps") that lie apart in memory. That makes a convolution in channels-last
//! layout the same product: the taps of an output pixel are the input pixels under the kernel, and nothing is copied.

use super::activation::Activation;
use super::arch::{Arch, vectorised};

/// Output columns computed together; packed weights are padded to a multiple of it. Where no more than half of a last
/// panel is used, only that half is computed.
pub(crate) const PANEL: usize = 16;
const HALF: usize = PANEL / 2;
/// Output rows computed together: 6 x 16 results and what feeds them fill the sixteen AVX2 registers.
pub(crate) const TILE: usize = 6;
/// Rows of the left factor are taken in blocks of about this many floats, to be found in the second-level cache when
/// the next panel of weights needs them.
const BLOCK: usize = 32 * 1024;
/// No block has more rows than this.
pub(crate) const ROWS: usize = 16 * TILE;

/// Length of the packed form of `reduction x columns` weights.
pub(crate) fn packed_len(reduction: usize, columns: usize) -> usize {
    columns.div_ceil(PANEL) * reduction * PANEL
}

/// Packs weights (entry `(k, n)` given by `weight`) into panels of [`PANEL`] columns, each panel row-major.
pub(crate) fn pack(reduction: usize, columns: usize, weight: impl Fn(usize, usize) -> f32, packed: &mut [f32]) {
    if reduction == 0 {
        return;
    }
    for (p, panel) in packed.chunks_exact_mut(reduction * PANEL).enumerate() {
        for (k, row) in panel.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
            for (j, w) in row.iter_mut().enumerate() {
                let n = p * PANEL + j;
                *w = if n < columns { weight(k, n) } else { 0.0 };
            }
        }
    }
}

/// Multiplies column `n` of packed weights by `scale(n)`.
pub(crate) fn scale_columns(packed: &mut [f32], reduction: usize, columns: usize, scale: impl Fn(usize) -> f32) {
    for (p, panel) in packed.chunks_exact_mut(reduction * PANEL).enumerate() {
        let scales: [f32; PANEL] =
            std::array::from_fn(|j| if p * PANEL + j < columns { scale(p * PANEL + j) } else { 0.0 });
        for row in panel.as_chunks_mut::<PANEL>().0 {
            row.iter_mut().zip(&scales).for_each(|(w, s)| *w *= s);
        }
    }
}

/// What is done to a product before it is stored: `activation(product + bias + residual)`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    /// One value per column.
    pub bias: Option<&'a [f32]>,
    /// Laid out as the output.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// Where the rows of a product go: row `m` starts at `m * stride + offset` and has `columns` entries.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub stride: usize,
    pub offset: usize,
    pub columns: usize,
}

/// Computes rows `first..first + taps.len() / taps_per_row` of a product.
///
/// `taps` holds where the pieces of each row are, row after row: a piece is the `piece` entries from `offset` on. The
/// packed weights have `taps_per_row * piece` rows.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(crate) fn rows_body<A: Arch>(
    taps: &[&[f32]],
    taps_per_row: usize,
    offset: usize,
    piece: usize,
    packed: &[f32],
    first: usize,
    to: Columns,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let reduction = taps_per_row * piece;
    let rows = taps.len() / taps_per_row;
    let block = (BLOCK / reduction.max(1)).next_multiple_of(TILE).max(TILE);
    for block_start in (0..rows).step_by(block) {
        let block_end = (block_start + block).min(rows);
        for (p, panel) in packed.chunks_exact(reduction * PANEL).enumerate() {
            let column = p * PANEL;
            let width = PANEL.min(to.columns - column);
            let mut bias = [0.0; PANEL];
            if let Some(b) = epilogue.bias {
                bias[..width].copy_from_slice(&b[column..column + width]);
            }
            let mut row = block_start;
            while row < block_end {
                let n = (block_end - row).min(TILE);
                let taps = &taps[row * taps_per_row..(row + n) * taps_per_row];
                let at = (first + row) * to.stride + to.offset + column;
                let tile = Tile {
                    taps,
                    taps_per_row,
                    offset,
                    piece,
                    panel,
                    bias: &bias,
                    at,
                    stride: to.stride,
                    width,
                    epilogue,
                };
                if width > HALF {
                    tile.rows::<A, PANEL>(n, out)
                } else {
                    tile.rows::<A, HALF>(n, out)
                }
                row += n;
            }
        }
    }
}

struct Tile<'a> {
    taps: &'a [&'a [f32]],
    taps_per_row: usize,
    offset: usize,
    piece: usize,
    panel: &'a [f32],
    bias: &'a [f32; PANEL],
    /// Where its first row starts in the output, and how far its rows are apart.
    at: usize,
    stride: usize,
    /// Columns that exist.
    width: usize,
    epilogue: Epilogue<'a>,
}

impl Tile<'_> {
    /// Computes `rows` rows of `N >= width` columns.
    #[inline(always)]
    fn rows<A: Arch, const N: usize>(&self, rows: usize, out: &mut [f32]) {
        match rows {
            1 => self.run::<A, 1, N>(out),
            2 => self.run::<A, 2, N>(out),
            3 => self.run::<A, 3, N>(out),
            4 => self.run::<A, 4, N>(out),
            5 => self.run::<A, 5, N>(out),
            _ => self.run::<A, TILE, N>(out),
        }
    }

    #[inline(always)]
    fn run<A: Arch, const M: usize, const N: usize>(&self, out: &mut [f32]) {
        let mut bias = [0.0; N];
        bias.copy_from_slice(&self.bias[..N]);
        let mut acc = [bias; M];
        for (t, weights) in self.panel.chunks_exact(self.piece * PANEL).enumerate() {
            let pieces: [&[f32]; M] =
                std::array::from_fn(|i| &self.taps[i * self.taps_per_row + t][self.offset..][..self.piece]);
            for (k, w) in weights.as_chunks::<PANEL>().0.iter().enumerate().take(self.piece) {
                let w: [f32; N] = *w.first_chunk().expect("N is at most a panel");
                // SAFETY: every piece was cut to `self.piece` entries, and `take` keeps k below that. A check per entry
                // would stand between the multiply-adds and keep the weights out of registers.
                let x: [f32; M] = std::array::from_fn(|i| unsafe { *pieces[i].get_unchecked(k) });
                for (acc, x) in acc.iter_mut().zip(x) {
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = A::mul_add(x, w, *acc);
                    }
                }
            }
        }
        for (i, mut values) in acc.into_iter().enumerate() {
            let at = self.at + i * self.stride;
            // The usual case apart: a length known when compiling makes it straight vector code.
            if self.width == N {
                if let Some(residual) = self.epilogue.residual {
                    values.iter_mut().zip(&residual[at..at + N]).for_each(|(v, r)| *v += r);
                }
                self.epilogue.activation.apply::<A, N>(&mut values);
                out[at..at + N].copy_from_slice(&values);
            } else {
                if let Some(residual) = self.epilogue.residual {
                    values.iter_mut().zip(&residual[at..at + self.width]).for_each(|(v, r)| *v += r);
                }
                self.epilogue.activation.apply::<A, N>(&mut values);
                out[at..at + self.width].copy_from_slice(&values[..self.width]);
            }
        }
    }
}

vectorised! {
    /// See [`rows_body`].
    pub(crate) fn rows(taps: &[&[f32]], taps_per_row: usize, offset: usize, piece: usize, packed: &[f32], first: usize, to: Columns, epilogue: Epilogue<'_>, out: &mut [f32]) = rows_body;
}

#[inline(always)]
fn matmul_body<A: Arch>(
    x: &[f32],
    reduction: usize,
    packed: &[f32],
    columns: usize,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let to = Columns { stride: columns, offset: 0, columns };
    let mut taps: [&[f32]; ROWS] = [&[]; ROWS];
    for (block, x) in x.chunks(ROWS * reduction).enumerate() {
        let rows = x.len() / reduction;
        taps.iter_mut().zip(x.chunks_exact(reduction)).for_each(|(tap, row)| *tap = row);
        rows_body::<A>(&taps[..rows], 1, 0, reduction, packed, block * ROWS, to, epilogue, out);
    }
}

vectorised! {
    /// `out = activation(x * weights + bias + residual)`: `x` is row-major with rows of `reduction` entries, `packed`
    /// the weights after [`pack`], `out` row-major with `columns` entries a row.
    pub(crate) fn matmul(x: &[f32], reduction: usize, packed: &[f32], columns: usize, epilogue: Epilogue<'_>, out: &mut [f32]) = matmul_body;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arch::{Fused, Separate};
    use super::super::oracle::{activation, activations, assert_close_to, values};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn equals_three_loops(
            m in 1_usize..140, k in 1_usize..67, n in 1_usize..67, bias: bool, residual: bool, act in activations(),
        ) {
            let (x, w) = (values(1, m * k), values(2, k * n));
            let (b, r) = (values(3, n), values(4, m * n));
            let expected: Vec<f32> = (0..m * n)
                .map(|i| {
                    let (row, column) = (i / n, i % n);
                    let product: f64 = (0..k).map(|k_| f64::from(x[row * k + k_]) * f64::from(w[k_ * n + column])).sum();
                    let bias = if bias { f64::from(b[column]) } else { 0.0 };
                    let residual = if residual { f64::from(r[i]) } else { 0.0 };
                    activation(act, product + bias + residual) as f32
                })
                .collect();
            let mut packed = vec![0.0; packed_len(k, n)];
            pack(k, n, |k, n_| w[k * n + n_], &mut packed);
            let epilogue = Epilogue { bias: bias.then_some(&b), residual: residual.then_some(&r), activation: act };
            type Kernel = fn(&[f32], usize, &[f32], usize, Epilogue<'_>, &mut [f32]);
            let kernels: [Kernel; 3] = [matmul, matmul_body::<Fused>, matmul_body::<Separate>];
            for kernel in kernels {
                // NaN where nothing was stored.
                let mut out = vec![f32::NAN; m * n];
                kernel(&x, k, &packed, n, epilogue, &mut out);
                assert_close_to(&out, &expected, 1.0 + k as f32 / 8.0);
            }
        }

        #[test]
        fn scaled_columns_scale_the_product(k in 1_usize..20, n in 1_usize..40) {
            let (w, s) = (values(1, k * n), values(2, n));
            let [mut scaled, mut expected] = [(); 2].map(|()| vec![0.0; packed_len(k, n)]);
            pack(k, n, |k, n_| w[k * n + n_], &mut scaled);
            scale_columns(&mut scaled, k, n, |n| s[n]);
            pack(k, n, |k, n_| w[k * n + n_] * s[n_], &mut expected);
            prop_assert_eq!(scaled, expected);
        }
    }
}
