//! `dyn-perceiver doctor` against folders that stand for boards.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn doctor(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dyn-perceiver")).arg("doctor").args(args).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a check found: its status, and what to do.
fn check<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str) {
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == name);
    let check = check.unwrap_or_else(|| panic!("no check {name} in {report}"));
    (check["status"].as_str().unwrap(), check["fix"].as_str().unwrap_or_default())
}

fn write(root: &Path, path: &str, contents: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, contents).unwrap();
}

/// A Raspberry Pi 4 in good order.
fn raspberry_pi(root: &Path) {
    write(root, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0");
    write(root, "proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0");
    write(root, "proc/meminfo", "MemTotal: 3884300 kB\nMemAvailable: 3500000 kB\n");
    write(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1800000\n");
    write(root, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1800000\n");
    write(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand\n");
    write(root, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
    write(root, "sys/class/thermal/thermal_zone0/temp", "51000\n");
    write(root, "sys/devices/platform/soc/soc:firmware/get_throttled", "0\n");
    write(root, "sys/class/power_supply/max17048/capacity", "87\n");
    write(root, "dev/video0", "");
    write(root, "dev/i2c-1", "");
}

#[test]
fn the_folder_that_stands_for_the_system_has_its_board_and_its_gauge() {
    let root = tempfile::tempdir().unwrap();
    raspberry_pi(root.path());
    write(root.path(), "sys/class/power_supply/max17048/type", "Battery\n");
    write(root.path(), "sys/class/power_supply/max17048/status", "Discharging\n");
    let output = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
        .env("DYN_PERCEIVER_SYSTEM", root.path())
        .args(["doctor", "--json", "--gauge", "power-supply"])
        .output()
        .unwrap();
    let report = json(&output);
    assert_eq!(report["board"]["id"], "raspberry-pi-4");
    assert_eq!(check(&report, "gauge").0, "ok", "{report}");
    // The loop reads the same gauge.
    let output = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
        .env("DYN_PERCEIVER_SYSTEM", root.path())
        .args(["run", "--json", "--no-compare", "--limit", "1", "--gauge", "power-supply"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"soc\":0.87"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_a_camera_loop_does_not_need_is_told() {
    let root = tempfile::tempdir().unwrap();
    raspberry_pi(root.path());
    write(root.path(), "sys/class/leds/ACT/trigger", "none [mmc0] timer\n");
    let report = || json(&doctor(&["--json", "--root", root.path().to_str().unwrap()]));
    let (status, fix) = (check(&report(), "saving").0.to_owned(), check(&report(), "saving").1.to_owned());
    assert!(status == "warn" && fix.contains("--save-power"), "{status} {fix}");
    write(root.path(), "sys/class/leds/ACT/trigger", "[none] mmc0 timer\n");
    assert_eq!(check(&report(), "saving").0, "ok");
}

#[test]
fn a_board_in_good_order_passes() {
    let root = tempfile::tempdir().unwrap();
    raspberry_pi(root.path());
    let output = doctor(&["--json", "--root", root.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = json(&output);
    assert_eq!(report["board"]["id"], "raspberry-pi-4");
    assert_eq!(report["detected"], "raspberry-pi-4");
    assert_eq!(report["state"]["celsius"], 51.0);
    assert_eq!(report["state"]["cores"][0]["mhz"], 1800.0);
    assert_eq!(report["ok"], true);
    let text = doctor(&["--root", root.path().to_str().unwrap()]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("ok    board        Raspberry Pi 4 Model B (Raspberry Pi 4 Model B Rev 1.4)"), "{text}");
    assert!(text.contains("ok    battery      max17048 87 %"), "{text}");
}

#[test]
fn batteries_of_devices_beside_the_board_are_no_batteries_of_it() {
    let root = tempfile::tempdir().unwrap();
    raspberry_pi(root.path());
    write(root.path(), "sys/class/power_supply/hid-mouse-battery/capacity", "60\n");
    write(root.path(), "sys/class/power_supply/hid-mouse-battery/scope", "Device\n");
    write(root.path(), "sys/class/power_supply/bay/capacity", "0\n");
    write(root.path(), "sys/class/power_supply/bay/present", "0\n");
    let report = || json(&doctor(&["--json", "--root", root.path().to_str().unwrap()]));
    let found = |report: &Value| {
        let checks = report["checks"].as_array().unwrap();
        let battery = checks.iter().find(|check| check["check"] == "battery").unwrap();
        battery["found"].as_str().unwrap().to_owned()
    };
    assert_eq!(found(&report()), "max17048 87 %");
    std::fs::remove_dir_all(root.path().join("sys/class/power_supply/max17048")).unwrap();
    assert!(found(&report()).starts_with("none of the board: bay, hid-mouse-battery"), "{}", found(&report()));
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    raspberry_pi(root.path());
    write(root.path(), "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    write(root.path(), "sys/class/thermal/thermal_zone0/temp", "84000\n");
    std::fs::remove_file(root.path().join("dev/video0")).unwrap();
    std::fs::remove_file(root.path().join("dev/i2c-1")).unwrap();
    let output = doctor(&["--json", "--root", root.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = json(&output);
    assert_eq!(check(&report, "supply").0, "fail");
    assert_eq!(check(&report, "temperature").0, "fail");
    assert!(check(&report, "camera").1.contains("rpicam-vid"));
    assert!(check(&report, "i2c").1.contains("dtparam=i2c_arm=on"));
    assert_eq!(report["ok"], false);
}

#[test]
fn a_board_can_be_named_and_an_unknown_one_is_wrong_input() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    let output = doctor(&["--json", "--root", root, "--board", "jetson-nano"]);
    assert_eq!(json(&output)["board"]["name"], "Jetson Nano Developer Kit");
    let output = doctor(&["--root", root, "--board", "toaster"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("toaster") && error.contains("raspberry-pi-zero-2-w"), "{error}");
}

#[test]
fn the_list_has_every_board() {
    let output = doctor(&["--list", "--json"]);
    let ids: Vec<String> =
        json(&output)["boards"].as_array().unwrap().iter().map(|board| board["id"].as_str().unwrap().into()).collect();
    let expected = [
        "raspberry-pi-zero-2-w",
        "raspberry-pi-3",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "jetson-nano",
        "jetson-tx2",
        "jetson-orin-nano",
        "generic-linux",
    ];
    assert_eq!(ids, expected);
}
