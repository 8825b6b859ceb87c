//! Numbers with the bounds of what they stand for: what would overflow, divide by zero or never end is wrong input.

use std::time::Duration;

/// Ten years: longer than any mission, and short enough for every clock.
const LONGEST: f64 = 10.0 * 365.25 * 86_400.0;

fn number(text: &str, expected: &str, allowed: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.trim().parse::<f64>().ok().filter(|&value| allowed(value)).ok_or_else(|| expected.to_owned())
}

/// A number above 0 that an f32 can hold.
pub(crate) fn positive(text: &str) -> Result<f32, String> {
    let value = number(text, "expected a number above 0", |value| value > 0.0 && value <= 1e12)? as f32;
    if value > 0.0 { Ok(value) } else { Err("expected a number above 0".to_owned()) }
}

/// A number of at least 0.
pub(crate) fn not_negative(text: &str) -> Result<f32, String> {
    Ok(number(text, "expected a number of at least 0", |value| (0.0..=1e12).contains(&value))? as f32)
}

/// Frames per second, as the time from one to the next.
pub(crate) fn fps(text: &str) -> Result<f64, String> {
    // One frame a day is the slowest that makes sense as a rate.
    number(text, "expected frames per second, from 0.00002 (two a day) to 10000", |fps| (0.00002..=1e4).contains(&fps))
}

/// Events per hour.
pub(crate) fn per_hour(text: &str) -> Result<f32, String> {
    let expected = "expected events per hour, from 0.001 to 3600000";
    Ok(number(text, expected, |rate| (0.001..=3.6e6).contains(&rate))? as f32)
}

/// Two rates, by day and by night.
pub(crate) fn two_per_hour(text: &str) -> Result<(f32, f32), String> {
    let (day, night) = pair(text)?;
    Ok((per_hour(day)?, per_hour(night)?))
}

/// Hours above 0.
pub(crate) fn hours(text: &str) -> Result<Duration, String> {
    time(text, 3600.0, "expected hours above 0, at most 10 years")
}

/// Days above 0.
pub(crate) fn days(text: &str) -> Result<Duration, String> {
    time(text, 86_400.0, "expected days above 0, at most 10 years")
}

/// Seconds above 0.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    time(text, 1.0, "expected seconds above 0, at most 10 years")
}

/// Seconds of at least 0.
pub(crate) fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text.trim().parse() == Ok(0.0) { Ok(Duration::ZERO) } else { seconds(text) }
}

/// Milliseconds above 0.
pub(crate) fn millis(text: &str) -> Result<Duration, String> {
    time(text, 1e-3, "expected milliseconds above 0, at most 10 years")
}

/// Two times in milliseconds, the shorter first.
pub(crate) fn millis_range(text: &str) -> Result<(Duration, Duration), String> {
    let (shortest, longest) = pair(text)?;
    let range = (millis(shortest)?, millis(longest)?);
    if range.0 <= range.1 { Ok(range) } else { Err("expected the shortest first".to_owned()) }
}

/// A time with its unit, such as `20ms`.
pub(crate) fn time_with_unit(text: &str) -> Result<Duration, String> {
    let expected = "expected a time such as 20ms";
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)];
    let found = units.into_iter().find_map(|(unit, factor)| Some((text.trim().strip_suffix(unit)?, factor)));
    let (number, factor) = found.ok_or_else(|| expected.to_owned())?;
    time(number, factor, expected)
}

/// A time of day, such as `06:30`.
pub(crate) fn time_of_day(text: &str) -> Result<Duration, String> {
    let parts = text.trim().split_once(':').and_then(|(hour, minute)| Some((hour.parse().ok()?, minute.parse().ok()?)));
    parts
        .filter(|&(hour, minute): &(u64, u64)| hour < 24 && minute < 60)
        .map(|(hour, minute)| Duration::from_secs(3600 * hour + 60 * minute))
        .ok_or_else(|| "expected a time of day such as 06:30".to_owned())
}

fn time(text: &str, unit: f64, expected: &str) -> Result<Duration, String> {
    let seconds = number(text, expected, |value| value > 0.0 && value * unit <= LONGEST)? * unit;
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| expected.to_owned())?;
    if time.is_zero() { Err(expected.to_owned()) } else { Ok(time) }
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once(',').ok_or_else(|| "expected two numbers with a comma between".to_owned())
}

/// Width and height in pixels, as `640x480`.
pub(crate) fn size(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    parts
        .filter(|&(width, height)| (1..=65_536).contains(&width) && (1..=65_536).contains(&height))
        .ok_or_else(|| "expected width and height, as 640x480".to_owned())
}

/// Height and width in pixels: `224` for a square, or `256x320`.
pub(crate) fn height_width(text: &str) -> Result<[usize; 2], String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let sides = height.parse().ok().zip(width.parse().ok()).map(|(height, width)| [height, width]);
    sides.ok_or_else(|| "expected one side, as 224, or height and width, as 256x320".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        for text in ["0", "-1", "nan", "inf", "1e300", "1e-60", "x", ""] {
            assert!(positive(text).is_err(), "{text}");
            assert!(seconds(text).is_err(), "{text}");
            assert!(hours(text).is_err(), "{text}");
        }
        for text in ["0", "1e-30", "1e30", "-1", "nan"] {
            assert!(fps(text).is_err(), "{text}");
            assert!(per_hour(text).is_err(), "{text}");
        }
        assert!(not_negative("0").is_ok() && not_negative("-0.1").is_err());
        assert!(seconds("1e-12").is_err(), "less than a nanosecond");
    }

    #[test]
    fn times_carry_their_unit() {
        assert_eq!(hours("0.5"), Ok(Duration::from_secs(1800)));
        assert_eq!(time_with_unit("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(time_with_unit("3 s"), Ok(Duration::from_secs(3)));
        assert_eq!(millis_range("100,5000"), Ok((Duration::from_millis(100), Duration::from_secs(5))));
        assert_eq!(time_of_day("18:05"), Ok(Duration::from_secs(65_100)));
        assert!(["24:00", "6", "6:60", "-1:00", ""].iter().all(|text| time_of_day(text).is_err()));
        assert!(millis_range("5000,100").is_err() && millis_range("100").is_err() && time_with_unit("20").is_err());
        assert_eq!(size("640x480"), Ok((640, 480)));
        assert_eq!(height_width("256x320"), Ok([256, 320]));
        assert_eq!(height_width("64"), Ok([64, 64]));
        assert!(height_width("64x").is_err() && height_width("x").is_err());
        assert!(size("0x4").is_err() && size("640").is_err());
    }
}
