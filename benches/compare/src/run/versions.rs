//! Which runtimes there are, in which version, and which are absent.

use std::collections::BTreeMap;

use super::models::Model;
use super::peer::{Missing, Peer};
use super::{Bench, venv};
use crate::result::{Absent, Device, Record};

/// What starting every runtime gave.
pub(super) struct Versions {
    pub(super) found: BTreeMap<String, String>,
    pub(super) absent: Vec<Absent>,
}

impl Bench<'_> {
    /// Starts every runtime once.
    pub(super) fn versions(&mut self, refused: &[(String, String)]) -> anyhow::Result<Versions> {
        let mut versions = Versions { found: BTreeMap::new(), absent: vec![] };
        for index in 0..self.runtimes.len() {
            let runtime = self.runtimes[index].clone();
            self.progress.say(&format!("{}: starting", runtime.name));
            match Peer::start(&runtime, Some(&self.log())) {
                Ok(peer) => drop(versions.found.insert(runtime.name, peer.version.clone())),
                Err(Missing(reason)) => {
                    let refusal = refused.iter().find(|(requirement, _)| venv::provides(requirement, &runtime.name));
                    let reason = refusal.map_or(reason, |(requirement, why)| format!("{requirement}: {why}"));
                    self.absent.extend([(index, Device::Cpu), (index, Device::Cuda)]);
                    let reason =
                        if runtime.command.is_empty() { "left out: no virtual environment".into() } else { reason };
                    versions.absent.push(self.absence(index, None, Device::Cpu, &reason));
                }
            }
        }
        Ok(versions)
    }

    fn absence(&self, runtime: usize, model: Option<&Model>, device: Device, reason: &str) -> Absent {
        let model = model.map(|model| model.name.clone());
        let runtime = self.runtimes[runtime].name.clone();
        Absent { run: self.results.run.clone(), runtime, model, device, reason: reason.to_owned() }
    }

    pub(super) fn missing(
        &mut self,
        runtime: usize,
        model: Option<&Model>,
        device: Device,
        reason: &str,
    ) -> anyhow::Result<()> {
        self.results.write(Record::Absent(self.absence(runtime, model, device, reason)))
    }
}
