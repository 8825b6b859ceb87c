//! The drivers of `examples/scale` for clusters: the commands in them, run as their engines run them, make all parts and no other.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::learn_command::photos;
use crate::program::{json, program, repository};

/// Parts that both files ask for.
const PARTS: usize = 16;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn example(name: &str) -> String {
    std::fs::read_to_string(repository().join("examples/scale").join(name)).unwrap()
}

/// A folder with a model, images in `val`, and the records of one run over all of them.
fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let [model, one, val] = ["model.onnx", "one.csv", "val"].map(|name| folder.path().join(name));
    let network =
        ["mobilenetV3_0x05_perceiver_t8", "--seeded", "--sa-widening", "1", "--classes", "2", "--input-size", "32"];
    json(&[&["models", "build"], &network[..], &["-o", text(&model), "--json"]].concat());
    photos(&val, &[("leaf", [10, 160, 20]), ("sky", [30, 60, 200])], 13);
    let all = ["records", "collect", text(&model), "--data", text(&val), "-o", text(&one)];
    assert!(program(&all).status.success());
    (folder, one)
}

/// Runs a shell's command for one part, with the program where the shell finds it.
fn make(shell: &mut Command, folder: &Path) {
    let programs = Path::new(env!("CARGO_BIN_EXE_dyn-perceiver")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let output = shell.current_dir(folder).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{shell:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The parts are those of one run, byte for byte.
fn merge(folder: &Path, one: &Path) {
    let all = folder.join("all.csv");
    let parts: Vec<PathBuf> = (1..=PARTS).map(|part| folder.join(format!("part.{part}"))).collect();
    let parts: Vec<&str> = parts.iter().map(|part| text(part)).collect();
    let merged = program(&[&["records", "merge"], &parts[..], &["-o", text(&all)]].concat());
    assert!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
    assert!(std::fs::read(&all).unwrap() == std::fs::read(one).unwrap());
}

#[test]
fn tasks_of_a_slurm_array_make_the_records_of_one_run() {
    let (folder, one) = folder();
    let script = repository().join("examples/scale/slurm.sh").canonicalize().unwrap();
    // sbatch reads it; each task gets its number.
    assert!(example("slurm.sh").contains(&format!("#SBATCH --array=1-{PARTS}\n")));
    for task in 1..=PARTS {
        let mut bash = Command::new("bash");
        make(bash.arg(&script).args(["model.onnx", "val"]).env("SLURM_ARRAY_TASK_ID", task.to_string()), folder.path());
    }
    merge(folder.path(), &one);
}

#[test]
fn pods_of_a_kubernetes_job_make_the_records_of_one_run() {
    let (folder, one) = folder();
    let job = example("kubernetes.yaml");
    assert!(job.contains(&format!("\n  completions: {PARTS}\n")));
    // A folded scalar: its lines are joined by blanks.
    let (_, command) = job.split_once(">-\n").unwrap();
    let (command, _) = command.split_once("          resources:").unwrap();
    let command: Vec<&str> = command.lines().map(str::trim).collect();
    let command = command.join(" ").replace("/records/", &format!("{}/", folder.path().display()));
    for index in 0..PARTS {
        let mut shell = Command::new("/bin/sh");
        make(shell.args(["-c", &command]).env("JOB_COMPLETION_INDEX", index.to_string()), folder.path());
    }
    merge(folder.path(), &one);
}
