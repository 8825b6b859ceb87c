//! What `learn` makes of the same photos here and on the emulated core of a board.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use prost::Message;
use serde_json::Value;

use crate::emulated::core;

/// Compare what `learn` makes of photos here and on an emulated core: weights, logits and thresholds
///
/// Runs the whole command twice, and the photos through both networks here. Fails where the largest difference of a layer's
/// weights is more than a thousandth of its largest weight, of an exit's logits more than 1e-4 of its largest, of a
/// threshold more than 1e-4. Needs qemu-user and Debian's libc6-arm64-cross.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Photos, a folder per class
    photos: PathBuf,
    /// The program for this machine
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// The program for aarch64
    #[arg(long, value_name = "FILE")]
    board_program: PathBuf,
    /// The core, by the name that QEMU has for it
    #[arg(long, value_name = "NAME", default_value = "cortex-a53")]
    cpu: String,
    /// The emulator
    #[arg(long, value_name = "FILE", default_value = "qemu-aarch64")]
    qemu: PathBuf,
    /// Folder of the libraries that programs for aarch64 are linked with
    #[arg(long, value_name = "FOLDER", default_value = "/usr/aarch64-linux-gnu")]
    libraries: PathBuf,
    /// End well, and say so, where the emulator is not installed
    #[arg(long)]
    skip_without_qemu: bool,
    /// Further options of `learn`
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

/// The largest difference of weights as a share of the largest.
const WEIGHTS: f64 = 1e-3;
/// The same of logits, and differences of thresholds themselves.
const LOGITS: f64 = 1e-4;

pub(crate) fn run(args: &Args) -> Result<()> {
    if Command::new(&args.qemu).arg("--version").output().is_err() {
        ensure!(args.skip_without_qemu, "{}: not found (apt install qemu-user)", args.qemu.display());
        println!("learn on an emulated core: skipped, {} is not installed", args.qemu.display());
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let here = learn(Command::new(&args.program), args, &scratch.path().join("here"))?;
    let mut emulator = Command::new(&args.qemu);
    emulator.arg("-cpu").arg(&args.cpu).arg("-L").arg(core(&args.cpu, &args.libraries)?).arg(&args.board_program);
    let there = learn(emulator, args, &scratch.path().join("there"))?;

    println!(
        "{} photos, {} views of each, on this machine and on a {}",
        here.report["samples"], here.report["views"], args.cpu
    );
    for (name, learned) in [("here", &here), (args.cpu.as_str(), &there)] {
        let mebibytes = learned.report["peak_bytes"].as_f64().unwrap_or(0.0) / 1024.0 / 1024.0;
        println!("{name}: {} s, {mebibytes:.0} MiB at most", learned.report["seconds"]);
    }
    let (a, b) = (decode(&here.network)?, decode(&there.network)?);
    let (largest, name) = weights(&a, &b)?;
    println!("weights: to {largest:.1e} of the largest of their layer ({name})");
    let (ours, theirs) = (logits(args, &here)?, logits(args, &there)?);
    let apart = difference(&ours, &theirs)?;
    println!("logits: to {apart:.1e} of the largest");
    let [ours, theirs] = [&here, &there].map(|learned| learned.policy["policy"]["frontier"]["points"].clone());
    let mut thresholds = 0.0;
    let alike = alike(&ours, &theirs, &mut thresholds);
    let points = ours.as_array().map_or(0, Vec::len);
    println!("policy: {points} points, thresholds, accuracies and shares to {thresholds:.1e}");
    ensure!(largest <= WEIGHTS, "weights differ by {largest:.1e}");
    ensure!(apart <= LOGITS, "logits differ by {apart:.1e}");
    ensure!(alike && thresholds <= LOGITS, "policies differ");
    Ok(())
}

/// What one machine made.
struct Learned {
    report: Value,
    network: PathBuf,
    policy: Value,
}

fn learn(mut command: Command, args: &Args, folder: &Path) -> Result<Learned> {
    std::fs::create_dir_all(folder)?;
    let (network, policy) = (folder.join("learned.onnx"), folder.join("policy.json"));
    command.arg("learn").arg("--json").arg("--data").arg(&args.photos).arg("-o").arg(folder.join("learned.dynp"));
    // Emulated, a network is long in getting ready.
    command.arg("--onnx").arg(&network).arg("--policy").arg(&policy).args(["--ready-within", "0"]).args(&args.options);
    let report = serde_json::from_slice(&answer(&mut command)?)?;
    let policy = serde_json::from_slice(&std::fs::read(&policy)?)?;
    Ok(Learned { report, network, policy })
}

fn answer(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    Ok(output.stdout)
}

/// What this machine gives for all photos and exits with a network.
fn logits(args: &Args, learned: &Learned) -> Result<Vec<f32>> {
    let records = learned.network.with_extension("csv");
    let mut command = Command::new(&args.program);
    command.args(["records", "collect"]).arg(&learned.network).arg("--data").arg(&args.photos).arg("-o").arg(&records);
    answer(&mut command)?;
    let path = records.with_extension("csv.logits");
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(floats(&bytes))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The largest difference as a share of the largest number.
fn difference(a: &[f32], b: &[f32]) -> Result<f64> {
    ensure!(a.len() == b.len(), "{} numbers and {}", a.len(), b.len());
    ensure!(a.iter().chain(b).all(|x| x.is_finite()), "numbers that are not finite");
    let most = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0f64, |most, x| most.max(x.abs()));
    let largest = most(&mut a.iter().map(|&x| f64::from(x)));
    Ok(most(&mut a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b))) / largest.max(1e-30))
}

