//! dyn-perceiver: stage plans, or one plan of the same operators over the whole graph; several images at once, each on a
//! thread of its own or all on a GPU.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use dyn_perceiver::exit::Measure;
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{BatchRuntime, DeviceRuntime, ExitSet, RunError, Runtime};

use super::Engine;
use crate::protocol::Load;
use crate::result::{Device, Task};
use crate::shares::Shares;

/// Logits by the name of the exit.
type Logits = BTreeMap<String, Vec<f32>>;

/// The engine that a request asks for.
pub(super) fn load(request: &Load, input: Vec<f32>, staged: bool) -> anyhow::Result<Box<dyn Engine>> {
    if request.device == Device::Cuda {
        let device = dyn_perceiver::runtime::Device::Cuda;
        // A detector's boxes are not computed there.
        let runtime = DeviceRuntime::new(dyn_perceiver::Model::load(&request.model)?, device)?;
        anyhow::ensure!(runtime.info().boxes.is_none(), "boxes are not computed on a GPU");
        let walk = Walk::new(request, &runtime.info().exits)?;
        return Ok(Box::new(Gpu { runtime, input, walk, images: request.shape[0] }));
    }
    // A bundle has its stages already.
    let options = LoadOptions::default();
    let plan = match staged {
        true => Plan::load(&request.model, &options)?,
        false => Plan::unstaged(dyn_perceiver::model::Model::load_with(&request.model, &options)?)?,
    };
    let walk = Walk::new(request, &plan.info().exits)?;
    let threads = NonZeroUsize::new(request.threads).context("a runtime needs at least one thread")?;
    if request.shape[0] > 1 {
        let runtime = BatchRuntime::new(Arc::new(plan))?.with_threads(threads)?;
        return Ok(Box::new(Batch { runtime, input, walk, images: request.shape[0] }));
    }
    let runtime = Runtime::new(Arc::new(plan))?.with_threads(threads)?;
    Ok(Box::new(Single { runtime, input, walk }))
}

/// What one call computes.
enum Walk {
    /// The logits of these exits.
    Exits(Vec<usize>),
    /// Exit by exit, with the confidence of each, up to where the shares say that an image leaves.
    Adaptive(Shares),
}

impl Walk {
    fn new(request: &Load, exits: &[String]) -> anyhow::Result<Walk> {
        Ok(match &request.task {
            Task::Full => Walk::Exits((0..exits.len()).collect()),
            Task::Exit { exit, .. } => {
                let index = exits.iter().position(|name| name == exit);
                Walk::Exits(vec![index.with_context(|| format!("no exit {exit:?}, only {}", exits.join(", ")))?])
            }
            Task::Adaptive { shares } => {
                anyhow::ensure!(shares.len() == exits.len(), "{} shares for {} exits", shares.len(), exits.len());
                Walk::Adaptive(Shares::new(shares))
            }
        })
    }

    /// The exits whose logits are compared.
    fn wanted(&self, exits: usize) -> Vec<usize> {
        match self {
            Walk::Exits(exits) => exits.clone(),
            Walk::Adaptive(_) => (0..exits).collect(),
        }
    }
}

/// As a policy reads it; the exit's number names it in an error.
fn read_confidence(exit: usize, logits: &[f32]) -> Result<(), RunError> {
    let read = Measure::MaxSoftmax.read(logits);
    std::hint::black_box(read.map_err(|source| RunError::Logits { exit: (exit + 1).to_string(), source })?);
    Ok(())
}

/// One image up to an exit, with the confidence of each before it.
fn up_to(runtime: &mut Runtime, image: &[f32], last: usize) -> Result<(), RunError> {
    runtime.begin(image)?;
    (0..=last).try_for_each(|exit| read_confidence(exit, runtime.advance(exit)?))
}

/// One image to some exits; to all of them means all that the model computes, a detector's boxes among it.
fn through(runtime: &mut Runtime, image: &[f32], exits: &[usize]) -> Result<(), RunError> {
    runtime.begin(image)?;
    runtime.advance_through(ExitSet::of(exits.iter().copied()))?;
    for &exit in exits {
        std::hint::black_box(runtime.advance(exit)?);
    }
    for goal in 0..goals(runtime.plan(), exits.len()) {
        std::hint::black_box(runtime.advance_to_boxes(goal)?);
    }
    Ok(())
}

/// Goals of boxes that are computed beside so many exits: all of them beside all exits.
fn goals(plan: &Plan, exits: usize) -> usize {
    if exits == plan.info().exits.len() { plan.goals().len() } else { 0 }
}

