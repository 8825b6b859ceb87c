//! What one comparison leaves behind: JSON lines, one [`Record`] each. Files of several machines and runs may be appended to
//! one another; every line names its run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// Raised when a key changes its meaning; lines of another version are refused.
pub(crate) const SCHEMA: u32 = 1;

/// One line of a result file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// A run begins: where, when, with what.
    Run(Run),
    /// A runtime could not take part, or not in one task.
    Absent(Absent),
    /// Outputs agreed with the reference, or did not: then nothing of that runtime was timed.
    Check(Check),
    /// Times of one task in one runtime.
    Time(Time),
    /// Loading and memory of one runtime, in a process of its own.
    Load(Load),
    /// Accuracy against cost under the policies of a frontier.
    Frontier(Frontier),
    /// Executed instructions per inference.
    Instructions(Instructions),
    /// A run ends: how busy the machine was with other things.
    End(End),
}

impl Record {
    /// The run that the line belongs to; none for the line that begins one.
    pub(crate) fn run(&self) -> Option<&str> {
        match self {
            Record::Run(_) => None,
            Record::Absent(absent) => Some(&absent.run),
            Record::Check(check) => Some(&check.run),
            Record::Time(time) => Some(&time.run),
            Record::Load(load) => Some(&load.run),
            Record::Frontier(frontier) => Some(&frontier.run),
            Record::Instructions(instructions) => Some(&instructions.run),
            Record::End(end) => Some(&end.run),
        }
    }
}

/// One run of the comparison on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Names the run in its other lines.
    pub id: String,
    /// Seconds since 1970, UTC.
    pub started_s: u64,
    /// Version control's name of the code measured, with `+` where files had been changed; none outside a checkout.
    pub commit: Option<String>,
    /// The short set: fewer models, tasks and rounds.
    pub quick: bool,
    /// Where it ran.
    pub machine: Machine,
    /// Runtime to version.
    pub versions: BTreeMap<String, String>,
    /// What times are.
    #[serde(default, skip_serializing_if = "Clock::is_wall")]
    pub clock: Clock,
}

/// What times are taken by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Clock {
    /// Time that passes, which is what a user waits.
    #[default]
    Wall,
    /// Time that the runtime's threads were on a core, which other programs leave alone but for the caches.
    Cpu,
}

impl Clock {
    /// Whether it is the usual one.
    pub(crate) fn is_wall(&self) -> bool {
        *self == Clock::Wall
    }
}

/// The machine as far as it bears on times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// What tables call it: given by the user, or the board's or processor's name.
    pub name: String,
    /// Processor as the kernel names it.
    pub cpu: String,
    /// `x86_64`, `aarch64`, …
    pub architecture: String,
    /// Cores given to the process.
    pub cores: usize,
    /// Vector extensions that matter here, of what the kernel lists.
    pub flags: Vec<String>,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Frequency governor of the first core.
    pub governor: Option<String>,
    /// Least and most clock of the first core, MHz.
    pub clock_mhz: Option<(u32, u32)>,
    /// Whether the machine throttled, at the end of the run, where it tells.
    pub throttled: Option<bool>,
    /// Operating system and kernel.
    pub system: String,
    /// An NVIDIA GPU's name.
    pub gpu: Option<String>,
    /// The program ran under an emulator: times mean nothing there.
    pub emulated: bool,
}

/// A run ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    /// [`Run::id`].
    pub run: String,
    /// Seconds from the first line to this one.
    pub took_s: f64,
    /// Share of all cores' time that other programs took meanwhile; none where the system does not tell.
    pub others: Option<f64>,
    /// Whether the machine throttled at the end, where it tells.
    pub throttled: Option<bool>,
}

impl End {
    /// Whether other programs took so much that times are longer than they need be.
    pub(crate) fn is_busy(&self) -> bool {
        self.others.is_some_and(|share| share > BUSY)
    }
}

/// Other programs' share of the cores from which on a machine counts as busy: a tenth of one core of two.
const BUSY: f64 = 0.05;

/// Why something is missing. A runtime that is missing is listed, never counted as zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Absent {
    /// [`Run::id`].
    pub run: String,
    /// The runtime.
    pub runtime: String,
    /// Only for this model.
    pub model: Option<String>,
    /// Only on this device, else the processor.
    pub device: Device,
    /// What was missing, for a person.
    pub reason: String,
}

/// Where a task runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The first CUDA device.
    Cuda,
}

/// What is computed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub(crate) enum Task {
    /// Every exit.
    Full,
    /// One exit alone.
    Exit {
        /// The exit.
        exit: String,
        /// How the runtime comes to compute no more, or why it does not.
        how: How,
    },
    /// Frames that leave at fixed shares: 40 %, 30 %, 20 % and 10 % at four exits, say.
    Adaptive {
        /// Per mille of the frames that leave at each exit, in order of cost.
        shares: Vec<u32>,
    },
}

/// How one exit alone is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// Stage by stage, up to the exit.
    Staged,
    /// A second model file, cut at the exit.
    Cut,
    /// The whole model, one output fetched.
    Fetch,
}

