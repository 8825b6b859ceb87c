//! Policy files: readable JSON on the host, the same content in postcard for firmware.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::exit::{CalibratedPolicy, MAX_POLICY_BYTES, POLICY_VERSION, PolicyFileError};
use crate::file::atomic_write;

const FORMAT: &str = "dyn-perceiver policy";

/// The JSON form. The checksum is the SHA-256 of the policy as compact JSON, whatever the layout of the file, and of how a
/// video is decided, where that is there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format: String,
    version: u8,
    sha256: String,
    policy: CalibratedPolicy,
    /// Of a network of videos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over_time: Option<OverTimePolicy>,
}

/// How the frames of a video are decided together, beside the policy for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OverTimePolicy {
    /// Frames over which logits are summed.
    pub window: u32,
    /// An answer changes after so many equal ones in a row.
    pub repeats: u32,
}

impl OverTimePolicy {
    /// A window of so many frames, and so many equal answers.
    pub fn new(window: u32, repeats: u32) -> Self {
        OverTimePolicy { window, repeats }
    }
}

/// Why a policy file could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The JSON is malformed, or is no valid policy.
    #[error("{}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// The file is no policy file, of another version, damaged or not valid.
    #[error("{}: {error}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        error: PolicyFileError,
    },
    /// The policy is for a model with other exits.
    #[error("{}: calibrated for exits {found}, but the model's are {expected}", path.display())]
    Exits {
        /// The file.
        path: PathBuf,
        /// The model's exits.
        expected: String,
        /// The policy's.
        found: String,
    },
}

/// The JSON form of a policy, as it stands in a file.
pub fn to_json(policy: &CalibratedPolicy) -> String {
    json_of(policy, None)
}

fn json_of(policy: &CalibratedPolicy, over_time: Option<OverTimePolicy>) -> String {
    let envelope = Envelope {
        format: FORMAT.into(),
        version: POLICY_VERSION,
        sha256: checksum(policy, over_time).unwrap_or_default(),
        policy: policy.clone(),
        over_time,
    };
    // Neither maps with keys that are no strings nor foreign types are in it, so this cannot fail.
    let mut text = serde_json::to_string_pretty(&envelope).unwrap_or_default();
    text.push('\n');
    text
}

/// The binary form of a policy, see [`CalibratedPolicy::from_slice`].
pub fn to_postcard(policy: &CalibratedPolicy) -> Vec<u8> {
    let mut buffer = vec![0; MAX_POLICY_BYTES];
    policy.to_slice(&mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}

/// Writes a policy, as JSON or, to a file called `.postcard` or `.bin`, in binary. The file is there whole or not at all.
///
/// # Errors
/// [`FileError::Write`].
pub fn save(policy: &CalibratedPolicy, path: &Path) -> Result<(), FileError> {
    let binary = path.extension().is_some_and(|extension| extension == "postcard" || extension == "bin");
    let bytes = if binary { to_postcard(policy) } else { to_json(policy).into_bytes() };
    atomic_write(path, &bytes).map_err(|source| FileError::Write { path: path.into(), source })
}

/// Writes a policy for a network of videos and how its frames are decided together, as JSON.
///
/// # Errors
/// [`FileError::Write`].
pub fn save_video(policy: &CalibratedPolicy, over_time: OverTimePolicy, path: &Path) -> Result<(), FileError> {
    let text = json_of(policy, Some(over_time));
    atomic_write(path, text.as_bytes()).map_err(|source| FileError::Write { path: path.into(), source })
}

/// How the frames of a video are decided together, where the policy file at `path` says.
///
/// # Errors
/// As [`load`].
pub fn load_over_time(path: &Path) -> Result<Option<OverTimePolicy>, FileError> {
    let bytes = fs::read(path).map_err(|source| FileError::Read { path: path.into(), source })?;
    // The binary form has no place for it.
    Ok(if bytes.first() == Some(&b'{') { envelope(&bytes, path)?.over_time } else { None })
}

/// Reads a policy file of either form, told apart by its content.
///
/// # Errors
/// [`FileError`] when it cannot be read, is no policy file or another version's, was changed, or is not valid.
pub fn load(path: &Path) -> Result<CalibratedPolicy, FileError> {
    let bytes = fs::read(path).map_err(|source| FileError::Read { path: path.into(), source })?;
    parse(&bytes, path)
}

/// As [`load`], from bytes; `path` only names them in errors.
///
/// # Errors
/// As [`load`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<CalibratedPolicy, FileError> {
    if bytes.first() != Some(&b'{') {
        return CalibratedPolicy::from_slice(bytes).map_err(|error| FileError::Refused { path: path.into(), error });
    }
    Ok(envelope(bytes, path)?.policy)
}

fn envelope(bytes: &[u8], path: &Path) -> Result<Envelope, FileError> {
    let refused = |error| FileError::Refused { path: path.into(), error };
    let json = |error: serde_json::Error| FileError::Json { path: path.into(), reason: error.to_string() };
    // The version first: another one may hold anything.
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u64,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(json)?;
    if head.format != FORMAT {
        return Err(refused(PolicyFileError::Magic));
    }
    if head.version == 0 || head.version > u64::from(POLICY_VERSION) {
        return Err(refused(PolicyFileError::Version { found: u8::try_from(head.version).unwrap_or(u8::MAX) }));
    }
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(json)?;
    if checksum(&envelope.policy, envelope.over_time).map_err(json)? != envelope.sha256 {
        return Err(refused(PolicyFileError::Checksum));
    }
    Ok(envelope)
}

