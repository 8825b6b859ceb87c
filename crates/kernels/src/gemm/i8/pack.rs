//! Weights as signed bytes with one scale per column, packed for the int8 kernels.

use super::{GROUP, LARGEST};
use crate::gemm::family::{KernelFamily, Reduction};

/// Two products of a byte and a weight must fit 16 bits: 255 x 128 does, and 255 x 129 does not.
const PAIR: f32 = 128.0;

/// Weights for [`gemm_i8`](super::gemm_i8).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PackedI8 {
    /// In the layout [`KernelFamily::I8`].
    pub weights: Vec<i8>,
    /// For each column, the sum of its weights.
    pub column_sums: Vec<i32>,
    /// For each column, what a weight of 1 stands for.
    pub scales: Vec<f32>,
    /// Whether two neighbours may be beyond what AVX2's `vpmaddubsw` adds up, so that it is not to be used.
    pub wide: bool,
}

/// Quantises B, whose entry (k, n) is `weight(k, n)`, column by column to -127..=127, and packs it.
///
/// The scale of a column is the smallest at which no weight is beyond 127 and no two neighbours that AVX2's `vpmaddubsw`
/// adds up are beyond 128: its 16-bit sums never saturate then, and all eight bits of the rows are used.
///
/// # Panics
/// A weight is not finite.
pub fn pack_i8(reduction: Reduction, columns: usize, weight: impl Fn(usize, usize) -> f32) -> PackedI8 {
    let family = KernelFamily::I8;
    let mut scales = vec![];
    let mut column_sums = vec![];
    let mut quantised = vec![0_i8; reduction.entries() * columns];
    for n in 0..columns {
        let column: Vec<f32> = (0..reduction.entries()).map(|k| weight(k, n)).collect();
        assert!(column.iter().all(|w| w.is_finite()), "weights of column {n} are finite");
        let (scale, bytes) = quantise_column(&column, reduction.len);
        scales.push(scale);
        column_sums.push(bytes.iter().map(|w| i32::from(*w)).sum());
        for (k, byte) in bytes.into_iter().enumerate() {
            quantised[k * columns + n] = byte;
        }
    }
    let mut weights = vec![0_i8; family.packed_len(reduction, columns)];
    family.pack(reduction, columns, |k, n| quantised[k * columns + n], &mut weights);
    PackedI8 { weights, column_sums, scales, wide: false }
}

/// Packs B, whose entry (k, n) is `weight(k, n)`, as the integers that its columns are multiples of: weights that another program has
/// quantised. None where a column is no multiple of integers from -128 to 127, or has more than one of -128, two of which NEON
/// cannot add up.
pub fn pack_exact_i8(reduction: Reduction, columns: usize, weight: impl Fn(usize, usize) -> f32) -> Option<PackedI8> {
    let family = KernelFamily::I8;
    let mut packed = PackedI8 { weights: vec![0; family.packed_len(reduction, columns)], ..PackedI8::default() };
    let mut whole = vec![0_i8; reduction.entries() * columns];
    let mut column = vec![0.0; reduction.entries()];
    for n in 0..columns {
        column.iter_mut().enumerate().for_each(|(k, entry)| *entry = weight(k, n));
        let (scale, steps) = whole_steps(&column)?;
        packed.scales.push(scale);
        packed.column_sums.push(steps.iter().map(|step| i32::from(*step)).sum());
        let floats: Vec<f32> = steps.iter().map(|step| f32::from(*step)).collect();
        packed.wide |= !pairs(&floats, reduction.len).all(|pair| reach(pair) <= PAIR);
        steps.iter().enumerate().for_each(|(k, step)| whole[k * columns + n] = *step);
    }
    family.pack(reduction, columns, |k, n| whole[k * columns + n], &mut packed.weights);
    Some(packed)
}

/// How far a weight may be from a whole number of steps: four roundings of f32, of which each moves 128 by 8e-6.
const NEAR: f32 = 1e-4;

/// The step of which all values are multiples from -128 to 127, and these.
fn whole_steps(column: &[f32]) -> Option<(f32, Vec<i8>)> {
    let largest = column.iter().fold(0.0_f32, |m, w| if w.abs() > m.abs() { *w } else { m });
    if largest == 0.0 {
        return column.iter().all(|w| *w == 0.0).then(|| (1.0, vec![0; column.len()]));
    }
    let most = if largest < 0.0 { 128_u8 } else { 127 };
    // The coarsest step will do: what is a multiple of it is exactly that.
    (1..=most).find_map(|count| {
        let scale = largest.abs() / f32::from(count);
        let near = |w: &f32| (w / scale - (w / scale).round_ties_even()).abs() <= NEAR;
        if !scale.is_normal() || !column.iter().all(near) {
            return None;
        }
        let steps: Vec<i8> = column.iter().map(|w| (w / scale).round_ties_even() as i8).collect();
        (steps.iter().filter(|step| **step == i8::MIN).count() <= 1 && !column.contains(&(128.0 * scale)))
            .then_some((scale, steps))
    })
}

/// Neighbours that a 16-bit sum adds up: two and two of each fragment.
fn pairs<T>(column: &[T], fragment: usize) -> impl Iterator<Item = &[T]> {
    const { assert!(GROUP.is_multiple_of(2)) };
    column.chunks(fragment.max(1)).flat_map(|fragment| fragment.chunks(2))
}

