//! `compare count`: executed instructions per inference on emulated ARM processors. Times mean nothing under an emulator,
//! counts repeat.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::models;
use super::other::{self, Other, Python};
use super::peer::{Missing, Peer, Runtime};
use super::precision::Precision;
use super::reference::Reference;
use super::results::Results;
use super::series::Clocked as _;
use super::venv::Venv;
use crate::failure;
use crate::protocol::Load;
use crate::result::{Absent, Check, Clock, Device, How, Instructions, Record, Task};

/// Inferences between two readings of the counter.
const CALLS: usize = 2;
const PLUGIN: &str = include_str!("../../qemu/count.c");

/// Data caches of the first and second level of one core, bytes and ways, by Arm's technical reference manuals; where a
/// manual leaves a choice, as in the Raspberry Pi 3, 4 and 5.
const CACHES: [(&str, &str, &str); 3] = [
    ("cortex-a53", "32768:4", "524288:16"),
    ("cortex-a72", "32768:2", "1048576:16"),
    ("cortex-a76", "65536:4", "524288:8"),
];

/// Arguments of `compare count`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where results are appended, as JSON lines.
    #[arg(long, short, value_name = "FILE", default_value = "results.jsonl")]
    output: PathBuf,
    /// This program, built for the emulated processor.
    #[arg(long, value_name = "FILE", default_value = "target/aarch64-unknown-linux-gnu/release/compare")]
    program: PathBuf,
    /// QEMU's user-mode emulator, 7.2 to 9.0, built with plugins.
    #[arg(long, value_name = "FILE", default_value = "qemu-aarch64")]
    emulator: PathBuf,
    /// The root folder that the emulated program finds its libraries and /proc/cpuinfo in; {cpu} stands for the processor.
    #[arg(long, value_name = "FOLDER", default_value = "/usr/aarch64-linux-gnu")]
    sysroot: String,
    /// Processors to emulate.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "cortex-a53,cortex-a72,cortex-a76")]
    cpu: Vec<String>,
    /// Models by name, or ONNX files [default: the shipped one].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = models::SHIPPED)]
    models: Vec<String>,
    /// What this program's layers compute in.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "f32")]
    precision: Vec<Precision>,
    /// The other runtimes to count.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "tract,onnxruntime,mnn,ncnn,litert,mnn-f16,ncnn-f16", num_args = 0..)]
    peers: Vec<Other>,
    /// `full` for the full network, and exits by name [default: the full network and every exit before the last].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    tasks: Vec<String>,
    /// ONNX Runtime's shared library for the emulated processor; without it ONNX Runtime is left out.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// A root folder for the emulated processor, with usr/bin/python3 and numpy, MNN, ncnn and LiteRT of its own; {cpu} stands for the
    /// processor. Without it these are left out.
    #[arg(long, value_name = "FOLDER")]
    python: Option<String>,
    /// A virtual environment of this machine with what converts models for them [default: the one in the cache].
    #[arg(long, value_name = "FOLDER", requires = "python")]
    venv: Option<PathBuf>,
    /// Model the processors' data caches too, and count what misses them; takes several times as long.
    #[arg(long)]
    misses: bool,
    /// Where models are kept [default: target/compare].
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Print the records on standard output too.
    #[arg(long)]
    json: bool,
}

