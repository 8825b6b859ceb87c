//! The gate behind the first exit: what the program itself holds back of each sequence.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::sequences::{HEIGHT, SEQUENCES, Scene, WIDTH};
use super::watch::{Seen, told};
use super::{head, row};

/// One: another costs as many runs of the network again.
const SEED: u64 = 1;
/// Distances of codes.
const THRESHOLDS: [f32; 5] = [0.1, 0.125, 0.15, 0.175, 0.2];
/// The loop takes frames a hundred times as fast as they come, and answers hold for a hundredth of the time.
const PACE: [&str; 4] = ["--fps", "1000", "--refresh", "0.1"];

pub(super) fn table(program: &Path) -> Result<String> {
    let mut text = format!(
        "The latent gate with the built-in model on the same sequences in grey, of seed {SEED}, run to the last exit where \
         the gate lets frames through. In each cell, by the largest distance of codes: share of frames that stopped at the first exit, events missed of all, and by how \
         many seconds the latest event came later. Made by `cargo xtask gate-table --program dyn-perceiver`.\n\n"
    );
    text += &head(&THRESHOLDS.map(|distance| format!("{distance}")));
    let folder = tempfile::tempdir().context("a folder for frames")?;
    for sequence in SEQUENCES {
        let mut sums = [Seen::default(); THRESHOLDS.len()];
        let (idx, visitors) = recorded(sequence.name, SEED);
        let path = folder.path().join("frames-idx3-ubyte");
        std::fs::write(&path, idx).with_context(|| path.display().to_string())?;
        for (sum, threshold) in sums.iter_mut().zip(THRESHOLDS) {
            let reused = held(program, &path, threshold)?;
            ensure!(reused.len() == visitors.len(), "{} frames of {}", reused.len(), visitors.len());
            sum.add(told(&visitors, &reused));
        }
        text += &row(sequence.title, &sums);
    }
    Ok(text)
}

/// The frames of a sequence as an IDX file of grey images, and whether somebody is in each.
fn recorded(sequence: &'static str, seed: u64) -> (Vec<u8>, Vec<bool>) {
    let mut scene = Scene::new(sequence, seed);
    let (mut pixels, mut visitors) = (vec![], vec![]);
    while let Some(shot) = scene.next() {
        pixels.extend(shot.yuyv.iter().step_by(2));
        visitors.push(shot.visitor);
    }
    let sizes = [visitors.len(), HEIGHT, WIDTH].map(|size| (size as u32).to_be_bytes());
    ([&[0, 0, 8, 3], sizes.as_flattened(), &pixels].concat(), visitors)
}

/// For each frame whether the gate held it back.
fn held(program: &Path, frames: &Path, threshold: f32) -> Result<Vec<bool>> {
    let mut command = Command::new(program);
    command.args(["run", "--json", "--no-compare", "--exit", "merge", "--gate", "latent", "--latent-threshold"]);
    command.arg(threshold.to_string()).args(PACE).arg("--frames").arg(frames);
    let output = command.output().with_context(|| program.display().to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", program.display(), said.trim());
    let text = String::from_utf8(output.stdout).context("what the program said")?;
    let records = text.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?)).collect::<Result<Vec<_>>>()?;
    Ok(records.iter().filter(|record| record["kind"] == "frame").map(|record| record["reused"] == true).collect())
}
