//! Loading time and memory: every runtime in fresh processes that do nothing else.

use std::time::Instant;

use dyn_perceiver::bundle;

use super::models::Model;
use super::peer::{Missing, Peer};
use super::{Bench, describe};
use crate::protocol::Load;
use crate::result::{self, Device, Record};
use crate::rounds::Spread;
use crate::run::series::Clocked as _;

/// Frames that a process computes before its memory is read.
const FRAMES: usize = 5;

/// A line per runtime, model and format, on one thread.
pub(super) fn measure(bench: &mut Bench<'_>, model: &Model) -> anyhow::Result<()> {
    let load = bench.whole(model);
    for index in 0..bench.runtimes.len() {
        let runtime = bench.runtimes[index].clone();
        // Compiling takes minutes, and the unstaged plan is there for its speed only.
        let wanted = !["pytorch-compiled", "dyn-perceiver-unstaged"].contains(&runtime.name.as_str());
        if !wanted || bench.absent.contains(&(index, Device::Cpu)) {
            continue;
        }
        series(bench, model, index, "onnx", &load)?;
        if runtime.name == "dyn-perceiver" {
            let path = bench.cache.join("models").join(format!("{}.dynp", model.name));
            let parsed = dyn_perceiver::model::Model::load(&model.whole)?;
            bundle::compile(parsed, None, bundle::Target::host(), &path)?;
            series(bench, model, index, "bundle", &Load { model: path.clone(), ..load.clone() })?;
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

/// One line: a runtime that loads the model in one format.
fn series(bench: &mut Bench<'_>, model: &Model, index: usize, format: &str, load: &Load) -> anyhow::Result<()> {
    let runtime = bench.runtimes[index].clone();
    bench.progress.say(&format!("{}: loading in {}", model.name, runtime.name));
    let times = if bench.args.quick || !runtime.quick { 1 } else { 3 };
    let seen = match (0..times).map(|_| once(bench, index, load)).collect::<anyhow::Result<Vec<_>>>() {
        Ok(seen) => seen,
        Err(error) => {
            let reason = format!("loading, {format}, {}: {error:#}", describe(load));
            return bench.missing(index, Some(model), Device::Cpu, &reason);
        }
    };
    let median = |value: fn(&Seen) -> f64| {
        Spread::of(&seen.iter().map(value).collect::<Vec<_>>()).map_or(f64::NAN, |spread| spread.median)
    };
    bench.results.write(Record::Load(result::Load {
        run: bench.results.run.clone(),
        model: model.name.clone(),
        runtime: runtime.name,
        format: format.to_owned(),
        threads: 1,
        load_s: median(|seen| seen.load_s),
        first_result_s: median(|seen| seen.first_result_s),
        peak_rss_bytes: median(|seen| seen.peak_rss_bytes as f64) as u64,
        base_rss_bytes: median(|seen| seen.base_rss_bytes as f64) as u64,
        model_bytes: std::fs::metadata(&load.model)?.len(),
        program_bytes: None,
    }))
}

struct Seen {
    load_s: f64,
    first_result_s: f64,
    peak_rss_bytes: u64,
    base_rss_bytes: u64,
}

fn once(bench: &Bench<'_>, index: usize, load: &Load) -> anyhow::Result<Seen> {
    let started = Peer::start(&bench.runtimes[index], Some(&bench.log()));
    let mut peer = started.map_err(|Missing(why)| anyhow::anyhow!(why))?;
    let load_s = peer.load(load)?;
    let first = Instant::now();
    peer.seconds(1)?;
    let first_result_s = load_s + first.elapsed().as_secs_f64();
    peer.seconds(FRAMES - 1)?;
    let peak_rss_bytes = peer.peak_rss_bytes()?;
    Ok(Seen { load_s, first_result_s, peak_rss_bytes, base_rss_bytes: peer.base_rss_bytes })
}
