//! The time of day as records carry it.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// When the program began.
static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Seconds from 1970 to 2024. A clock before that has not been set: boards without a battery-backed clock begin at 1970,
/// or at the time their image was built.
const SET: u64 = 1_704_067_200;

/// Notes that the program begins.
pub(crate) fn begin() {
    BEGUN.get_or_init(Instant::now);
}

/// Time since the program began.
pub(crate) fn since_start() -> Duration {
    BEGUN.get_or_init(Instant::now).elapsed()
}

/// The time of day in UTC as RFC 3339, with milliseconds; none while the clock is not set.
pub(crate) fn now() -> Option<String> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(text)
}

/// The time since midnight in UTC; none while the clock is not set.
pub(crate) fn time_of_day() -> Option<Duration> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    (since.as_secs() >= SET).then(|| Duration::from_secs(since.as_secs() % 86_400))
}

fn text(since_1970: Duration) -> Option<String> {
    let seconds = since_1970.as_secs();
    if seconds < SET {
        return None;
    }
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days)?;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since_1970.subsec_millis();
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// Year, month and day that begin `days` after 1970-01-01; none past the year 9999, which RFC 3339 cannot write.
fn date(mut days: u64) -> Option<(u64, u64, u64)> {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let year = (1970..10_000).find(|&year| {
        let length = if leap(year) { 366 } else { 365 };
        let here = days < length;
        days -= if here { 0 } else { length };
        here
    })?;
    let february = if leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = lengths.iter().position(|&length| {
        let here = days < length;
        days -= if here { 0 } else { length };
        here
    })?;
    Some((year, month as u64 + 1, days + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_day_is_rfc_3339_and_none_before_2024() {
        let at = |seconds: u64, millis: u32| text(Duration::new(seconds, millis * 1_000_000));
        assert_eq!(at(SET, 0).as_deref(), Some("2024-01-01T00:00:00.000Z"));
        assert_eq!(at(1_709_164_799, 7).as_deref(), Some("2024-02-28T23:59:59.007Z"));
        assert_eq!(at(1_709_164_800, 0).as_deref(), Some("2024-02-29T00:00:00.000Z"));
        assert_eq!(at(4_107_542_400, 999).as_deref(), Some("2100-03-01T00:00:00.999Z"));
        assert_eq!(at(SET - 1, 0), None);
        assert_eq!(at(u64::MAX, 0), None);
    }
}
