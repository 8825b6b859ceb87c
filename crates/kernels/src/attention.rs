//! Scaled dot-product attention on token rows, heads side by side in a row.

use std::ops::Range;

use super::arch::{Arch, vectorised};
use super::matmul::{Ahead, Columns, Epilogue, PANEL, TILE, packed_len, rows_body, store};
use super::norm::softmax_rows;
use super::team::{Sink, Team};

/// Queries taken at a time: their scores stay in the first-level cache.
const QUERIES: usize = 8 * TILE;

/// Sizes of an attention: `queries` rows of `heads * depth` entries attend to `keys` rows of `heads * depth` (keys) and
/// `heads * value_depth` (values) entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Sizes {
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    pub depth: usize,
    pub value_depth: usize,
}

/// The head and the queries of one part of the work.
type Part = (usize, Range<usize>);

/// Packs `scale` times the given columns, as [`super::matmul::pack`] would.
#[inline(always)]
fn pack_columns<'a>(columns: impl Iterator<Item = &'a [f32]>, scale: f32, packed: &mut [f32]) {
    for (n, column) in columns.enumerate() {
        let panel = &mut packed[n / PANEL * PANEL * column.len()..][..PANEL * column.len()];
        for (row, value) in panel.as_chunks_mut::<PANEL>().0.iter_mut().zip(column) {
            row[n % PANEL] = value * scale;
        }
    }
}

/// Packs `count` rows of weights, as [`super::matmul::pack`] would.
#[inline(always)]
fn pack_rows<'a>(rows: impl Iterator<Item = &'a [f32]>, count: usize, packed: &mut [f32]) {
    for (k, row) in rows.enumerate() {
        let (panels, rest) = row.as_chunks::<PANEL>();
        for (p, values) in panels.iter().enumerate() {
            packed[(p * count + k) * PANEL..][..PANEL].copy_from_slice(values);
        }
        if !rest.is_empty() {
            store(&mut packed[(panels.len() * count + k) * PANEL..][..rest.len()], rest);
        }
    }
}

#[inline(always)]
fn attention_body<A: Arch>(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    sizes: Sizes,
    scale: f32,
    (head, queries): Part,
    out: Sink<'_>,
) {
    let Sizes { keys, heads, depth, value_depth, .. } = sizes;
    let (row, value_row) = (heads * depth, heads * value_depth);
    let padded = keys.next_multiple_of(PANEL);
    let mut packed_keys = vec![0.0; packed_len(depth, keys)];
    let mut packed_values = vec![0.0; packed_len(keys, value_depth)];
    let mut scores = vec![0.0; QUERIES * padded];
    let mut taps: Vec<&[f32]> = Vec::with_capacity(QUERIES);
    pack_columns(k.chunks_exact(row).map(|k| &k[head * depth..][..depth]), scale, &mut packed_keys);
    pack_rows(v.chunks_exact(value_row).map(|v| &v[head * value_depth..][..value_depth]), keys, &mut packed_values);
    for first in queries.clone().step_by(QUERIES) {
        let count = QUERIES.min(queries.end - first);
        taps.clear();
        taps.extend((first..first + count).map(|m| &q[m * row + head * depth..][..depth]));
        let to = Columns { stride: padded, offset: 0, columns: keys };
        let scores = &mut scores[..count * padded];
        rows_body::<A>(&taps, 1, 0, depth, &packed_keys, 0, to, Epilogue::default(), Ahead::WEIGHTS, Sink::new(scores));
        softmax_rows::<A>(scores, padded, keys);
        let probabilities: Vec<&[f32]> = scores.chunks_exact(padded).map(|s| &s[..keys]).collect();
        let to = Columns { stride: value_row, offset: head * value_depth, columns: value_depth };
        // SAFETY: one after another, each its own rows.
        let out = unsafe { out.share() };
        rows_body::<A>(&probabilities, 1, 0, keys, &packed_values, first, to, Epilogue::default(), Ahead::WEIGHTS, out);
    }
}

vectorised! {
    fn part_of_attention(q: &[f32], k: &[f32], v: &[f32], sizes: Sizes, scale: f32, part: Part, out: Sink<'_>) = attention_body;
}

/// `out = softmax(scale * q * k^T) * v` for every head (Vaswani et al., 2017).
pub fn attention(team: &mut Team, q: &[f32], k: &[f32], v: &[f32], sizes: Sizes, scale: f32, out: &mut [f32]) {
    let Sizes { queries, keys, heads, depth, value_depth } = sizes;
    // Every part packs the keys and values of its head anew: few parts a head.
    let operations = queries * keys * heads * (depth + value_depth);
    let cuts = team.parts(operations, heads * queries.div_ceil(QUERIES)).div_ceil(heads);
    let out = Sink::new(out);
    team.run(heads * cuts, &|part| {
        let (head, cut) = (part / cuts, part % cuts);
        let blocks = queries.div_ceil(QUERIES);
        let part = (head, cut * blocks / cuts * QUERIES..queries.min((cut + 1) * blocks / cuts * QUERIES));
        // SAFETY: each part writes its own rows and columns.
        part_of_attention(q, k, v, sizes, scale, part, unsafe { out.share() });
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::oracle::{assert_close, values};
    use super::*;

    proptest! {
        #[test]
        fn equals_its_definition(
            queries in 1_usize..67, keys in 1_usize..67, heads in 1_usize..5, depth in 1_usize..34, value_depth in 1_usize..34,
            scale in 0.1_f32..3.0,
        ) {
            let sizes = Sizes { queries, keys, heads, depth, value_depth };
            let q = values(1, queries * heads * depth);
            let k = values(2, keys * heads * depth);
            let v = values(3, keys * heads * value_depth);
            let mut expected = vec![0.0; queries * heads * value_depth];
            for (m, h) in (0..queries).flat_map(|m| (0..heads).map(move |h| (m, h))) {
                let score = |n: usize| -> f64 {
                    let dot = |d: usize| f64::from(q[(m * heads + h) * depth + d]) * f64::from(k[(n * heads + h) * depth + d]);
                    f64::from(scale) * (0..depth).map(dot).sum::<f64>()
                };
                let scores: Vec<f64> = (0..keys).map(|n| score(n).exp()).collect();
                let total: f64 = scores.iter().sum();
                for e in 0..value_depth {
                    let mixed: f64 = (0..keys).map(|n| scores[n] * f64::from(v[(n * heads + h) * value_depth + e])).sum();
                    expected[(m * heads + h) * value_depth + e] = (mixed / total) as f32;
                }
            }
            let [mut out, mut three] = [(); 2].map(|()| vec![f32::NAN; expected.len()]);
            attention(&mut Team::alone(), &q, &k, &v, sizes, scale, &mut out);
            assert_close(&out, &expected);
            attention(&mut Team::new(3.try_into().unwrap()).unwrap(), &q, &k, &v, sizes, scale, &mut three);
            prop_assert_eq!(out, three);
        }
    }
}
