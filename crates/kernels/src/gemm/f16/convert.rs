//! IEEE half precision as bits, in portable code.

/// The half nearest to a float, to even where two are as near; beyond 65,504 infinity, NaN stays NaN.
pub(crate) fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7FFF_FFFF;
    if magnitude > 0x7F80_0000 {
        return sign | 0x7E00;
    }
    // 65,520 and above round to infinity.
    if magnitude >= 0x477F_F000 {
        return sign | 0x7C00;
    }
    if magnitude < 0x3880_0000 {
        // Subnormal: adding 0.5 leaves the value, rounded to steps of 2^-24, in the low bits.
        let rounded = (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits();
        return sign | rounded as u16;
    }
    // The exponent's bias from 127 to 15, and half a step less one, with the last bit that stays, to round to even.
    let rounded = magnitude - (112 << 23) + 0xFFF + (magnitude >> 13 & 1);
    sign | (rounded >> 13) as u16
}

/// A half as a float, exactly.
#[inline(always)]
pub(crate) fn to_f32(half: u16) -> f32 {
    let (sign, magnitude) = (u32::from(half & 0x8000) << 16, u32::from(half & 0x7FFF));
    // As a float with the exponent's bias of a half; a product makes that right, and subnormals normal.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let scaled = if magnitude >= 0x7C00 { f32::from_bits(0x7F80_0000 | (magnitude << 13)) } else { scaled };
    f32::from_bits(sign | scaled.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_through_a_float() {
        for half in 0..=u16::MAX {
            let value = to_f32(half);
            if half & 0x7FFF > 0x7C00 {
                assert!(value.is_nan() && to_f32(from_f32(value)).is_nan());
            } else {
                assert_eq!(from_f32(value), half, "{value}");
            }
        }
        assert_eq!(
            [to_f32(0x3C00), to_f32(0xC000), to_f32(0x0001), to_f32(0x7BFF)],
            [1.0, -2.0, 2.0_f32.powi(-24), 65_504.0]
        );
    }

    /// Between each two neighbours: nearer to one, nearer to the other, and in the middle.
    #[test]
    fn floats_round_to_the_nearest_half_and_to_even() {
        for half in 0..0x7BFF_u16 {
            let (low, high) = (to_f32(half), to_f32(half + 1));
            let middle = (low + high) / 2.0;
            let even = half + (half & 1);
            assert_eq!(from_f32(middle), even, "{middle}");
            assert_eq!(from_f32(-middle), 0x8000 | even);
            assert_eq!(from_f32(middle.next_down()), half);
            assert_eq!(from_f32(middle.next_up()), half + 1);
        }
        assert_eq!(from_f32(65_519.996), 0x7BFF);
        assert_eq!([from_f32(65_520.0), from_f32(f32::INFINITY), from_f32(-1e30)], [0x7C00, 0x7C00, 0xFC00]);
    }
}
