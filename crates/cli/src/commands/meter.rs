//! `meter`: what a power monitor reads for a while.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args as ClapArgs;
use dyn_perceiver::sensors::open::{open_monitor, open_rapl};
use dyn_perceiver::sensors::profile::{EnergyMeter, SampledMeter};
use serde::Serialize;

use crate::args::number;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::out::Out;

/// Intervals that a measurement is divided into, for its standard error.
const INTERVALS: u32 = 20;
/// Pause between two readings of a monitor.
const PAUSE: Duration = Duration::from_millis(5);

/// Read a power monitor for a while: watts with their standard error, and joules
///
/// For the figures of a board.toml, see docs/energy.md: idle, with one core busy, with the camera. A command after -- runs
/// meanwhile and is ended with the measurement. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Read this: rapl, or a power monitor such as rail:LABEL or ina219:BUS:ADDRESS:OHMS
    #[arg(long, value_name = "MONITOR")]
    monitor: String,
    /// Read for so many seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = number::seconds)]
    seconds: Duration,
    /// Wait so many seconds before, for a command to get going
    #[arg(long, default_value = "0", value_name = "SECONDS", value_parser = number::seconds_or_none)]
    settle: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Run this meanwhile
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report {
    monitor: String,
    seconds: f64,
    watts: f64,
    /// Standard error of the watts, from intervals.
    standard_error: f64,
    joules: f64,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let name = args.monitor.as_str();
    let mut monitor: Box<dyn FnMut(Duration) -> Result<f64, Failure>> = if name == "rapl" {
        let mut meter = open_rapl().or_input()?;
        Box::new(move |time| Ok(meter.during(&mut || std::thread::sleep(time))?))
    } else {
        let mut meter = SampledMeter::new(open_monitor(name).or_input()?, PAUSE);
        Box::new(move |time| Ok(meter.during(&mut || std::thread::sleep(time))?))
    };
    let _meanwhile = args.command.split_first().map(|(program, rest)| Meanwhile::start(program, rest)).transpose()?;
    std::thread::sleep(args.settle);
    let report = measure(name, args.seconds, &mut monitor)?;
    let mut out = Out::stdout();
    if args.json {
        return Ok(out.json(&report)?);
    }
    let Report { seconds, watts, standard_error, joules, .. } = report;
    writeln!(out, "{watts:.4} ± {standard_error:.4} W, {joules:.3} J in {seconds:.1} s")?;
    Ok(())
}

/// Joules of interval after interval, and what they come to.
fn measure(
    monitor: &str,
    time: Duration,
    read: &mut dyn FnMut(Duration) -> Result<f64, Failure>,
) -> Result<Report, Failure> {
    let (mut watts, mut joules, mut seconds) = (Vec::new(), 0.0, 0.0);
    for _ in 0..INTERVALS {
        let began = Instant::now();
        let spent = read(time / INTERVALS)?;
        let took = began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        watts.push(spent / took);
        (joules, seconds) = (joules + spent, seconds + took);
    }
    let (n, mean) = (f64::from(INTERVALS), joules / seconds);
    let variance = watts.iter().map(|watts| (watts - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Ok(Report { monitor: monitor.to_owned(), seconds, watts: mean, standard_error: (variance / n).sqrt(), joules })
}

/// A command that runs while something is measured.
struct Meanwhile(Child);

impl Meanwhile {
    fn start(program: &str, arguments: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn().with_context(|| program.to_owned()).or_input()?))
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        // One that has ended by itself needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watts_are_joules_over_time_and_the_error_follows_from_intervals() {
        let mut reading = 0;
        // 2 and 4 J in turns, in whatever time that takes.
        let mut read = |_| {
            reading += 1;
            std::thread::sleep(Duration::from_millis(2));
            Ok(if reading % 2 == 0 { 4.0 } else { 2.0 })
        };
        let report = measure("a test", Duration::from_millis(40), &mut read).unwrap();
        assert_eq!(report.joules, 60.0);
        assert!((report.watts * report.seconds - 60.0).abs() < 1e-9);
        assert!(report.standard_error > 0.0);
        let schema = include_str!("../../../../docs/schemas/meter.json");
        let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
        let line = crate::output::json::line(&crate::output::json::Versioned::new(&report)).unwrap();
        assert!(validator.is_valid(&serde_json::from_slice(&line).unwrap()));
    }
}