/// Largest difference from the reference, over all exits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Check {
    /// [`Run::id`].
    pub run: String,
    /// The model.
    pub model: String,
    /// The runtime.
    pub runtime: String,
    /// Where it ran.
    pub device: Device,
    /// Largest absolute difference of a logit, over the largest absolute logit of the reference; infinite, which is null
    /// in JSON, where outputs are missing, of another size, or no numbers.
    #[serde(deserialize_with = "infinite_if_null")]
    pub difference: f64,
    /// Most that is let pass.
    pub tolerance: f64,
}

impl Check {
    /// Whether the runtime computes the same thing. A difference that is no number is not the same.
    pub(crate) fn passed(&self) -> bool {
        self.difference <= self.tolerance
    }
}

fn infinite_if_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

/// Times of one task. Series with the same run, model, task group, device, threads and batch were taken in turns: round i of one
/// ran right beside round i of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Time {
    /// [`Run::id`].
    pub run: String,
    /// The model.
    pub model: String,
    /// The runtime.
    pub runtime: String,
    /// What is computed.
    #[serde(flatten)]
    pub task: Task,
    /// Where.
    pub device: Device,
    /// Threads the runtime was given.
    pub threads: usize,
    /// Frames per call.
    pub batch: usize,
    /// Names the series that were taken in turns with this one.
    pub group: String,
    /// Calls per round; a round's time is the mean of its calls.
    pub calls: usize,
    /// Seconds per call, one per round, in order.
    pub rounds_s: Vec<f64>,
}

/// Loading and memory. The process does nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// [`Run::id`].
    pub run: String,
    /// The model.
    pub model: String,
    /// The runtime.
    pub runtime: String,
    /// What the runtime loads: `onnx`, or `bundle`.
    pub format: String,
    /// Threads.
    pub threads: usize,
    /// From file to ready, seconds: median of several processes.
    pub load_s: f64,
    /// From file to first result, seconds: median of several processes.
    pub first_result_s: f64,
    /// Most memory the process held after some frames, bytes.
    pub peak_rss_bytes: u64,
    /// Of it, what the process held before it loaded anything: program, interpreter, libraries.
    pub base_rss_bytes: u64,
    /// Bytes of the model on disk.
    pub model_bytes: u64,
    /// Bytes of the program and libraries on disk, where they are known.
    pub program_bytes: Option<u64>,
}

/// A model's operating points, run on labelled frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frontier {
    /// [`Run::id`].
    pub run: String,
    /// The model.
    pub model: String,
    /// Threads.
    pub threads: usize,
    /// Frames that every point saw.
    pub frames: usize,
    /// `measured`, or what the joules are modelled by.
    pub energy: String,
    /// The points, cheapest first.
    pub points: Vec<Point>,
}

/// One operating point, or one exit alone, or a peer's full network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// The runtime.
    pub runtime: String,
    /// What it is: `point 3`, `early3 alone`, `full network`.
    pub name: String,
    /// `adaptive`, `exit` or `full`: which points a line joins.
    pub series: String,
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean seconds per frame.
    pub mean_s: f64,
    /// Mean joules per frame, idle power included; none where no model of power is at hand.
    pub joules: Option<f64>,
    /// Mean multiply-accumulates per frame.
    pub macs: f64,
    /// Share of the frames that left at each exit.
    pub shares: Vec<f64>,
}

/// Executed instructions per inference, counted by an emulator or by valgrind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instructions {
    /// [`Run::id`].
    pub run: String,
    /// The model, or the name of a benchmark.
    pub model: String,
    /// The runtime.
    pub runtime: String,
    /// What is computed.
    #[serde(flatten)]
    pub task: Task,
    /// Processor: `cortex-a72`, `x86_64`.
    pub cpu: String,
    /// Instructions per inference.
    pub instructions: u64,
    /// Of them, vector multiply-accumulates, where the counter tells.
    pub vector_fma: Option<u64>,
    /// Misses of the processor's modelled data caches, first and second level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misses: Option<[u64; 2]>,
    /// How it was counted: `qemu`, `valgrind`.
    pub counter: String,
}

/// All records of a file in order, each with the number of its line.
///
/// # Errors
/// Names the file and the line that is no record, or one of another version.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<(usize, Record)>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut records = vec![];
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = || format!("{}, line {}", path.display(), index + 1);
        let record: Record = serde_json::from_str(line).with_context(|| format!("{}: no result", at()))?;
        if let Record::Run(run) = &record
            && run.schema != SCHEMA
        {
            bail!("{}: version {} of results, this program knows version {SCHEMA}", at(), run.schema);
        }
        records.push((index + 1, record));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_compared_survives_json() {
        let check = Check {
            run: "a".to_owned(),
            model: "m".to_owned(),
            runtime: "r".to_owned(),
            device: Device::Cpu,
            difference: f64::INFINITY,
            tolerance: 1e-3,
        };
        let line = serde_json::to_string(&Record::Check(check.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), Record::Check(check.clone()));
        assert!(!check.passed());
    }
}
