//! Times without panics, and times in files: whole milliseconds. The arithmetic of [`Duration`] can panic as far as a compiler sees.

use core::time::Duration;

pub(crate) const fn milliseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1000).saturating_add(time.subsec_millis() as u64)
}

/// Time from `then` to `now`; zero when `now` is the earlier.
pub(crate) const fn since(then: Duration, now: Duration) -> Duration {
    Duration::from_millis(milliseconds(now).saturating_sub(milliseconds(then)))
}

/// The time so long after `now`.
pub(crate) const fn after(now: Duration, time: Duration) -> Duration {
    Duration::from_millis(milliseconds(now).saturating_add(milliseconds(time)))
}

/// A time.
pub(super) mod one {
    use core::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    pub(in crate::wake) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        super::milliseconds(*time).serialize(serializer)
    }

    pub(in crate::wake) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// A time or none.
pub(super) mod maybe {
    use core::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    pub(in crate::wake) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(super::milliseconds).serialize(serializer)
    }

    pub(in crate::wake) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

/// Two times or none.
pub(super) mod pair {
    use core::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    type Times = Option<(Duration, Duration)>;

    pub(in crate::wake) fn serialize<S: Serializer>(times: &Times, serializer: S) -> Result<S::Ok, S::Error> {
        times.map(|(from, to)| (super::milliseconds(from), super::milliseconds(to))).serialize(serializer)
    }

    pub(in crate::wake) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Times, D::Error> {
        let times = Option::<(u64, u64)>::deserialize(deserializer)?;
        Ok(times.map(|(from, to)| (Duration::from_millis(from), Duration::from_millis(to))))
    }
}
