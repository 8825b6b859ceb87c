//! dyn-perceiver: stage plans, or one plan of the same operators over the whole graph.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use dyn_perceiver::exit::Measure;
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;

use super::Engine;
use crate::protocol::Load;
use crate::result::{Device, Task};
use crate::shares::Shares;

/// Stage plans of one model and what to compute with them.
pub struct Stages {
    runtime: Runtime,
    input: Vec<f32>,
    walk: Walk,
}

/// What one call computes.
enum Walk {
    /// The logits of these exits.
    Exits(Vec<usize>),
    /// Exit by exit, with the confidence of each, up to where the shares say that the frame leaves.
    Adaptive(Shares),
}

impl Stages {
    pub fn load(request: &Load, input: Vec<f32>, staged: bool) -> anyhow::Result<Self> {
        anyhow::ensure!(request.device == Device::Cpu, "built without the feature `cuda`");
        let options = LoadOptions { batch: request.shape[0], ..LoadOptions::default() };
        // A bundle has its stages already.
        let plan = match staged {
            true => Plan::load(&request.model, &options)?,
            false => Plan::unstaged(Model::load_with(&request.model, &options)?)?,
        };
        let exits = plan.info().exits.clone();
        let walk = match &request.task {
            Task::Full => Walk::Exits((0..exits.len()).collect()),
            Task::Exit { exit, .. } => {
                let index = exits.iter().position(|name| name == exit);
                Walk::Exits(vec![index.with_context(|| format!("no exit {exit:?}, only {}", exits.join(", ")))?])
            }
            Task::Adaptive { shares } => {
                anyhow::ensure!(shares.len() == exits.len(), "{} shares for {} exits", shares.len(), exits.len());
                Walk::Adaptive(Shares::new(shares))
            }
        };
        let threads = NonZeroUsize::new(request.threads).context("a runtime needs at least one thread")?;
        let runtime = Runtime::with_threads(Arc::new(plan), threads)?;
        Ok(Stages { runtime, input, walk })
    }
}

impl Engine for Stages {
    fn run(&mut self) -> anyhow::Result<()> {
        match &mut self.walk {
            Walk::Exits(exits) => {
                self.runtime.begin(&self.input)?;
                for &exit in exits.iter() {
                    std::hint::black_box(self.runtime.advance(exit)?);
                }
            }
            Walk::Adaptive(shares) => {
                self.runtime.begin(&self.input)?;
                for exit in 0..=shares.next() {
                    std::hint::black_box(Measure::MaxSoftmax.read(self.runtime.advance(exit)?)?);
                }
            }
        }
        Ok(())
    }

    fn outputs(&mut self) -> anyhow::Result<BTreeMap<String, Vec<f32>>> {
        let names = self.runtime.plan().info().exits.clone();
        let wanted = match &self.walk {
            Walk::Exits(exits) => exits.clone(),
            Walk::Adaptive(_) => (0..names.len()).collect(),
        };
        self.runtime.begin(&self.input)?;
        wanted.into_iter().map(|exit| Ok((names[exit].clone(), self.runtime.advance(exit)?.to_vec()))).collect()
    }
}
