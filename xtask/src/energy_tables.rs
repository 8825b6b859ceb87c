//! The tables of `docs/energy.md`: simulated missions, written between two markers of the page.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use dyn_perceiver_core::file::atomic_write;
use serde_json::Value;

pub(crate) const TABLES: Markers = Markers { begin: "<!-- tables: begin -->", end: "<!-- tables: end -->" };
const WORLD: Markers = Markers { begin: "<!-- world: begin -->", end: "<!-- world: end -->" };

const GUARANTEES: Markers = Markers { begin: "<!-- guarantees: begin -->", end: "<!-- guarantees: end -->" };

/// Splits of the shipped model's records, the share of them that is calibrated on, and the limits: what so few records can certify.
const SPLITS: &str = "40";
const SHARE: &str = "0.6";
const LIMITS: [&str; 2] = ["0.02:0.9", "0.05:0.95"];

/// Comments of the page between which a command writes.
#[derive(Clone, Copy)]
pub(crate) struct Markers {
    pub begin: &'static str,
    pub end: &'static str,
}

/// Missions with the shipped model's records: a title, and options of `simulate`.
const SHIPPED: [(&str, &[&str]); 3] = [
    ("Shipped model for clothes, the governor chooses the period", &["--between-ms", "100,5000"]),
    (
        "Shipped model for clothes, the same with a battery that barely lasts",
        &["--between-ms", "250,2000", "--battery-wh", "120"],
    ),
    ("Shipped model for clothes, a frame every 250 ms", &[]),
];
/// Missions with synthetic records.
const SYNTHETIC: [(&str, &[&str]); 6] = [
    ("A frame every 250 ms", &[]),
    ("The governor chooses the period", &["--between-ms", "250,2000", "--battery-wh", "110"]),
    ("Events at random, 14,400 an hour", &["--per-hour", "14400"]),
    ("More by day (24,000 an hour) than by night (4,800)", &["--day-night", "24000,4800"]),
    ("Never below 85 % accuracy", &["--floor", "0.85"]),
    ("A 10 W solar panel", &["--solar", "10", "--battery-wh", "100"]),
];
const FAULTS: [&str; 6] = ["nack", "bus", "checksum", "out-of-range", "stuck", "jump"];

/// Write the tables of docs/energy.md, by many simulated missions
///
/// The records are those of the shipped model for clothes on photos that had no part in its training, as `calibrate` makes
/// them of the validation and the test photos in one folder.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Simulate with this program
    #[arg(long, value_name = "FILE", default_value = "target/release/dyn-perceiver")]
    program: PathBuf,
    /// Draw frames from these calibration records of the shipped model
    #[arg(long, value_name = "FILE", required_unless_present = "world_only")]
    records: Option<PathBuf>,
    /// Simulate so many missions for each table
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    seeds: u32,
    /// Write only the table of missions in a world of its own
    #[arg(long)]
    world_only: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let path = crate::root().join("docs/energy.md");
    let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let page = match &args.records {
        Some(records) if !args.world_only => {
            let records = records.to_string_lossy();
            let page = replaced(&page, GUARANTEES, &guarantees(&records)?)?;
            replaced(&page, TABLES, &missions(args, &records)?)?
        }
        _ => page,
    };
    let page = replaced(&page, WORLD, &world(args.seeds)?)?;
    atomic_write(&path, page.as_bytes()).with_context(|| path.display().to_string())
}

/// The table of missions in a world that shares nothing with the governor.
fn world(missions: u32) -> Result<String> {
    let missions = missions.to_string();
    let words = ["run", "--release", "-p", "dyn-perceiver-calibrate", "--example", "energy_world", "--", &missions];
    let table = printed(&words)?;
    Ok(format!(
        "{missions} missions a row, seeds from 1000. Made by `cargo {}` on {}, which `cargo xtask energy-tables \
         --world-only --seeds {missions}` writes here.\n\n{table}",
        words.join(" "),
        std::env::consts::ARCH
    ))
}

/// What guarantees cost on the shipped model's records.
fn guarantees(records: &str) -> Result<String> {
    let example = ["run", "--release", "-p", "dyn-perceiver-calibrate", "--example", "guarantees", "--", SPLITS];
    let table = printed(&[&example, &[records, SHARE][..], &LIMITS].concat())?;
    let shown = [&example, &["policy.records.csv", SHARE][..], &LIMITS].concat().join(" ");
    Ok(format!(
        "{SPLITS} random splits. Made by `cargo {shown}`, which `cargo xtask energy-tables` writes here.\n\n{table}"
    ))
}

/// What cargo prints when it is given `words`.
fn printed(words: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    let output = command.args(words).current_dir(crate::root()).output().context("cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", words.join(" "), said.trim());
    String::from_utf8(output.stdout).context("the table is no text")
}

