//! `plan`: a mission worked out from board, battery, sun and model.

use serde_json::Value;

use crate::program::{json, program, refuses};

const BOARD: [&str; 3] = ["plan", "--board", "raspberry-pi-zero-2-w"];

fn plan(more: &[&str]) -> Value {
    json(&[&BOARD[..], more, &["--json"]].concat())
}

fn row<'a>(plan: &'a Value, measure: &str) -> &'a Value {
    let rows = plan["rows"].as_array().unwrap();
    rows.iter().find(|row| row["measure"].as_str().unwrap().starts_with(measure)).unwrap()
}

fn hours(row: &Value) -> f64 {
    row["hours"].as_f64().unwrap_or(f64::INFINITY)
}

#[test]
fn every_measure_lengthens_life_and_all_together_do_most() {
    let plan = plan(&["--battery-wh", "37", "--days", "7"]);
    let base = hours(row(&plan, "as it comes"));
    let rows = plan["rows"].as_array().unwrap();
    assert!(rows.len() >= 7);
    for measure in rows.iter().filter(|row| !row["measure"].as_str().unwrap().starts_with("switched")) {
        assert!(hours(measure) >= base, "{measure}");
    }
    let all = hours(row(&plan, "all of them, off"));
    assert!(rows.iter().all(|row| hours(row) <= all), "{plan}");
    // Watts and hours are two ways to say one thing: 37 Wh, of which 81 % are to be had.
    let watts = row(&plan, "as it comes")["watts"].as_f64().unwrap();
    assert!((base * watts - 37.0 * 0.81).abs() < 0.01);
}

#[test]
fn the_wish_decides_the_period_and_what_to_buy() {
    // A week on 37 Wh is 0.178 W: no board that is always on draws so little.
    let week = plan(&["--battery-wh", "37", "--days", "7"]);
    let advice = &week["advice"];
    assert_eq!(advice["period_s"], Value::Null);
    assert!((advice["allowed_watts"].as_f64().unwrap() - 37.0 * 0.81 / 168.0).abs() < 1e-4);
    assert!(advice["events_per_day"].as_f64().unwrap() > 100.0);
    let needed = advice["battery_wh"].as_f64().unwrap();
    // With the battery that it advises it lasts, with a little less it does not.
    let with = |wh: f64| plan(&["--battery-wh", &wh.to_string(), "--days", "7"])["advice"]["period_s"].clone();
    assert!(with(needed * 1.001).is_number() && with(needed * 0.999).is_null(), "{needed}");
    let panel = advice["solar_wp"].as_f64().unwrap();
    let sun = |wp: f64| plan(&["--battery-wh", "37", "--days", "7", "--solar-wp", &wp.to_string()]);
    assert!(sun(panel * 1.001)["advice"]["period_s"].is_number() && sun(panel * 0.999)["advice"]["period_s"].is_null());
    assert!(advice["boards"].as_array().unwrap().iter().any(|board| board["board"] == "raspberry-pi-4"));
}