/// The frontier of a policy, if it is for this model and these exits; `path` only names it in errors.
///
/// # Errors
/// [`FileError::Refused`] when it was calibrated for another model, [`FileError::Exits`] for other exits.
#[cfg(feature = "tract")]
pub fn for_plan<'a>(
    policy: &'a CalibratedPolicy,
    plan: &crate::plan::Plan,
    path: &Path,
) -> Result<&'a crate::exit::Frontier, FileError> {
    let info = plan.info();
    let frontier = policy.for_model(info.digest).map_err(|error| FileError::Refused { path: path.into(), error })?;
    let outcomes = info.outcome_names();
    if !policy.exits().eq(outcomes.iter().map(String::as_str)) {
        let found = policy.exits().collect::<Vec<_>>().join(", ");
        return Err(FileError::Exits { path: path.into(), expected: outcomes.join(", "), found });
    }
    Ok(frontier)
}

fn checksum(policy: &CalibratedPolicy, over_time: Option<OverTimePolicy>) -> Result<String, serde_json::Error> {
    let mut digest = Sha256::new_with_prefix(serde_json::to_vec(policy)?);
    if let Some(over_time) = over_time {
        digest.update(serde_json::to_vec(&over_time)?);
    }
    Ok(digest.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exit::{
        Calibration, CostUnit, Curve, EnsembleKind, ExitPolicy, Frontier, Measure, ModelDigest, OperatingPoint,
    };

    fn policy() -> CalibratedPolicy {
        let point = |threshold: f32, accuracy, cost| {
            let policy = ExitPolicy::with_thresholds(Measure::Entropy, 2, &[threshold]).unwrap();
            OperatingPoint::new(policy, accuracy, cost, &[1.0 / 3.0, 2.0 / 3.0]).unwrap()
        };
        let points = [point(0.1, 0.7, 1.1e7), point(0.123_456_79, 0.9, 1.2e7)];
        let frontier = Frontier::new(CostUnit::Macs, &points).unwrap();
        CalibratedPolicy::new(ModelDigest([3; 32]), ["a", "b"], 50, None, frontier).unwrap()
    }

    #[test]
    fn both_forms_carry_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["policy.json", "policy.postcard"] {
            let path = folder.path().join(name);
            save(&policy(), &path).unwrap();
            assert_eq!(load(&path).unwrap(), policy());
        }
        let error = load(&folder.path().join("none.json")).unwrap_err();
        assert!(error.to_string().contains("none.json"), "{error}");
    }

    #[test]
    fn a_policy_of_version_1_is_read_without_a_calibration() {
        let text = to_json(&policy()).replace("\"version\": 2", "\"version\": 1");
        let read = super::parse(text.as_bytes(), Path::new("p.json")).unwrap();
        assert_eq!((read.calibration(), &read), (None, &policy()));
        let curves = [Curve::new(1.25, -0.5); 2];
        let calibration = Calibration::new(Measure::Entropy, EnsembleKind::Own, &curves, &curves).unwrap();
        let calibrated = policy().with_calibration(calibration).unwrap();
        let text = to_json(&calibrated);
        assert_eq!(super::parse(text.as_bytes(), Path::new("p.json")).unwrap(), calibrated);
        assert!(parse_error(&text.replace("1.25", "1.5")).contains("checksum"));
    }

    fn parse_error(text: &str) -> String {
        parse(text.as_bytes(), Path::new("p.json")).unwrap_err().to_string()
    }

    #[test]
    fn what_a_video_needs_beside_is_in_the_file_and_its_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.json");
        save_video(&policy(), OverTimePolicy::new(8, 2), &path).unwrap();
        assert_eq!(load(&path).unwrap(), policy());
        assert_eq!(load_over_time(&path).unwrap(), Some(OverTimePolicy::new(8, 2)));
        let text = fs::read_to_string(&path).unwrap().replace("\"window\": 8", "\"window\": 9");
        fs::write(&path, text).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("checksum"));
        save(&policy(), &path).unwrap();
        assert_eq!(load_over_time(&path).unwrap(), None);
    }

    #[test]
    fn what_was_changed_by_hand_is_refused() {
        let parse = parse_error;
        let text = to_json(&policy());
        assert!(parse(&text.replace("0.7", "0.71")).contains("checksum"));
        assert!(parse(&text.replace("\"version\": 2", "\"version\": 3")).contains("version 3"));
        assert!(parse(&text.replace(FORMAT, "other")).contains("not a policy file"));
        assert!(parse(&text.replace("0.9", "0.6")).contains("operating point 2"));
        assert!(parse(&text.replace("\"samples\"", "\"simples\"")).contains("simples"));
        assert!(parse("").contains("not a policy file"));
        // Layout is free.
        let compact: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(super::parse(compact.to_string().as_bytes(), Path::new("p")).is_ok());
    }

    proptest! {
        #[test]
        fn damage_never_changes_a_policy_unnoticed(at in any::<prop::sample::Index>(), value: u8) {
            let mut bytes = to_json(&policy()).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = value;
            if let Ok(read) = parse(&bytes, Path::new("p.json")) {
                prop_assert_eq!(read, policy());
            }
        }
    }
}
