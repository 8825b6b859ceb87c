//! Whether an image is of finite numbers.

/// Whether all are finite. Infinity and NaN have an exponent of ones: one more, and it runs over into the sign's bit. Sums
/// and a disjunction are computed many at a time; comparisons and a maximum were not, and took as long as a small layer.
pub(super) fn all_finite(values: &[f32]) -> bool {
    const SIGN: u32 = 1 << 31;
    const EXPONENT: u32 = 1 << (f32::MANTISSA_DIGITS - 1);
    values.iter().fold(0, |seen, value| seen | ((value.to_bits() & !SIGN) + EXPONENT)) & SIGN == 0
}

#[cfg(test)]
mod tests {
    use super::all_finite;

    #[test]
    fn one_value_that_is_no_finite_number_is_seen_wherever_it_is() {
        let mut values = [0.0, -0.0, f32::MAX, f32::MIN, 1e-45, -1.0, f32::MIN_POSITIVE].repeat(5);
        assert!(all_finite(&values) && all_finite(&[]));
        for (i, wrong) in
            (0..values.len()).flat_map(|i| [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN].map(|w| (i, w)))
        {
            let right = std::mem::replace(&mut values[i], wrong);
            assert!(!all_finite(&values), "{wrong} at {i}");
            values[i] = right;
        }
    }
}