/// Counts.
///
/// # Errors
/// Wrong input when the program or a model is missing; else what cannot be read, written or started.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if !args.program.exists() {
        let program = args.program.display();
        return Err(failure::input(format!(
            "{program} is missing; cargo build --release -p compare --target aarch64-unknown-linux-gnu makes it"
        )));
    }
    models::check(&args.models)?;
    if let Some(cpu) = args.cpu.iter().find(|cpu| args.misses && caches(cpu).is_none()) {
        let known = CACHES.map(|(cpu, ..)| cpu).join(", ");
        return Err(failure::input(format!("the caches of {cpu} are not known, only those of {known}")));
    }
    let root = super::repository()?;
    let cache = args.cache.clone().unwrap_or_else(|| root.join("target/compare"));
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let plugin = plugin(&cache)?;
    let counts = cache.join("counts.txt");
    let venv = match (&args.python, &args.venv) {
        (None, _) => None,
        (Some(_), Some(folder)) => Some(Venv::at(folder, &cache)?),
        (Some(_), None) => Some(Venv::at(&cache.join("venv"), &cache)?),
    };
    let mut results = Results::append(&args.output, args.json)?;
    results.begin(&root, None, (false, Clock::Wall), true, versions(args))?;
    for name in &args.models {
        let model = models::prepare(name, &root, &cache.join("models"))?;
        let input = cache.join(format!("{}.1.f32", model.name));
        fs::write(&input, models::input(model.image, 1))?;
        for cpu in &args.cpu {
            let python = args.python.as_ref().map(|root| PathBuf::from(root.replace("{cpu}", cpu)));
            let python = python.as_ref().zip(venv.as_ref()).map(|(root, here)| Python { root, here });
            let files = Files { root: &cache.join("models"), input: &input, plugin: &plugin, counts: &counts, python };
            one_processor(args, &model, cpu, &files, &mut results)?;
        }
        std::iter::once(&model.whole).chain(&model.cut).for_each(|file| other::forget(file));
        model.remove(&cache.join("models"));
    }
    results.end()?;
    Ok(())
}

/// Files that every count needs.
struct Files<'a> {
    root: &'a Path,
    input: &'a Path,
    plugin: &'a Path,
    counts: &'a Path,
    python: Option<Python<'a>>,
}

