//! Scaled dot-product attention on token rows, heads side by side in a row.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dispatch::{Token, dispatch, dispatch_wide};
use crate::fake_quantise::Rounding;
use crate::gemm::{Columns, Epilogue, Fragments, MR, NR, Prefetch, Rows, f32_rows, packed_len, store};
use crate::norm::softmax_rows;
use crate::simd::Simd;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Queries taken at a time: their scores stay in L1.
const QUERIES: usize = 8 * MR;

/// Sizes of an attention: `queries` rows of `heads * depth` entries attend to `keys` rows of `heads * depth` (keys) and
/// `heads * value_depth` (values) entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sizes {
    /// Rows of queries.
    pub queries: usize,
    /// Rows of keys and of values.
    pub keys: usize,
    /// Heads.
    pub heads: usize,
    /// Entries of a query and of a key, for one head.
    pub depth: usize,
    /// Entries of a value, for one head.
    pub value_depth: usize,
}

impl Sizes {
    /// Floats of scratch memory that [`attention`] needs on so many threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.lengths().iter().sum::<usize>()
    }

    /// Floats of what a thread keeps: packed keys and values of a head, and the scores of some queries.
    fn lengths(&self) -> [usize; 3] {
        let scores = QUERIES * self.keys.next_multiple_of(NR);
        [packed_len(self.depth, self.keys), packed_len(self.keys, self.value_depth), scores]
    }
}

/// What a network that was quantised elsewhere rounds within an attention: nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roundings<'a> {
    /// Of scores, one after another.
    pub scores: &'a [Rounding],
    /// Of probabilities.
    pub probabilities: &'a [Rounding],
}

#[inline(always)]
fn round_rows_body<S: Simd>(_simd: S, rows: &mut [f32], stride: usize, width: usize, roundings: &[Rounding]) {
    for row in rows.chunks_exact_mut(stride) {
        roundings.iter().for_each(|rounding| rounding.apply_row(&mut row[..width]));
    }
}

dispatch! {
    /// Rounds the values of some rows.
    fn round_rows(rows: &mut [f32], stride: usize, width: usize, roundings: &[Rounding]) = round_rows_body;
}

/// Packs `scale` times the given columns, as [`crate::gemm::pack`] would.
#[inline(always)]
fn pack_columns<'a>(columns: impl Iterator<Item = &'a [f32]>, scale: f32, packed: &mut [f32]) {
    packed.fill(0.0);
    for (n, column) in columns.enumerate() {
        let panel = &mut packed[n / NR * NR * column.len()..][..NR * column.len()];
        for (row, value) in panel.as_chunks_mut::<NR>().0.iter_mut().zip(column) {
            row[n % NR] = value * scale;
        }
    }
}

/// Packs `count` rows of weights, as [`crate::gemm::pack`] would.
#[inline(always)]
fn pack_rows<'a>(rows: impl Iterator<Item = &'a [f32]>, count: usize, packed: &mut [f32]) {
    packed.fill(0.0);
    for (k, row) in rows.enumerate() {
        let (panels, rest) = row.as_chunks::<NR>();
        for (p, values) in panels.iter().enumerate() {
            packed[(p * count + k) * NR..][..NR].copy_from_slice(values);
        }
        if !rest.is_empty() {
            store(&mut packed[(panels.len() * count + k) * NR..][..rest.len()], rest);
        }
    }
}

/// Queries, keys and values.
type Operands<'a> = [&'a [f32]; 3];
/// The head and the queries of one part of the work.
type Part = (usize, Range<usize>);

#[inline(always)]
fn pack_head_body<S: Simd>(
    _simd: S,
    [_, k, v]: Operands<'_>,
    sizes: Sizes,
    scale: f32,
    head: usize,
    packed_keys: &mut [f32],
    packed_values: &mut [f32],
) {
    let Sizes { keys, heads, depth, value_depth, .. } = sizes;
    pack_columns(k.chunks_exact(heads * depth).map(|k| &k[head * depth..][..depth]), scale, packed_keys);
    let values = v.chunks_exact(heads * value_depth).map(|v| &v[head * value_depth..][..value_depth]);
    pack_rows(values, keys, packed_values);
}

