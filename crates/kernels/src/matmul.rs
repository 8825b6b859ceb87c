//! Matrix product with packed weights: rows of the left factor are read where they lie, sixteen output columns at a
//! time, and bias, residual and activation are applied before the result leaves the registers.
//!
//! A row may be made of several pieces ("taps") that lie apart in memory. That makes a convolution in channels-last
//! layout the same product: the taps of an output pixel are the input pixels under the kernel, and nothing is copied.

use std::ops::Range;

use super::activation::Activation;
use super::arch::{Arch, prefetch, vectorised};
use super::team::{Sink, Team};

/// Output columns computed together; packed weights are padded to a multiple of it. Where no more than half of a last
/// panel is used, only that half is computed.
pub const PANEL: usize = 16;
const HALF: usize = PANEL / 2;
/// A row of a panel is one line of the cache.
const LINE_BYTES: usize = PANEL * size_of::<f32>();
/// Output rows computed together: 6 x 16 results and what feeds them fill the sixteen AVX2 registers.
pub const TILE: usize = 6;
/// Rows of the left factor are taken in blocks of about this many floats, to be found in the second-level cache when
/// the next panel of weights needs them.
const BLOCK: usize = 32 * 1024;
/// So few weights stay in the first-level cache. Instead of them, what a product writes is fetched.
const FEW_WEIGHTS: usize = 4 * 1024;
/// No block has more rows than this.
pub const ROWS: usize = 16 * TILE;

/// Length of the packed form of `reduction x columns` weights.
pub fn packed_len(reduction: usize, columns: usize) -> usize {
    columns.div_ceil(PANEL) * reduction * PANEL
}

