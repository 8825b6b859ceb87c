//! Tensors that are kept as IEEE halves between two operators, in the memory of as many floats.
//!
//! Halves take the first half of a buffer, and its last word tells so: a signalling NaN, which no arithmetic makes, with the largest
//! magnitude in its low bits. A buffer without it holds floats. An operator keeps floats where halves will not do: where a result is
//! beyond 65,504 or no number, and where all are so small that halves would lose bits of them.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::Activation;
use crate::gemm::f16::convert::from_f32;
use crate::memory::{as_u16, as_u16_mut};

/// The bits of a half that tell its magnitude.
pub(crate) const MAGNITUDE: u16 = 0x7FFF;
/// The upper half of the last word of a buffer that holds halves: of a signalling NaN.
const TAG: u32 = 0xFFA5_0000;
/// The bit that makes it a quiet one.
const QUIET: u32 = 0x0040_0000;
/// The largest magnitude of halves that are kept, from 2^-6 to 65,504: then the steps of the smallest are 2^-18 of the largest.
const KEPT: RangeInclusive<u16> = 0x2400..=0x7BFF;
/// 3/8, as far as Hardswish goes below zero.
const HARD_SWISH: u16 = 0x3600;

/// Which of an operator's ends are kept as halves where the CPU multiplies them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// What it reads.
    pub input: bool,
    /// What it adds to its result.
    pub residual: bool,
    /// What it makes.
    pub output: bool,
}

/// Halves, and the largest of their magnitudes, as bits.
#[derive(Clone, Copy, Debug)]
pub struct Halves<'a> {
    pub(crate) values: &'a [u16],
    pub(crate) largest: u16,
}

