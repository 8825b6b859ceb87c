//! How busy the machine is with other programs while it is measured.

use dyn_perceiver_host::System;

/// Time of all cores since the machine was started, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Busy {
    all: f64,
    busy: f64,
    /// Of this process and of those it has started and waited for.
    own: f64,
}

impl Busy {
    /// Reads the kernel's counters; `None` where it has none.
    pub(crate) fn read(system: &System) -> Option<Busy> {
        let stat = system.read("/proc/stat")?;
        let numbers =
            |text: &str| -> Vec<f64> { text.split_whitespace().map_while(|word| word.parse().ok()).collect() };
        // user, nice, system, idle, iowait, irq, softirq, steal; what guests take is in user already.
        let cores = numbers(stat.lines().next()?.strip_prefix("cpu ")?);
        let all: f64 = cores.iter().take(8).sum();
        let idle = cores.get(3)? + cores.get(4)?;
        // The name in brackets may hold spaces. Behind it: the state, then fields 4 and on; 14 to 17 are times.
        let own = system.read("/proc/self/stat")?;
        let (_, fields) = own.rsplit_once(')')?;
        let fields = numbers(fields.trim_start().split_once(' ')?.1);
        Some(Busy { all, busy: all - idle, own: fields.get(10..14)?.iter().sum() })
    }

    /// Share of all cores' time between two readings that went to others.
    pub(crate) fn others(self, later: Busy) -> Option<f64> {
        let all = later.all - self.all;
        let others = (later.busy - self.busy) - (later.own - self.own);
        (all > 0.0).then(|| (others / all).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_own_time_is_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let read = |stat: &str, own: &str| {
            std::fs::create_dir_all(folder.path().join("proc/self")).unwrap();
            std::fs::write(folder.path().join("proc/stat"), stat).unwrap();
            std::fs::write(folder.path().join("proc/self/stat"), own).unwrap();
            Busy::read(&System::at(folder.path()))
        };
        let own = |times: &str| format!("7 (a name) x) S 1 1 1 0 -1 4194304 100 0 0 0 {times} 20 0 1 0");
        let before = read("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4\n", &own("10 5 3 2")).unwrap();
        assert_eq!(before, Busy { all: 1000.0, busy: 150.0, own: 20.0 });
        let after = read("cpu  300 0 150 1500 50 0 0 0 0 0\n", &own("110 25 53 22")).unwrap();
        // 1,000 ticks passed, 300 busy, 190 of them our own.
        assert!((before.others(after).unwrap() - 0.11).abs() < 1e-9);
        assert_eq!(before.others(before), None);
        assert_eq!(read("intr 1\n", ""), None);
    }
}