/// Packs weights (entry `(k, n)` given by `weight`) into panels of [`PANEL`] columns, each panel row-major.
pub fn pack(reduction: usize, columns: usize, weight: impl Fn(usize, usize) -> f32, packed: &mut [f32]) {
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
pub fn scale_columns(packed: &mut [f32], reduction: usize, columns: usize, scale: impl Fn(usize) -> f32) {
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
pub struct Epilogue<'a> {
    /// One value per column.
    pub bias: Option<&'a [f32]>,
    /// Laid out as the output.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// Vectors that hold a panel's columns, at most.
const VECTORS: usize = PANEL / 4;

/// Sums of `M` rows and some columns, in the first vectors of each row.
pub type Sums<A, const M: usize> = [[<A as Arch>::Vector; VECTORS]; M];

/// Sums of `N` columns, all rows `start`.
#[inline(always)]
pub fn started<A: Arch, const M: usize, const N: usize>(start: &[f32; PANEL]) -> Sums<A, M> {
    let mut row = [A::splat(0.0); VECTORS];
    for (v, row) in row.iter_mut().enumerate().take(N / A::LANES) {
        // SAFETY: the first N of the panel's values are read.
        *row = unsafe { A::load(start.as_ptr().add(v * A::LANES)) };
    }
    [row; M]
}

impl Epilogue<'_> {
    /// Does it to sums of `N` columns that have their bias already, and stores row `i` of them from `at + i * stride`.
    #[inline(always)]
    pub fn finish<A: Arch, const M: usize, const N: usize>(
        &self,
        mut sums: Sums<A, M>,
        at: usize,
        stride: usize,
        out: &mut Sink<'_>,
    ) {
        let vectors = N / A::LANES;
        if let Some(residual) = self.residual {
            for (i, row) in sums.iter_mut().enumerate() {
                let residual: &[f32; N] = residual[at + i * stride..].first_chunk().expect("laid out as the output");
                for (v, sum) in row.iter_mut().enumerate().take(vectors) {
                    // SAFETY: the first N values of the row are read.
                    *sum = A::add(*sum, unsafe { A::load(residual.as_ptr().add(v * A::LANES)) });
                }
            }
        }
        match self.activation {
            Activation::Clamp { low, high } => {
                let (low, high) = (A::splat(low), A::splat(high));
                for row in &mut sums {
                    for sum in row.iter_mut().take(vectors) {
                        *sum = A::at_most(A::at_least(*sum, low), high);
                    }
                }
            }
            Activation::HardSwish => {
                let [sixth, half, zero, one] = [1.0 / 6.0, 0.5, 0.0, 1.0].map(A::splat);
                for row in &mut sums {
                    for sum in row.iter_mut().take(vectors) {
                        let gate = A::at_most(A::at_least(A::fused(*sum, sixth, half), zero), one);
                        *sum = A::mul(*sum, gate);
                    }
                }
            }
            Activation::Identity | Activation::Sigmoid | Activation::Gelu => {}
        }
        for (i, row) in sums.iter().enumerate() {
            let out = out.entries(at + i * stride, N);
            for (v, sum) in row.iter().enumerate().take(vectors) {
                // SAFETY: the N values of the row are written.
                unsafe { A::store(out.as_mut_ptr().add(v * A::LANES), *sum) };
            }
        }
        // Apart from the loop above, which is short enough to be unrolled: the sums never leave the registers before.
        if self.activation.is_costly() {
            for i in 0..M {
                self.activation.apply_row::<A>(out.entries(at + i * stride, N));
            }
        }
    }
}

/// Where the rows of a product go: row `m` starts at `m * stride + offset` and has `columns` entries.
#[derive(Clone, Copy)]
pub struct Columns {
    pub stride: usize,
    pub offset: usize,
    pub columns: usize,
}

/// Memory to be fetched into the second-level cache while a product is computed, since it is read or written next.
#[derive(Clone, Copy)]
pub struct Ahead {
    at: *const f32,
    bytes: usize,
}

impl Ahead {
    /// What lies behind each panel of weights: the next one, or what the next product begins with.
    pub const WEIGHTS: Ahead = Ahead { at: std::ptr::null(), bytes: 0 };

    pub fn of(floats: &[f32]) -> Ahead {
        Ahead { at: floats.as_ptr(), bytes: size_of_val(floats) }
    }
}

/// Computes rows `first..first + taps.len() / taps_per_row` of a product.
///
/// `taps` holds where the pieces of each row are, row after row: a piece is the `piece` entries from `offset` on. The
/// packed weights have `taps_per_row * piece` rows. `next` is fetched meanwhile.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn rows_body<A: Arch>(
    taps: &[&[f32]],
    taps_per_row: usize,
    offset: usize,
    piece: usize,
    packed: &[f32],
    first: usize,
    to: Columns,
    epilogue: Epilogue<'_>,
    next: Ahead,
    mut out: Sink<'_>,
) {
    let reduction = taps_per_row * piece;
    let rows = taps.len() / taps_per_row;
    assert!(taps.iter().all(|tap| tap.len() >= offset + piece), "a piece of a row ends early");
    let stored = if epilogue.activation.is_costly() {
        Epilogue { activation: Activation::Identity, ..epilogue }
    } else {
        epilogue
    };
    let most = (BLOCK / reduction.max(1)).next_multiple_of(TILE).max(TILE);
    let mut ahead = next.at;
    for block in even(rows, most) {
        let tiles = block.len().div_ceil(TILE);
        // Each tile asks for its share of what is to be fetched.
        let pace = if next.bytes == 0 {
            LINE_BYTES.div_ceil(tiles)
        } else {
            next.bytes.div_ceil((rows.div_ceil(TILE) * packed.len() / PANEL).max(1))
        };
        for (p, panel) in packed.chunks_exact(reduction * PANEL).enumerate() {
            let column = p * PANEL;
            let width = PANEL.min(to.columns - column);
            let mut bias = [0.0; PANEL];
            if let Some(b) = epilogue.bias {
                bias[..width].copy_from_slice(&b[column..column + width]);
            }
            if next.bytes == 0 {
                ahead = panel.as_ptr_range().end;
            }
            for rows in even(block.len(), TILE) {
                let row = block.start + rows.start;
                let taps = &taps[row * taps_per_row..(row + rows.len()) * taps_per_row];
                let tile = Tile {
                    factors: Factors { taps, taps_per_row, offset, piece, panel, ahead, pace },
                    bias: &bias,
                    at: (first + row) * to.stride + to.offset + column,
                    stride: to.stride,
                    width,
                    epilogue: stored,
                };
                if width > HALF {
                    tile.rows::<A, PANEL>(rows.len(), &mut out)
                } else {
                    tile.rows::<A, HALF>(rows.len(), &mut out)
                }
                ahead = ahead.wrapping_byte_add(pace * reduction);
            }
        }
        if epilogue.activation.is_costly() {
            for row in block {
                let row = out.entries((first + row) * to.stride + to.offset, to.columns);
                epilogue.activation.apply_row::<A>(row);
            }
        }
    }
}

/// Cuts `0..len` into the fewest ranges of at most `most`, as even as can be: seven rows are better done as four and three
/// than as six and one, which leaves the arithmetic units waiting.
#[inline(always)]
fn even(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = len.div_ceil(most).max(1);
    let (size, longer) = (len / parts, len % parts);
    (0..parts).map(move |i| {
        let start = i * size + i.min(longer);
        start..start + size + usize::from(i < longer)
    })
}

