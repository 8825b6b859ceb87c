//! Calibration records written sample by sample, so that a run that was stopped can go on.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::file::{header_text, logits_path, parse_row, with_suffix};
use crate::records::Records;
use crate::records::RecordsError;
use dyn_perceiver_core::exit::{LogitsError, Measure};

/// Writes records sample by sample, and goes on where a run before was stopped.
///
/// Until [`RecordWriter::finish`], samples go to files with `.part` appended; then these are renamed.
pub struct RecordWriter {
    path: PathBuf,
    rows: File,
    logits: File,
    exits: usize,
    classes: usize,
    done: usize,
}

impl RecordWriter {
    /// Begins, or goes on with what an interrupted run left: samples that it recorded whole are kept, a half-written one
    /// is dropped. `ids` are the names of all samples that will be recorded, in order.
    ///
    /// # Errors
    /// [`RecordsError::Write`] when a file cannot be written, [`RecordsError::OtherData`] when what was left is of other
    /// samples.
    pub fn resume(path: &Path, header: &Records, ids: &[String]) -> Result<Self, RecordsError> {
        let part = with_suffix(path, ".part");
        let logits_part = with_suffix(&logits_path(path), ".part");
        let unwritable = |path: &Path| {
            let path = path.to_path_buf();
            move |source| RecordsError::Write { path, source }
        };
        let open = |path: &Path| {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
            file.map_err(unwritable(path))
        };
        let (mut rows, mut logits) = (open(&part)?, open(&logits_part)?);
        let head = header_text(header);
        let width = 4 * header.exits.len() as u64 * header.classes as u64;
        let whole_logits = logits.metadata().map_err(unwritable(&logits_part))?.len() / width.max(1);

        let mut left = String::new();
        let readable = rows.read_to_string(&mut left).is_ok();
        let mut done = 0;
        let mut end = head.len() as u64;
        if readable && let Some(body) = left.strip_prefix(&head) {
            for line in body.split_inclusive('\n') {
                // The next line is whole only when it ends, and its logits are there too.
                if !line.ends_with('\n') || done as u64 == whole_logits || done == ids.len() {
                    break;
                }
                let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
                let row = reader.records().next().and_then(Result::ok).unwrap_or_default();
                let Ok((found, ..)) = parse_row(&row, header) else { break };
                if found != ids[done] {
                    let expected = ids[done].clone();
                    return Err(RecordsError::OtherData { path: part, row: done + 1, found, expected });
                }
                done += 1;
                end += line.len() as u64;
            }
        }
        let prepare = |file: &mut File, end: u64| -> io::Result<()> {
            file.set_len(end)?;
            io::Seek::seek(file, io::SeekFrom::Start(end)).map(|_| ())
        };
        if done == 0 {
            prepare(&mut rows, 0).and_then(|()| rows.write_all(head.as_bytes())).map_err(unwritable(&part))?;
        } else {
            prepare(&mut rows, end).map_err(unwritable(&part))?;
        }
        prepare(&mut logits, done as u64 * width).map_err(unwritable(&logits_part))?;
        Ok(RecordWriter { path: path.into(), rows, logits, exits: header.exits.len(), classes: header.classes, done })
    }

    /// How many samples are recorded.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Records the next sample: for each exit, its logits.
    ///
    /// # Errors
    /// [`RecordsError::Given`] when logits are no numbers or not as many as there are classes, [`RecordsError::Write`].
    pub fn push(&mut self, id: &str, label: u32, logits: &[Vec<f32>]) -> Result<(), RecordsError> {
        let mut row = csv::WriterBuilder::new().has_headers(false).from_writer(vec![]);
        let mut fields = vec![id.to_string(), label.to_string()];
        let mut bytes = Vec::with_capacity(4 * self.exits * self.classes);
        for (exit, logits) in logits.iter().enumerate() {
            let given = |error| RecordsError::Given { sample: id.into(), exit, error };
            if logits.len() != self.classes {
                return Err(given(LogitsError::Scratch { scratch: self.classes, logits: logits.len() }));
            }
            let readings = Measure::read_all(logits).map_err(given)?;
            fields.push(readings[0].class.to_string());
            fields.extend(readings.map(|reading| reading.confidence.to_string()));
            bytes.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        }
        let csv_text = row
            .write_record(&fields)
            .map_err(io::Error::other)
            .and_then(|()| row.into_inner().map_err(|error| io::Error::other(error.to_string())));
        // Logits first: a row that is there has its logits.
        let written = csv_text.and_then(|text| {
            self.logits.write_all(&bytes)?;
            self.rows.write_all(&text)
        });
        written.map_err(|source| RecordsError::Write { path: self.path.clone(), source })?;
        self.done += 1;
        Ok(())
    }

    /// Gives the files their names, once every sample is recorded.
    ///
    /// # Errors
    /// [`RecordsError::Write`].
    pub fn finish(self) -> Result<(), RecordsError> {
        let logits = logits_path(&self.path);
        let rename = |path: &Path| std::fs::rename(with_suffix(path, ".part"), path);
        self.logits
            .sync_all()
            .and_then(|()| self.rows.sync_all())
            .and_then(|()| rename(&logits))
            .and_then(|()| rename(&self.path))
            .map_err(|source| RecordsError::Write { path: self.path.clone(), source })
    }
}
