//! State that survives a restart: what the governor learned, the counted charge, the measured power model.
//!
//! The file is replaced whole, so that a process killed, or a board that loses power, loses at most what came after the
//! last save. One program at a time keeps it: the file is locked. What is no state any more, as after a card that failed,
//! is put aside, and the program goes on without it.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use super::mission_clock::{Boot, MissionClock};
use crate::energy::PowerModel;
use crate::energy::estimator::CoulombState;
use crate::energy::governor::Learned;
use crate::exit::ModelDigest;
use crate::file::atomic_write_with;
use crate::machine::MachineTimes;

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Stored {
    /// How often this was saved; tells which of two states is the newer.
    #[serde(alias = "periods")]
    pub generation: u64,
    /// What the governor learned.
    pub learned: Option<Learned>,
    /// The counted charge.
    pub coulomb: Option<CoulombState>,
    /// The power model, where it was measured on this board.
    pub power: Option<PowerModel>,
    /// How far the mission has come.
    pub mission: Option<MissionClock>,
    /// How many threads were measured to be fastest.
    pub threads: Option<KeptThreads>,
    /// How long stages were measured to take.
    pub times: Option<KeptTimes>,
}

/// How long stages of a model were measured to take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeptTimes {
    /// The model that was run.
    pub model: ModelDigest,
    /// The times, and the machine that they are of.
    pub times: MachineTimes,
}

impl KeptTimes {
    /// That stages of `model` take so long.
    pub fn new(model: ModelDigest, times: MachineTimes) -> Self {
        KeptTimes { model, times }
    }

    /// The times, if they are of `model` on so many threads of a machine like this one, and of so many stages.
    pub fn here(&self, model: ModelDigest, threads: NonZeroUsize, stages: usize) -> Option<&MachineTimes> {
        let fits = self.model == model && self.times.threads == threads && self.times.seconds.len() == stages;
        Some(&self.times).filter(|times| fits && times.is_of_here())
    }
}

/// A number of threads that was measured to be the fastest, and for what: for another model, or where the program may use
/// other cores, it says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeptThreads {
    /// How many threads.
    pub threads: NonZeroUsize,
    /// Cores that the program could use.
    pub cores: NonZeroUsize,
    /// The model that was run.
    pub model: ModelDigest,
}

impl KeptThreads {
    /// That `threads` are fastest for `model` on the cores that this process may use.
    pub fn here(threads: NonZeroUsize, model: ModelDigest) -> Self {
        KeptThreads { threads, cores: cores(), model }
    }

    /// The number of threads, if it was measured for `model` and as many cores as this process may use.
    pub fn for_model(&self, model: ModelDigest) -> Option<NonZeroUsize> {
        (self.model == model && self.cores == cores()).then_some(self.threads)
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Why state could not be saved or loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file could not be read or written.
    #[error("{}: the state cannot be {}", path.display(), action.name())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: Action,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds no state.
    #[error("{}: expected stored state, {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another program keeps its state in the same file.
    #[error("{}: another program keeps its state in this file; end it, or name another file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

/// What was tried with a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Reading it.
    Read,
    /// Replacing it.
    Write,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::Write => "written",
        }
    }
}

/// A file that was no state and has been put aside; a warning to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// The state file.
    pub path: PathBuf,
    /// Where its content is now; none where it could not be kept.
    pub kept: Option<PathBuf>,
    /// Why it was no state.
    pub reason: String,
}

impl std::fmt::Display for SetAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: no stored state, {}; ", self.path.display(), self.reason)?;
        match &self.kept {
            Some(kept) => write!(f, "put aside as {}, beginning anew", kept.display()),
            None => f.write_str("beginning anew"),
        }
    }
}

/// A state file that this program alone keeps until it drops this.
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("dyn-perceiver-state-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// use dyn_perceiver::sensors::store::{Opened, StateFile};
/// let Opened { mut file, mut stored, set_aside, .. } = StateFile::open(&folder.join("state.json"))?;
/// assert!(set_aside.is_none());
/// assert_eq!(file.save(&mut stored)?, 1);
/// # drop(file);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// The file of this name, open and locked. None where the file system has no locks.
    _lock: Option<File>,
}

/// An opened state file and what was in it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The file, to save to.
    pub file: StateFile,
    /// What was stored, or the default if there was nothing.
    pub stored: Stored,
    /// What was in the file, if that was no state.
    pub set_aside: Option<SetAside>,
}

