//! Results that nobody measured: made from a seed, with the shape that measured ones have. No figure here says anything about a
//! real machine or runtime.
#![allow(dead_code, reason = "not every test that has this module uses all of it")]

#[path = "../../src/result.rs"]
pub(crate) mod result;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use result::*;

/// A model: its name, seconds of our full network with one thread, and its weights' bytes.
pub(crate) const MODELS: [(&str, f64, u64); 2] =
    [("tiny", 0.004, 3_000_000), ("mobilenetV3_0x75_perceiver_t128", 0.030, 36_000_000)];
/// Exits, and their share of the whole network's work.
pub(crate) const EXITS: [(&str, f64); 4] = [("early1", 0.35), ("early2", 0.55), ("early3", 0.8), ("merged", 1.0)];
/// Peers, and how many times our time they take.
pub(crate) const PEERS: [(&str, f64); 4] = [("onnxruntime", 0.9), ("tract", 1.6), ("openvino", 1.1), ("pytorch", 2.4)];
pub(crate) const OURS: &str = "dyn-perceiver";
pub(crate) const SHARES: [[u32; 4]; 2] = [[400, 300, 200, 100], [100, 200, 300, 400]];
const ROUNDS: usize = 15;

/// Writes records as JSON lines.
pub(crate) fn write(path: &Path, records: &[Record]) {
    let lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// About normal, of deviation 1.
fn normal(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

pub(crate) fn machine(name: &str, architecture: &str, emulated: bool) -> Machine {
    Machine {
        name: name.into(),
        cpu: format!("Made-up {architecture} processor"),
        architecture: architecture.into(),
        cores: 2,
        flags: vec!["avx2".into(), "fma".into()],
        memory_bytes: 8 << 30,
        governor: Some("performance".into()),
        clock_mhz: Some((1200, 3400)),
        throttled: Some(false),
        system: "Linux 6.1 (synthetic)".into(),
        gpu: None,
        emulated,
    }
}

pub(crate) fn run(id: &str, machine: Machine, started_s: u64) -> Run {
    let versions = [(OURS, "0.1.0"), ("onnxruntime", "1.2.3"), ("tract", "4.5.6"), ("openvino", "7.8.9")];
    Run {
        schema: SCHEMA,
        id: id.into(),
        started_s,
        commit: Some("0123abc+".into()),
        quick: false,
        machine,
        versions: versions
            .iter()
            .map(|(name, version)| ((*name).into(), (*version).into()))
            .collect::<BTreeMap<_, _>>(),
        clock: Default::default(),
    }
}

/// Series that took turns: what slows the machine in a round slows all of them.
pub(crate) struct Group<'a> {
    pub run: &'a str,
    pub model: &'a str,
    pub name: &'a str,
    pub device: Device,
    pub threads: usize,
    pub batch: usize,
    /// Deviation of one round, relative.
    pub noise: f64,
}

impl Group<'_> {
    pub(crate) fn times(&self, random: &mut fastrand::Rng, series: &[(&str, Task, f64)]) -> Vec<Record> {
        let shared: Vec<f64> = (0..ROUNDS).map(|_| (2.0 * self.noise * normal(random)).exp()).collect();
        let time = |(runtime, task, frame_s): &(&str, Task, f64)| {
            let seconds = frame_s * self.batch as f64 / (self.threads as f64).powf(0.7);
            let mut round = |slow: &f64| seconds * slow * (self.noise * normal(random)).exp();
            Record::Time(Time {
                run: self.run.into(),
                model: self.model.into(),
                runtime: (*runtime).into(),
                task: task.clone(),
                device: self.device,
                threads: self.threads,
                batch: self.batch,
                group: self.name.into(),
                calls: 20,
                rounds_s: shared.iter().map(&mut round).collect(),
            })
        };
        series.iter().map(time).collect()
    }
}

fn exit_task(exit: &str, how: How) -> Task {
    Task::Exit { exit: exit.into(), how }
}

/// Mean share of the work when frames leave so.
fn mean_share(shares: &[u32]) -> f64 {
    shares.iter().zip(EXITS).map(|(&share, (_, work))| f64::from(share) / 1000.0 * work).sum()
}

