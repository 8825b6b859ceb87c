//! Calibration records: what every exit said about every sample.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use dyn_perceiver_core::exit::{LogitsError, Measure, ModelDigest};

use super::costs::{CostError, Costs};
use super::error::RecordsError;

/// What one exit said about one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExitReading {
    /// The class predicted.
    pub class: u32,
    /// Confidence by every measure, in the order of [`Measure::ALL`], each in [0, 1].
    pub confidence: [f32; Measure::ALL.len()],
}

impl ExitReading {
    /// A prediction and its confidence by every measure, in the order of [`Measure::ALL`].
    pub fn new(class: u32, confidence: [f32; Measure::ALL.len()]) -> Self {
        ExitReading { class, confidence }
    }

    /// The prediction and the confidences that the logits of an exit give, one per class.
    ///
    /// # Errors
    /// [`LogitsError`] without logits, or when one is not finite.
    pub fn from_logits(logits: &[f32]) -> Result<Self, LogitsError> {
        let readings = Measure::read_all(logits)?;
        Ok(ExitReading { class: readings[0].class as u32, confidence: readings.map(|reading| reading.confidence) })
    }
}

/// Calibration records of one model: per sample its label, and per exit the prediction and confidences. With logits too,
/// exits can be ensembled. See `docs/calibration.md` for the file format.
///
/// # Examples
/// Records of a network with two exits and three classes, made from what the exits said:
/// ```
/// use dyn_perceiver_calibrate::records::{Costs, ExitReading, Records};
/// use dyn_perceiver_core::exit::{CostUnit, ModelDigest};
///
/// let costs = Costs::cumulative(CostUnit::Macs, &[4e6, 1e7])?;
/// let mut records = Records::new(ModelDigest([0; 32]), vec!["early".into(), "late".into()], 3, costs);
/// let early = ExitReading::from_logits(&[0.3, 0.2, 0.1])?;
/// let late = ExitReading::from_logits(&[-1.0, 4.0, 0.5])?;
/// records.push("boot.png", 1, &[early, late])?;
/// assert!(!records.right(0, 0) && records.right(0, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Records {
    model: ModelDigest,
    exits: Vec<String>,
    classes: usize,
    costs: Costs,
    ids: Vec<String>,
    labels: Vec<u32>,
    /// Sample by sample, exit by exit.
    readings: Vec<ExitReading>,
    pub(super) logits: Logits,
}

/// Logits of every sample, exit and class, in this order.
#[derive(Clone, Debug)]
pub(super) enum Logits {
    /// Not recorded.
    None,
    Memory(Vec<f32>),
    /// Little-endian 32-bit floats in a file: too many to hold.
    File(PathBuf),
}

impl Records {
    /// Records of no samples yet: of a model with the exits named, in order of cost, and so many classes.
    pub fn new(model: ModelDigest, exits: Vec<String>, classes: usize, costs: Costs) -> Self {
        Records { model, exits, classes, costs, ids: vec![], labels: vec![], readings: vec![], logits: Logits::None }
    }

    /// The model they were recorded from.
    pub fn model(&self) -> ModelDigest {
        self.model
    }