/// The larger of the sums of positive and of negative values of a pair, as magnitudes: what bytes of 0 to 255 can make of it.
fn reach(pair: &[f32]) -> f32 {
    let positive: f32 = pair.iter().map(|w| w.max(0.0)).sum();
    let negative: f32 = pair.iter().map(|w| (-w).max(0.0)).sum();
    positive.max(negative)
}

fn quantise_column(column: &[f32], fragment: usize) -> (f32, Vec<i8>) {
    let largest = column.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    if largest == 0.0 {
        return (1.0, vec![0; column.len()]);
    }
    let widest = pairs(column, fragment).map(reach).fold(0.0, f32::max);
    let mut scale = (largest / LARGEST).max(widest / PAIR).max(f32::MIN_POSITIVE);
    loop {
        let rounded: Vec<f32> = column.iter().map(|w| (w / scale).round_ties_even().clamp(-LARGEST, LARGEST)).collect();
        // Rounding may bring a pair up by one.
        if pairs(&rounded, fragment).all(|pair| reach(pair) <= PAIR) {
            return (scale, rounded.into_iter().map(|w| w as i8).collect());
        }
        scale *= 1.0 + 1.0 / 256.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::cases;
    use crate::testing::values;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases(200))]

        #[test]
        fn weights_are_near_and_pairs_never_saturate(
            fragments in 1_usize..4, len in 1_usize..40, columns in 1_usize..20, skew: bool,
        ) {
            let reduction = Reduction { fragments, len };
            let mut w = values(1, reduction.entries() * columns);
            if skew {
                // All of one sign and size: the worst for sums of pairs.
                w.iter_mut().for_each(|w| *w = 0.9 + 0.1 * w.abs());
            }
            let packed = pack_i8(reduction, columns, |k, n| w[k * columns + n]);
            let back = KernelFamily::I8.unpack(reduction, columns, &packed.weights);
            for n in 0..columns {
                let column: Vec<i8> = (0..reduction.entries()).map(|k| back[k * columns + n]).collect();
                prop_assert_eq!(packed.column_sums[n], column.iter().map(|w| i32::from(*w)).sum::<i32>());
                for (k, byte) in column.iter().enumerate() {
                    let error = (f32::from(*byte) * packed.scales[n] - w[k * columns + n]).abs();
                    prop_assert!(error <= 0.501 * packed.scales[n], "column {n}, entry {k}: off by {error}");
                }
                for pair in pairs(&column, len) {
                    let sum = |sign: i32| pair.iter().map(|w| (sign * i32::from(*w)).max(0)).sum::<i32>();
                    prop_assert!(255 * sum(1) <= 32_767 && 255 * sum(-1) <= 32_768, "{pair:?}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(cases(200))]

        #[test]
        fn weights_that_are_whole_numbers_of_steps_are_packed_as_these(
            len in 1_usize..40, columns in 1_usize..20, scales in prop::collection::vec(1e-4_f32..10.0, 20), limit in 1_u8..=127,
            lowest: bool,
        ) {
            let reduction = Reduction { fragments: 2, len };
            let step = |k: usize, n: usize| {
                let value = values(n as u64, reduction.entries())[k];
                let step = (value * f32::from(limit)).round().clamp(-127.0, 127.0);
                if lowest && k == 0 { -128.0 } else { step }
            };
            let steps: Vec<Vec<f32>> =
                (0..columns).map(|n| (0..reduction.entries()).map(|k| step(k, n)).collect()).collect();
            let packed = pack_exact_i8(reduction, columns, |k, n| steps[n][k] * scales[n]).unwrap();
            let back = KernelFamily::I8.unpack(reduction, columns, &packed.weights);
            let mut wide = false;
            for n in 0..columns {
                let column: Vec<f32> = (0..reduction.entries()).map(|k| f32::from(back[k * columns + n])).collect();
                prop_assert_eq!(packed.column_sums[n], column.iter().sum::<f32>() as i32);
                for (found, step) in column.iter().zip(&steps[n]) {
                    prop_assert!((found * packed.scales[n] - step * scales[n]).abs() <= 1e-5 * 128.0 * scales[n]);
                }
                wide |= pairs(&column, len).any(|pair| reach(pair) > PAIR);
            }
            prop_assert_eq!(packed.wide, wide);
        }
    }

    #[test]
    fn weights_on_no_grid_of_bytes_are_not_packed() {
        let pack = |column: &[f32]| pack_exact_i8(Reduction::whole(column.len()), 1, |k, _| column[k]);
        assert!(pack(&values(1, 40)).is_none());
        assert!(pack(&[-200.0, 1.0, 3.0]).is_none(), "more steps than a byte has");
        assert!(pack(&[128.0, 1.0]).is_none() && pack(&[-128.0, -128.0, 1.0]).is_none());
        assert!(pack(&[f32::NAN, 1.0]).is_none() && pack(&[f32::INFINITY, 1.0]).is_none());
        assert_eq!(pack(&[-128.0, 127.0]).unwrap().scales, [1.0]);
        assert_eq!(pack(&[0.0; 3]).unwrap().scales, [1.0]);
    }

    #[test]
    fn columns_of_zeros_have_a_scale() {
        let packed = pack_i8(Reduction::whole(3), 2, |_, n| n as f32);
        assert_eq!(packed.scales[0], 1.0);
        assert_eq!(packed.column_sums[0], 0);
        assert!(packed.scales.iter().all(|scale| scale.is_normal()));
    }
}