/// Whether two JSON values are alike but for numbers, whose largest difference is kept: of those above 1 as a share.
fn alike(a: &Value, b: &Value, largest: &mut f64) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
            *largest = largest.max((a - b).abs() / a.abs().max(1.0));
            true
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b, largest)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b, largest)))
        }
        (a, b) => a == b,
    }
}

/// As much of an ONNX file as holds its weights.
#[derive(Clone, PartialEq, Message)]
struct Network {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

fn decode(path: &Path) -> Result<Vec<Tensor>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let network = Network::decode(bytes.as_slice()).with_context(|| path.display().to_string())?;
    Ok(network.graph.unwrap_or_default().initializer)
}

/// The largest difference of a layer's weights as a share of its largest, and the layer; what was not learned is the same.
fn weights(a: &[Tensor], b: &[Tensor]) -> Result<(f64, String)> {
    /// ONNX's number for float32.
    const FLOAT: i32 = 1;
    ensure!(a.len() == b.len(), "{} tensors and {}", a.len(), b.len());
    let mut largest = (0.0, "all are the same".to_owned());
    for (a, b) in a.iter().zip(b) {
        ensure!(a.name == b.name && a.dims == b.dims && a.data_type == b.data_type, "{} and {}", a.name, b.name);
        if a == b {
            continue;
        }
        ensure!(a.data_type == FLOAT, "{}: it was not learned, and differs", a.name);
        let numbers = |tensor: &Tensor| match tensor.float_data.is_empty() {
            true => floats(&tensor.raw_data),
            false => tensor.float_data.clone(),
        };
        let apart = difference(&numbers(a), &numbers(b)).with_context(|| a.name.clone())?;
        if apart > largest.0 {
            largest = (apart, a.name.clone());
        }
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tensor(name: &str, numbers: &[f32]) -> Tensor {
        let raw_data = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        Tensor { dims: vec![numbers.len() as i64], data_type: 1, float_data: vec![], name: name.into(), raw_data }
    }

    #[test]
    fn weights_are_compared_layer_by_layer() {
        let a = [tensor("kept", &[1.0, 2.0]), tensor("learned", &[10.0, -20.0])];
        assert_eq!(weights(&a, &a).unwrap().0, 0.0);
        let b = [a[0].clone(), tensor("learned", &[10.0, -20.002])];
        let (largest, name) = weights(&a, &b).unwrap();
        assert!((largest - 1e-4).abs() < 1e-6 && name == "learned", "{largest} {name}");
        let other = [a[0].clone(), tensor("another", &[10.0, -20.0])];
        assert!(weights(&a, &other).is_err() && weights(&a, &a[..1]).is_err());
        assert!(difference(&[1.0, f32::NAN], &[1.0, 1.0]).is_err() && difference(&[1.0], &[]).is_err());
        let network = Network { graph: Some(Graph { initializer: a.to_vec() }) };
        assert_eq!(Network::decode(network.encode_to_vec().as_slice()).unwrap(), network);
    }

    #[test]
    fn policies_are_alike_but_for_numbers() {
        let of =
            |threshold: f64| json!([{ "measure": "margin", "rules": [{ "leave": threshold }, "skip"], "cost": 1e8 }]);
        let mut largest = 0.0;
        assert!(alike(&of(0.5), &of(0.50001), &mut largest) && (largest - 1e-5).abs() < 1e-9);
        assert!(!alike(&of(0.5), &json!([{ "measure": "entropy" }]), &mut largest));
        assert!(!alike(&json!([1, 2]), &json!([1]), &mut largest));
    }
}
