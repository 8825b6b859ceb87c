//! `compare run`: measures every runtime on the same models, inputs and threads, in turns, and appends what it found to a
//! file of results.

mod busy;
mod clock;
pub(crate) mod count;
mod frontier;
mod loads;
mod machine;
mod models;
mod other;
mod peer;
mod precision;
mod progress;
mod reference;
mod results;
mod runtimes;
mod series;
mod tasks;
mod venv;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::failure;
use crate::protocol::Load;
use crate::result::{Check, Clock, Device, Record, Task, Time};
use models::Model;
use peer::{Missing, Peer, Runtime};
use progress::Progress;
use reference::Reference;
use results::Results;
use series::{Clocked, Effort, until_they_agree};
use tasks::{Extent, Group};

/// Arguments of `compare run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where results are appended, as JSON lines.
    #[arg(long, short, value_name = "FILE", default_value = "results.jsonl")]
    output: PathBuf,
    /// Fewer models, tasks and rounds, in some three minutes.
    #[arg(long)]
    quick: bool,
    /// Models by name, or ONNX files with several classifier outputs [default: all four; with --quick the first two].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Runtimes by name [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    runtimes: Option<Vec<String>>,
    /// A further runtime, by a name and the command that starts it; docs/benchmarks.md says what it reads and writes.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = runtimes::further)]
    peer: Vec<Runtime>,
    /// Numbers of threads [default: 1 and all cores].
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    threads: Option<Vec<usize>>,
    /// Batches to measure the full network with, besides single images [default: 8,32; none with --quick].
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    batches: Option<Vec<usize>>,
    /// What times are: wall, or cpu for the time that one thread was on a core, where other programs keep a machine busy.
    #[arg(long, value_name = "CLOCK", value_enum, default_value_t = Clock::Wall)]
    clock: Clock,
    /// What tables call this machine [default: the board's or the processor's name].
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// The machine is emulated: outputs are checked and instructions mean something, times do not.
    #[arg(long)]
    emulated: bool,
    /// A virtual environment with the peers from PyPI [default: one made in the cache].
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_python")]
    venv: Option<PathBuf>,
    /// Leave out the peers from PyPI, but for ONNX Runtime where --onnxruntime names it.
    #[arg(long)]
    no_python: bool,
    /// ONNX Runtime's shared library [default: the one in the virtual environment].
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Watts that the machine draws while it computes: joules are then modelled as watts times seconds [default: the
    /// processor's own counters where they can be read].
    #[arg(long, value_name = "WATTS")]
    watts: Option<f64>,
    /// Where models and the virtual environment are kept [default: target/compare].
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Print the records on standard output too.
    #[arg(long)]
    json: bool,
}

/// Runs the comparison.
///
/// # Errors
/// Wrong input for names that are not known; else what cannot be read, written or started.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = repository()?;
    let cache = args.cache.clone().unwrap_or_else(|| root.join("target/compare"));
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let progress = Progress::new();
    let venv = if args.no_python {
        None
    } else if let Some(folder) = &args.venv {
        Some(venv::Venv::at(folder, &cache)?)
    } else {
        match venv::Venv::open(&cache, &mut |text| progress.say(text)) {
            Ok(venv) => Some(venv),
            Err(error) => {
                progress.print(&format!("no peers from PyPI: {error:#}"));
                None
            }
        }
    };
    let library = args.onnxruntime.clone().or_else(|| venv.as_ref().and_then(venv::Venv::onnxruntime));
    let mut all = runtimes::all(&std::env::current_exe()?, library.as_deref(), venv.as_ref());
    all.extend(args.peer.iter().cloned());
    let runtimes = chosen(args, all)?;
    let results = Results::append(&args.output, args.json)?;
    let refused = venv.map(|venv| venv.refused).unwrap_or_default();
    let mut bench = Bench { args, runtimes, cache, results, progress, checked: BTreeSet::new(), absent: vec![], root };
    bench.everything(&refused)?;
    bench.results.end()
}

/// The repository's root: where this program was built, or a folder above the present one.
fn repository() -> anyhow::Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let here = std::env::current_dir()?;
    let is_root = |folder: &Path| folder.join("models/pretrained/fashion-mnist/model.onnx").exists();
    if is_root(&built) {
        return Ok(built.canonicalize()?);
    }
    let found = here.ancestors().find(|folder| is_root(folder));
    found.map(Path::to_path_buf).context("the shipped model is not found; run this inside the repository")
}

fn chosen(args: &Args, all: Vec<Runtime>) -> anyhow::Result<Vec<Runtime>> {
    let Some(names) = &args.runtimes else {
        return Ok(all.into_iter().filter(|runtime| !args.quick || runtime.quick).collect());
    };
    let known = || all.iter().map(|runtime| runtime.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = names.iter().find(|name| all.iter().all(|runtime| runtime.name != **name)) {
        return Err(failure::input(format!("no runtime {name:?}, only {}", known())));
    }
    Ok(all.into_iter().filter(|runtime| names.contains(&runtime.name)).collect())
}

/// What one comparison holds while it runs.
struct Bench<'a> {
    args: &'a Args,
    runtimes: Vec<Runtime>,
    cache: PathBuf,
    results: Results,
    progress: Progress,
    /// Which runtimes computed the right thing, by model and device.
    checked: BTreeSet<(String, usize, Device)>,
    /// Runtimes that are missing altogether, on a device.
    absent: Vec<(usize, Device)>,
    root: PathBuf,
}

