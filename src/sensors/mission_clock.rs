//! The clock of a mission across restarts: how much of the time away counts, whatever happened to the system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The beginning of 2024: before it a clock has not been set, as on a board without a real-time clock.
const SET_SINCE: u64 = 1_704_067_200;
/// Longest time away, in seconds, that is believed of two readings of the system's clock: beyond thirty days one of them
/// was wrong.
const LONGEST_AWAY: u64 = 30 * 86_400;

/// The clock of a mission that goes on after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MissionClock {
    /// Length of the mission in milliseconds: another length is another mission.
    pub duration_ms: u64,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
    /// Seconds since 1970 when this was stored, by the system's clock.
    pub stored_at: u64,
    /// The run of the system in which this was stored, which no change of its clock can disturb.
    #[serde(default)]
    pub boot: Option<Boot>,
}

/// One run of the system, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Boot {
    /// The kernel's name for this run.
    pub id: String,
    /// Milliseconds since its start, suspension included.
    pub uptime_ms: u64,
}

/// What the system's clocks say at one moment.
#[derive(Clone, Debug)]
struct Clocks {
    /// Seconds since 1970.
    wall: u64,
    boot: Option<Boot>,
}

impl Clocks {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Clocks { wall, boot: Boot::now() }
    }
}

impl Boot {
    /// The present run, where the kernel tells it.
    fn now() -> Option<Self> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let uptime = Duration::try_from_secs_f64(seconds).ok()?;
        Some(Boot { id: id.trim().to_owned(), uptime_ms: millis(uptime) })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl MissionClock {
    /// The clock of a mission `elapsed` after its beginning.
    pub fn new(duration: Duration, elapsed: Duration) -> Self {
        Self::at(duration, elapsed, Clocks::now())
    }

    fn at(duration: Duration, elapsed: Duration, Clocks { wall, boot }: Clocks) -> Self {
        MissionClock { duration_ms: millis(duration), elapsed_ms: millis(elapsed), stored_at: wall, boot }
    }

    /// Time since the beginning of a mission of `duration`: what was stored, and the time since then. None when it was
    /// another mission. A mission that is over stays over: the time is then not below its duration.
    ///
    /// In the same run of the system the time since then is that of its monotonic clock. After a restart it is that of the
    /// system's clock, where both readings are plausible, and never less than the system has been up.
    pub fn resume(&self, duration: Duration) -> Option<Duration> {
        self.resume_at(duration, &Clocks::now())
    }

    fn resume_at(&self, duration: Duration, now: &Clocks) -> Option<Duration> {
        if self.duration_ms != millis(duration) {
            return None;
        }
        let elapsed = Duration::from_millis(self.elapsed_ms);
        // What is over stays over, also when a clock goes back.
        if elapsed >= duration {
            return Some(elapsed);
        }
        Some(elapsed.saturating_add(self.away(now)))
    }

    fn away(&self, now: &Clocks) -> Duration {
        if let (Some(then), Some(now)) = (&self.boot, &now.boot)
            && then.id == now.id
        {
            return Duration::from_millis(now.uptime_ms.saturating_sub(then.uptime_ms));
        }
        let set = self.stored_at >= SET_SINCE && now.wall >= SET_SINCE;
        let seconds = now.wall.saturating_sub(self.stored_at);
        let by_wall = Duration::from_secs(if set && seconds <= LONGEST_AWAY { seconds } else { 0 });
        // A restart was in between where both runs are known: all of the present one is time away.
        let restarted = self.boot.is_some().then_some(now.boot.as_ref()).flatten();
        by_wall.max(Duration::from_millis(restarted.map_or(0, |boot| boot.uptime_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const TODAY: u64 = 1_800_000_000;

    fn boot(id: &str, uptime: u64) -> Option<Boot> {
        Some(Boot { id: id.to_owned(), uptime_ms: 1000 * uptime })
    }

    fn clocks(wall: u64, boot: Option<Boot>) -> Clocks {
        Clocks { wall, boot }
    }

    /// Seconds into a mission of 100 hours that was stored after 600 s.
    fn resumed(stored: Clocks, now: Clocks) -> u64 {
        let clock = MissionClock::at(100 * HOUR, Duration::from_secs(600), stored);
        clock.resume_at(100 * HOUR, &now).unwrap().as_secs()
    }

    #[test]
    fn mission_goes_on_where_it_was_and_the_time_away_counts() {
        let stored = clocks(TODAY, None);
        assert_eq!(resumed(stored.clone(), clocks(TODAY, None)), 600);
        assert_eq!(resumed(stored.clone(), clocks(TODAY + 1200, None)), 1800);
        assert_eq!(resumed(stored, clocks(TODAY - 9000, None)), 600);
        let clock = MissionClock::new(HOUR, Duration::from_secs(600));
        assert!((600..605).contains(&clock.resume(HOUR).unwrap().as_secs()));
        assert_eq!(clock.resume(2 * HOUR), None, "another mission");
    }

    #[test]
    fn mission_time_in_the_same_run_is_monotonic_whatever_the_clock_is_set_to() {
        for wall in [0, TODAY - 86_400, TODAY, TODAY + 86_400, 4_000_000_000] {
            assert_eq!(resumed(clocks(TODAY, boot("a", 50)), clocks(wall, boot("a", 90))), 640, "{wall}");
        }
    }

    #[test]
    fn mission_time_after_a_restart_is_that_of_a_plausible_clock_and_at_least_the_uptime() {
        let away = |stored: u64, now: u64| resumed(clocks(stored, boot("a", 50)), clocks(now, boot("b", 30))) - 600;
        assert_eq!(away(TODAY, TODAY + 1200), 1200);
        // Not set when this was stored, lost since, gone back, or far ahead.
        for (stored, now) in [(100, TODAY), (TODAY, 100), (TODAY, TODAY - 500), (TODAY, TODAY + 100 * 86_400)] {
            assert_eq!(away(stored, now), 30, "{stored} {now}");
        }
    }

    #[test]
    fn mission_that_is_over_stays_over() {
        let over = MissionClock::at(HOUR, HOUR, clocks(TODAY, None));
        assert_eq!(over.resume_at(HOUR, &clocks(100, None)), Some(HOUR));
        let nearly = MissionClock::at(HOUR, Duration::from_secs(3599), clocks(TODAY, None));
        assert!(nearly.resume_at(HOUR, &clocks(TODAY + 5, None)).unwrap() >= HOUR);
        assert_eq!(over.resume_at(2 * HOUR, &clocks(TODAY, None)), None);
    }

    #[test]
    fn mission_clock_of_an_older_version_is_read() {
        let text = r#"{"duration_ms":3600000,"elapsed_ms":600000,"stored_at":1800000000}"#;
        let clock: MissionClock = serde_json::from_str(text).unwrap();
        assert_eq!(clock, MissionClock::at(HOUR, Duration::from_secs(600), clocks(TODAY, None)));
    }
}