    /// Exit names, in order of cost.
    pub fn exits(&self) -> &[String] {
        &self.exits
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What sets of exits cost.
    pub fn costs(&self) -> &Costs {
        &self.costs
    }

    /// The same records with other costs, such as those of another board.
    ///
    /// # Errors
    /// [`CostError::OtherExits`] when the costs are for another number of exits.
    pub fn with_costs(mut self, costs: Costs) -> Result<Self, CostError> {
        if costs.exits() != self.exits.len() {
            return Err(CostError::OtherExits { costs: costs.exits(), records: self.exits.len() });
        }
        self.costs = costs;
        Ok(self)
    }

    /// Refuses records of another model; `path` names them in the error.
    ///
    /// # Errors
    /// [`RecordsError::Model`].
    pub fn for_model(&self, model: ModelDigest, path: &Path) -> Result<(), RecordsError> {
        if self.model == model {
            return Ok(());
        }
        Err(RecordsError::Model { path: path.into(), recorded: self.model, expected: model })
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

    /// Appends a sample: what it is called, its class, and what every exit said, in order of cost.
    ///
    /// # Errors
    /// [`RecordsError::Sample`] when there are not as many readings as exits, a class or the label is not one of the
    /// model's, a confidence is not in [0, 1], or the records hold logits, which this sample would lack.
    pub fn push(&mut self, id: impl Into<String>, label: u32, readings: &[ExitReading]) -> Result<(), RecordsError> {
        let id = id.into();
        if self.has_logits() {
            let reason = "no logits, which the samples before have".into();
            return Err(RecordsError::Sample { sample: id, reason });
        }
        if let Some(reason) = self.refusal(label, readings) {
            return Err(RecordsError::Sample { sample: id, reason });
        }
        self.append(id, label, readings);
        Ok(())
    }

    /// As [`Records::push`], with the logits of every exit, one per class, so that exits can be ensembled. Records hold
    /// logits of all samples or of none.
    ///
    /// # Errors
    /// As [`Records::push`]; also for logits of another number, or that are not finite.
    pub fn push_logits_of(
        &mut self,
        id: impl Into<String>,
        label: u32,
        exits: &[Vec<f32>],
    ) -> Result<(), RecordsError> {
        let id = id.into();
        let refuse = |id, reason: &str| Err(RecordsError::Sample { sample: id, reason: reason.into() });
        if exits.iter().any(|logits| logits.len() != self.classes) {
            return refuse(id, "logits of another number than there are classes");
        }
        let readings: Result<Vec<_>, _> = exits.iter().map(|logits| ExitReading::from_logits(logits)).collect();
        let Ok(readings) = readings else { return refuse(id, "a logit that is not finite") };
        if !self.is_empty() && !matches!(self.logits, Logits::Memory(_)) {
            return refuse(id, "logits, which the samples before lack");
        }
        if let Some(reason) = self.refusal(label, &readings) {
            return Err(RecordsError::Sample { sample: id, reason });
        }
        let logits = exits.iter().flatten().copied();
        match &mut self.logits {
            Logits::Memory(all) => all.extend(logits),
            other => *other = Logits::Memory(logits.collect()),
        }
        self.append(id, label, &readings);
        Ok(())
    }

    fn refusal(&self, label: u32, readings: &[ExitReading]) -> Option<String> {
        if readings.len() != self.exits.len() {
            return Some(format!("{} exits, expected {}", readings.len(), self.exits.len()));
        }
        let known = |class: u32| (class as usize) < self.classes;
        if !known(label) || !readings.iter().all(|reading| known(reading.class)) {
            return Some(format!("a class that is not one of the model's {}", self.classes));
        }
        let sound = |reading: &ExitReading| reading.confidence.iter().all(|c| (0.0..=1.0).contains(c));
        (!readings.iter().all(sound)).then(|| "a confidence outside [0, 1]".into())
    }

    /// As [`Records::push`], for what has been checked.
    pub(crate) fn append(&mut self, id: String, label: u32, readings: &[ExitReading]) {
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

#[cfg(test)]
mod tests {
    use dyn_perceiver_core::exit::CostUnit;

    use super::*;

    #[test]
    fn records_push_refuses_what_does_not_fit() {
        let costs = Costs::cumulative(CostUnit::Macs, &[1.0, 2.0]).unwrap();
        let mut records = Records::new(ModelDigest([0; 32]), vec!["a".into(), "b".into()], 3, costs);
        let reading = |class, confidence| ExitReading::new(class, [confidence; 3]);
        let good = [reading(0, 0.5), reading(2, 1.0)];
        records.push("kept", 2, &good).unwrap();
        for (label, readings, part) in [
            (0, &good[..1], "1 exits, expected 2"),
            (3, &good, "not one of the model's 3"),
            (0, &[reading(3, 0.5), reading(0, 0.5)], "not one of the model's 3"),
            (0, &[reading(0, f32::NAN), reading(0, 0.5)], "outside [0, 1]"),
        ] {
            let error = records.push("refused", label, readings).unwrap_err().to_string();
            assert!(error.starts_with("sample \"refused\": ") && error.contains(part), "{error}");
        }
        records.push_logits(&[0.0; 6]);
        assert!(records.push("refused", 0, &good).is_err());
        assert_eq!(records.ids(), ["kept"]);
        let one = Costs::cumulative(CostUnit::Joules, &[1.0]).unwrap();
        let error = records.with_costs(one).unwrap_err();
        assert_eq!(error.to_string(), "costs for 1 exits, but the records have 2");
    }
}