#[test]
fn every_figure_has_its_source_and_what_nobody_measured_says_so() {
    let plan = plan(&["--battery-wh", "37", "--days", "7", "--solar-wp", "6"]);
    let facts = plan["facts"].as_array().unwrap();
    assert!(facts.iter().all(|fact| !fact["source"].as_str().unwrap().is_empty()), "{facts:?}");
    let basis = |name: &str| &facts.iter().find(|fact| fact["name"] == name).unwrap()["basis"];
    assert_eq!(basis("idle board"), "published measurement");
    assert_eq!(basis("one core busy"), "not measured");
    assert_eq!(basis("battery"), "given");
    assert_eq!(basis("yield of a panel"), "assumed");
    let output = program(&[&BOARD[..], &["--battery-wh", "37", "--days", "7"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("not measured: ") && text.contains("profile --sweep"), "{text}");
    assert!(text.contains("always on it does not last"), "{text}");
}

#[test]
fn a_profile_of_the_board_comes_before_what_is_estimated() {
    let folder = tempfile::tempdir().unwrap();
    let stages: Vec<String> = ["early3", "att", "cnn", "merge"]
        .iter()
        .map(|exit| {
            format!(r#"{{"exit":"{exit}","joules":0.25,"standard_error":0.01,"seconds":0.5,"cumulative_joules":0.0}}"#)
        })
        .collect();
    let variants = r#"[{"threads":4,"megahertz":600.0,"seconds":1.0,"joules":0.6,"standard_error":0.01}]"#;
    let text = format!(
        r#"{{"source":"measured","method":"a meter","idle_watts":0.5,"stages":[{}],"variants":{variants}}}"#,
        stages.join(",")
    );
    let path = folder.path().join("profile.json");
    std::fs::write(&path, text).unwrap();
    let plot = folder.path().join("plan.svg");
    let profile = ["--profile", path.to_str().unwrap(), "--plot", plot.to_str().unwrap()];
    let plan =
        plan(&[&["--battery-wh", "10", "--days", "1", "--fps", "0.1", "--camera-size", "1x1"], &profile[..]].concat());
    let watts = |measure| row(&plan, measure)["watts"].as_f64().unwrap();
    // Idle, camera, and a joule every ten seconds.
    assert!((watts("as it comes") - 0.5 - 0.13 - 0.1).abs() < 1e-4, "{plan}");
    assert!((watts("the threads and clock") - 0.5 - 0.13 - 0.06).abs() < 1e-4);
    let drawing = std::fs::read_to_string(plot).unwrap();
    assert!(drawing.contains("<svg") && drawing.contains("Raspberry Pi Zero 2 W") && drawing.contains("early exit"));
}

#[test]
fn what_is_asked_of_the_policy_lowers_early_exit_alone() {
    let base = ["--battery-wh", "37", "--days", "7"];
    let right = |more: &[&str], measure: &str| {
        row(&plan(&[&base[..], more].concat()), measure)["right_per_day"].as_f64().unwrap()
    };
    let (whole, early) = (right(&[], "as it comes"), right(&[], "early exit"));
    let asked = ["--accuracy", "80%"];
    assert_eq!(right(&asked, "as it comes"), whole, "the whole network is as accurate as ever");
    assert!(right(&asked, "early exit") < early);
    let watts = |more: &[&str]| row(&plan(&[&base[..], more].concat()), "early exit")["watts"].as_f64().unwrap();
    let cheap = ["--budget", "110M"];
    assert_eq!(right(&cheap, "as it comes"), whole);
    assert!(right(&cheap, "early exit") < early && watts(&cheap) < watts(&[]));
}

#[test]
fn figures_of_another_board_are_not_called_measured_and_missing_rows_have_a_reason() {
    let jetson = |more: &[&str]| {
        json(&[&["plan", "--board", "jetson-nano", "--battery-wh", "100", "--days", "1", "--json"], more].concat())
    };
    let plan = jetson(&[]);
    let facts = plan["facts"].as_array().unwrap();
    let fact = |name: &str| facts.iter().find(|fact| fact["name"] == name).unwrap();
    assert_eq!(fact("idle board")["basis"], "not measured");
    assert!(fact("idle board")["source"].as_str().unwrap().contains("Raspberry Pi 4"), "{}", fact("idle board"));
    for assumed in ["frames in a burst", "around a burst", "gate, as a share"] {
        assert_eq!(fact(assumed)["basis"], "assumed", "{assumed}");
    }
    let left_out: Vec<&str> = plan["left_out"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(
        left_out[0].starts_with("run --save-power --radio-off: ") && left_out[1].contains("boot.joules"),
        "{left_out:?}"
    );
    assert!(jetson(&["--radio"])["left_out"][0].as_str().unwrap().contains("the radio is needed"));
}

#[test]
fn a_gate_that_was_measured_costs_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.json");
    let path = path.to_str().unwrap();
    let base = ["--battery-wh", "37", "--days", "7", "--still", "50%"];
    let right = |more: &[&str], measure: &str| {
        row(&plan(&[&base[..], more].concat()), measure)["right_per_day"].as_f64().unwrap()
    };
    std::fs::write(path, r#"{"threshold":0.1,"pairs":10,"held":5,"wrong":0,"max_loss":0.02,"confidence":0.95}"#)
        .unwrap();
    let lost = right(&[], "a gate") - right(&["--gate-report", path], "a gate");
    assert!((lost - 86_400.0 * 0.5 * 0.02).abs() < 1e-6, "{lost}");
    assert_eq!(right(&[], "as it comes"), right(&["--gate-report", path], "as it comes"));
    let refused = |text: &str, parts: &[&str]| {
        std::fs::write(path, text).unwrap();
        refuses(&[&BOARD[..], &base, &["--gate-report", path]].concat(), parts);
    };
    refused(r#"{"threshold":null,"max_loss":0.02,"confidence":0.95}"#, &["no threshold"]);
    refused("gate = 1", &["gate --json"]);
}

/// What docs/energy.md shows is what the command above it prints, up to the list of figures; renewed as other golden files are.
#[test]
fn golden_documented_plan_is_the_one_that_is_printed() {
    let path = crate::program::repository().join("docs/energy.md");
    let documented = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let (_, after) = documented.split_once("    dyn-perceiver plan --board").unwrap();
    let (command, after) = after.split_once('\n').unwrap();
    let (_, after) = after.split_once("```text\n").unwrap();
    let (shown, _) = after.split_once("```").unwrap();
    // The drawing is left out: it goes to a file.
    let command = command.split(" --plot").next().unwrap();
    let args: Vec<&str> = ["plan", "--board"].into_iter().chain(command.split_whitespace()).collect();
    let printed = String::from_utf8(program(&args).stdout).unwrap();
    let (printed, _) = printed.split_once("\n\nbattery ").unwrap();
    let printed = format!("{}\n", printed.trim_end());
    if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
        return std::fs::write(&path, documented.replacen(shown, &printed, 1)).unwrap();
    }
    assert_eq!(printed, shown, "copy what `dyn-perceiver {}` prints", args.join(" "));
}

#[test]
fn a_plan_without_what_it_needs_is_refused() {
    refuses(&["plan", "--days", "7"], &["--battery-wh"]);
    refuses(&["plan", "--battery-wh", "37", "--days", "0"], &["--days"]);
    for nothing in [["--reserve", "100%"], ["--efficiency", "0%"]] {
        refuses(&[&["plan", "--battery-wh", "37", "--days", "7"], &nothing[..]].concat(), &["--reserve", "nothing"]);
    }
    refuses(&["plan", "--battery-wh", "37", "--days", "7", "--board", "toaster"], &["toaster", "raspberry-pi-4"]);
    refuses(&["plan", "--battery-wh", "37", "--days", "7", "--thresholds", "0.5,0.5,0.5"], &["--policy"]);
}
