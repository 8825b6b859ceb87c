//! Durations without panics: the arithmetic of [`Duration`] panics on overflow, and so does reading one.

use core::time::Duration;

/// Time from `then` to `now` in whole milliseconds; zero when `now` is the earlier.
pub(crate) const fn since(then: Duration, now: Duration) -> Duration {
    Duration::from_millis(milliseconds(now).saturating_sub(milliseconds(then)))
}

const fn milliseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis() as u64)
}

/// Durations in files: whole milliseconds.
pub(crate) mod millis {
    use core::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        super::milliseconds(*duration).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_overflows() {
        let second = Duration::from_secs(1);
        assert_eq!(since(second, Duration::from_millis(3500)), Duration::from_millis(2500));
        assert_eq!(since(second, Duration::ZERO), Duration::ZERO);
        assert!(since(Duration::ZERO, Duration::MAX) > Duration::from_secs(u64::from(u32::MAX)));
    }
}
