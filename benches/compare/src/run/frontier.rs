//! Accuracy against what a frame costs: the operating points of the shipped policy, each exit alone, and the full network
//! in the other runtimes, all on the shipped labelled frames.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use dyn_perceiver::Classifier;
use dyn_perceiver::camera::{Frame, FrameSource as _, IdxSource};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::linux::Rapl;

use super::Bench;
use super::models::Model;
use super::peer::Peer;
use super::series::{Clocked, in_turns};
use crate::result::{Frontier, Point, Record};
use crate::rounds::Spread;

/// How joules are had.
enum Energy {
    Rapl(Rapl),
    Watts(f64),
    Unknown(String),
}

impl Energy {
    fn of(watts: Option<f64>) -> Energy {
        match (watts, Rapl::find(Path::new(Rapl::ROOT))) {
            (Some(watts), _) => Energy::Watts(watts),
            (None, Ok(rapl)) => Energy::Rapl(rapl),
            (None, Err(error)) => Energy::Unknown(error.to_string()),
        }
    }

    fn describe(&self) -> String {
        match self {
            Energy::Rapl(_) => "measured".to_owned(),
            Energy::Watts(watts) => format!("modelled: {watts} W x measured seconds"),
            Energy::Unknown(why) => format!("not measured: {why}"),
        }
    }

    fn joules(&mut self) -> Option<f64> {
        match self {
            Energy::Rapl(rapl) => rapl.joules().ok(),
            _ => None,
        }
    }
}

/// Frames as tensors, with their classes.
struct Frames {
    images: Vec<Vec<f32>>,
    labels: Vec<usize>,
}

/// One line for the shipped model.
pub(super) fn measure(bench: &mut Bench<'_>, model: &Model) -> anyhow::Result<()> {
    bench.progress.say(&format!("{}: accuracy and cost of the shipped policy", model.name));
    let folder = model.whole.parent().context("the shipped model lies in a folder")?;
    let plan = Arc::new(Plan::new(dyn_perceiver::model::Model::load(&model.whole)?)?);
    let frames = frames(&plan, folder)?;
    let exits = plan.stages().len();
    let policy = dyn_perceiver::policy_file::load(&folder.join("policy.json"))?;
    let mut wanted: Vec<(String, &str, ExitPolicy)> = vec![];
    for (index, point) in policy.frontier().points().iter().enumerate() {
        wanted.push((format!("point {}", index + 1), "adaptive", point.policy.clone()));
    }
    for (exit, name) in plan.info().exits.iter().enumerate() {
        wanted.push((format!("{name} alone"), "exit", ExitPolicy::only(exit, exits)?));
    }
    let mut energy = Energy::of(bench.args.watts);
    let mut points = vec![];
    for (name, series, policy) in &wanted {
        points.push(point(&plan, &frames, name, series, policy, &mut energy)?);
    }
    // The others give the same answers as our last exit, as was checked: what differs is what they take.
    let full = points.last().cloned().context("a network has exits")?;
    for (runtime, mean_s) in peers(bench, model) {
        let joules = match energy {
            Energy::Watts(watts) => Some(watts * mean_s),
            _ => None,
        };
        let macs = plan.stages().last().map_or(0, |stage| stage.cumulative_macs) as f64;
        points.push(Point {
            runtime,
            name: "full network".to_owned(),
            series: "full".to_owned(),
            mean_s,
            joules,
            macs,
            ..full.clone()
        });
    }
    bench.results.write(Record::Frontier(Frontier {
        run: bench.results.run.clone(),
        model: model.name.clone(),
        threads: 1,
        frames: frames.images.len(),
        energy: energy.describe(),
        points,
    }))
}

fn frames(plan: &Arc<Plan>, folder: &Path) -> anyhow::Result<Frames> {
    let labels = folder.join("frames-labels-idx1-ubyte.gz");
    let mut source = IdxSource::open(folder.join("frames-images-idx3-ubyte.gz"), Some(&labels))?;
    let mut classifier = Classifier::new(plan.clone())?;
    let mut frames = Frames { images: vec![], labels: vec![] };
    let mut frame = Frame::default();
    while source.read(&mut frame)? {
        frames.images.push(classifier.tensor(&frame)?.to_vec());
        frames.labels.push(frame.label.context("a frame without a label")? as usize);
    }
    Ok(frames)
}

fn point(
    plan: &Arc<Plan>,
    frames: &Frames,
    name: &str,
    series: &str,
    policy: &ExitPolicy,
    energy: &mut Energy,
) -> anyhow::Result<Point> {
    let mut runtime = dyn_perceiver::runtime::Runtime::new(plan.clone())?;
    let mut left = vec![0usize; plan.stages().len()];
    let (mut right, mut macs) = (0usize, 0u64);
    for image in &frames.images[..frames.images.len().min(20)] {
        runtime.run(image, policy)?;
    }
    let (joules, began) = (energy.joules(), Instant::now());
    for (image, &label) in frames.images.iter().zip(&frames.labels) {
        let outcome = runtime.run(image, policy)?;
        left[outcome.exit] += 1;
        right += usize::from(outcome.class == label);
        macs += plan.macs(policy, outcome.exit);
    }
    let count = frames.images.len() as f64;
    let mean_s = began.elapsed().as_secs_f64() / count;
    let joules = match energy {
        Energy::Watts(watts) => Some(*watts * mean_s),
        _ => joules.zip(energy.joules()).map(|(before, after)| (after - before) / count),
    };
    Ok(Point {
        runtime: "dyn-perceiver".to_owned(),
        name: name.to_owned(),
        series: series.to_owned(),
        accuracy: right as f64 / count,
        mean_s,
        joules,
        macs: macs as f64 / count,
        shares: left.iter().map(|&frames| frames as f64 / count).collect(),
    })
}

/// Median seconds of a full frame in the runtimes that take part in every task, on one thread.
fn peers(bench: &Bench<'_>, model: &Model) -> Vec<(String, f64)> {
    let load = bench.whole(model);
    let mut running = vec![];
    for runtime in bench.runtimes.iter().filter(|runtime| runtime.every_task && !runtime.knows_exits) {
        let Ok(mut peer) = Peer::start(runtime, Some(&bench.log())) else { continue };
        if peer.load(&load).is_ok() {
            running.push((runtime.name.clone(), peer));
        }
    }
    let mut clocked: Vec<&mut dyn Clocked> = running.iter_mut().map(|(_, peer)| peer as &mut dyn Clocked).collect();
    let series = in_turns(&mut clocked, bench.effort(1, 1));
    let median =
        |series: anyhow::Result<super::series::Series>| Spread::of(&series.ok()?.rounds_s).map(|spread| spread.median);
    running.into_iter().zip(series).filter_map(|((name, _), series)| Some((name, median(series)?))).collect()
}
