//! The table of `docs/train.md` on what `learn` reaches: draws of few photos a class, learned from and judged on others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::WrongInput;

/// Measure `learn` on draws of a few photos of each class, as a table in Markdown
///
/// A draw with a seed is the photos of `train` whose SHA-256 of "SEED/CLASS/FILE" comes first: a larger draw has those of a
/// smaller one. What was learned is judged on all photos of `test` by the last point of its policy.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Folder with `train` and `test`, a folder per class in each
    photos: PathBuf,
    /// The program, built with --release
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Photos of each class
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "10,20,30")]
    draws: Vec<usize>,
    /// Seeds of draws
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// The folder of `photos` that is judged on
    #[arg(long, value_name = "NAME", default_value = "test")]
    judge: String,
    /// Keep the draws in this folder, for instance for `train` to have the same photos: in SEED-NUMBER
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Further options of `learn`
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

/// What became of one draw, shares in per cent.
struct Learned {
    tested: f64,
    /// What `learn` told of it, and the ends of the interval.
    told: [f64; 3],
    views: u64,
    seconds: f64,
    mebibytes: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    println!("| photos a class | seed | accuracy, last point | its own estimate | views | seconds | memory at most |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for &photos in &args.draws {
        let mut all = vec![];
        for &seed in &args.seeds {
            let folder =
                args.keep.as_deref().unwrap_or_else(|| scratch.path()).join(format!("{seed}-{photos}")).join("train");
            draw(&args.photos.join("train"), &folder, seed, photos)?;
            let learned = learn(args, &folder, &scratch.path().join("learned.dynp"))?;
            let Learned { tested, told: [told, low, high], views, seconds, mebibytes } = learned;
            println!(
                "| {photos} | {seed} | {tested:.1} % | {told:.1} % ({low:.1} to {high:.1}) | {views} | {seconds:.0} | {mebibytes:.0} MiB |"
            );
            all.push(learned);
        }
        let mean = all.iter().map(|learned| learned.tested).sum::<f64>() / all.len().max(1) as f64;
        let covered = all.iter().filter(|l| (l.told[1]..=l.told[2]).contains(&l.tested)).count();
        println!("| {photos} | mean | {mean:.1} % | {covered} of {} intervals hold the accuracy | | | |", all.len());
    }
    Ok(())
}

fn learn(args: &Args, photos: &Path, bundle: &Path) -> Result<Learned> {
    let mut command = Command::new(&args.program);
    command.args(["learn", "--json", "--data"]).arg(photos).arg("-o").arg(bundle).args(&args.options);
    let report = answer(&mut command)?;
    let number = |value: &Value, name: &str| {
        value[name].as_f64().with_context(|| format!("learn --json: no {name} in {value}; is the program older?"))
    };
    let told = &report["best_point"];
    let mut judge = Command::new(&args.program);
    judge.arg("evaluate").arg(bundle).arg("--json").arg("--data").arg(args.photos.join(&args.judge));
    let judged = answer(&mut judge)?;
    let last = judged["runs"].as_array().and_then(|runs| runs.last()).context("evaluate --json: no runs")?;
    Ok(Learned {
        tested: 100.0 * number(last, "accuracy")?,
        told: [number(told, "accuracy")?, number(told, "low")?, number(told, "high")?].map(|share| 100.0 * share),
        views: report["views"].as_u64().unwrap_or(1),
        seconds: number(&report, "seconds")?,
        mebibytes: number(&report, "peak_bytes")? / 1024.0 / 1024.0,
    })
}

fn answer(command: &mut Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Copies so many photos of every class.
fn draw(from: &Path, to: &Path, seed: u64, photos: usize) -> Result<()> {
    let mut classes = names(from)?;
    classes.retain(|class| from.join(class).is_dir());
    for class in classes {
        let folder = to.join(&class);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let files = names(&from.join(&class))?;
        for file in drawn(files, &class, seed, photos) {
            let source = from.join(&class).join(&file);
            std::fs::copy(&source, folder.join(&file)).with_context(|| source.display().to_string())?;
        }
    }
    Ok(())
}

/// The names in a folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.map_err(|error| WrongInput(format!("{}: {error}", folder.display())))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<std::io::Result<_>>().with_context(|| folder.display().to_string())
}

/// Those of `files` that a draw takes.
fn drawn(mut files: Vec<String>, class: &str, seed: u64, photos: usize) -> Vec<String> {
    files.sort_by_cached_key(|file| Sha256::digest(format!("{seed}/{class}/{file}")).to_vec());
    files.truncate(photos);
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_draw_has_the_photos_of_a_smaller_one_and_seeds_differ() {
        let files: Vec<String> = (0..50).map(|i| format!("{i}.jpg")).collect();
        let of = |seed, photos| drawn(files.clone(), "glass", seed, photos);
        assert_eq!(of(1, 10), of(1, 20)[..10]);
        assert_ne!(of(1, 10), of(2, 10));
        assert_eq!(of(1, 100).len(), 50);
        let mut turned = files.clone();
        turned.reverse();
        assert_eq!(drawn(turned, "glass", 1, 10), of(1, 10));
    }

    #[test]
    fn a_draw_is_copied_and_a_folder_that_is_missing_is_wrong_input() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("train"), folder.path().join("drawn"));
        for class in ["a", "b"] {
            std::fs::create_dir_all(from.join(class)).unwrap();
            (0..5).for_each(|i| std::fs::write(from.join(class).join(format!("{i}.jpg")), class).unwrap());
        }
        std::fs::write(from.join("classes.txt"), "a b").unwrap();
        draw(&from, &to, 1, 2).unwrap();
        assert!(["a", "b"].iter().all(|class| names(&to.join(class)).unwrap().len() == 2));
        let error = draw(&folder.path().join("nowhere"), &to, 1, 2).unwrap_err();
        assert!(error.is::<WrongInput>(), "{error}");
    }
}
