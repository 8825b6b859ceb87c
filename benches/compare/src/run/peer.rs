//! A runtime in a process of its own, as the comparison sees it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, anyhow, bail};
use serde::de::DeserializeOwned;

use super::clock::cpu_seconds;
use super::series::Clocked;
use crate::protocol::{Answer, Hello, Load, Loaded, Marked, Memory, Outputs, Request, Timed};
use crate::result::{Clock, Task};
use crate::shares::Shares;

/// How to start a runtime.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    /// What tables call it.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// It knows exits: stages, and shares.
    pub knows_exits: bool,
    /// It can fetch one output of a whole network, and people try that first.
    pub fetches: bool,
    /// It takes more than one thread.
    pub threads: bool,
    /// It takes several images at once.
    pub batches: bool,
    /// It takes part in every task, not only in the full network.
    pub every_task: bool,
    /// It is fit for a short comparison: it loads in a second or two.
    pub quick: bool,
}

impl Runtime {
    /// A runtime of this name that takes part in nothing yet and is started by nothing.
    pub(super) fn named(name: &str) -> Runtime {
        let name = name.to_owned();
        let [knows_exits, fetches, threads, batches, every_task, quick] = [false; 6];
        Runtime { name, command: vec![], knows_exits, fetches, threads, batches, every_task, quick }
    }
}

/// A running worker.
pub(super) struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub version: String,
    pub base_rss_bytes: u64,
    /// Calls after which the loaded task begins anew.
    cycle: usize,
    clock: Clock,
}

/// A runtime that cannot take part, and why.
#[derive(Debug)]
pub(super) struct Missing(pub String);

impl Peer {
    /// Starts the runtime; what it writes to standard error is shown only when `log` says where.
    ///
    /// # Errors
    /// [`Missing`] when it does not start or says why it cannot run.
    pub(super) fn start(runtime: &Runtime, log: Option<&PathBuf>) -> Result<Peer, Missing> {
        Self::spawn(runtime, log).map_err(|error| Missing(format!("{error:#}")))
    }

    fn spawn(runtime: &Runtime, log: Option<&PathBuf>) -> anyhow::Result<Peer> {
        let (program, arguments) = runtime.command.split_first().context("no virtual environment")?;
        let errors = match log {
            Some(path) => std::fs::File::options().create(true).append(true).open(path)?.into(),
            None => Stdio::null(),
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{program} does not start"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else { bail!("no pipes") };
        let mut peer = Peer {
            child,
            requests,
            answers: BufReader::new(answers),
            version: String::new(),
            base_rss_bytes: 0,
            cycle: 1,
            clock: Clock::default(),
        };
        match peer.read()? {
            Hello::Ready { version, base_rss_bytes } => {
                (peer.version, peer.base_rss_bytes) = (version, base_rss_bytes);
                Ok(peer)
            }
            Hello::Absent { absent } => Err(anyhow!(absent)),
        }
    }

    fn read<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            bail!("the process ended ({status})");
        }
        serde_json::from_str(&line).with_context(|| format!("an answer that is none: {}", line.trim_end()))
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> anyhow::Result<T> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.requests.write_all(&line).context("the process ended")?;
        match self.read()? {
            Answer::Done(done) => Ok(done),
            Answer::Error { error } => Err(anyhow!(error)),
        }
    }

    /// What its times are, from now on.
    pub(super) fn by(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Seconds that it has computed, by a clock that is not the worker's own.
    fn computed(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.id()).context("the system does not tell how long a process computed")
    }

    /// Loads a model; seconds from file to ready.
    ///
    /// # Errors
    /// What the runtime says.
    pub(super) fn load(&mut self, load: &Load) -> anyhow::Result<f64> {
        self.cycle = match &load.task {
            Task::Adaptive { shares } => Shares::new(shares).cycle(),
            _ => 1,
        };
        Ok(self.ask::<Loaded>(&Request::Load(load.clone()))?.load_s)
    }

    /// Outputs of one call.
    ///
    /// # Errors
    /// What the runtime says.
    pub(super) fn outputs(&mut self) -> anyhow::Result<BTreeMap<String, Vec<f32>>> {
        Ok(self.ask::<Outputs>(&Request::Outputs)?.outputs)
    }

    /// Makes the process yield once, which a counter of instructions takes for a mark.
    ///
    /// # Errors
    /// What the runtime says.
    pub(super) fn mark(&mut self) -> anyhow::Result<()> {
        self.ask::<Marked>(&Request::Mark).map(|_| ())
    }

    /// The most memory the process ever held, bytes.
    ///
    /// # Errors
    /// What the runtime says.
    pub(super) fn peak_rss_bytes(&mut self) -> anyhow::Result<u64> {
        Ok(self.ask::<Memory>(&Request::Memory)?.peak_rss_bytes)
    }
}

impl Clocked for Peer {
    fn seconds(&mut self, calls: usize) -> anyhow::Result<f64> {
        if self.clock == Clock::Wall {
            return Ok(self.ask::<Timed>(&Request::Time { calls })?.seconds);
        }
        let before = self.computed()?;
        self.ask::<Timed>(&Request::Time { calls })?;
        Ok(self.computed()? - before)
    }

    fn cycle(&self) -> usize {
        self.cycle
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The process ends with its input; one that hangs is not waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
