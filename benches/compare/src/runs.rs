//! The runs in several result files, each with its lines. What one run measured is never mixed with another's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use crate::result::{self, Absent, Check, Device, End, Frontier, Instructions, Load, Machine, Record, Run, Time};

/// One run with everything it left behind, in the order of its lines.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The run.
    pub run: Run,
    /// What could not take part.
    pub absent: Vec<Absent>,
    /// Outputs against the reference.
    pub checks: Vec<Check>,
    /// Times; none of a runtime whose outputs are wrong.
    pub times: Vec<Time>,
    /// Loading and memory.
    pub loads: Vec<Load>,
    /// Operating points.
    pub frontiers: Vec<Frontier>,
    /// Executed instructions.
    pub instructions: Vec<Instructions>,
    /// Results that were left out.
    pub refused: Vec<Refused>,
    /// How the run ended; none if it was cut short, or written before this was recorded.
    pub end: Option<End>,
}

/// Results of a runtime whose outputs are not those of the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Refused {
    /// The runtime.
    pub runtime: String,
    /// The model.
    pub model: String,
    /// Where it ran.
    pub device: Device,
    /// How many results were left out.
    pub results: usize,
}

impl Measured {
    /// Models in the order in which the run came to them.
    pub(crate) fn models(&self) -> Vec<&str> {
        let named = (self.times.iter().map(|time| &time.model))
            .chain(self.loads.iter().map(|load| &load.model))
            .chain(self.frontiers.iter().map(|frontier| &frontier.model));
        let mut models = vec![];
        for model in named {
            if !models.contains(&model.as_str()) {
                models.push(model.as_str());
            }
        }
        models
    }

    fn new(run: Run) -> Self {
        Self {
            run,
            absent: vec![],
            checks: vec![],
            times: vec![],
            loads: vec![],
            frontiers: vec![],
            instructions: vec![],
            refused: vec![],
            end: None,
        }
    }

    /// `compare run` times nothing that computes something else; files put together by other means are held to the same.
    fn refuse_wrong_outputs(&mut self) {
        for check in self.checks.iter().filter(|check| !check.passed()) {
            let count = |times: &[Time], loads: &[Load], points: &[Frontier], counts: &[Instructions]| {
                times.len() + loads.len() + points.iter().map(|f| f.points.len()).sum::<usize>() + counts.len()
            };
            let before = count(&self.times, &self.loads, &self.frontiers, &self.instructions);
            let wrong = |runtime: &str, model: &str| runtime == check.runtime && model == check.model;
            self.times.retain(|time| !(wrong(&time.runtime, &time.model) && time.device == check.device));
            if check.device == Device::Cpu {
                self.loads.retain(|load| !wrong(&load.runtime, &load.model));
                self.instructions.retain(|count| !wrong(&count.runtime, &count.model));
                for frontier in &mut self.frontiers {
                    frontier.points.retain(|point| !wrong(&point.runtime, &frontier.model));
                }
                self.frontiers.retain(|frontier| !frontier.points.is_empty());
            }
            self.refused.push(Refused {
                runtime: check.runtime.clone(),
                model: check.model.clone(),
                device: check.device,
                results: before - count(&self.times, &self.loads, &self.frontiers, &self.instructions),
            });
        }
    }
}