/// Stores the first of `values`, fewer than there are: in two moves that overlap, where a call of `memcpy` takes longer
/// than a short product.
#[inline(always)]
pub fn store(out: &mut [f32], values: &[f32]) {
    let width = out.len();
    if width >= 8 {
        out[..8].copy_from_slice(&values[..8]);
        out[width - 8..].copy_from_slice(&values[width - 8..width]);
    } else if width >= 4 {
        out[..4].copy_from_slice(&values[..4]);
        out[width - 4..].copy_from_slice(&values[width - 4..width]);
    } else {
        for (out, value) in out.iter_mut().zip(&values[..width.min(3)]) {
            *out = *value;
        }
    }
}

/// Some rows of the left factor and one panel of weights.
pub struct Factors<'a> {
    /// Where the pieces of each row are, row after row.
    taps: &'a [&'a [f32]],
    taps_per_row: usize,
    /// Where in a tap its piece begins, and its length.
    offset: usize,
    pub piece: usize,
    /// As many rows of [`PANEL`] weights as a row has entries.
    pub panel: &'a [f32],
    /// What to fetch, and how many bytes to go on for each row of weights.
    ahead: *const f32,
    pace: usize,
}

impl Factors<'_> {
    /// Where piece `t` of each of the `M` rows begins.
    #[inline(always)]
    pub fn pieces<const M: usize>(&self, t: usize) -> [*const f32; M] {
        debug_assert!(self.taps.len() == M * self.taps_per_row && t < self.taps_per_row);
        // SAFETY: there are M rows of taps, the panel has as many pieces as a row, and each tap is long enough: that was
        // checked once for all, since here it would cost as much as a short piece itself.
        std::array::from_fn(|i| unsafe { self.taps.get_unchecked(i * self.taps_per_row + t).as_ptr().add(self.offset) })
    }

    /// The product of the `M` rows and the first `N` columns of the panel, added to `start` in every row.
    #[inline(always)]
    pub fn product<A: Arch, const M: usize, const N: usize>(&self, start: &[f32; PANEL]) -> Sums<A, M> {
        let mut sums = started::<A, M, N>(start);
        let mut ahead = self.ahead;
        for (t, weights) in self.panel.chunks_exact(self.piece * PANEL).enumerate() {
            let pieces = self.pieces::<M>(t);
            for (k, weights) in weights.as_chunks::<PANEL>().0.iter().enumerate().take(self.piece) {
                prefetch(ahead);
                ahead = ahead.wrapping_byte_add(self.pace);
                let mut row = [A::splat(0.0); VECTORS];
                for (v, row) in row.iter_mut().enumerate().take(N / A::LANES) {
                    // SAFETY: the first N of the panel's weights are read.
                    *row = unsafe { A::load(weights.as_ptr().add(v * A::LANES)) };
                }
                for (sums, piece) in sums.iter_mut().zip(pieces) {
                    // SAFETY: every piece has `self.piece` entries, and `take` keeps k below that. A check per entry would
                    // stand between the multiply-adds and keep the weights out of registers.
                    let entry = A::splat(unsafe { *piece.add(k) });
                    for (sum, weights) in sums.iter_mut().zip(row).take(N / A::LANES) {
                        *sum = A::fused(entry, weights, *sum);
                    }
                }
            }
        }
        sums
    }
}

struct Tile<'a> {
    factors: Factors<'a>,
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
    fn rows<A: Arch, const N: usize>(&self, rows: usize, out: &mut Sink<'_>) {
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
    fn run<A: Arch, const M: usize, const N: usize>(&self, out: &mut Sink<'_>) {
        debug_assert_eq!(self.factors.panel.len(), self.factors.taps_per_row * self.factors.piece * PANEL);
        let sums = A::product::<M, N>(&self.factors, self.bias);
        if self.width == N {
            return self.epilogue.finish::<A, M, N>(sums, self.at, self.stride, out);
        }
        for (i, sums) in sums.iter().enumerate() {
            let mut values = [0.0; N];
            for (v, sum) in sums.iter().enumerate().take(N / A::LANES) {
                // SAFETY: the N values are written.
                unsafe { A::store(values.as_mut_ptr().add(v * A::LANES), *sum) };
            }
            let at = self.at + i * self.stride;
            if let Some(residual) = self.epilogue.residual {
                values.iter_mut().zip(&residual[at..at + self.width]).for_each(|(v, r)| *v += r);
            }
            self.epilogue.activation.apply::<A, N>(&mut values);
            store(out.entries(at, self.width), &values);
        }
    }
}

vectorised! {
    /// See [`rows_body`].
    pub fn rows(taps: &[&[f32]], taps_per_row: usize, offset: usize, piece: usize, packed: &[f32], first: usize, to: Columns, epilogue: Epilogue<'_>, next: Ahead, out: Sink<'_>) = rows_body;
}

