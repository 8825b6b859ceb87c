//! Runs the loop for long and watches its memory and its account of frames.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use serde_json::Value;

/// Run the loop on synthetic frames for long, with an eye on its memory
///
/// Fails when resident memory leaves ±2 % of what it was after the warm-up, exceeds the ceiling, or when a frame is neither
/// classified nor counted as dropped.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The program
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// Minutes in all
    #[arg(long, value_name = "NUMBER", default_value_t = 60.0)]
    minutes: f64,
    /// Minutes before memory is compared
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    warm_up: f64,
    /// Frames per second
    #[arg(long, value_name = "NUMBER", default_value_t = 30)]
    fps: u32,
    /// Most resident memory, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 128.0)]
    ceiling: f64,
    /// Further options of `run`
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = Command::new(&args.binary);
    command.args(["run", "--json", "--no-compare", "--camera", "synthetic", "--battery-wh", "1e6", "--fps"]);
    command.arg(args.fps.to_string()).args(&args.options);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| args.binary.display().to_string())?;
    let output = child.stdout.take().context("no standard output")?;
    let pid = child.id();
    let result = watch(args, pid, BufReader::new(output));
    // It has ended already unless the watch failed.
    let _ = child.kill();
    let _ = child.wait();
    result
}

fn watch(args: &Args, pid: u32, output: impl std::io::BufRead) -> Result<()> {
    let minutes = |minutes: f64| Duration::from_secs_f64(60.0 * minutes);
    let (warm_up, end) = (minutes(args.warm_up), minutes(args.minutes));
    let began = Instant::now();
    let mut sampled = began;
    let (mut frames, mut last) = (0u64, None);
    let mut resident: Vec<f64> = Vec::new();
    let mut stopping = false;
    for line in output.lines() {
        let record: Value = serde_json::from_str(&line?)?;
        match record["kind"].as_str() {
            Some("frame") => {
                frames += 1;
                last = record["frame"].as_u64();
            }
            Some("summary") => {
                let dropped = record["dropped"].as_u64().context("no count of dropped frames")?;
                let made = last.context("no frame")? + 1;
                ensure!(frames + dropped == made, "{made} frames made, {frames} classified, {dropped} dropped");
                println!("{made} frames made: {frames} classified, {dropped} dropped, none lost uncounted");
            }
            _ => {}
        }
        if began.elapsed() >= end && !stopping {
            stopping = true;
            crate::run(Command::new("kill").args(["-TERM", &pid.to_string()]))?;
        }
        if began.elapsed() >= warm_up && sampled.elapsed() >= Duration::from_secs(1) && !stopping {
            sampled = Instant::now();
            resident.push(resident_mib(pid)?);
        }
    }
    ensure!(stopping, "the loop ended by itself after {:.0} s", began.elapsed().as_secs_f64());
    let first = *resident.first().context("no memory sample: the run was shorter than its warm-up")?;
    let (low, high) = resident.iter().fold((first, first), |(low, high), &mib| (low.min(mib), high.max(mib)));
    println!(
        "resident memory: {first:.1} MiB after the warm-up, then {low:.1} to {high:.1} MiB in {} samples",
        resident.len()
    );
    ensure!(high <= args.ceiling, "{high:.1} MiB is more than the ceiling of {:.1} MiB", args.ceiling);
    ensure!(low >= 0.98 * first && high <= 1.02 * first, "resident memory is not flat within 2 %");
    Ok(())
}

/// Resident memory of a process, from the kernel.
fn resident_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().next().context("VmRSS is empty")?.parse()?;
    Ok(kib / 1024.0)
}