/// Reads result files whole: newest run first.
///
/// # Errors
/// A file that cannot be read or holds no results; a line that is no result, holds impossible values, or belongs to a run that
/// no line begins; a run that begins twice. Names the file and the line.
pub(crate) fn gather(paths: &[PathBuf]) -> anyhow::Result<Vec<Measured>> {
    let mut lines = vec![];
    for path in paths {
        let records = result::read(path)?;
        ensure!(
            !records.is_empty(),
            "{}: no results in it; `compare run` writes some, one JSON object a line",
            path.display()
        );
        lines.extend(records.into_iter().map(|(line, record)| (path.as_path(), line, record)));
    }
    let mut runs: Vec<Measured> = vec![];
    let mut begun: BTreeMap<String, (usize, &Path, usize)> = BTreeMap::new();
    for (path, line, record) in &lines {
        let Record::Run(run) = record else { continue };
        if let Some((_, before, at)) = begun.get(&run.id) {
            let before = before.display();
            bail!("{}, line {line}: run {:?} begins again; {before}, line {at} began it", path.display(), run.id);
        }
        begun.insert(run.id.clone(), (runs.len(), path, *line));
        runs.push(Measured::new(run.clone()));
    }
    for (path, line, record) in lines {
        let at = || format!("{}, line {line}", path.display());
        let Some(id) = record.run() else { continue };
        let Some(&(index, ..)) = begun.get(id) else {
            bail!("{}: belongs to run {id:?}, which no line of these files begins", at());
        };
        possible(&record).with_context(at)?;
        let run = &mut runs[index];
        match record {
            Record::Run(_) => {}
            Record::Absent(absent) => run.absent.push(absent),
            Record::Check(check) => run.checks.push(check),
            Record::Time(time) => run.times.push(time),
            Record::Load(load) => run.loads.push(load),
            Record::Frontier(frontier) => run.frontiers.push(frontier),
            Record::Instructions(instructions) => run.instructions.push(instructions),
            Record::End(end) => run.end = Some(end),
        }
    }
    ensure!(!runs.is_empty(), "no line begins a run");
    for run in &mut runs {
        run.refuse_wrong_outputs();
    }
    runs.sort_by_key(|measured| std::cmp::Reverse(measured.run.started_s));
    Ok(runs)
}

/// Runs of one machine each, in the order in which machines first come.
pub(crate) fn machines(runs: &[Measured]) -> Vec<(&Machine, Vec<&Measured>)> {
    let mut machines: Vec<(&Machine, Vec<&Measured>)> = vec![];
    for measured in runs {
        let machine = &measured.run.machine;
        match machines.iter_mut().find(|(other, _)| same(other, machine)) {
            Some((_, runs)) => runs.push(measured),
            None => machines.push((machine, vec![measured])),
        }
    }
    machines
}

/// Clock, governor and system may change between two runs of a machine.
pub(crate) fn same(a: &Machine, b: &Machine) -> bool {
    let identity =
        |m: &Machine| (m.name.clone(), m.cpu.clone(), m.architecture.clone(), m.cores, m.gpu.clone(), m.emulated);
    identity(a) == identity(b)
}

/// Values that arithmetic later relies on.
fn possible(record: &Record) -> anyhow::Result<()> {
    let positive = |name: &str, value: f64| {
        ensure!(value.is_finite() && value > 0.0, "`{name}` is {value}, expected more than 0");
        Ok(())
    };
    match record {
        Record::Time(time) => {
            ensure!(!time.rounds_s.is_empty(), "`rounds_s` is empty, expected at least one round");
            time.rounds_s.iter().try_for_each(|&round| positive("rounds_s", round))?;
            positive("batch", time.batch as f64)?;
            positive("threads", time.threads as f64)
        }
        Record::Load(load) => {
            positive("load_s", load.load_s)?;
            positive("first_result_s", load.first_result_s)
        }
        Record::Frontier(frontier) => frontier.points.iter().try_for_each(|point| {
            positive("mean_s", point.mean_s)?;
            positive("macs", point.macs)?;
            point.joules.map_or(Ok(()), |joules| positive("joules", joules))?;
            let shares = point.shares.iter().chain([&point.accuracy]);
            for share in shares {
                ensure!((0.0..=1.0).contains(share), "{:?} holds the share {share}, expected 0 to 1", point.name);
            }
            Ok(())
        }),
        Record::Instructions(count) => positive("instructions", count.instructions as f64),
        Record::End(end) => {
            ensure!(end.took_s.is_finite() && end.took_s >= 0.0, "`took_s` is {}, expected 0 or more", end.took_s);
            let share = end.others.unwrap_or(0.0);
            ensure!((0.0..=1.0).contains(&share), "`others` is {share}, expected 0 to 1");
            Ok(())
        }
        Record::Run(_) | Record::Absent(_) | Record::Check(_) => Ok(()),
    }
}
