//! The text of calibration records: a header with model and costs, a table in CSV.
//!
//! The format is described in `docs/calibration.md`, so that records can be made from any model by any program.

use std::path::{Path, PathBuf};

use dyn_perceiver_core::exit::{MAX_EXITS, Measure};

use super::exit_set::ExitSet;
use super::samples::{ExitReading, Records};

/// First line of a records file.
pub(super) const MAGIC: &str = "# dyn-perceiver records 1";
/// Columns before those of the exits.
const FIRST_COLUMNS: [&str; 2] = ["sample", "label"];
/// Columns of each exit: the class, then one per measure.
const COLUMNS: usize = 1 + Measure::ALL.len();

/// Where the logits of a records file are: beside it, with `.logits` appended.
pub(super) fn logits_path(path: &Path) -> PathBuf {
    with_suffix(path, ".logits")
}

/// The path with something appended to its file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// All that stands before the rows.
pub(super) fn header_text(records: &Records) -> String {
    let (model, classes, costs) = (records.model(), records.classes(), records.costs());
    let mut text = format!("{MAGIC}\n# model {model}\n# classes {classes}\n# unit {}\n", costs.unit());
    for (set, cost) in costs.sets() {
        text += &format!("# cost {set} {cost}\n");
    }
    let mut names = FIRST_COLUMNS.map(String::from).to_vec();
    names.extend(records.exits().iter().flat_map(|exit| column_names(exit)));
    let mut writer = csv::WriterBuilder::new().from_writer(vec![]);
    let line = writer.write_record(&names).ok().and_then(|()| writer.into_inner().ok());
    text + &String::from_utf8_lossy(&line.unwrap_or_default())
}

/// Exits and their cost from such as `1+2 345.6`, exits counted from 1.
pub(super) fn parse_cost(value: &str) -> Option<(ExitSet, f64)> {
    let (exits, cost) = value.split_once(' ')?;
    let exit = |text: &str| text.parse::<usize>().ok()?.checked_sub(1).filter(|&exit| exit < MAX_EXITS);
    let set = exits.split('+').map(exit).collect::<Option<ExitSet>>()?;
    Some((set, cost.parse().ok()?))
}

/// The exits that the line with the column names is for.
pub(super) fn parse_columns(text: &str) -> Result<Vec<String>, String> {
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

/// A row of the table: what the sample is called, its label, and what every exit said.
pub(super) fn parse_row(row: &csv::StringRecord, records: &Records) -> Result<(String, u32, Vec<ExitReading>), String> {
    let expected = FIRST_COLUMNS.len() + COLUMNS * records.exits().len();
    if row.len() != expected {
        return Err(format!("{} columns, expected {expected}", row.len()));
    }
    let mut columns = row.iter();
    let mut next = || columns.next().unwrap_or_default().trim();
    let class = |text: &str, what: &str| {
        let class = text.parse().ok().filter(|&class: &u32| (class as usize) < records.classes());
        class.ok_or_else(|| format!("{what} is {text:?}, expected a class from 0 to {}", records.classes() - 1))
    };
    let id = next().to_string();
    let label = class(next(), "the label")?;
    let mut readings = Vec::with_capacity(records.exits().len());
    for exit in records.exits() {
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
        readings.push(ExitReading::new(predicted, confidence));
    }
    Ok((id, label, readings))
}