impl StateFile {
    /// Opens and locks a state file, which is made if there is none. A place that cannot be written is told now, not at
    /// the first save; what is no state is copied to the same name with `.bad` at its end.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another program has it open, [`StoreError::File`] when it cannot be read or written.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        let Locked { lock, created } = lock(path)?;
        let (stored, set_aside) = match load(path) {
            _ if created => (Stored::default(), None),
            Ok(stored) => (stored.unwrap_or_default(), None),
            Err(StoreError::Content { reason, .. }) => (Stored::default(), Some(put_aside(path, reason))),
            Err(error) => return Err(error),
        };
        let mut file = StateFile { path: path.to_owned(), _lock: lock };
        if let Err(error) = file.write(&stored) {
            if created {
                // Empty it would be taken for a damaged state the next time.
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
        Ok(Opened { file, stored, set_aside })
    }

    /// Saves state as the next generation and returns the number of that.
    ///
    /// # Errors
    /// [`StoreError::File`]; the former state is then still there.
    pub fn save(&mut self, stored: &mut Stored) -> Result<u64, StoreError> {
        let generation = stored.generation.saturating_add(1);
        // By value only when it is written: a failed save is no generation.
        let before = std::mem::replace(&mut stored.generation, generation);
        if let Err(error) = self.write(stored) {
            stored.generation = before;
            return Err(error);
        }
        Ok(generation)
    }

    /// Where the state is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file; the new one is locked before it has the name, so that nobody comes between.
    fn write(&mut self, stored: &Stored) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(stored)
            .map_err(|error| StoreError::Content { path: self.path.clone(), reason: error.to_string() })?;
        let mut lock = None;
        let written = atomic_write_with(&self.path, |file| {
            lock = match file.try_lock() {
                Ok(()) => Some(file.try_clone()?),
                // A file system without locks: the program is on its own then.
                Err(_) => None,
            };
            file.write_all(&bytes)
        });
        written.map_err(|source| StoreError::File { path: self.path.clone(), action: Action::Write, source })?;
        self._lock = lock;
        Ok(())
    }
}

/// A state file's lock, and whether its file was made for it.
struct Locked {
    /// None where the file system has no locks.
    lock: Option<File>,
    created: bool,
}

/// Locks the file of a name, which is made if there is none: of two programs that begin at once one has it then.
fn lock(path: &Path) -> Result<Locked, StoreError> {
    let failed = |action, source| StoreError::File { path: path.to_owned(), action, source };
    // Replaced or removed between opening and locking, a file has lost its name: then the next one is tried.
    for _ in 0..100 {
        let (file, created) = match File::open(path) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == ErrorKind::NotFound => match File::create_new(path) {
                Ok(file) => (file, true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed(Action::Write, error)),
            },
            Err(error) => return Err(failed(Action::Read, error)),
        };
        match file.try_lock() {
            Ok(()) if has_name(&file, path) => return Ok(Locked { lock: Some(file), created }),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(_)) => return Ok(Locked { lock: None, created }),
        }
    }
    Err(StoreError::InUse { path: path.to_owned() })
}

#[cfg(unix)]
fn has_name(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (open, named) = (file.metadata(), fs::metadata(path));
    matches!((open, named), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(not(unix))]
fn has_name(_file: &File, _path: &Path) -> bool {
    true
}

/// Keeps what is no state, in place of what was put aside before. It is copied: renamed, the locked file would lose its
/// name, and a program that begins just then would make one of its own.
fn put_aside(path: &Path, reason: String) -> SetAside {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".bad");
    let aside = PathBuf::from(aside);
    let kept = fs::copy(path, &aside).is_ok().then_some(aside);
    SetAside { path: path.to_owned(), kept, reason }
}

/// Reads state without locking it; none when there is no file yet.
///
/// # Errors
/// [`StoreError`] when the file cannot be read or holds something else.
pub fn load(path: &Path) -> Result<Option<Stored>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::File { path: path.to_owned(), action: Action::Read, source }),
    };
    let content = |reason: String| StoreError::Content { path: path.to_owned(), reason };
    if bytes.is_empty() {
        return Err(content("but it is empty".to_owned()));
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(content("but it is all zeros".to_owned()));
    }
    let state: Stored = serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))?;
    if state.learned.is_some_and(|learned| !learned.is_sound()) {
        return Err(content("the learned figures are out of range".to_owned()));
    }
    if state.coulomb.is_some_and(|coulomb| !(0.0..=1.0).contains(&coulomb.soc)) {
        return Err(content("the state of charge is outside [0, 1]".to_owned()));
    }
    Ok(Some(state))
}

#[cfg(test)]
mod tests;
