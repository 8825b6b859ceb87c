//! Reading calibration records from files: CSV, and logits beside.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;

use dyn_perceiver_core::exit::{CostUnit, DigestError, Measure};

use super::costs::Costs;
use super::error::RecordsError;
use super::format::{MAGIC, logits_path, parse_columns, parse_cost, parse_row};
use super::samples::{Logits, Records};

/// Logits of more bytes than this stay in their file.
const LOGITS_IN_MEMORY: u64 = 256 << 20;
/// How records of any version begin.
const MAGIC_WORD: &[u8; 24] = b"# dyn-perceiver records ";

impl Records {
    /// Reads records from a file, with their logits if they lie beside.
    ///
    /// # Errors
    /// [`RecordsError`], naming the line or row.
    pub fn read(path: &Path) -> Result<Self, RecordsError> {
        let open = |source| RecordsError::Read { path: path.into(), source };
        let mut file = BufReader::new(File::open(path).map_err(open)?);
        let mut records = read_header(path, &mut file)?;
        read_rows(path, &mut file, &mut records)?;
        let beside = logits_path(path);
        if beside.exists() {
            read_logits(path, &beside, &mut records)?;
        }
        Ok(records)
    }

    /// Whether the file begins as records do.
    pub fn are_at(path: &Path) -> bool {
        let mut start = [0; MAGIC_WORD.len()];
        File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *MAGIC_WORD
    }
}

fn read_header(path: &Path, file: &mut impl io::BufRead) -> Result<Records, RecordsError> {
    let mut line = 0;
    let (mut model, mut classes, mut unit, mut costs) = (None, None, None, vec![]);
    loop {
        let mut text = String::new();
        file.read_line(&mut text).map_err(|source| RecordsError::Read { path: path.into(), source })?;
        line += 1;
        let refused = |reason: String| RecordsError::Header { path: path.into(), line, reason };
        let text = text.trim_end();
        if line == 1 {
            if text != MAGIC {
                return Err(refused(format!("expected `{MAGIC}`")));
            }
            continue;
        }
        if let Some(entry) = text.strip_prefix("# ") {
            let (key, value) = entry.split_once(' ').unwrap_or((entry, ""));
            match key {
                "model" => model = Some(value.parse().map_err(|e: DigestError| refused(format!("model: {e}")))?),
                "classes" => {
                    let count = value.parse().ok().filter(|count| (1..=1 << 24).contains(count));
                    classes =
                        Some(count.ok_or_else(|| refused(format!("classes: {value:?} is no number of classes")))?);
                }
                "unit" => {
                    let units = [CostUnit::Macs, CostUnit::Seconds, CostUnit::Joules];
                    let found = units.into_iter().find(|unit| unit.name() == value);
                    unit = Some(
                        found.ok_or_else(|| refused(format!("unit: {value:?}, expected macs, seconds or joules")))?,
                    );
                }
                "cost" => costs.push(
                    parse_cost(value)
                        .ok_or_else(|| refused(format!("cost: {value:?}, expected such as `1+2 345.6`")))?,
                ),
                // Room for what others want to note.
                _ => {}
            }
            continue;
        }
        let missing = |what: &str| refused(format!("no `# {what}` before the samples"));
        let exits = parse_columns(text).map_err(refused)?;
        let costs = Costs::from_sets(unit.ok_or_else(|| missing("unit"))?, exits.len(), costs)
            .map_err(|source| RecordsError::Costs { path: path.into(), source })?;
        let (model, classes) = (model.ok_or_else(|| missing("model"))?, classes.ok_or_else(|| missing("classes"))?);
        return Ok(Records::new(model, exits, classes, costs));
    }
}

fn read_rows(path: &Path, file: &mut impl io::Read, records: &mut Records) -> Result<(), RecordsError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
    let mut row = csv::StringRecord::new();
    loop {
        let number = records.len() + 1;
        let refused = |reason: String| RecordsError::Row { path: path.into(), row: number, reason };
        if !reader.read_record(&mut row).map_err(|error| refused(error.to_string()))? {
            return Ok(());
        }
        let (id, label, readings) = parse_row(&row, records).map_err(refused)?;
        records.append(id, label, &readings);
    }
}

