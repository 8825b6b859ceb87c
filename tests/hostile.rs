//! Seeds and past crashes of every fuzz target, replayed: none may panic, hang, or take memory without bound.
//!
//! A process of its own, so that what one input does to memory is not hidden among other tests.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;

#[cfg(feature = "tract")]
use proptest::prelude::*;

/// More than any of the seeds may have the process hold, in KiB.
#[cfg(target_os = "linux")]
const MOST_MEMORY_KIB: u64 = 1 << 20;

#[test]
fn seeds_and_past_crashes_of_every_format_are_read_without_harm() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in targets::TARGETS {
        let folder = seeds.join(name);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no seeds", folder.display());
        for file in files {
            println!("{}", file.display());
            target(&std::fs::read(&file).unwrap());
        }
        target(&[]);
    }
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        let peak: u64 = peak.expect("VmHWM in /proc/self/status");
        assert!(peak < MOST_MEMORY_KIB, "{peak} KiB at most");
    }
}

#[cfg(feature = "tract")]
#[test]
fn bundles_that_edits_begin_with_are_valid() {
    for base in 0..targets::bundles::count() {
        assert!(targets::bundles::loads(&targets::bundles::edited(&[base as u8])), "bundle {base}");
    }
}

#[cfg(feature = "tract")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Right checksums around a manifest and weights that are not: refused or run, never a panic.
    #[test]
    fn edited_bundles_with_right_checksums_do_no_harm(
        base in any::<u8>(), edits in prop::collection::vec(any::<[u8; 5]>(), 0..4),
    ) {
        targets::bundle(&[vec![base], edits.concat()].concat());
    }
}