dispatch! {
    /// Packs the keys and values of a head.
    fn pack_head(operands: Operands<'_>, sizes: Sizes, scale: f32, head: usize, packed_keys: &mut [f32], packed_values: &mut [f32]) = pack_head_body;
}

dispatch_wide! {
    /// The soft-max of some rows.
    fn softmax(rows: &mut [f32], stride: usize, width: usize) = softmax_rows;
}

/// Some queries of a head.
#[allow(clippy::too_many_arguments)]
fn attention_part(
    token: Token,
    operands: Operands<'_>,
    sizes: Sizes,
    scale: f32,
    roundings: Roundings<'_>,
    (head, queries): Part,
    scratch: &mut [f32],
    out: Sink<'_>,
) {
    let Sizes { keys, heads, depth, value_depth, .. } = sizes;
    let (row, value_row) = (heads * depth, heads * value_depth);
    let padded = keys.next_multiple_of(NR);
    let [keys_len, values_len, scores_len] = sizes.lengths();
    let (packed_keys, scratch) = scratch.split_at_mut(keys_len);
    let (packed_values, scratch) = scratch.split_at_mut(values_len);
    let scores = &mut scratch[..scores_len];
    pack_head(token, operands, sizes, scale, head, packed_keys, packed_values);
    let [q, ..] = operands;
    for first in queries.clone().step_by(QUERIES) {
        let count = QUERIES.min(queries.end - first);
        let to = Columns { first: 0, stride: padded, offset: 0, columns: keys };
        let scores = &mut scores[..count * padded];
        let rows = Rows::Spaced { values: &q[first * row + head * depth..], count, step: row, apart: 0 };
        let a = Fragments { rows, per_row: 1, offset: 0, len: depth };
        f32_rows(token, a, packed_keys, to, Epilogue::default(), Prefetch::NextPanel, Sink::new(scores));
        if !roundings.scores.is_empty() {
            round_rows(token, scores, padded, keys, roundings.scores);
        }
        softmax(token, scores, padded, keys);
        if !roundings.probabilities.is_empty() {
            round_rows(token, scores, padded, keys, roundings.probabilities);
        }
        let to = Columns { first, stride: value_row, offset: head * value_depth, columns: value_depth };
        let rows = Rows::Spaced { values: scores, count, step: padded, apart: 0 };
        let a = Fragments { rows, per_row: 1, offset: 0, len: keys };
        // SAFETY: one after another, each its own rows.
        let out = unsafe { out.share() };
        f32_rows(token, a, packed_values, to, Epilogue::default(), Prefetch::NextPanel, out);
    }
}

/// `out = softmax(scale * q * k^T) * v` for every head (Vaswani et al., 2017), of `[q, k, v]`, with
/// [`Sizes::scratch_len`] floats of scratch memory; scores and probabilities are rounded as `roundings` says.
///
/// # Panics
/// A slice is shorter than `sizes` says.
pub fn attention(
    pool: &mut ThreadPool,
    operands: [&[f32]; 3],
    sizes: Sizes,
    scale: f32,
    roundings: Roundings<'_>,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let Sizes { queries, keys, heads, depth, value_depth } = sizes;
    // Every part packs the keys and values of its head anew: few parts a head.
    let operations = queries * keys * heads * (depth + value_depth);
    let blocks = queries.div_ceil(QUERIES);
    let cuts = pool.parts(operations, heads * blocks).div_ceil(heads);
    let (token, out, scratch) = (pool.token(), Sink::new(out), &mut scratch[..sizes.scratch_len(pool.threads())]);
    pool.run_with_scratch(heads * cuts, scratch, &|part, scratch| {
        let (head, cut) = (part / cuts, part % cuts);
        let part = (head, cut * blocks / cuts * QUERIES..queries.min((cut + 1) * blocks / cuts * QUERIES));
        // SAFETY: each part writes its own rows and columns.
        attention_part(token, operands, sizes, scale, roundings, part, scratch, unsafe { out.share() });
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::{assert_close, cases, for_each_isa, most};
    use crate::testing::values;

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn attention_matches_reference(
            queries in 1..most(130), keys in 1..most(67), heads in 1_usize..5, depth in 1..most(34),
            value_depth in 1..most(34), scale in 0.1_f32..3.0,
        ) {
            let sizes = Sizes { queries, keys, heads, depth, value_depth };
            let q = values(1, queries * heads * depth);
            let k = values(2, keys * heads * depth);
            let v = values(3, keys * heads * value_depth);
            let mut expected = vec![0.0; queries * heads * value_depth];
            for (m, h) in (0..queries).flat_map(|m| (0..heads).map(move |h| (m, h))) {
                let score = |n: usize| -> f64 {
                    let dot = |d: usize| {
                        f64::from(q[(m * heads + h) * depth + d]) * f64::from(k[(n * heads + h) * depth + d])
                    };
                    f64::from(scale) * (0..depth).map(dot).sum::<f64>()
                };
                let scores: Vec<f64> = (0..keys).map(|n| score(n).exp()).collect();
                let total: f64 = scores.iter().sum();
                for e in 0..value_depth {
                    let mixed: f64 =
                        (0..keys).map(|n| scores[n] * f64::from(v[(n * heads + h) * value_depth + e])).sum();
                    expected[(m * heads + h) * value_depth + e] = (mixed / total) as f32;
                }
            }
            for_each_isa(expected.len(), |pool, out| {
                // Whatever earlier operators have left there.
                let mut scratch = vec![f32::NAN; sizes.scratch_len(pool.threads())];
                attention(pool, [&q, &k, &v], sizes, scale, Roundings::default(), &mut scratch, out);
            }, |out| assert_close(out, &expected));
        }
    }

    #[test]
    fn scores_and_probabilities_are_rounded() {
        let sizes = Sizes { queries: 5, keys: 19, heads: 1, depth: 3, value_depth: 19 };
        let [q, k] = [(1, 15), (2, 57)].map(|(seed, len)| values(seed, len));
        // Values that hand the probabilities on.
        let v: Vec<f32> = (0..19 * 19).map(|i| f32::from(u8::from(i / 19 == i % 19))).collect();
        let coarse = Rounding { factor: 3.0, scale: 0.25, low: -20, high: 20 };
        let fine = Rounding { factor: 1.0, scale: 1.0 / 255.0, low: 0, high: 255 };
        let roundings = Roundings { scores: &[coarse], probabilities: &[fine] };
        for_each_isa(
            5 * 19,
            |pool, out| {
                let mut scratch = vec![f32::NAN; sizes.scratch_len(pool.threads())];
                attention(pool, [&q, &k, &v], sizes, 1.0, roundings, &mut scratch, out);
            },
            |out| {
                for (m, row) in out.chunks_exact(19).enumerate() {
                    let score = |n: usize| {
                        let dot: f32 = (0..3).map(|d| q[3 * m + d] * k[3 * n + d]).sum();
                        (dot * 3.0 / 0.25).round_ties_even().clamp(-20.0, 20.0) * 0.25
                    };
                    let exps: Vec<f32> = (0..19).map(|n| score(n).exp()).collect();
                    let total: f32 = exps.iter().sum();
                    for (found, exp) in row.iter().zip(exps) {
                        assert!((found * 255.0 - (found * 255.0).round()).abs() < 1e-3, "{found}");
                        assert!((found - exp / total).abs() <= 0.51 / 255.0, "{found}, {}", exp / total);
                    }
                }
            },
        );
    }
}
