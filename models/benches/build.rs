//! Time and peak memory of building and importing the largest published network, each in a process of its own:
//! `cargo bench -p dyn-perceiver-models`.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use dyn_perceiver_models::{Checkpoint, Config, Metadata, Network, Seeded, Weights};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

type Failure = Box<dyn std::error::Error>;

const NAME: &str = "reg800m_perceiver_t128";
const SECONDS: f64 = 5.0;
const MIB: u64 = 1024;
/// Peak memory of an import over the size of its checkpoint.
const SHARE: f64 = 3.0;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build", output] => return build(output.as_ref()),
        ["import", checkpoint, output] => return import(checkpoint.as_ref(), output.as_ref()),
        _ => {}
    }
    let folder = tempfile::tempdir()?;
    let (single, half, output) = (folder.path().join("f32"), folder.path().join("f16"), folder.path().join("onnx"));
    checkpoint(&single, Dtype::F32, |v| v.to_le_bytes().to_vec())?;
    checkpoint(&half, Dtype::F16, |v| half::f16::from_f32(v).to_le_bytes().to_vec())?;
    let output = output.to_str().ok_or("the temporary folder's name is not text")?;
    measure("build, seeded", &["build", output], None)?;
    for (what, path) in [("import, float32", &single), ("import, float16", &half)] {
        let size = std::fs::metadata(path)?.len();
        measure(
            what,
            &["import", path.to_str().ok_or("the temporary folder's name is not text")?, output],
            Some(size),
        )?;
    }
    Ok(())
}

fn network() -> Result<Network, Failure> {
    Ok(Network::new(&Config::from_name(NAME)?.with_depth_factor([1, 1, 1, 2]))?)
}

/// The seeded weights as a checkpoint file.
fn checkpoint(path: &Path, dtype: Dtype, encode: fn(f32) -> Vec<u8>) -> Result<(), Failure> {
    let network = network()?;
    let mut data = Vec::new();
    for (key, parameter) in network.parameters() {
        let bytes: Vec<u8> = Seeded.read(key, &parameter.shape)?.into_iter().flat_map(encode).collect();
        data.push((key, &parameter.shape, bytes));
    }
    let views: Vec<_> = data
        .iter()
        .map(|(key, shape, bytes)| Ok((key.as_str(), TensorView::new(dtype, shape.to_vec(), bytes)?)))
        .collect::<Result<_, safetensors::SafeTensorError>>()?;
    Ok(serialize_to_file(views, None, path)?)
}

fn build(output: &Path) -> Result<(), Failure> {
    let network = network()?;
    Ok(network.save(output, &mut Seeded, &Metadata::imagenet(1000), &mut |_, _| {})?)
}

fn import(path: &Path, output: &Path) -> Result<(), Failure> {
    let mut weights = Checkpoint::open(path)?;
    let config = Config::recognise(path, weights.shapes().ok_or("no shapes")?, None)?;
    Ok(Network::new(&config)?.save(output, &mut weights, &Metadata::imagenet(config.classes), &mut |_, _| {})?)
}

/// Runs this program with `arguments`, and fails if it took too long or too much memory.
fn measure(what: &str, arguments: &[&str], checkpoint: Option<u64>) -> Result<(), Failure> {
    let start = Instant::now();
    let mut child = Command::new(std::env::current_exe()?).args(arguments).spawn()?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    // The kernel's high-water mark only grows: the last reading before the process is gone is the peak.
    let status = loop {
        let status = std::fs::read_to_string(&status_file).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = kib.unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    let seconds = start.elapsed().as_secs_f64();
    let share = checkpoint.map(|size| peak as f64 * 1024.0 / size as f64);
    let of = share.map_or(String::new(), |share| format!(", {share:.2} x the checkpoint"));
    println!("{NAME}  {what}: {seconds:.2} s, peak {} MiB{of}", peak / MIB);
    let failed =
        !status.success() || seconds > SECONDS || peak > 1024 * MIB || share.is_some_and(|share| share > SHARE);
    if failed { Err(format!("{what}: over the limit, or failed").into()) } else { Ok(()) }
}
