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
    PackedI8 { weights, column_sums, scales }
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

    #[test]
    fn columns_of_zeros_have_a_scale() {
        let packed = pack_i8(Reduction::whole(3), 2, |_, n| n as f32);
        assert_eq!(packed.scales[0], 1.0);
        assert_eq!(packed.column_sums[0], 0);
        assert!(packed.scales.iter().all(|scale| scale.is_normal()));
    }
}
