//! Calibration records in files: CSV, and logits beside.
//!
//! The format is described in `docs/calibration.md`, so that records can be made from any model by any program.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::samples::{ExitReading, Logits, Records};
use crate::records::RecordsError;
use crate::records::{Costs, ExitMask, exits_of};
use dyn_perceiver_core::exit::{CostUnit, Measure, ModelDigest, NoDigest};

/// First line of a records file.
const MAGIC: &str = "# dyn-perceiver records 1";
/// More logits than this stay in their file, in bytes.
const LOGITS_IN_MEMORY: u64 = 256 << 20;
/// Columns before those of the exits.
const FIRST_COLUMNS: [&str; 2] = ["sample", "label"];
/// Columns of each exit: the class, then one per measure.
const COLUMNS: usize = 1 + Measure::ALL.len();

/// Where the logits of a records file are: beside it, with `.logits` appended.
pub fn logits_path(path: &Path) -> PathBuf {
    with_suffix(path, ".logits")
}

/// The path with something appended to its file name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads records, with their logits if they lie beside.
///
/// # Errors
/// [`RecordsError`], naming the line or row.
pub fn read_records(path: &Path) -> Result<Records, RecordsError> {
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
                "model" => model = Some(value.parse().map_err(|e: NoDigest| refused(format!("model: {e}")))?),
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
            .map_err(|error| RecordsError::Costs { path: path.into(), error })?;
        let (model, classes) = (model.ok_or_else(|| missing("model"))?, classes.ok_or_else(|| missing("classes"))?);
        return Ok(Records::new(model, exits, classes, costs));
    }
}

fn parse_cost(value: &str) -> Option<(ExitMask, f64)> {
    let (exits, cost) = value.split_once(' ')?;
    let exit = |text: &str| {
        text.parse::<usize>().ok()?.checked_sub(1).filter(|&exit| exit < dyn_perceiver_core::exit::MAX_EXITS)
    };
    let mask = exits.split('+').try_fold(0, |mask, text| Some(mask | 1 << exit(text)?))?;
    Some((mask, cost.parse().ok()?))
}

/// The exits that the line with the column names is for.
fn parse_columns(text: &str) -> Result<Vec<String>, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let row = reader.records().next().and_then(Result::ok).unwrap_or_default();
    let names: Vec<&str> = row.iter().collect();
    let (first, rest) = names.split_at(FIRST_COLUMNS.len().min(names.len()));
    if first != FIRST_COLUMNS || rest.is_empty() || rest.len() % COLUMNS != 0 {
        return Err(format!("expected columns sample,label and then {COLUMNS} for each exit"));
    }
    rest.chunks(COLUMNS)
        .map(|columns| {
            let exit = columns[0].strip_suffix(".class").unwrap_or(columns[0]);
            let expected = column_names(exit);
            if columns == expected {
                Ok(exit.to_string())
            } else {
                Err(format!("expected columns {}", expected.join(",")))
            }
        })
        .collect()
}

fn column_names(exit: &str) -> Vec<String> {
    let measures = Measure::ALL.map(|measure| format!("{exit}.{measure}"));
    [format!("{exit}.class")].into_iter().chain(measures).collect()
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
        records.push(id, label, &readings);
    }
}

pub(crate) fn parse_row(row: &csv::StringRecord, records: &Records) -> Result<(String, u32, Vec<ExitReading>), String> {
    let expected = FIRST_COLUMNS.len() + COLUMNS * records.exits.len();
    if row.len() != expected {
        return Err(format!("{} columns, expected {expected}", row.len()));
    }
    let mut columns = row.iter();
    let mut next = || columns.next().unwrap_or_default().trim();
    let class = |text: &str, what: &str| {
        let class = text.parse().ok().filter(|&class: &u32| (class as usize) < records.classes);
        class.ok_or_else(|| format!("{what} is {text:?}, expected a class from 0 to {}", records.classes - 1))
    };
    let id = next().to_string();
    let label = class(next(), "the label")?;
    let mut readings = Vec::with_capacity(records.exits.len());
    for exit in &records.exits {
        let predicted = class(next(), &format!("{exit}.class"))?;
        let mut confidence = [0.0; Measure::ALL.len()];
        for (value, measure) in confidence.iter_mut().zip(Measure::ALL) {
            let text = next();
            *value = text
                .parse()
                .ok()
                .filter(|c| (0.0..=1.0).contains(c))
                .ok_or_else(|| format!("{exit}.{measure} is {text:?}, expected a number in [0, 1]"))?;
        }
        readings.push(ExitReading { class: predicted, confidence });
    }
    Ok((id, label, readings))
}

fn read_logits(path: &Path, beside: &Path, records: &mut Records) -> Result<(), RecordsError> {
    let unreadable = |source| RecordsError::Read { path: beside.into(), source };
    let (samples, exits, classes) = (records.len(), records.exits.len(), records.classes);
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
            refusal.get_or_insert((row + 1, format!("exit {}: {reason}", records.exits[exit])));
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

impl Records {
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
}

pub(crate) fn header_text(records: &Records) -> String {
    let mut text =
        format!("{MAGIC}\n# model {}\n# classes {}\n# unit {}\n", records.model, records.classes, records.costs.unit());
    for (mask, cost) in records.costs.sets() {
        let exits: Vec<String> = exits_of(mask).map(|exit| (exit + 1).to_string()).collect();
        text += &format!("# cost {} {cost}\n", exits.join("+"));
    }
    let mut names = FIRST_COLUMNS.map(String::from).to_vec();
    names.extend(records.exits.iter().flat_map(|exit| column_names(exit)));
    let mut writer = csv::WriterBuilder::new().from_writer(vec![]);
    let line = writer.write_record(&names).ok().and_then(|()| writer.into_inner().ok());
    text + &String::from_utf8_lossy(&line.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RecordWriter;

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
        let records = read_records(&path).unwrap();
        assert_eq!(records.ids(), ids());
        assert_eq!(records.labels(), [0, 1, 2, 0]);
        assert_eq!(records.costs, header().costs);
        assert_eq!(records.readings(3)[1].confidence[0], Measure::MaxSoftmax.read(&sample(3)[1]).unwrap().confidence);
        assert!(records.has_logits());
    }

    #[test]
    fn other_data_and_other_models_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.csv");
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        push_from(&mut writer, 2);
        drop(writer);
        let others: Vec<String> = (0..4).map(|i| format!("{i}")).collect();
        let error = RecordWriter::resume(&path, &header(), &others).err().unwrap();
        assert!(matches!(error, RecordsError::OtherData { row: 1, .. }), "{error}");
        let error = header().for_model(ModelDigest([1; 32]), &path).unwrap_err();
        assert!(error.to_string().contains("records of model sha256:0909"), "{error}");
    }

    fn refused(change: impl Fn(String) -> String) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let mut writer = RecordWriter::resume(&path, &header(), &ids()).unwrap();
        push_from(&mut writer, 4);
        writer.finish().unwrap();
        std::fs::write(&path, change(std::fs::read_to_string(&path).unwrap())).unwrap();
        match read_records(&path) {
            Ok(_) => String::new(),
            Err(error) => error.to_string().replace(&format!("{}", path.display()), "r.csv"),
        }
    }

    #[test]
    fn every_refusal_names_the_place() {
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