#[inline(always)]
fn product_body<A: Arch>(
    x: &[f32],
    reduction: usize,
    packed: &[f32],
    first: usize,
    to: Columns,
    epilogue: Epilogue<'_>,
    out: Sink<'_>,
) {
    let mut taps: [&[f32]; ROWS] = [&[]; ROWS];
    let end = (first + x.len() / reduction) * to.stride;
    for rows in even(x.len() / reduction, ROWS) {
        let x = &x[rows.start * reduction..rows.end * reduction];
        taps.iter_mut().zip(x.chunks_exact(reduction)).for_each(|(tap, row)| *tap = row);
        // SAFETY: one after another, and each writes its own rows.
        let mut out = unsafe { out.share() };
        let next = if packed.len() <= FEW_WEIGHTS {
            let written = (first + rows.end) * to.stride;
            Ahead::of(out.entries(written, (ROWS * to.stride).min(end - written)))
        } else {
            Ahead::WEIGHTS
        };
        rows_body::<A>(&taps[..rows.len()], 1, 0, reduction, packed, first + rows.start, to, epilogue, next, out);
    }
}

vectorised! {
    fn product(x: &[f32], reduction: usize, packed: &[f32], first: usize, to: Columns, epilogue: Epilogue<'_>, out: Sink<'_>) = product_body;
}

/// `out = activation(x * weights + bias + residual)`: `x` is row-major with rows of `reduction` entries, `packed` the
/// weights after [`pack`], `out` row-major with `columns` entries a row.
pub fn matmul(
    team: &mut Team,
    x: &[f32],
    reduction: usize,
    packed: &[f32],
    columns: usize,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let (rows, panels) = (x.len() / reduction, columns.div_ceil(PANEL));
    let operations = rows * reduction * columns;
    let out = Sink::new(out);
    // The larger factor is cut, so that no two threads read the same part of it.
    if packed.len() > x.len() {
        let parts = team.parts(operations, panels);
        team.run(parts, &|part| {
            let (from, until) = (part * panels / parts, (part + 1) * panels / parts);
            let (offset, end) = (from * PANEL, columns.min(until * PANEL));
            let packed = &packed[from * reduction * PANEL..until * reduction * PANEL];
            let to = Columns { stride: columns, offset, columns: end - offset };
            let epilogue = Epilogue { bias: epilogue.bias.map(|b| &b[offset..end]), ..epilogue };
            // SAFETY: each part writes its own columns.
            product(x, reduction, packed, 0, to, epilogue, unsafe { out.share() });
        });
    } else {
        let parts = team.parts(operations, rows.div_ceil(TILE));
        team.run(parts, &|part| {
            let tiles = rows.div_ceil(TILE);
            let (from, until) = (part * tiles / parts * TILE, rows.min((part + 1) * tiles / parts * TILE));
            let to = Columns { stride: columns, offset: 0, columns };
            let x = &x[from * reduction..until * reduction];
            // SAFETY: each part writes its own rows.
            product(x, reduction, packed, from, to, epilogue, unsafe { out.share() });
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arch::Plain;
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
            // NaN where nothing was stored.
            let mut out = vec![f32::NAN; m * n];
            matmul(&mut Team::alone(), &x, k, &packed, n, epilogue, &mut out);
            assert_close_to(&out, &expected, 1.0 + k as f32 / 8.0);
            let to = Columns { stride: n, offset: 0, columns: n };
            let mut plain = vec![f32::NAN; m * n];
            product_body::<Plain>(&x, k, &packed, 0, to, epilogue, Sink::new(&mut plain));
            assert_close_to(&plain, &expected, 1.0 + k as f32 / 8.0);
        }

        #[test]
        fn threads_change_no_bit(m in 1_usize..300, k in 30_usize..80, n in 1_usize..300, residual: bool) {
            let (x, w, r) = (values(1, m * k), values(2, packed_len(k, n)), values(3, m * n));
            let bias = values(4, n);
            let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), ..Epilogue::default() };
            let [mut one, mut three] = [(); 2].map(|()| vec![f32::NAN; m * n]);
            matmul(&mut Team::alone(), &x, k, &w, n, epilogue, &mut one);
            matmul(&mut Team::new(3.try_into().unwrap()).unwrap(), &x, k, &w, n, epilogue, &mut three);
            prop_assert_eq!(one, three);
        }

        #[test]
        fn even_ranges_cover_all(len in 0_usize..100, most in 1_usize..20) {
            let ranges: Vec<_> = even(len, most).collect();
            prop_assert_eq!(ranges.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
            let (least, longest) = (ranges.iter().map(|r| r.len()).min(), ranges.iter().map(|r| r.len()).max());
            prop_assert!(longest <= Some(most) && least >= longest.map(|l| l.saturating_sub(1)));
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
