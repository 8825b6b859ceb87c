//! The file that results are appended to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use dyn_perceiver_host::System;

use super::busy::Busy;
use super::machine;
use crate::result::{Clock, End, Machine, Record, Run, SCHEMA};

/// Results of one run.
pub(super) struct Results {
    /// Names the run in its lines.
    pub run: String,
    path: PathBuf,
    file: File,
    print: bool,
    began: Instant,
    busy: Option<Busy>,
}

impl Results {
    /// Opens the file, or makes it; `print` copies every line to standard output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn append(path: &Path, print: bool) -> anyhow::Result<Results> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let run = format!("{:x}-{:x}", now_s(), std::process::id());
        Ok(Results { run, path: path.to_path_buf(), file, print, began: Instant::now(), busy: None })
    }

    /// Writes the first line of a run, and gives the machine it describes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn begin(
        &mut self,
        root: &Path,
        name: Option<String>,
        (quick, clock): (bool, Clock),
        emulated: bool,
        versions: BTreeMap<String, String>,
    ) -> anyhow::Result<Machine> {
        let machine = machine::read(name, emulated);
        self.began = Instant::now();
        self.busy = Busy::read(&System::default());
        self.write(Record::Run(Run {
            schema: SCHEMA,
            id: self.run.clone(),
            started_s: now_s(),
            commit: machine::commit(root),
            quick,
            machine: machine.clone(),
            versions,
            clock,
        }))?;
        Ok(machine)
    }

    /// One line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&mut self, record: Record) -> anyhow::Result<()> {
        let line = serde_json::to_string(&record)?;
        writeln!(self.file, "{line}").with_context(|| format!("cannot write {}", self.path.display()))?;
        if self.print {
            println!("{line}");
        }
        Ok(())
    }

    /// Writes the last line of a run, and says where all are.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        let system = System::default();
        let others = self.busy.zip(Busy::read(&system)).and_then(|(before, after)| before.others(after));
        self.write(Record::End(End {
            run: self.run.clone(),
            took_s: self.began.elapsed().as_secs_f64(),
            others,
            throttled: machine::throttled(&system),
        }))?;
        if !self.print {
            let path = self.path.display();
            println!("results are in {path}; `compare report {path}` makes tables and plots of them");
        }
        Ok(())
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
