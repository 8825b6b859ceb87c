//! Calibration records written sample by sample, so that a run that was stopped can go on.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use dyn_perceiver_core::exit::LogitsError;
use dyn_perceiver_core::file::sync_folder;

use super::error::RecordsError;
use super::format::{header_text, logits_path, parse_row, with_suffix};
use super::samples::{ExitReading, Records};

/// Writes records sample by sample, and goes on where a run before was stopped.
///
/// Until [`RecordWriter::finish`], samples go to files with `.part` appended; then these are renamed. Two writers of one
/// file cannot be open at once. A writer dropped before the first sample removes its files; one dropped later leaves
/// them, so that nothing recorded is lost.
pub struct RecordWriter {
    path: PathBuf,
    rows: Part,
    logits: Part,
    exits: usize,
    classes: usize,
    done: usize,
    position: usize,
    passed_over: Vec<usize>,
    /// Whether the files are worth keeping when the writer is dropped.
    keep: bool,
}

/// An unfinished file.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn open(path: PathBuf) -> Result<Self, RecordsError> {
        match File::options().read(true).write(true).create(true).truncate(false).open(&path) {
            Ok(file) => Ok(Part { path, file }),
            Err(source) => Err(RecordsError::Write { path, source }),
        }
    }

    /// Cuts the file off at `length`, to go on there.
    fn cut(&mut self, length: u64) -> Result<(), RecordsError> {
        let cut = self.file.set_len(length).and_then(|()| self.file.seek(SeekFrom::Start(length)));
        self.checked(cut.map(|_| ()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RecordsError> {
        let written = self.file.write_all(bytes);
        self.checked(written)
    }

    fn checked<T>(&self, result: io::Result<T>) -> Result<T, RecordsError> {
        result.map_err(|source| RecordsError::Write { path: self.path.clone(), source })
    }
}

impl RecordWriter {
    /// Begins, or goes on with what an interrupted run left: samples that it recorded whole are kept, a half-written one
    /// is dropped. `ids` are the names of all samples that may be recorded, in order.
    ///
    /// # Errors
    /// [`RecordsError::Write`] when a file cannot be written, [`RecordsError::OtherData`] when what was left is of other
    /// samples, [`RecordsError::Busy`] when another writer has it open.
    pub fn resume(path: &Path, header: &Records, ids: &[String]) -> Result<Self, RecordsError> {
        let rows = Part::open(with_suffix(path, ".part"))?;
        // Where the file system knows no locks, two writers are not kept apart.
        if let Err(TryLockError::WouldBlock) = rows.file.try_lock() {
            return Err(RecordsError::Busy { path: rows.path });
        }
        let logits = Part::open(with_suffix(&logits_path(path), ".part"))?;
        let mut writer = RecordWriter {
            path: path.into(),
            rows,
            logits,
            exits: header.exits().len(),
            classes: header.classes(),
            done: 0,
            position: 0,
            passed_over: vec![],
            keep: true,
        };
        let head = header_text(header);
        let end = writer.read_rows(&head, header, ids)?;
        if writer.done == 0 {
            writer.rows.cut(0)?;
            writer.rows.write(head.as_bytes())?;
        } else {
            writer.rows.cut(end)?;
        }
        writer.logits.cut(writer.done as u64 * writer.width())?;
        writer.keep = writer.done > 0;
        Ok(writer)
    }

    /// Bytes of one sample's logits.
    fn width(&self) -> u64 {
        4 * self.exits as u64 * self.classes as u64
    }

    /// Counts the whole samples of the unfinished files, and returns where the last of them ends.
    fn read_rows(&mut self, head: &str, header: &Records, ids: &[String]) -> Result<u64, RecordsError> {
        let length = self.logits.file.metadata().map(|metadata| metadata.len());
        let whole_logits = (self.logits.checked(length)? / self.width().max(1)) as usize;
        let mut left = String::new();
        let readable = self.rows.file.read_to_string(&mut left).is_ok();
        let Some(body) = left.strip_prefix(head).filter(|_| readable) else { return Ok(0) };
        let mut end = head.len() as u64;
        for line in body.split_inclusive('\n') {
            // The next line is whole only when it ends, and its logits are there too.
            if !line.ends_with('\n') || self.done == whole_logits || self.position == ids.len() {
                break;
            }
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
            let row = reader.records().next().and_then(Result::ok).unwrap_or_default();
            let Ok((found, ..)) = parse_row(&row, header) else { break };
            // Samples that could not be recorded are missing among the rows.
            let Some(ahead) = ids[self.position..].iter().position(|id| *id == found) else {
                let (path, expected) = (self.rows.path.clone(), ids[self.position].clone());
                return Err(RecordsError::OtherData { path, row: self.done + 1, found, expected });
            };
            self.passed_over.extend(self.position..self.position + ahead);
            self.position += ahead + 1;
            self.done += 1;
            end += line.len() as u64;
        }
        Ok(end)
    }

    /// How many samples are recorded.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The place, among all samples, of the one after the last that the run before recorded.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The places of the samples before [`RecordWriter::position`] that the run before could not record.
    pub fn passed_over(&self) -> &[usize] {
        &self.passed_over
    }

    /// Records the next sample: for each exit, its logits.
    ///
    /// # Errors
    /// [`RecordsError::Given`] when logits are no numbers or not as many as there are classes, [`RecordsError::Write`].
    pub fn push(&mut self, id: &str, label: u32, logits: &[Vec<f32>]) -> Result<(), RecordsError> {
        let mut fields = vec![id.to_string(), label.to_string()];
        let mut bytes = Vec::with_capacity(4 * self.exits * self.classes);
        for (exit, logits) in logits.iter().enumerate() {
            let given = |source| RecordsError::Given { sample: id.into(), exit, source };
            if logits.len() != self.classes {
                return Err(given(LogitsError::Scratch { scratch: self.classes, logits: logits.len() }));
            }
            let reading = ExitReading::from_logits(logits).map_err(given)?;
            fields.push(reading.class.to_string());
            fields.extend(reading.confidence.map(|confidence| confidence.to_string()));
            bytes.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        }
        let mut row = csv::WriterBuilder::new().has_headers(false).from_writer(vec![]);
        let text = row
            .write_record(&fields)
            .map_err(io::Error::other)
            .and_then(|()| row.into_inner().map_err(|error| io::Error::other(error.to_string())));
        let text = self.rows.checked(text)?;
        // Logits first: a row that is there has its logits.
        self.logits.write(&bytes)?;
        self.rows.write(&text)?;
        self.done += 1;
        self.keep = true;
        Ok(())
    }

    /// Gives the files their names, once every sample is recorded.
    ///
    /// # Errors
    /// [`RecordsError::Write`].
    pub fn finish(mut self) -> Result<(), RecordsError> {
        self.logits.checked(self.logits.file.sync_all())?;
        self.rows.checked(self.rows.file.sync_all())?;
        let renamed = std::fs::rename(&self.logits.path, logits_path(&self.path))
            .and_then(|()| std::fs::rename(&self.rows.path, &self.path))
            .and_then(|()| sync_folder(&self.path));
        renamed.map_err(|source| RecordsError::Write { path: self.path.clone(), source })?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        if !self.keep {
            // Files that cannot be removed hold nothing, and the next run uses them.
            let _ = std::fs::remove_file(&self.logits.path);
            let _ = std::fs::remove_file(&self.rows.path);
        }
    }
}

impl fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordWriter").field("path", &self.path).field("done", &self.done).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use dyn_perceiver_core::exit::{CostUnit, Measure, ModelDigest};

    use super::super::costs::Costs;
    use super::*;

    fn header() -> Records {
        let costs = Costs::cumulative(CostUnit::Macs, &[1.5e6, 3e6]).unwrap();
        Records::new(ModelDigest([9; 32]), vec!["a".into(), "b".into()], 3, costs)
    }

    fn ids() -> Vec<String> {
        (0..4).map(|i| format!("class, {i}.png")).collect()
    }

    fn sample(i: usize) -> Vec<Vec<f32>> {
        vec![vec![i as f32, 0.1, 1.5], vec![-1.0, 2.0 * i as f32, 0.3]]
    }

    fn push_from(writer: &mut RecordWriter, until: usize) {
        for i in writer.done()..until {
            writer.push(&ids()[i], (i % 3) as u32, &sample(i)).unwrap();
        }
    }

    #[test]
    fn an_interrupted_run_goes_on_and_counts_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let straight = folder.path().join("straight.csv");
        let mut writer = RecordWriter::resume(&straight, &header(), &ids()).unwrap();
        push_from(&mut writer, 4);
        writer.finish().unwrap();
        let expected = (std::fs::read(&straight).unwrap(), std::fs::read(logits_path(&straight)).unwrap());

        let path = folder.path().join("records.csv");
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        push_from(&mut writer, 3);
        drop(writer);
        let part = with_suffix(&path, ".part");
        let whole = std::fs::read(&part).unwrap();
        let logits = std::fs::read(folder.path().join("records.csv.logits.part")).unwrap();
        // Cut off anywhere.
        for cut in 0..whole.len() {
            std::fs::write(&part, &whole[..cut]).unwrap();
            std::fs::write(folder.path().join("records.csv.logits.part"), &logits[..logits.len() * cut / whole.len()])
                .unwrap();
            let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
            assert!(writer.done() <= 3);
            push_from(&mut writer, 4);
            writer.finish().unwrap();
            let found = (std::fs::read(&path).unwrap(), std::fs::read(logits_path(&path)).unwrap());
            assert!(found == expected, "cut at {cut}");
        }
        let records = Records::read(&path).unwrap();
        assert_eq!(records.ids(), ids());
        assert_eq!(records.labels(), [0, 1, 2, 0]);
        assert_eq!(records.costs(), header().costs());
        assert_eq!(records.readings(3)[1].confidence[0], Measure::MaxSoftmax.read(&sample(3)[1]).unwrap().confidence);
        assert!(records.has_logits());
    }

    #[test]
    fn a_sample_that_could_not_be_recorded_does_not_stop_resuming() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.csv");
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        for i in [0, 2] {
            writer.push(&ids()[i], 0, &sample(i)).unwrap();
        }
        drop(writer);
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        assert_eq!((writer.done(), writer.position(), writer.passed_over()), (2, 3, &[1][..]));
        writer.push(&ids()[3], 0, &sample(3)).unwrap();
        writer.finish().unwrap();
        assert_eq!(Records::read(&path).unwrap().len(), 3);
    }

    #[test]
    fn other_data_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.csv");
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        push_from(&mut writer, 2);
        drop(writer);
        let others: Vec<String> = (0..4).map(|i| format!("{i}")).collect();
        let error = RecordWriter::resume(&path, &header(), &others).err().unwrap();
        assert!(matches!(error, RecordsError::OtherData { row: 1, .. }), "{error}");
        assert_eq!(RecordWriter::resume(&path, &header(), &ids()).unwrap().done(), 2);
    }

    #[test]
    fn a_writer_without_a_sample_leaves_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.csv");
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        assert!(writer.push("bad", 0, &[vec![f32::NAN; 3], vec![0.0; 3]]).is_err());
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        push_from(&mut writer, 4);
        writer.finish().unwrap();
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["records.csv", "records.csv.logits"]);
    }

    #[test]
    fn two_writers_of_one_file_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.csv");
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        push_from(&mut writer, 1);
        let error = RecordWriter::resume(&path, &header(), &ids()).err().unwrap();
        assert!(matches!(error, RecordsError::Busy { .. }), "{error}");
        push_from(&mut writer, 4);
        writer.finish().unwrap();
        assert_eq!(Records::read(&path).unwrap().len(), 4);
    }
}
