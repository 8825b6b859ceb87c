//! The day on the bench gives the messages of the golden file, as it does in the emulator (see `check.sh`).

use std::process::{Command, Stdio};

fn tool(arguments: &[&str], input: Vec<u8>) -> (bool, Vec<u8>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_companion-mcu"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
    let output = child.wait_with_output().unwrap();
    // A tool that reads nothing closes its input.
    let _ = writer.join().unwrap();
    (output.status.success(), output.stdout)
}

#[test]
fn the_bench_gives_the_golden_messages() {
    // One day after the other, as the firmware plays them.
    let text = ["config.postcard", "bursts.postcard"].map(|config| {
        let (played, line) = tool(&["play", config], Vec::new());
        assert!(played);
        let (read, text) = tool(&["read"], line);
        assert!(read);
        String::from_utf8(text).unwrap()
    });
    assert_eq!(text[0].lines().count(), 490);
    // Seven of each boot's eight seconds, and all that the board hangs for at noon.
    assert_eq!(text[1].lines().count(), 33 * 7 + 149);
    let text = text.concat();
    let golden = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/messages.golden")).unwrap();
    assert_eq!(text.lines().count(), golden.lines().count());
    for (line, expected) in text.lines().zip(golden.lines()) {
        assert_eq!(line, expected);
    }
    // Every fallback has its reason.
    for reason in ["stale-hold", "gauge-failed", "brown-out", "mission-over", "start"] {
        assert!(golden.contains(reason), "{reason}");
    }
}

#[test]
fn a_day_of_wakes_boots_by_clock_and_motion_and_cuts_off_what_hangs() {
    let (played, text) = tool(&["wakes", "bursts.postcard"], Vec::new());
    assert!(played);
    let text = String::from_utf8(text).unwrap();
    // Half-hours from 6 to 20 o'clock, and motion at multiples of 9900 s; twice they come together.
    assert_eq!(text.matches("WokenByClock").count(), 26, "{text}");
    assert_eq!(text.matches("WokenByMotion").count(), 8, "{text}");
    assert!(text.contains("12:00:00 WokenByClock\n12:02:00 AskedToHalt\n12:02:30 Cut\n"), "{text}");
    assert!(text.ends_with("34 boots, 8 by motion, 1 cut off, 0 missed, 414 s on\n"), "{text}");
}

#[test]
fn the_configuration_in_flash_is_the_readable_one() {
    for name in ["config", "bursts"] {
        let packed = std::env::temp_dir().join(format!("companion-{name}-{}.postcard", std::process::id()));
        let from = format!("{name}.json");
        let (done, _) = tool(&["pack", "policy.json", &from, packed.to_str().unwrap()], Vec::new());
        assert!(done);
        let (new, flash) = (std::fs::read(&packed).unwrap(), std::fs::read(format!("{name}.postcard")).unwrap());
        std::fs::remove_file(packed).unwrap();
        assert_eq!(new, flash);
    }
}

#[test]
fn damage_is_told() {
    assert!(!tool(&["read"], vec![1, 2, 3, 0]).0);
    assert!(!tool(&["pack", "policy.json", "Cargo.toml", "config.new"], Vec::new()).0);
    assert!(!tool(&["nonsense"], Vec::new()).0);
    // A board that is always on has no wakes.
    assert!(!tool(&["wakes", "config.postcard"], Vec::new()).0);
}