fn read_logits(path: &Path, beside: &Path, records: &mut Records) -> Result<(), RecordsError> {
    let unreadable = |source| RecordsError::Read { path: beside.into(), source };
    let (samples, exits, classes) = (records.len(), records.exits().len(), records.classes());
    let actual = std::fs::metadata(beside).map_err(unreadable)?.len();
    let expected = samples as u64 * exits as u64 * classes as u64 * 4;
    if actual != expected {
        let path = beside.into();
        return Err(RecordsError::LogitsLength { path, actual, expected, samples, exits, classes });
    }
    records.logits = Logits::File(beside.into());
    let keep = expected <= LOGITS_IN_MEMORY;
    let mut kept = Vec::with_capacity(if keep { samples * exits * classes } else { 0 });
    let mut refusal = None;
    let checked = records.visit_logits(&records.rows(), |row, logits| {
        for (exit, (logits, reading)) in logits.chunks_exact(classes).zip(records.readings(row as u32)).enumerate() {
            let reason = match Measure::MaxSoftmax.read(logits) {
                Ok(read) if read.class == reading.class as usize => continue,
                Ok(read) => format!("class {} by its logits, {} in the records", read.class, reading.class),
                Err(error) => error.to_string(),
            };
            refusal.get_or_insert((row + 1, format!("exit {}: {reason}", records.exits()[exit])));
        }
        if keep {
            kept.extend_from_slice(logits);
        }
    });
    checked.map_err(unreadable)?;
    if let Some((row, reason)) = refusal {
        return Err(RecordsError::Row { path: path.into(), row, reason });
    }
    if keep {
        records.logits = Logits::Memory(kept);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dyn_perceiver_core::exit::ModelDigest;

    use super::super::writer::RecordWriter;
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

    #[test]
    fn records_of_another_model_are_refused() {
        let error = header().for_model(ModelDigest([1; 32]), Path::new("r.csv")).unwrap_err();
        assert!(error.to_string().starts_with("r.csv: records of model sha256:0909"), "{error}");
    }

    #[test]
    fn a_records_error_tells_its_cause_once() {
        let error = Records::read(Path::new("no/such.csv")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read no/such.csv");
        assert!(std::error::Error::source(&error).is_some());
        assert!(!Records::are_at(Path::new("no/such.csv")));
    }

    fn chain(error: &dyn std::error::Error) -> String {
        error.source().map_or(error.to_string(), |source| format!("{error}: {}", chain(source)))
    }

    fn refused(change: impl Fn(String) -> String) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        for i in 0..4 {
            writer.push(&ids()[i], (i % 3) as u32, &sample(i)).unwrap();
        }
        writer.finish().unwrap();
        assert!(Records::are_at(&path));
        std::fs::write(&path, change(std::fs::read_to_string(&path).unwrap())).unwrap();
        match Records::read(&path) {
            Ok(_) => String::new(),
            Err(error) => chain(&error).replace(&format!("{}", path.display()), "r.csv"),
        }
    }

    #[test]
    fn every_refusal_of_records_names_the_place() {
        assert_eq!(refused(|text| text), "");
        let confidence = Measure::MaxSoftmax.read(&sample(1)[0]).unwrap().confidence.to_string();
        let message = refused(|text| text.replace(&confidence, "NaN"));
        assert_eq!(message, "r.csv, row 2: a.max-softmax is \"NaN\", expected a number in [0, 1]");
        let message = refused(|text| text.replace("\"class, 2.png\",2", "\"class, 2.png\",3"));
        assert_eq!(message, "r.csv, row 3: the label is \"3\", expected a class from 0 to 2");
        let message = refused(|text| text.replace("\"class, 2.png\",2", "\"class, 2.png\""));
        assert_eq!(message, "r.csv, row 3: 9 columns, expected 10");
        assert_eq!(
            refused(|text| text.replace("b.entropy", "b.x")),
            "r.csv, line 8: expected columns b.class,b.max-softmax,b.entropy,b.margin"
        );
        assert_eq!(refused(|_| "sample,label\n".into()), "r.csv, line 1: expected `# dyn-perceiver records 1`");
        assert!(refused(|text| text.replace("# unit macs", "# unit hours")).contains("line 4: unit"));
        assert!(refused(|text| text.replace("# unit macs", "# x")).contains("no `# unit`"));
        assert!(refused(|text| text.replace("# cost 2 3000000\n", "")).contains("cost of exit 2 is missing"));
        let message = refused(|text| text.replace("\"class, 3.png\",0,0", "\"class, 3.png\",0,1"));
        assert_eq!(message, "r.csv, row 4: exit a: class 0 by its logits, 1 in the records");
        let drop_last = |text: String| text.lines().take(11).map(|line| format!("{line}\n")).collect();
        assert!(refused(drop_last).contains("96 bytes, expected 72"));
    }
}