/// A whole run on one machine; `speed` divides all times.
pub(crate) fn whole_run(id: &str, machine: Machine, started_s: u64, speed: f64, noise: f64, seed: u64) -> Vec<Record> {
    let random = &mut fastrand::Rng::with_seed(seed);
    let mut records = vec![Record::Run(run(id, machine, started_s))];
    let absent = |runtime: &str, device, model: Option<&str>, reason: &str| {
        let (model, reason) = (model.map(Into::into), reason.into());
        Record::Absent(Absent { run: id.into(), runtime: runtime.into(), model, device, reason })
    };
    records.push(absent("ncnn", Device::Cpu, None, "no wheel of ncnn for this platform"));
    records.push(absent(OURS, Device::Cuda, None, "libcuda.so.1: no such file"));
    records.push(absent("onnxruntime", Device::Cuda, None, "libcuda.so.1: no such file"));
    records.push(absent("openvino", Device::Cuda, None, "has no CUDA provider"));
    for (model, full_s, bytes) in MODELS {
        let full_s = full_s / speed;
        for (runtime, difference) in [("onnxruntime", 2.1e-6), ("openvino", 8.4e-5), ("pytorch", 3.0e-6), ("mnn", 0.4)]
        {
            let device = Device::Cpu;
            let (model, runtime) = (model.into(), runtime.into());
            records.push(Record::Check(Check { run: id.into(), model, runtime, device, difference, tolerance: 1e-3 }));
        }
        for threads in [1, 2] {
            for batch in [1, 8, 32] {
                let group = Group { run: id, model, name: "full", device: Device::Cpu, threads, batch, noise };
                let mut series = vec![(OURS, Task::Full, full_s)];
                series.extend(
                    PEERS.map(|(peer, factor)| (peer, Task::Full, full_s * factor * (batch as f64).powf(-0.05))),
                );
                series.push((OURS, Task::Adaptive { shares: SHARES[0].into() }, full_s * mean_share(&SHARES[0])));
                records.extend(group.times(random, &series));
            }
            for (exit, work) in EXITS {
                let group = Group { run: id, model, name: exit, device: Device::Cpu, threads, batch: 1, noise };
                let mut series = vec![(OURS, exit_task(exit, How::Staged), full_s * work)];
                for (peer, factor) in &PEERS[..2] {
                    series.push((peer, exit_task(exit, How::Cut), full_s * factor * work.powf(1.2)));
                    series.push((peer, exit_task(exit, How::Fetch), full_s * factor));
                }
                records.extend(group.times(random, &series));
            }
            let group = Group { run: id, model, name: "adaptive", device: Device::Cpu, threads, batch: 1, noise };
            let mut series = vec![(OURS, Task::Adaptive { shares: SHARES[1].into() }, full_s * mean_share(&SHARES[1]))];
            series.extend(PEERS.map(|(peer, factor)| (peer, Task::Full, full_s * factor)));
            records.extend(group.times(random, &series));
        }
        records.extend(loads(id, model, full_s, bytes));
        records.push(Record::Frontier(frontier(id, model, full_s)));
    }
    // Somebody timed a runtime whose outputs are wrong.
    let group = Group { run: id, model: "tiny", name: "full", device: Device::Cpu, threads: 1, batch: 1, noise };
    records.extend(group.times(random, &[("mnn", Task::Full, 0.001)]));
    records
}

fn loads(run: &str, model: &str, full_s: f64, bytes: u64) -> Vec<Record> {
    let load = |runtime: &str, format: &str, load_s: f64, base: u64, program: Option<u64>| {
        Record::Load(Load {
            run: run.into(),
            model: model.into(),
            runtime: runtime.into(),
            format: format.into(),
            threads: 1,
            load_s,
            first_result_s: load_s + 1.5 * full_s,
            peak_rss_bytes: base + 3 * bytes,
            base_rss_bytes: base,
            model_bytes: bytes,
            program_bytes: program,
        })
    };
    vec![
        load(OURS, "bundle", 5.0 * full_s, 9 << 20, Some(14 << 20)),
        load(OURS, "onnx", 40.0 * full_s, 9 << 20, Some(14 << 20)),
        load("onnxruntime", "onnx", 12.0 * full_s, 22 << 20, Some(21 << 20)),
        load("tract", "onnx", 30.0 * full_s, 8 << 20, Some(13 << 20)),
        load("pytorch", "onnx", 20.0 * full_s, 210 << 20, None),
    ]
}

