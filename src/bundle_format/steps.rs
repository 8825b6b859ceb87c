//! Weights that are whole numbers of steps: a scale for each column and a signed byte for each weight, a quarter of the floats.
//!
//! They come back as the same bits, so that nothing but the file knows of it. Filters of depthwise convolutions are stored so, which
//! are multiplied in float32: `quantise` rounds them, and files that were quantised elsewhere may bring them rounded.

/// The largest number of steps, below 0.
const MOST: u8 = 128;
/// Quantised weights take more steps than this; averages take fewer, and stay floats that are used where the file has them.
const FEW: u8 = 63;

/// Weights in columns: weight `i` is of column `i % scales.len()`.
#[derive(Debug, PartialEq)]
pub(super) struct Steps {
    scales: Vec<f32>,
    steps: Vec<i8>,
}

fn weight(steps: i8, scale: f32) -> f32 {
    f32::from(steps) * scale
}

/// The steps of a column of this scale, if its weights are just that.
fn steps_of(column: impl Iterator<Item = f32>, scale: f32) -> Option<Vec<i8>> {
    column
        .map(|value| {
            // A value that is no number, or too large, becomes one that differs.
            let steps = (value / scale).round_ties_even() as i8;
            (weight(steps, scale).to_bits() == value.to_bits()).then_some(steps)
        })
        .collect()
}

fn column_of(column: impl Iterator<Item = f32> + Clone) -> Option<(f32, Vec<i8>)> {
    let largest = column.clone().fold(0.0_f32, |most, value| most.max(value.abs()));
    if largest == 0.0 {
        return Some((1.0, steps_of(column, 1.0)?));
    }
    (1..=MOST).find_map(|count| {
        let near = largest / f32::from(count);
        // The largest weight is rounded itself, so that the scale may be the float beside.
        let scales = [0, 1, u32::MAX].map(|by| f32::from_bits(near.to_bits().wrapping_add(by)));
        let mut normal = scales.into_iter().filter(|scale| scale.is_normal());
        normal.find_map(|scale| Some((scale, steps_of(column.clone(), scale)?)))
    })
}

impl Steps {
    /// The floats as whole numbers of steps, at most 128 of them, if all of them are just that and are stored in fewer bytes so;
    /// none where all are few.
    pub(super) fn of(floats: &[f32], columns: usize) -> Option<Steps> {
        // One weight is always a step of its own, which would take more bytes.
        Steps::stored_len(floats.len(), columns).filter(|bytes| *bytes < size_of_val(floats))?;
        let (mut scales, mut steps) = (vec![], vec![0; floats.len()]);
        for column in 0..columns {
            let (scale, of_column) = column_of(floats[column..].iter().step_by(columns).copied())?;
            scales.push(scale);
            steps[column..].iter_mut().step_by(columns).zip(of_column).for_each(|(to, from)| *to = from);
        }
        steps.iter().any(|steps| steps.unsigned_abs() > FEW).then_some(Steps { scales, steps })
    }

    /// Bytes of so many weights in so many columns; none where that many cannot be.
    pub(super) fn stored_len(weights: usize, columns: usize) -> Option<usize> {
        let whole = columns > 0 && weights.is_multiple_of(columns);
        columns.checked_mul(size_of::<f32>())?.checked_add(weights).filter(|_| whole)
    }

    /// The scales, then the steps.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let scales = self.scales.iter().flat_map(|scale| scale.to_le_bytes());
        scales.chain(self.steps.iter().map(|steps| steps.cast_unsigned())).collect()
    }

    /// The floats that [`Steps::to_bytes`] has made bytes of.
    pub(super) fn floats(bytes: &[u8], columns: usize) -> Vec<f32> {
        let (scales, steps) = bytes.split_at((columns * size_of::<f32>()).min(bytes.len()));
        let scales: Vec<f32> = scales.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let scales = scales.iter().cycle();
        steps.iter().zip(scales).map(|(steps, scale)| weight(steps.cast_signed(), *scale)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Weights as `quantise` rounds them and as QDQ files have them.
    fn rounded() -> impl Strategy<Value = (Vec<f32>, usize)> {
        (1_usize..7, 2_usize..30).prop_flat_map(|(columns, rows)| {
            let scales = prop::collection::vec(1e-9_f32..1e4, columns);
            let steps = prop::collection::vec(any::<i8>(), columns * rows);
            (scales, steps).prop_map(move |(scales, mut steps)| {
                // No coarser steps than these will do.
                (steps[0], steps[columns]) = (127, 126);
                (steps.iter().enumerate().map(|(i, s)| f32::from(*s) * scales[i % columns]).collect(), columns)
            })
        })
    }

    proptest! {
        #[test]
        fn whole_steps_come_back_as_the_same_bits((floats, columns) in rounded()) {
            let steps = Steps::of(&floats, columns).unwrap();
            let bytes = steps.to_bytes();
            prop_assert_eq!(Some(bytes.len()), Steps::stored_len(floats.len(), columns));
            let back: Vec<u32> = Steps::floats(&bytes, columns).iter().map(|value| value.to_bits()).collect();
            prop_assert_eq!(back, floats.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        }

        #[test]
        fn what_comes_back_is_what_was_stored_or_nothing_is(
            floats in prop::collection::vec(prop_oneof![any::<f32>(), -1.0_f32..1.0, Just(-0.0)], 1..40), columns in 0_usize..5,
        ) {
            if let Some(steps) = Steps::of(&floats, columns) {
                let back = Steps::floats(&steps.to_bytes(), columns);
                prop_assert!(back.iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits()));
                prop_assert_eq!(back.len(), floats.len());
            }
        }
    }

    #[test]
    fn other_weights_have_no_steps() {
        assert_eq!(Steps::of(&[0.314_159_27, 0.271_828_18, 0.577_215_6], 1), None);
        assert_eq!(Steps::of(&[f32::NAN, 1.0], 1), None);
        assert_eq!(Steps::of(&[f32::INFINITY, 1.0], 1), None);
        assert_eq!(Steps::of(&[1.0, 2.0, 3.0], 2), None);
        assert_eq!(Steps::of(&[1.0, 2.0, 3.0], 3), None, "three scales and three steps are more bytes");
        assert_eq!(Steps::of(&[], 1), None);
        assert_eq!(Steps::stored_len(9, 0), None);
        assert_eq!(Steps::stored_len(9, 2), None);
        assert_eq!(Steps::stored_len(usize::MAX, 1), None);
        assert_eq!(Steps::of(&[0.25, 0.25, 0.5, 0.125, 0.125, 0.0], 1), None, "averages");
        let beside_zeros = Steps::of(&[0.0, 127.0, 0.0, 126.0, 0.0, 1.0], 2).unwrap();
        assert_eq!(beside_zeros, Steps { scales: vec![1.0, 1.0], steps: vec![0, 127, 0, 126, 0, 1] });
    }
}