/// The tables of missions in the governor's picture of the world.
fn missions(args: &Args, records: &str) -> Result<String> {
    let mut text = String::new();
    let mut last = Value::Null;
    for (title, options) in SHIPPED {
        last = simulate(args, &[&["--records", records], options].concat())?;
        let shown = [&["--records", "policy.records.csv"], options].concat();
        text += &mission(title, &shown, &last);
    }
    for (title, options) in SYNTHETIC {
        last = simulate(args, options)?;
        text += &mission(title, options, &last);
    }
    text += "### Gauge faults, from a random moment to the end\n\n";
    text += &row(&[
        "fault",
        "brown-outs",
        "lifetime",
        "SoC at the end",
        "lowest",
        "frames",
        "accuracy",
        "reasons given besides budget and hold",
    ]);
    text += "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n";
    for fault in FAULTS {
        let result = simulate(args, &["--fault", fault])?;
        text += &fault_row(fault, &result["strategies"]["governor"]);
    }
    let scenario = &last["scenario"];
    let head = format!(
        "{} missions of {:.0} h each, joules modelled: 200 ms for the whole network on a {}. Made by `cargo xtask \
         energy-tables` on {} with {} cores.\n",
        scenario["missions"],
        number(&scenario["hours"]),
        scenario["board"].as_str().unwrap_or("board"),
        std::env::consts::ARCH,
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    Ok(format!("{head}\n{text}"))
}

/// The report of `simulate` with these options.
fn simulate(args: &Args, options: &[&str]) -> Result<Value> {
    let mut command = Command::new(&args.program);
    command.args(["simulate", "--seeds", &args.seeds.to_string(), "--json"]).args(options);
    let output = command.output().with_context(|| args.program.display().to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "simulate {}: {}", options.join(" "), said.trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The page with other text between the markers.
pub(crate) fn replaced(page: &str, Markers { begin, end }: Markers, text: &str) -> Result<String> {
    let (before, rest) = page.split_once(begin).with_context(|| format!("the page has no `{begin}`"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("the page has no `{end}`"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim_end()))
}

fn mission(title: &str, options: &[&str], result: &Value) -> String {
    let mut command = format!("dyn-perceiver simulate --seeds {}", result["scenario"]["missions"]);
    options.iter().for_each(|option| command += &format!(" {option}"));
    let mut text = format!("### {title}\n\n`{command}`\n\n");
    text += &row(&[
        "who decides",
        "frames",
        "accuracy",
        "right per Wh",
        "lifetime",
        "SoC at the end",
        "lowest",
        "within 2 points of the reserve",
        "more than 2 below",
        "brown-outs",
        "switches",
    ]);
    text += "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for (name, strategy) in result["strategies"].as_object().into_iter().flatten() {
        let share = |key: &str| percent(&strategy[key]);
        let whole = |key: &str| format!("{:.0}", number(&strategy[key]));
        text += &row(&[
            name,
            &whole("frames"),
            &share("accuracy"),
            &whole("right_per_watt_hour"),
            &share("lifetime"),
            &share("soc_mean"),
            &share("soc_lowest"),
            &share("within_2_points"),
            &share("below_2_points"),
            &whole("brown_outs"),
            &whole("switches"),
        ]);
    }
    let times = |over: &str, key: &str| format!("x {:.3}", number(&result[over][key]));
    let (steps, hindsight) = ("governor_over_steps", "governor_over_steps_in_hindsight");
    text + &format!(
        "\nGovernor over SoC steps: frames {}, right answers per watt-hour {}; over those in hindsight: {} and {}. Right \
         answers over the oracle's: {}.\n\n",
        times(steps, "frames"),
        times(steps, "right_per_watt_hour"),
        times(hindsight, "frames"),
        times(hindsight, "right_per_watt_hour"),
        percent(&result["governor_over_oracle"]["right"])
    )
}

fn fault_row(fault: &str, governor: &Value) -> String {
    let share = |key: &str| percent(&governor[key]);
    let reasons = governor["reasons"].as_object().into_iter().flatten();
    let told = reasons.filter(|(name, _)| !["budget", "hold"].contains(&name.as_str()));
    let told: Vec<String> = told.map(|(name, share)| format!("{name} {}", percent(share))).collect();
    row(&[
        fault,
        &format!("{:.0}", number(&governor["brown_outs"])),
        &share("lifetime"),
        &share("soc_mean"),
        &share("soc_lowest"),
        &format!("{:.0}", number(&governor["frames"])),
        &share("accuracy"),
        &told.join(", "),
    ])
}

/// A row of a table in Markdown.
fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn percent(share: &Value) -> String {
    format!("{:.1} %", 100.0 * number(share))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn energy_tables_replace_what_stands_between_the_markers() {
        for Markers { begin, end } in [TABLES, WORLD, GUARANTEES] {
            let page = format!("before\n{begin}\nold\n{end}\nafter\n");
            let new = replaced(&page, Markers { begin, end }, "new\n").unwrap();
            assert_eq!(new, format!("before\n{begin}\n\nnew\n\n{end}\nafter\n"));
        }
        assert!(replaced("no markers", WORLD, "new").is_err());
    }

    #[test]
    fn energy_tables_have_a_row_for_each_strategy() {
        let strategy = json!({"frames": 10.4, "accuracy": 0.5, "right_per_watt_hour": 3.0, "lifetime": 1.0, "soc_mean": 0.1,
            "soc_lowest": 0.08, "within_2_points": 0.75, "below_2_points": 0.0, "brown_outs": 0, "switches": 2.0,
            "reasons": {"budget": 0.9, "start": 0.1}});
        let result = json!({"scenario": {"missions": 2}, "strategies": {"governor": strategy},
            "governor_over_steps": {"frames": 1.5, "right_per_watt_hour": 1.25}});
        let text = mission("A title", &["--solar", "10"], &result);
        assert!(
            text.starts_with("### A title\n\n`dyn-perceiver simulate --seeds 2 --solar 10`\n\n| who decides |"),
            "{text}"
        );
        assert!(
            text.contains("\n| governor | 10 | 50.0 % | 3 | 100.0 % | 10.0 % | 8.0 % | 75.0 % | 0.0 % | 0 | 2 |\n")
        );
        assert!(text.contains("frames x 1.500, right answers per watt-hour x 1.250"));
        let row = fault_row("nack", &result["strategies"]["governor"]);
        assert_eq!(row, "| nack | 0 | 100.0 % | 10.0 % | 8.0 % | 10 | 50.0 % | start 10.0 % |\n");
    }
}