/// What a buffer holds.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// A float in each of its words.
    Floats(&'a [f32]),
    /// As many halves.
    Halves(Halves<'a>),
}

impl<'a> Form<'a> {
    /// What a buffer holds that may have been kept as halves.
    pub fn of(buffer: &'a [f32]) -> Form<'a> {
        match buffer.last().map(|last| last.to_bits()) {
            Some(last) if last & 0xFFFF_0000 == TAG && has_room(buffer.len()) => {
                Form::Halves(Halves { values: &as_u16(buffer)[..buffer.len()], largest: last as u16 })
            }
            _ => Form::Floats(buffer),
        }
    }
}

/// Whether a buffer of so many words has room for as many halves and a word behind them.
pub fn has_room(len: usize) -> bool {
    len.div_ceil(2) < len
}

/// Where the halves of a buffer go; none where it is too short.
pub(crate) fn room(buffer: &mut [f32]) -> Option<&mut [u16]> {
    let len = buffer.len();
    has_room(len).then(|| &mut as_u16_mut(buffer)[..len])
}

/// Says that the buffer holds halves; whether they will do.
pub(crate) fn keep(buffer: &mut [f32], largest: u16) -> bool {
    // Zeros are what they are as halves.
    let will_do = KEPT.contains(&largest) || largest == 0;
    if will_do && let Some(last) = buffer.last_mut() {
        *last = f32::from_bits(TAG | u32::from(largest));
    }
    will_do
}

/// Says that the buffer holds floats.
pub(crate) fn keep_floats(buffer: &mut [f32]) {
    if let Some(last) = buffer.last_mut()
        && last.to_bits() & 0xFFFF_0000 == TAG
    {
        *last = f32::from_bits(last.to_bits() | QUIET);
    }
}

/// The largest magnitudes of what several threads store, as the bits of halves.
#[derive(Debug, Default)]
pub(crate) struct Largest {
    positive: AtomicU16,
    negative: AtomicU16,
}

impl Largest {
    /// Takes in the largest of some, of any sign where these are not told apart.
    pub(crate) fn raise(&self, magnitude: u16) {
        raise(&self.positive, magnitude);
    }

    /// Takes in that of some below zero.
    pub(crate) fn raise_negative(&self, magnitude: u16) {
        raise(&self.negative, magnitude);
    }

    /// That of results behind an activation, where of [bounded](is_bounded) ones only the positive were looked at.
    pub(crate) fn behind(self, activation: Activation) -> u16 {
        let largest = self.positive.into_inner();
        match activation {
            // Where all are small, those below zero may be all there is.
            Activation::HardSwish if KEPT.contains(&largest) => largest.max(HARD_SWISH),
            Activation::HardSwish => largest.max(1),
            _ => largest,
        }
    }

    /// A bound of results behind an activation, from values before it: limits would hide sums that were beyond the largest half on the way.
    /// Hardswish hides none, and its results were looked at.
    pub(crate) fn before(self, activation: Activation) -> u16 {
        let (positive, negative) = (self.positive.load(Ordering::Relaxed), self.negative.load(Ordering::Relaxed));
        let is_finite = positive.max(negative) <= *KEPT.end();
        let limit = |limit: f32| from_f32(limit.max(0.0));
        match activation {
            Activation::HardSwish => self.behind(activation),
            Activation::Clamp { low, high } if is_finite => {
                let inside = positive.min(limit(high)).max(negative.min(limit(-low)));
                inside.max(limit(low)).max(limit(-high))
            }
            _ => positive.max(negative),
        }
    }
}

fn raise(largest: &AtomicU16, magnitude: u16) {
    // Mostly it is no news, and reading is cheap.
    if largest.load(Ordering::Relaxed) < magnitude {
        largest.fetch_max(magnitude, Ordering::Relaxed);
    }
}

/// Whether results behind an activation are at or near zero at least, so that the largest magnitude is that of a positive one.
pub(crate) fn is_bounded(activation: Activation) -> bool {
    match activation {
        Activation::HardSwish => true,
        Activation::Clamp { low, .. } => low >= 0.0,
        _ => false,
    }
}

/// Whether an activation is computed in halves.
pub fn has_halves(activation: Activation) -> bool {
    !activation.is_costly()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_tells_what_it_holds() {
        let mut buffer = [f32::NAN; 7];
        assert!(matches!(Form::of(&buffer), Form::Floats(floats) if floats.len() == 7));
        room(&mut buffer).unwrap().copy_from_slice(&[1, 2, 3, 4, 5, 6, 0x4D00]);
        assert!(keep(&mut buffer, 0x4D00));
        let Form::Halves(halves) = Form::of(&buffer) else { panic!("it was kept as halves") };
        assert_eq!((halves.values, halves.largest), (&[1, 2, 3, 4, 5, 6, 0x4D00][..], 0x4D00));
        keep_floats(&mut buffer);
        assert!(matches!(Form::of(&buffer), Form::Floats(_)) && buffer[6].is_nan());
    }

    #[test]
    fn what_halves_cannot_hold_is_not_kept() {
        for (largest, expected) in
            [(0, true), (1, false), (0x23FF, false), (0x2400, true), (0x7BFF, true), (0x7C00, false), (0x7E00, false)]
        {
            let mut buffer = [1.0; 4];
            assert_eq!(keep(&mut buffer, largest), expected, "{largest:x}");
            assert_eq!(matches!(Form::of(&buffer), Form::Halves(_)), expected);
        }
    }

    #[test]
    fn short_buffers_hold_floats() {
        for (len, expected) in [(0, false), (1, false), (2, true), (3, true), (4, true)] {
            let mut buffer = vec![f32::from_bits(TAG | 0x3C00); len];
            assert_eq!(has_room(len), expected);
            assert_eq!(room(&mut buffer).is_some(), expected);
            assert_eq!(matches!(Form::of(&buffer), Form::Halves(_)), expected);
        }
    }

    #[test]
    fn no_arithmetic_makes_the_tag() {
        let tag = std::hint::black_box(f32::from_bits(TAG | 0x3C00));
        for result in [tag + 1.0, tag * 0.0, tag - tag, tag.mul_add(2.0, 1.0), f32::INFINITY - f32::INFINITY] {
            assert!(matches!(Form::of(&[1.0, 1.0, result]), Form::Floats(_)), "{:x}", result.to_bits());
        }
    }

    #[test]
    fn results_below_zero_alone_are_not_taken_for_zeros() {
        let of = |magnitude, activation| {
            let largest = Largest::default();
            largest.raise(magnitude);
            largest.raise(0);
            largest.behind(activation)
        };
        assert_eq!(of(0, Activation::Identity), 0);
        let clamp = Activation::Clamp { low: 0.0, high: f32::INFINITY };
        assert!(is_bounded(clamp) && is_bounded(Activation::HardSwish) && !is_bounded(Activation::Identity));
        assert_eq!((of(0, clamp), of(0x3C00, clamp)), (0, 0x3C00));
        assert_eq!([0, 0x2400, 0x3C00, 0x7E00].map(|m| of(m, Activation::HardSwish)), [1, 0x3600, 0x3C00, 0x7E00]);
    }

    #[test]
    fn limits_hide_nothing_that_is_infinite() {
        let of = |positive, negative, activation| {
            let largest = Largest::default();
            largest.raise(positive);
            largest.raise_negative(negative);
            largest.before(activation)
        };
        let clamp = |low, high| Activation::Clamp { low, high };
        // 1, 2, 3, 4 and 5.
        let [one, two, three, four, five] = [0x3C00, 0x4000, 0x4200, 0x4400, 0x4500];
        assert_eq!(of(three, four, Activation::Identity), four);
        assert_eq!(of(three, four, clamp(0.0, f32::INFINITY)), three);
        assert_eq!(of(0, four, clamp(0.0, f32::INFINITY)), 0);
        assert_eq!((of(three, four, clamp(0.0, 2.0)), of(one, four, clamp(0.0, 2.0))), (two, one));
        assert_eq!((of(three, four, clamp(-5.0, 2.0)), of(three, four, clamp(-1.0, 2.0))), (four, two));
        assert_eq!((of(one, four, clamp(5.0, 6.0)), of(one, four, clamp(-6.0, -5.0))), (five, five));
        for (positive, negative) in [(0x7C00, 0), (0, 0x7C00), (0x7E00, 0)] {
            assert!(of(positive, negative, clamp(0.0, 6.0)) >= 0x7C00);
        }
    }
}
