//! Calibration records: what every exit said about every sample.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use crate::records::Costs;
use dyn_perceiver_core::exit::{Measure, ModelDigest};

/// What one exit said about one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExitReading {
    /// The class predicted.
    pub class: u32,
    /// Confidence by every measure, in the order of [`Measure::ALL`], each in [0, 1].
    pub confidence: [f32; Measure::ALL.len()],
}

/// Calibration records of one model: per sample its label, and per exit the prediction and confidences. With logits too,
/// evidence can be combined across exits. See `docs/calibration.md` for the file format.
#[derive(Clone, Debug)]
pub struct Records {
    /// The model they were recorded from.
    pub model: ModelDigest,
    /// Exit names, in order of cost.
    pub exits: Vec<String>,
    /// Number of classes.
    pub classes: usize,
    /// What sets of exits cost.
    pub costs: Costs,
    pub(crate) ids: Vec<String>,
    pub(crate) labels: Vec<u32>,
    /// Sample by sample, exit by exit.
    pub(crate) readings: Vec<ExitReading>,
    pub(crate) logits: Logits,
}

/// Logits of every sample, exit and class, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Logits {
    /// Not recorded.
    None,
    Memory(Vec<f32>),
    /// Little-endian 32-bit floats in a file: too many to hold.
    File(PathBuf),
}

impl Records {
    /// Records of no samples yet.
    pub fn new(model: ModelDigest, exits: Vec<String>, classes: usize, costs: Costs) -> Self {
        Records { model, exits, classes, costs, ids: vec![], labels: vec![], readings: vec![], logits: Logits::None }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Every row: 0, 1, ... What a solver or a judge is given to choose from.
    pub fn rows(&self) -> Vec<u32> {
        (0..self.len() as u32).collect()
    }

    /// What each sample is called, in order.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The right class of each sample, in order.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Whether logits were recorded.
    pub fn has_logits(&self) -> bool {
        !matches!(self.logits, Logits::None)
    }

    /// What every exit said about the sample in `row`.
    pub fn readings(&self, row: u32) -> &[ExitReading] {
        let exits = self.exits.len();
        &self.readings[row as usize * exits..][..exits]
    }

    /// Whether exit `exit` was right about the sample in `row`.
    pub fn right(&self, row: u32, exit: usize) -> bool {
        self.readings(row)[exit].class == self.labels[row as usize]
    }

    /// Appends a sample; `readings` has one entry per exit. Records with logits take none without.
    pub(crate) fn push(&mut self, id: String, label: u32, readings: &[ExitReading]) {
        debug_assert_eq!(readings.len(), self.exits.len());
        self.ids.push(id);
        self.labels.push(label);
        self.readings.extend_from_slice(readings);
    }

    /// The logits of the sample appended last, exit by exit.
    #[cfg(test)]
    pub(crate) fn push_logits(&mut self, logits: &[f32]) {
        match &mut self.logits {
            Logits::Memory(all) => all.extend_from_slice(logits),
            other => *other = Logits::Memory(logits.to_vec()),
        }
    }

    /// Calls `f` with the position in `rows` and the logits (exits x classes) of each of the rows, which are sorted.
    ///
    /// # Errors
    /// What reading the file says. Without logits, `f` is never called.
    pub(crate) fn visit_logits(&self, rows: &[u32], mut f: impl FnMut(usize, &[f32])) -> io::Result<()> {
        let length = self.exits.len() * self.classes;
        match &self.logits {
            Logits::None => {}
            Logits::Memory(all) => {
                for (position, &row) in rows.iter().enumerate() {
                    f(position, &all[row as usize * length..][..length]);
                }
            }
            Logits::File(path) => {
                let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
                let mut bytes = vec![0; 4 * length];
                let mut logits = vec![0.0; length];
                let mut next = 0;
                for (position, &row) in rows.iter().enumerate() {
                    let skipped = (i64::from(row) - next) * 4 * length as i64;
                    if skipped != 0 {
                        file.seek_relative(skipped)
                            .or_else(|_| file.seek(SeekFrom::Start(u64::from(row) * 4 * length as u64)).map(|_| ()))?;
                    }
                    file.read_exact(&mut bytes)?;
                    for (logit, chunk) in logits.iter_mut().zip(bytes.as_chunks::<4>().0) {
                        *logit = f32::from_le_bytes(*chunk);
                    }
                    f(position, &logits);
                    next = i64::from(row) + 1;
                }
            }
        }
        Ok(())
    }
}