impl Bench<'_> {
    fn everything(&mut self, refused: &[(String, String)]) -> anyhow::Result<()> {
        let names: Vec<String> = match &self.args.models {
            Some(names) => names.clone(),
            None => models::names().take(if self.args.quick { 2 } else { 4 }).map(str::to_owned).collect(),
        };
        models::check(&names)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut threads = self.args.threads.clone().unwrap_or_else(|| vec![1, cores]);
        threads.sort_unstable();
        threads.dedup();
        if self.args.clock == Clock::Cpu && threads != [1] {
            return Err(failure::input(
                "the time of several threads on cores is no time of a frame: --threads 1".to_owned(),
            ));
        }
        if threads.contains(&0) {
            return Err(failure::input("a runtime needs at least one thread".to_owned()));
        }
        let versions = self.versions(refused)?;
        let Args { machine, quick, emulated, clock, .. } = self.args;
        let machine = self.results.begin(&self.root, machine.clone(), (*quick, *clock), *emulated, versions.found)?;
        let gpu = machine.gpu.is_some();
        for absent in versions.absent {
            self.results.write(Record::Absent(absent))?;
        }
        let batches = self.args.batches.clone().unwrap_or(if self.args.quick { vec![] } else { vec![8, 32] });
        for name in &names {
            let folder = self.cache.join("models");
            self.progress.say(&format!("{name}: writing the model and its cuts"));
            let model = models::prepare(name, &self.root, &folder)?;
            self.model(
                &model,
                &Extent {
                    quick: self.args.quick,
                    threads: threads.clone(),
                    batches: batches.clone(),
                    device: Device::Cpu,
                },
            )?;
            loads::measure(self, &model)?;
            if model.name == models::SHIPPED {
                frontier::measure(self, &model)?;
            }
            self.cuda(&model, gpu, &batches)?;
            model.remove(&folder);
        }
        Ok(())
    }

    /// The networks on an NVIDIA GPU; where there is none, one line per runtime that says so.
    fn cuda(&mut self, model: &Model, gpu: bool, batches: &[usize]) -> anyhow::Result<()> {
        let able = ["dyn-perceiver", "onnxruntime", "pytorch", "pytorch-compiled"];
        let indices: Vec<usize> =
            (0..self.runtimes.len()).filter(|&i| able.contains(&&*self.runtimes[i].name)).collect();
        if gpu {
            let all = std::mem::take(&mut self.runtimes);
            self.runtimes = indices.iter().map(|&i| all[i].clone()).collect();
            let extent =
                Extent { quick: self.args.quick, threads: vec![1], batches: batches.to_vec(), device: Device::Cuda };
            let done = self.model(model, &extent);
            self.runtimes = all;
            return done;
        }
        for index in indices {
            if self.absent.iter().all(|&absent| absent != (index, Device::Cuda)) {
                self.absent.push((index, Device::Cuda));
                self.missing(index, None, Device::Cuda, "no NVIDIA GPU in this machine")?;
            }
        }
        Ok(())
    }

    /// Where workers write what they have to say besides answers.
    fn log(&self) -> PathBuf {
        self.cache.join("workers.log")
    }

    fn input(&self, model: &Model, batch: usize) -> PathBuf {
        self.cache.join(format!("{}.{batch}.f32", model.name))
    }

    /// The whole of a model, one image at a time, on one thread of the processor.
    fn whole(&self, model: &Model) -> Load {
        let [channels, height, width] = model.image;
        Load {
            model: model.whole.clone(),
            input: self.input(model, 1),
            shape: [1, channels, height, width],
            threads: 1,
            device: Device::Cpu,
            fetch: None,
            task: Task::Full,
        }
    }

    fn effort(&self, batch: usize, threads: usize) -> Effort {
        let (rounds, least_rounds, budget) = match (self.args.quick, batch) {
            (true, _) => (7, 3, 4),
            (false, 1) => (11, 5, 5),
            (false, _) => (5, 3, 3),
        };
        let round = Duration::from_millis(if self.args.quick { 10 } else { 30 });
        // One thread alone does not wait for others.
        let pause = Duration::from_millis(if threads == 1 { 2 } else { 25 });
        Effort {
            rounds,
            least_rounds,
            budget: Duration::from_secs(budget),
            round,
            again: if self.args.quick { 0 } else { 2 },
            pause,
        }
    }

    /// Checks and times every group of one model on one device.
    fn model(&mut self, model: &Model, extent: &Extent) -> anyhow::Result<()> {
        let batches = std::iter::once(1).chain(extent.batches.iter().copied());
        for batch in batches {
            fs::write(self.input(model, batch), models::input(model.image, batch))?;
        }
        let groups = tasks::groups(model, &self.runtimes, extent, |batch| self.input(model, batch));
        let mut pool: BTreeMap<(usize, Load), Peer> = BTreeMap::new();
        let mut refused: Vec<usize> = vec![];
        let mut reference: BTreeMap<usize, Reference> = BTreeMap::new();
        for (number, group) in groups.iter().enumerate() {
            self.progress.group(&model.name, &group.name, number, groups.len());
            let here = |index: &(usize, Load)| {
                groups[number..]
                    .iter()
                    .flat_map(|group| &group.entries)
                    .any(|e| (e.runtime, &e.load) == (index.0, &index.1))
            };
            pool.retain(|key, _| here(key));
            let mut ready = vec![];
            for entry in &group.entries {
                let index = entry.runtime;
                let out = refused.contains(&index) || self.absent.contains(&(index, entry.load.device));
                let batch = entry.load.shape[0];
                let key = (index, entry.load.clone());
                if out || ready.contains(&key) {
                    continue;
                }
                if !pool.contains_key(&key) {
                    let reference = reference.entry(batch).or_insert_with(|| Reference::of(model, &entry.load));
                    match self.checked(model, index, &entry.load, reference)? {
                        Some(peer) => drop(pool.insert(key.clone(), peer)),
                        None if batch == 1 && entry.load.task == Task::Full => {
                            refused.push(index);
                            continue;
                        }
                        None => continue,
                    }
                }
                ready.push(key);
            }
            self.time(model, group, &mut pool, &ready)?;
        }
        Ok(())
    }

    /// A worker with the model loaded, whose outputs are those of the reference; none, and a record of why, else.
    fn checked(
        &mut self,
        model: &Model,
        index: usize,
        load: &Load,
        reference: &Reference,
    ) -> anyhow::Result<Option<Peer>> {
        let start = || -> anyhow::Result<(Peer, BTreeMap<String, Vec<f32>>)> {
            let mut peer =
                Peer::start(&self.runtimes[index], Some(&self.log())).map_err(|Missing(why)| anyhow::anyhow!(why))?;
            peer.by(self.args.clock);
            peer.load(load)?;
            let outputs = peer.outputs()?;
            Ok((peer, outputs))
        };
        let (peer, outputs) = match start() {
            Ok(started) => started,
            Err(error) => {
                self.missing(index, Some(model), load.device, &format!("{}: {error:#}", describe(load)))?;
                return Ok(None);
            }
        };
        let check = Check {
            run: self.results.run.clone(),
            model: model.name.clone(),
            runtime: self.runtimes[index].name.clone(),
            device: load.device,
            difference: reference.difference(&outputs)?,
            tolerance: reference::tolerance(&self.runtimes[index].name),
        };
        let passed = check.passed();
        // One line per runtime is enough where all is well.
        if self.checked.insert((model.name.clone(), index, load.device)) || !passed {
            self.results.write(Record::Check(check))?;
        }
        Ok(passed.then_some(peer))
    }

    fn time(
        &mut self,
        model: &Model,
        group: &Group,
        pool: &mut BTreeMap<(usize, Load), Peer>,
        keys: &[(usize, Load)],
    ) -> anyhow::Result<()> {
        let mut peers: Vec<(&(usize, Load), Peer)> =
            keys.iter().filter_map(|key| Some((key, pool.remove(key)?))).collect();
        let Some((batch, threads)) = keys.first().map(|(_, load)| (load.shape[0], load.threads)) else { return Ok(()) };
        let mut clocked: Vec<&mut dyn Clocked> = peers.iter_mut().map(|(_, peer)| peer as &mut dyn Clocked).collect();
        let series = until_they_agree(&mut clocked, self.effort(batch, threads));
        for ((key, peer), series) in peers.into_iter().zip(series) {
            let (index, load) = key;
            match series {
                Ok(series) => {
                    self.results.write(Record::Time(Time {
                        run: self.results.run.clone(),
                        model: model.name.clone(),
                        runtime: self.runtimes[*index].name.clone(),
                        task: load.task.clone(),
                        device: load.device,
                        threads: load.threads,
                        batch,
                        group: group.name.clone(),
                        calls: series.calls,
                        rounds_s: series.rounds_s,
                    }))?;
                    pool.insert(key.clone(), peer);
                }
                Err(error) => {
                    self.missing(*index, Some(model), load.device, &format!("{}: {error:#}", describe(load)))?;
                }
            }
        }
        Ok(())
    }
}

/// What a load is, for a person.
fn describe(load: &Load) -> String {
    let task = match &load.task {
        Task::Full => "full network".to_owned(),
        Task::Exit { exit, .. } => format!("exit {exit}"),
        Task::Adaptive { .. } => "adaptive".to_owned(),
    };
    format!("{task}, batch {}, {} threads", load.shape[0], load.threads)
}
