//! The time that a worker's process has computed, for machines that other programs keep busy.

use std::path::Path;

/// Seconds that all threads of a process have run; `None` where the system does not tell.
pub(super) fn cpu_seconds(process: u32) -> Option<f64> {
    seconds_of(&Path::new("/proc").join(process.to_string()).join("task"))
}

/// Nanoseconds on a core are the first number of a thread's `schedstat`.
fn seconds_of(threads: &Path) -> Option<f64> {
    let mut nanoseconds = 0u64;
    for thread in std::fs::read_dir(threads).ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 * 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_threads_are_added() {
        let folder = tempfile::tempdir().unwrap();
        for (thread, text) in [("7", "1500000000 20 3\n"), ("8", "250000000 0 1\n")] {
            std::fs::create_dir(folder.path().join(thread)).unwrap();
            std::fs::write(folder.path().join(thread).join("schedstat"), text).unwrap();
        }
        assert_eq!(seconds_of(folder.path()), Some(1.75));
        std::fs::write(folder.path().join("7/schedstat"), "none").unwrap();
        assert_eq!(seconds_of(folder.path()), None);
        assert_eq!(seconds_of(&folder.path().join("9")), None);
    }
}