fn frontier(run: &str, model: &str, full_s: f64) -> Frontier {
    let point =
        |runtime: &str, name: &str, series: &str, accuracy: f64, work: f64, factor: f64, shares: &[f64]| Point {
            runtime: runtime.into(),
            name: name.into(),
            series: series.into(),
            accuracy,
            mean_s: full_s * work * factor,
            joules: Some(2.5 * full_s * work * factor),
            macs: 180e6 * work,
            shares: shares.into(),
        };
    let mut points = vec![];
    for index in 0_u32..6 {
        let late = f64::from(index) / 5.0;
        let shares = [0.7 * (1.0 - late), 0.2, 0.1 * (1.0 - late) + 0.3 * late, 0.5 * late];
        let work: f64 = shares.iter().zip(EXITS).map(|(share, (_, work))| share * work).sum();
        points.push(point(
            OURS,
            &format!("point {}", index + 1),
            "adaptive",
            0.62 + 0.14 * late.sqrt(),
            work,
            1.0,
            &shares,
        ));
    }
    for (index, (exit, work)) in EXITS.into_iter().enumerate() {
        let mut shares = [0.0; 4];
        shares[index] = 1.0;
        points.push(point(
            OURS,
            &format!("{exit} alone"),
            "exit",
            [0.58, 0.66, 0.71, 0.745][index],
            work,
            1.0,
            &shares,
        ));
    }
    points.push(point(OURS, "full network", "full", 0.745, 1.0, 1.0, &[0.0, 0.0, 0.0, 1.0]));
    for (peer, factor) in PEERS {
        points.push(point(peer, "full network", "full", 0.745, 1.0, factor, &[]));
    }
    let energy = "modelled: 2.5 W while busy (synthetic)".into();
    Frontier { run: run.into(), model: model.into(), threads: 1, frames: 2000, energy, points }
}

/// Instructions, as an emulator counts them; `factor` multiplies ours.
pub(crate) fn emulated_run(id: &str, cpu: &str, started_s: u64, factor: f64) -> Vec<Record> {
    let mut records = vec![Record::Run(run(id, machine(&format!("QEMU {cpu}"), "aarch64", true), started_s))];
    for (exit, work) in EXITS {
        records.push(Record::Instructions(Instructions {
            run: id.into(),
            model: "tiny".into(),
            runtime: OURS.into(),
            task: exit_task(exit, How::Staged),
            cpu: cpu.into(),
            instructions: (31e6 * work * factor) as u64,
            vector_fma: Some((6e6 * work) as u64),
            misses: (cpu == "cortex-a72").then_some([(2e5 * work) as u64, (3e4 * work) as u64]),
            counter: "qemu".into(),
        }));
    }
    let group = Group { run: id, model: "tiny", name: "full", device: Device::Cpu, threads: 1, batch: 1, noise: 0.01 };
    records.extend(group.times(&mut fastrand::Rng::with_seed(5), &[(OURS, Task::Full, 7.77)]));
    records
}

/// One second into a day that is long past.
pub(crate) const DAY: u64 = 1_600_000_000;

/// Two machines and an emulated one.
pub(crate) fn several_machines() -> Vec<Record> {
    [
        whole_run("made-up-x86", machine("made-up workstation", "x86_64", false), DAY, 1.0, 0.01, 1),
        whole_run("made-up-arm", machine("made-up board", "aarch64", false), DAY + 600, 0.2, 0.02, 2),
        emulated_run("made-up-qemu", "cortex-a72", DAY + 1200, 1.0),
        emulated_run("made-up-qemu-2", "cortex-a53", DAY + 1800, 1.02),
    ]
    .concat()
}
