//! The file that results are appended to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use super::machine;
use crate::result::{Machine, Record, Run, SCHEMA};

/// Results of one run.
pub struct Results {
    /// Names the run in its lines.
    pub run: String,
    path: PathBuf,
    file: File,
    print: bool,
}

impl Results {
    /// Opens the file, or makes it; `print` copies every line to standard output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(path: &Path, print: bool) -> anyhow::Result<Results> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let run = format!("{:x}-{:x}", now_s(), std::process::id());
        Ok(Results { run, path: path.to_path_buf(), file, print })
    }

    /// Writes the first line of a run, and gives the machine it describes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(
        &mut self,
        root: &Path,
        name: Option<String>,
        quick: bool,
        emulated: bool,
        versions: BTreeMap<String, String>,
    ) -> anyhow::Result<Machine> {
        let machine = machine::read(name, emulated);
        self.write(Record::Run(Run {
            schema: SCHEMA,
            id: self.run.clone(),
            started_s: now_s(),
            commit: machine::commit(root),
            quick,
            machine: machine.clone(),
            versions,
        }))?;
        Ok(machine)
    }

    /// One line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, record: Record) -> anyhow::Result<()> {
        let line = serde_json::to_string(&record)?;
        writeln!(self.file, "{line}").with_context(|| format!("cannot write {}", self.path.display()))?;
        if self.print {
            println!("{line}");
        }
        Ok(())
    }

    /// Says where they are.
    pub fn end(&self) {
        if !self.print {
            let path = self.path.display();
            println!("results are in {path}; `compare report {path}` makes tables and plots of them");
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