/// Counts every task of a model on one processor.
fn one_processor(
    args: &Args,
    model: &models::Model,
    cpu: &str,
    files: &Files<'_>,
    results: &mut Results,
) -> anyhow::Result<()> {
    let own = args.precision.iter().map(|precision| (Some(*precision), None));
    for (precision, other) in own.chain(args.peers.iter().map(|other| (None, Some(*other)))) {
        let name = match (precision, other) {
            (Some(precision), _) => precision.runtime(),
            (None, Some(other)) => other.to_string(),
            (None, None) => continue,
        };
        let bundle = precision.map(|precision| precision.bundle(model, cpu, files.root));
        for (task, cut) in tasks(model).into_iter().filter(|(task, _)| is_wanted(&args.tasks, task)) {
            let [channels, height, width] = model.image;
            // Peers run a model cut at the exit; stages run up to it.
            let whole = bundle.as_ref().and_then(|bundle| bundle.as_ref().ok());
            let load = Load {
                model: whole.cloned().unwrap_or(cut),
                input: files.input.to_path_buf(),
                shape: [1, channels, height, width],
                threads: 1,
                device: Device::Cpu,
                fetch: None,
                task: if precision.is_some() { task.clone() } else { peer_task(&task) },
            };
            let counted = match &bundle {
                Some(Err(error)) => Err(anyhow::anyhow!("{error:#}")),
                _ => emulated(args, &name, other, cpu, files, &load)
                    .and_then(|runtime| count(&runtime, &load, model, files.counts)),
            };
            let run = results.run.clone();
            let (difference, [instructions, vector_fma, l1, l2]) = match counted {
                Ok(counted) => counted,
                Err(error) => {
                    results.write(Record::Absent(Absent {
                        run,
                        runtime: name.clone(),
                        model: Some(model.name.clone()),
                        device: Device::Cpu,
                        reason: format!("{cpu}, {}: {error:#}", super::describe(&load)),
                    }))?;
                    continue;
                }
            };
            let check = Check {
                run: run.clone(),
                model: model.name.clone(),
                runtime: name.clone(),
                device: Device::Cpu,
                difference,
                tolerance: precision.map_or_else(|| other.map_or(0.0, Other::tolerance), Precision::tolerance),
            };
            let passed = check.passed();
            results.write(Record::Check(check))?;
            if passed {
                results.write(Record::Instructions(Instructions {
                    run,
                    model: model.name.clone(),
                    runtime: name.clone(),
                    task: load.task.clone(),
                    cpu: cpu.to_owned(),
                    instructions,
                    vector_fma: Some(vector_fma),
                    misses: args.misses.then_some([l1, l2]),
                    counter: "qemu".to_owned(),
                }))?;
            }
        }
        if let Some(Ok(path)) = bundle {
            // What is left behind does no harm: it is written anew.
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// Whether the command line asks for a task.
fn is_wanted(names: &[String], task: &Task) -> bool {
    let name = match task {
        Task::Exit { exit, .. } => exit,
        _ => "full",
    };
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

fn versions(args: &Args) -> std::collections::BTreeMap<String, String> {
    let version = Command::new(&args.emulator).arg("--version").output().ok();
    let text = version.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().next().unwrap_or("unknown").to_owned();
    [("qemu".to_owned(), line)].into()
}

/// Full network, and each exit but the last with the model cut there.
fn tasks(model: &models::Model) -> Vec<(Task, PathBuf)> {
    let exits = model.exits.iter().zip(&model.cut).take(model.exits.len() - 1);
    let exits = exits.map(|(exit, cut)| (Task::Exit { exit: exit.clone(), how: How::Staged }, cut.clone()));
    std::iter::once((Task::Full, model.whole.clone())).chain(exits).collect()
}

fn peer_task(task: &Task) -> Task {
    match task {
        Task::Exit { exit, .. } => Task::Exit { exit: exit.clone(), how: How::Cut },
        other => other.clone(),
    }
}

/// The plugin, compiled for this machine.
fn plugin(cache: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (cache.join("count.c"), cache.join("count.so"));
    fs::write(&source, PLUGIN)?;
    let done = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    let done = done.context("the plugin that counts needs a C compiler, cc")?;
    if !done.status.success() {
        bail!("cc does not compile {}: {}", source.display(), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(library)
}

fn caches(cpu: &str) -> Option<(&'static str, &'static str)> {
    CACHES.iter().find(|(name, ..)| *name == cpu).map(|(_, l1, l2)| (*l1, *l2))
}

fn emulated(
    args: &Args,
    name: &str,
    other: Option<Other>,
    cpu: &str,
    files: &Files<'_>,
    load: &Load,
) -> anyhow::Result<Runtime> {
    let mut plugin = format!("{},counts={}", files.plugin.display(), files.counts.display());
    if let Some((l1, l2)) = caches(cpu).filter(|_| args.misses) {
        plugin += &format!(",l1={l1},l2={l2}");
    }
    let (root, program) = match other.filter(|other| other.package().is_some()) {
        Some(other) => {
            let root = args.python.as_ref().unwrap_or(&args.sysroot);
            (root, other.command(cpu, files.python.as_ref(), load)?)
        }
        None => {
            // Its precision is in the bundle, and not the worker's business.
            let worker = name.split(' ').next().unwrap_or(name);
            let mut program = vec![args.program.display().to_string(), "worker".to_owned(), worker.to_owned()];
            if let Some(library) = args.onnxruntime.as_ref().filter(|_| name == "onnxruntime") {
                program.extend(["--onnxruntime".to_owned(), library.display().to_string()]);
            }
            (&args.sysroot, program)
        }
    };
    let (emulator, root) = (args.emulator.display().to_string(), root.replace("{cpu}", cpu));
    let mut command = [&emulator, "-cpu", cpu, "-L", &root, "-plugin", &plugin].map(str::to_owned).to_vec();
    command.extend(program);
    Ok(Runtime { command, ..Runtime::named(name) })
}

/// Difference from the reference; and instructions, vector multiply-accumulates and misses of two caches per inference.
fn count(runtime: &Runtime, load: &Load, model: &models::Model, counts: &Path) -> anyhow::Result<(f64, [u64; 4])> {
    let _ = fs::remove_file(counts);
    let mut peer = Peer::start(runtime, None).map_err(|Missing(why)| anyhow::anyhow!(why))?;
    peer.load(load)?;
    let difference = Reference::of(model, load).difference(&peer.outputs()?)?;
    peer.mark()?;
    peer.seconds(CALLS)?;
    peer.mark()?;
    let text = fs::read_to_string(counts).context("the emulator counted nothing; was QEMU built with plugins?")?;
    let read = |line: &str| -> Option<[u64; 4]> {
        let numbers: Option<Vec<u64>> = line.split_whitespace().map(|number| number.parse().ok()).collect();
        numbers?.try_into().ok()
    };
    let [before, after] = text.lines().filter_map(read).collect::<Vec<_>>().try_into().map_err(|lines: Vec<_>| {
        anyhow::anyhow!("{}: {} readings where 2 are expected", counts.display(), lines.len())
    })?;
    Ok((difference, std::array::from_fn(|i| (after[i] - before[i]) / CALLS as u64)))
}
