//! What is measured: groups of series that are taken in turns.

use super::models::Model;
use super::peer::Runtime;
use crate::protocol::Load;
use crate::result::{Device, How, Task};

/// Frames that leave at four exits, per mille: more early than late, as an adaptive network is meant to be used.
const SHARES: [u32; 4] = [400, 300, 200, 100];

/// One series to be: a runtime and what it loads.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Index in the list of runtimes.
    pub runtime: usize,
    pub load: Load,
}

/// Series that are taken in turns.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub name: String,
    pub entries: Vec<Entry>,
}

/// What of it all is wanted.
pub(super) struct Extent {
    pub quick: bool,
    /// Numbers of threads, fewest first.
    pub threads: Vec<usize>,
    pub batches: Vec<usize>,
    pub device: Device,
}

/// The groups of one model. `input` names the file with the input of a batch.
pub(super) fn groups(
    model: &Model,
    runtimes: &[Runtime],
    extent: &Extent,
    input: impl Fn(usize) -> std::path::PathBuf,
) -> Vec<Group> {
    let mut groups = vec![];
    let entry = |runtime: usize, path: &std::path::Path, task: &Task, threads: usize, batch: usize| {
        let fetch = match task {
            Task::Exit { exit, how: How::Fetch } => Some(exit.clone()),
            _ => None,
        };
        let [channels, height, width] = model.image;
        let shape = [batch, channels, height, width];
        let (model, input, device) = (path.to_path_buf(), input(batch), extent.device);
        Entry { runtime, load: Load { model, input, shape, threads, device, fetch, task: task.clone() } }
    };
    let cpu = extent.device == Device::Cpu;
    for &threads in &extent.threads {
        let able = || runtimes.iter().enumerate().filter(move |(_, runtime)| threads == 1 || runtime.threads);
        let full = |runtime| entry(runtime, &model.whole, &Task::Full, threads, 1);
        // Starting a compiler for minutes is worth it once.
        let last = extent.threads.last() == Some(&threads);
        let takes_part = |runtime: &Runtime| last || runtime.name != "pytorch-compiled";
        groups.push(Group {
            name: format!("full, {threads} threads"),
            entries: able().filter(|(_, runtime)| takes_part(runtime)).map(|(index, _)| full(index)).collect(),
        });
        let in_every_task = || able().filter(|(_, runtime)| runtime.every_task);
        for (index, exit) in model.exits.iter().enumerate().filter(|(index, _)| cpu && (!extent.quick || *index == 0)) {
            let mut entries = vec![];
            for (runtime, spec) in in_every_task() {
                let task = |how| Task::Exit { exit: exit.clone(), how };
                if spec.knows_exits {
                    entries.push(entry(runtime, &model.whole, &task(How::Staged), threads, 1));
                }
                entries.push(entry(runtime, &model.cut[index], &task(How::Cut), threads, 1));
                if spec.fetches {
                    entries.push(entry(runtime, &model.whole, &task(How::Fetch), threads, 1));
                }
                // What the exit is to be cheaper than.
                if !spec.knows_exits {
                    entries.push(full(runtime));
                }
            }
            groups.push(Group { name: format!("{exit}, {threads} threads"), entries });
        }
        // Whole networks of all images, and of ours those that the shares leave.
        let adaptive = |batch: usize, name: String| {
            let task = Task::Adaptive { shares: SHARES.to_vec() };
            let takes = |spec: &Runtime| spec.every_task && (batch == 1 || spec.batches);
            let ours = able()
                .filter(|(_, spec)| takes(spec) && spec.knows_exits)
                .map(|(runtime, _)| entry(runtime, &model.whole, &task, threads, batch));
            let full = able()
                .filter(|(_, spec)| takes(spec))
                .map(|(runtime, _)| entry(runtime, &model.whole, &Task::Full, threads, batch));
            Group { name, entries: ours.chain(full).collect() }
        };
        let four = model.exits.len() == SHARES.len() && !model.boxes;
        if four {
            groups.push(adaptive(1, format!("adaptive, {threads} threads")));
        }
        for &batch in extent.batches.iter().filter(|_| last) {
            let entries = able()
                .filter(|(_, runtime)| runtime.batches)
                .map(|(runtime, _)| entry(runtime, &model.whole, &Task::Full, threads, batch))
                .collect();
            groups.push(Group { name: format!("full, {threads} threads, batch {batch}"), entries });
            // The largest batch tells whether early exits still pay; a GPU is asked at every size.
            if four && (!cpu || extent.batches.iter().max() == Some(&batch)) {
                groups.push(adaptive(batch, format!("adaptive, {threads} threads, batch {batch}")));
            }
        }
    }
    groups.retain(|group| !group.entries.is_empty());
    groups
}
