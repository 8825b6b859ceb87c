//! A day and time as clock chips hold them, in binary-coded decimal, and the time so long after.

use crate::energy::drivers::I2cError;

/// A time of a day of a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub year: u8,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

impl Moment {
    /// The time `seconds` later, of at most 27 days.
    pub(super) fn after(self, seconds: u32) -> Self {
        const DAY: u32 = 86_400;
        let second = u32::from(self.hour) * 3600 + u32::from(self.minute) * 60 + u32::from(self.second);
        let second = second.saturating_add(seconds);
        let (mut year, mut month) = (self.year, self.month);
        let mut day = u32::from(self.day).saturating_add(second / DAY);
        while day > u32::from(days(year, month)) {
            day -= u32::from(days(year, month));
            (year, month) = if month >= 12 { (year.wrapping_add(1), 1) } else { (year, month + 1) };
        }
        let second = second % DAY;
        // All of them are less than 60.
        Moment {
            year,
            month,
            day: day as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
        }
    }
}

/// Days of a month of a year from 2000 to 2099.
const fn days(year: u8, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A number below 100 in binary-coded decimal.
pub(super) const fn to_bcd(value: u8) -> u8 {
    value / 10 * 16 + value % 10
}

/// The number that `raw`, read from `register`, holds in binary-coded decimal.
///
/// # Errors
/// [`I2cError::OutOfRange`] where it holds none, or one that is not in `range`.
pub(super) fn from_bcd(register: u8, raw: u8, range: core::ops::RangeInclusive<u8>) -> Result<u8, I2cError> {
    let (tens, ones) = (raw >> 4, raw & 0x0F);
    let value = tens * 10 + ones;
    if tens < 10 && ones < 10 && range.contains(&value) {
        Ok(value)
    } else {
        Err(I2cError::OutOfRange { register, raw: raw.into() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(year: u8, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Moment {
        Moment { year, month, day, hour, minute, second }
    }

    #[test]
    fn alarms_cross_midnight_months_and_leap_days() {
        let new_year = moment(26, 12, 31, 23, 59, 50);
        assert_eq!(new_year.after(15), moment(27, 1, 1, 0, 0, 5));
        assert_eq!(moment(28, 2, 28, 12, 0, 0).after(86_400), moment(28, 2, 29, 12, 0, 0));
        assert_eq!(moment(27, 2, 28, 12, 0, 0).after(86_400), moment(27, 3, 1, 12, 0, 0));
        assert_eq!(moment(26, 4, 30, 0, 0, 0).after(27 * 86_400), moment(26, 5, 27, 0, 0, 0));
    }

    #[test]
    fn decimals_that_are_none_are_refused() {
        assert_eq!(from_bcd(58, 0x59, 0..=59), Ok(59));
        for raw in [0x60, 0x0A, 0xA0, 0xFF] {
            assert!(from_bcd(58, raw, 0..=59).is_err(), "{raw:#x}");
        }
    }

    proptest! {
        #[test]
        fn switch_decimals_come_back(value in 0u8..100) {
            prop_assert_eq!(from_bcd(0, to_bcd(value), 0..=99), Ok(value));
        }

        /// Later by as much as by two steps, and always a time that there is.
        #[test]
        fn switch_times_add_up(
            year in 0u8..99, month in 1u8..=12, day in 1u8..=28, second in 0u32..86_400, a in 0u32..1_000_000, b in 0u32..1_000_000,
        ) {
            let begin = moment(year, month, day, 0, 0, 0).after(second);
            prop_assert_eq!(begin.after(a).after(b), begin.after(a + b));
            let end = begin.after(a);
            prop_assert!((1..=days(end.year, end.month)).contains(&end.day) && end.hour < 24 && end.second < 60);
        }
    }
}