/// Class scores and deltas of the goals, by the names of the outputs.
fn maps(runtime: &mut Runtime, exits: usize) -> Result<Logits, RunError> {
    let levels = runtime.plan().info().boxes.as_ref().map(|boxes| boxes.levels.clone()).unwrap_or_default();
    let mut maps = Logits::new();
    for goal in 0..goals(runtime.plan(), exits) {
        for one in runtime.advance_to_boxes(goal)? {
            let level = &levels[one.level];
            maps.insert(level.classes.clone(), one.scores.to_vec());
            maps.insert(level.boxes.clone(), one.deltas.to_vec());
        }
    }
    Ok(maps)
}

struct Single {
    runtime: Runtime,
    input: Vec<f32>,
    walk: Walk,
}

impl Engine for Single {
    fn run(&mut self) -> anyhow::Result<()> {
        match &mut self.walk {
            Walk::Exits(exits) => through(&mut self.runtime, &self.input, exits)?,
            Walk::Adaptive(shares) => up_to(&mut self.runtime, &self.input, shares.next())?,
        }
        Ok(())
    }

    fn outputs(&mut self) -> anyhow::Result<Logits> {
        let names = self.runtime.plan().info().exits.clone();
        self.runtime.begin(&self.input)?;
        let wanted = self.walk.wanted(names.len());
        self.runtime.advance_through(ExitSet::of(wanted.iter().copied()))?;
        let mut outputs = maps(&mut self.runtime, wanted.len())?;
        for exit in wanted {
            outputs.insert(names[exit].clone(), self.runtime.advance(exit)?.to_vec());
        }
        Ok(outputs)
    }
}

struct Batch {
    runtime: BatchRuntime,
    input: Vec<f32>,
    walk: Walk,
    images: usize,
}

impl Engine for Batch {
    fn run(&mut self) -> anyhow::Result<()> {
        match &mut self.walk {
            // Boxes are computed image by image.
            Walk::Exits(exits) if goals(self.runtime.plan(), exits.len()) > 0 => {
                self.runtime.each(&self.input, |runtime, _, image| through(runtime, image, exits))?;
            }
            Walk::Exits(exits) => {
                self.runtime.walk(&self.input, exits, &mut vec![(); self.images], |(), _, logits| {
                    std::hint::black_box(logits);
                    Ok(true)
                })?;
            }
            Walk::Adaptive(shares) => {
                let mut last: Vec<usize> = (0..self.images).map(|_| shares.next()).collect();
                let exits: Vec<usize> = (0..self.runtime.plan().info().exits.len()).collect();
                self.runtime.walk(&self.input, &exits, &mut last, |last, stage, logits| {
                    read_confidence(stage.exit, logits)?;
                    Ok(stage.exit < *last)
                })?;
            }
        }
        Ok(())
    }

    fn outputs(&mut self) -> anyhow::Result<Logits> {
        let names = self.runtime.plan().info().exits.clone();
        let wanted = self.walk.wanted(names.len());
        let mut images = vec![vec![]; self.images];
        self.runtime.walk(&self.input, &wanted, &mut images, |image, _, logits| {
            image.push(logits.to_vec());
            Ok(true)
        })?;
        let rows = |place: usize| images.iter().flat_map(|logits| logits[place].iter().copied()).collect();
        Ok(wanted.iter().enumerate().map(|(place, &exit)| (names[exit].clone(), rows(place))).collect())
    }
}

/// All images stage by stage; after each, those that leave are taken out.
struct Gpu {
    runtime: DeviceRuntime,
    input: Vec<f32>,
    walk: Walk,
    images: usize,
}

impl Engine for Gpu {
    fn run(&mut self) -> anyhow::Result<()> {
        self.runtime.begin(&self.input)?;
        match &mut self.walk {
            Walk::Exits(exits) => {
                for &exit in exits.iter() {
                    std::hint::black_box(self.runtime.advance(exit)?);
                }
            }
            Walk::Adaptive(shares) => {
                let mut last: Vec<usize> = (0..self.images).map(|_| shares.next()).collect();
                let classes = self.runtime.info().classes;
                for exit in 0..self.runtime.info().exits.len() {
                    self.runtime
                        .advance(exit)?
                        .chunks_exact(classes)
                        .try_for_each(|logits| read_confidence(exit, logits))?;
                    let staying: Vec<usize> = (0..last.len()).filter(|&image| last[image] > exit).collect();
                    if staying.is_empty() {
                        break;
                    }
                    self.runtime.retain(&staying)?;
                    last.retain(|&last| last > exit);
                }
            }
        }
        Ok(())
    }

    fn outputs(&mut self) -> anyhow::Result<Logits> {
        let names = self.runtime.info().exits.clone();
        self.runtime.begin(&self.input)?;
        let wanted = self.walk.wanted(names.len()).into_iter();
        wanted.map(|exit| Ok((names[exit].clone(), self.runtime.advance(exit)?.to_vec()))).collect()
    }
}
