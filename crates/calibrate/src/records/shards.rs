//! Records of parts of one data set, made on several machines and put together.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dyn_perceiver_core::file::{atomic_write, atomic_write_with};
use thiserror::Error;

use super::format::{MAGIC, logits_path};

/// What begins the line that says which part a file is.
const KEY: &str = "# shard ";

/// One of several parts of a data set, as `2/5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    number: u32,
    count: u32,
}

impl Shard {
    /// The part's samples, of so many in all: parts differ by one sample at most.
    pub fn range(self, samples: u64) -> std::ops::Range<u64> {
        let at = |number: u32| (u128::from(samples) * u128::from(number) / u128::from(self.count)) as u64;
        at(self.number - 1)..at(self.number)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match numbers {
            Some((number, count)) if (1..=count).contains(&number) => Ok(Shard { number, count }),
            _ => Err("expected a part and the number of parts, such as 2/5".into()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

/// Why parts cannot be put together.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShardError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is no part.
    #[error("{}: {reason}", path.display())]
    NoPart {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// Parts of other runs: another model, other classes, costs, exits, or another number of parts.
    #[error("{} does not belong to {}: {what} differs", path.display(), first.display())]
    Other {
        /// The part.
        path: PathBuf,
        /// The part it is held against.
        first: PathBuf,
        /// What differs.
        what: String,
    },
    /// The same part twice, with different contents.
    #[error("{} and {} are both part {shard}, and differ", path.display(), first.display())]
    Differ {
        /// One file.
        path: PathBuf,
        /// The other.
        first: PathBuf,
        /// The part.
        shard: Shard,
    },
    /// Parts that are not there.
    #[error("parts are missing: {missing}")]
    Missing {
        /// Their numbers.
        missing: String,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ShardError + '_ {
    move |source| ShardError::Io { path: path.into(), source }
}

/// Marks a records file as a part.
///
/// # Errors
/// [`ShardError`].
pub fn mark(path: &Path, shard: Shard) -> Result<(), ShardError> {
    let text = std::fs::read_to_string(path).map_err(at(path))?;
    let Some(rest) = text.strip_prefix(MAGIC) else {
        return Err(ShardError::NoPart { path: path.into(), reason: "no calibration records".into() });
    };
    let rest = rest.trim_start_matches('\n');
    atomic_write(path, format!("{MAGIC}\n{KEY}{shard}\n{rest}").as_bytes()).map_err(at(path))
}

struct Part {
    path: PathBuf,
    shard: Shard,
    header: Vec<String>,
    rows: String,
}

impl Part {
    fn read(path: &Path) -> Result<Self, ShardError> {
        let no_part = |reason: &str| ShardError::NoPart { path: path.into(), reason: reason.into() };
        let text = std::fs::read_to_string(path).map_err(at(path))?;
        if !text.starts_with(MAGIC) {
            return Err(no_part("no calibration records"));
        }
        let (mut shard, mut header, mut length) = (None, vec![], 0);
        for line in text.split_inclusive('\n') {
            length += line.len();
            let line = line.trim_end();
            match line.strip_prefix(KEY) {
                Some(found) => shard = Some(found.parse().map_err(|reason: String| no_part(&reason))?),
                None => header.push(line.to_owned()),
            }
            // The names of the columns end the header.
            if !line.starts_with('#') {
                break;
            }
        }
        let shard = shard.ok_or_else(|| no_part("whole records, not a part; parts are made with --shard"))?;
        Ok(Part { path: path.into(), shard, header, rows: text[length..].to_owned() })
    }
}

/// Puts the parts together at `output`, in whatever order they are given: the same bytes as one run over all samples gives.
/// The same part twice does no harm.
///
/// # Errors
/// [`ShardError`], before anything is written.
pub fn merge(parts: &[PathBuf], output: &Path) -> Result<usize, ShardError> {
    let mut read = parts.iter().map(|path| Part::read(path)).collect::<Result<Vec<_>, _>>()?;
    read.sort_by_key(|part| part.shard);
    let Some(first) = read.first() else { return Err(ShardError::Missing { missing: "all".into() }) };
    let (count, first_path, first_header) = (first.shard.count, first.path.clone(), first.header.clone());
    for part in &read {
        let other =
            |what: &str| ShardError::Other { path: part.path.clone(), first: first_path.clone(), what: what.into() };
        if part.shard.count != count {
            return Err(other("the number of parts"));
        }
        if part.header != first_header {
            let line =
                part.header.iter().zip(&first_header).find(|(a, b)| a != b).map_or("the header", |(a, _)| {
                    a.trim_start_matches("# ").split(' ').next().unwrap_or("the header")
                });
            return Err(other(line));
        }
        if logits_path(&part.path).exists() != logits_path(&first_path).exists() {
            return Err(other("whether there are logits"));
        }
    }
    let mut kept: Vec<Part> = Vec::with_capacity(read.len());
    for part in read {
        match kept.last().filter(|last| last.shard == part.shard) {
            Some(last) if last.rows != part.rows => {
                let (path, first) = (part.path, last.path.clone());
                return Err(ShardError::Differ { path, first, shard: part.shard });
            }
            Some(_) => {}
            None => kept.push(part),
        }
    }
    let missing: Vec<String> =
        (1..=count).filter(|n| kept.iter().all(|part| part.shard.number != *n)).map(|n| n.to_string()).collect();
    if !missing.is_empty() {
        return Err(ShardError::Missing { missing: missing.join(", ") });
    }
    if logits_path(&first_path).exists() {
        let beside = logits_path(output);
        let done = atomic_write_with(&beside, |out| {
            for part in &kept {
                io::copy(&mut File::open(logits_path(&part.path))?, out)?;
            }
            Ok(())
        });
        done.map_err(at(&beside))?;
    }
    let done = atomic_write_with(output, |out| {
        let mut out = io::BufWriter::new(out);
        for line in &first_header {
            writeln!(out, "{line}")?;
        }
        kept.iter().try_for_each(|part| out.write_all(part.rows.as_bytes()))?;
        out.flush()
    });
    done.map_err(at(output))?;
    Ok(kept.iter().map(|part| part.rows.lines().count()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{RecordWriter, Records, Synthetic};

    fn write(path: &Path, records: &Records, rows: std::ops::Range<usize>) {
        let ids: Vec<String> = records.ids()[rows.clone()].to_vec();
        let header =
            Records::new(records.model(), records.exits().to_vec(), records.classes(), records.costs().clone());
        let mut writer = RecordWriter::resume(path, &header, &ids).unwrap();
        for (i, row) in rows.enumerate() {
            let logits: Vec<Vec<f32>> = (0..records.exits().len())
                .map(|exit| {
                    (0..records.classes()).map(|class| ((row * 31 + exit * 7 + class * 3) % 11) as f32).collect()
                })
                .collect();
            writer.push(&ids[i], records.labels()[row], &logits).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn parts_in_any_order_give_the_bytes_of_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let records = Synthetic::four_exits().records(50, 1).unwrap();
        let whole = folder.path().join("whole.csv");
        write(&whole, &records, 0..50);
        let mut parts: Vec<PathBuf> = (1..=3)
            .map(|number| {
                let shard: Shard = format!("{number}/3").parse().unwrap();
                let (path, range) = (folder.path().join(format!("part.{number}")), shard.range(50));
                write(&path, &records, range.start as usize..range.end as usize);
                mark(&path, shard).unwrap();
                path
            })
            .collect();
        parts.reverse();
        parts.push(parts[1].clone());
        let merged = folder.path().join("merged.csv");
        assert_eq!(merge(&parts, &merged).unwrap(), 50);
        let bytes = |path: &Path| std::fs::read(path).unwrap();
        assert_eq!(bytes(&merged), bytes(&whole));
        assert_eq!(bytes(&logits_path(&merged)), bytes(&logits_path(&whole)));

        let error = merge(&parts[..2], &merged).unwrap_err().to_string();
        assert_eq!(error, "parts are missing: 1");
        let text = String::from_utf8(bytes(&parts[0])).unwrap();
        std::fs::write(&parts[0], text.replace("# classes", "# classes 9\n# classes")).unwrap();
        assert!(matches!(merge(&parts, &merged), Err(ShardError::Other { .. })));
        assert!(matches!(merge(&[whole], &merged), Err(ShardError::NoPart { .. })));
    }

    #[test]
    fn shards_deal_every_sample_once() {
        for samples in [0, 1, 7, 1000] {
            let shards = (1..=7).map(|n| format!("{n}/7").parse::<Shard>().unwrap().range(samples));
            let all: Vec<u64> = shards.flatten().collect();
            assert_eq!(all, (0..samples).collect::<Vec<_>>());
        }
        for wrong in ["0/3", "4/3", "1", "a/b", "1/0"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
