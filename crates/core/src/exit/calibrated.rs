//! The policy file: a frontier together with the model it was calibrated for, as data that firmware can carry.
//!
//! Version 2 has the calibration of probabilities behind what version 1 has; files of version 1 are still read, without one.

use core::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize};

use super::{Calibration, Frontier, MAX_EXITS, ModelDigest, PerExit};
use crate::crc::crc32;
use crate::inline::InlineStr;

/// The version of the policy file format that this library writes. It reads this one and those before it.
pub const POLICY_VERSION: u8 = 2;

/// The version without a [`Calibration`].
const WITHOUT_CALIBRATION: u8 = 1;

/// The longest name of an exit, in bytes.
pub const MAX_EXIT_NAME: usize = 64;

const MAGIC: &[u8; 4] = b"DPPF";

/// What calibration found for one model.
///
/// ```
/// # use dyn_perceiver_core::exit::{CostUnit, ExitPolicy, Frontier, OperatingPoint};
/// use dyn_perceiver_core::exit::{CalibratedPolicy, MAX_POLICY_BYTES, ModelDigest};
/// # let point = OperatingPoint::new(ExitPolicy::only(1, 2)?, 0.9, 1.0, &[0.0, 1.0])?;
/// # let (model, frontier) = (ModelDigest([7; 32]), Frontier::new(CostUnit::Macs, &[point])?);
/// let policy = CalibratedPolicy::new(model, ["early", "late"], 1000, None, frontier)?;
/// let mut buffer = [0; MAX_POLICY_BYTES];
/// let bytes = policy.to_slice(&mut buffer)?;
/// let read = CalibratedPolicy::from_slice(bytes)?;
/// assert!(read.for_model(model).is_ok() && read.for_model(ModelDigest([8; 32])).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// In self-describing formats such as JSON its [`Calibration`] is part of it. In postcard it is what version 1 had, so that
/// what holds a policy keeps its format; [`CalibratedPolicy::to_slice`] puts the calibration behind it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CalibratedPolicy {
    model: ModelDigest,
    exits: PerExit<InlineStr<MAX_EXIT_NAME>>,
    samples: u32,
    guarantee: Option<Guarantee>,
    frontier: Frontier,
    calibration: Option<Calibration>,
}

/// What holds for every operating point of a frontier, and for every mix of them. Of a detector, accuracy is the share of the
/// frames with an object that no exit calls empty, and samples are such frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Guarantee {
    /// Accuracy is at most this much below that of the whole network on its own...
    pub max_loss: f32,
    /// ...with this confidence.
    pub confidence: f32,
    /// Samples it was tested on; they had no part in finding the points.
    pub samples: u32,
}

impl Guarantee {
    /// A loss of at most `max_loss` with this confidence, both in [0, 1], tested on so many samples.
    pub const fn new(max_loss: f32, confidence: f32, samples: u32) -> Self {
        Guarantee { max_loss, confidence, samples }
    }
}

impl CalibratedPolicy {
    /// A frontier for a model, with the names of its exits in order and how many samples it was calibrated on.
    ///
    /// # Errors
    /// [`PolicyFileError::Exits`] when there are more or fewer names than the frontier has exits, or one is longer than
    /// [`MAX_EXIT_NAME`] bytes; [`PolicyFileError::Guarantee`] when its numbers are not between 0 and 1.
    pub fn new<'a>(
        model: ModelDigest,
        exits: impl IntoIterator<Item = &'a str>,
        samples: u32,
        guarantee: Option<Guarantee>,
        frontier: Frontier,
    ) -> Result<Self, PolicyFileError> {
        let mut names = [InlineStr::default(); MAX_EXITS];
        let mut count = 0;
        for name in exits {
            let place = names.get_mut(count).ok_or(PolicyFileError::Exits)?;
            *place = InlineStr::new(name).map_err(|_| PolicyFileError::Exits)?;
            count += 1;
        }
        let exits = PerExit::new(names.get(..count).unwrap_or(&names)).map_err(|_| PolicyFileError::Exits)?;
        CalibratedPolicy { model, exits, samples, guarantee, frontier, calibration: None }.checked()
    }

    /// The same with how probably its answers are right.
    ///
    /// # Errors
    /// [`PolicyFileError::Exits`] when the calibration is for another number of exits.
    pub fn with_calibration(self, calibration: impl Into<Option<Calibration>>) -> Result<Self, PolicyFileError> {
        CalibratedPolicy { calibration: calibration.into(), ..self }.checked()
    }

    fn checked(self) -> Result<Self, PolicyFileError> {
        let others = |calibration: &Calibration| calibration.exits() != self.frontier.exits();
        if self.exits.len() != self.frontier.exits() || self.calibration.as_ref().is_some_and(others) {
            return Err(PolicyFileError::Exits);
        }
        let unit = 0.0..=1.0;
        if self.guarantee.is_some_and(|g| !unit.contains(&g.max_loss) || !unit.contains(&g.confidence)) {
            return Err(PolicyFileError::Guarantee);
        }
        Ok(self)
    }

    /// The model the frontier is for.
    pub fn model(&self) -> ModelDigest {
        self.model
    }

    /// Refuses to serve another model.
    ///
    /// # Errors
    /// [`PolicyFileError::Model`] when `model` is not the one calibrated.
    pub fn for_model(&self, model: ModelDigest) -> Result<&Frontier, PolicyFileError> {
        if model == self.model {
            Ok(&self.frontier)
        } else {
            Err(PolicyFileError::Model { calibrated: self.model, given: model })
        }
    }

    /// Names of the exits, in order of cost.
    pub fn exits(&self) -> impl ExactSizeIterator<Item = &str> {
        self.exits.iter().map(InlineStr::as_str)
    }

    /// How many samples the frontier was calibrated on.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// How many of them the points and their expected accuracies come from: those that a guarantee was tested on had no part.
    pub fn found_on(&self) -> u32 {
        self.samples.saturating_sub(self.guarantee.map_or(0, |guarantee| guarantee.samples))
    }

    /// What is guaranteed of every point, if calibration was asked for a guarantee.
    pub fn guarantee(&self) -> Option<Guarantee> {
        self.guarantee
    }

    /// The operating points.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// How probably answers under these points are right; none of a file of version 1, a detector or a network of videos.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Reads what [`CalibratedPolicy::to_slice`] wrote, without allocating: four bytes of magic, one of version, the
    /// content in postcard, from version 2 on the calibration or that there is none, and the CRC-32 (ISO-HDLC, little
    /// endian) of all before it.
    ///
    /// # Errors
    /// [`PolicyFileError`] when the bytes are no policy file, of another version, damaged, or hold no valid frontier.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, PolicyFileError> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(PolicyFileError::Magic)?;
        let rest = body.strip_prefix(MAGIC).ok_or(PolicyFileError::Magic)?;
        let (&version, content) = rest.split_first().ok_or(PolicyFileError::Magic)?;
        if !(WITHOUT_CALIBRATION..=POLICY_VERSION).contains(&version) {
            return Err(PolicyFileError::Version { found: version });
        }
        if crc32(body) != u32::from_le_bytes(*checksum) {
            return Err(PolicyFileError::Checksum);
        }
        let (policy, rest) =
            postcard::take_from_bytes::<CalibratedPolicy>(content).map_err(|_| PolicyFileError::Content)?;
        let (calibration, rest) = match version {
            WITHOUT_CALIBRATION => (None, rest),
            _ => postcard::take_from_bytes(rest).map_err(|_| PolicyFileError::Content)?,
        };
        if !rest.is_empty() {
            return Err(PolicyFileError::Content);
        }
        policy.with_calibration(calibration)
    }

    /// Writes the binary form into `buffer` and returns the part used.
    ///
    /// # Errors
    /// [`PolicyFileError::Buffer`] when it is too short; [`MAX_POLICY_BYTES`] is always enough.
    pub fn to_slice<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], PolicyFileError> {
        let head = MAGIC.len() + 1;
        let content = buffer.get_mut(head..).ok_or(PolicyFileError::Buffer)?;
        let used = postcard::to_slice(self, content).map_err(|_| PolicyFileError::Buffer)?.len();
        let behind = content.get_mut(used..).ok_or(PolicyFileError::Buffer)?;
        let calibration = postcard::to_slice(&self.calibration, behind).map_err(|_| PolicyFileError::Buffer)?.len();
        let end = head + used + calibration;
        let (body, tail) = buffer.split_at_mut_checked(end).ok_or(PolicyFileError::Buffer)?;
        for (byte, &value) in body.iter_mut().zip(MAGIC.iter().chain([&POLICY_VERSION])) {
            *byte = value;
        }
        let checksum = crc32(body).to_le_bytes();
        tail.get_mut(..checksum.len()).ok_or(PolicyFileError::Buffer)?.copy_from_slice(&checksum);
        buffer.get(..end + checksum.len()).ok_or(PolicyFileError::Buffer)
    }
}

/// The longest binary form of a policy: that of the most points with the most exits.
pub const MAX_POLICY_BYTES: usize =
    64 + MAX_EXITS * (MAX_EXIT_NAME + 1) + super::MAX_POINTS * (24 + 18 * MAX_EXITS) + Calibration::MAX_BYTES;

impl Serialize for CalibratedPolicy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let calibration = self.calibration.as_ref().filter(|_| serializer.is_human_readable());
        let fields = if calibration.is_some() { 6 } else { 5 };
        let mut state = serializer.serialize_struct("CalibratedPolicy", fields)?;
        state.serialize_field("model", &self.model)?;
        state.serialize_field("exits", &self.exits)?;
        state.serialize_field("samples", &self.samples)?;
        state.serialize_field("guarantee", &self.guarantee)?;
        state.serialize_field("frontier", &self.frontier)?;
        if let Some(calibration) = calibration {
            state.serialize_field("calibration", calibration)?;
        }
        state.end()
    }
}

impl<'de> Deserialize<'de> for CalibratedPolicy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Bare {
            model: ModelDigest,
            exits: PerExit<InlineStr<MAX_EXIT_NAME>>,
            samples: u32,
            guarantee: Option<Guarantee>,
            frontier: Frontier,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            model: ModelDigest,
            exits: PerExit<InlineStr<MAX_EXIT_NAME>>,
            samples: u32,
            guarantee: Option<Guarantee>,
            frontier: Frontier,
            #[serde(default)]
            calibration: Option<Calibration>,
        }
        let policy = if deserializer.is_human_readable() {
            let Whole { model, exits, samples, guarantee, frontier, calibration } = Whole::deserialize(deserializer)?;
            CalibratedPolicy { model, exits, samples, guarantee, frontier, calibration }
        } else {
            let Bare { model, exits, samples, guarantee, frontier } = Bare::deserialize(deserializer)?;
            CalibratedPolicy { model, exits, samples, guarantee, frontier, calibration: None }
        };
        policy.checked().map_err(serde::de::Error::custom)
    }
}

/// Why bytes are not the policy wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PolicyFileError {
    /// The bytes are no policy file.
    Magic,
    /// Written by another version of the format.
    Version {
        /// The version found.
        found: u8,
    },
    /// The checksum does not match: the bytes were damaged or changed.
    Checksum,
    /// The checksum matches, but the content is no valid policy.
    Content,
    /// The exit names or the calibration do not fit the frontier.
    Exits,
    /// The numbers of the guarantee are not between 0 and 1.
    Guarantee,
    /// The policy was calibrated for another model.
    Model {
        /// The model it is for.
        calibrated: ModelDigest,
        /// The model it was to be used with.
        given: ModelDigest,
    },
    /// The buffer to write into is too short.
    Buffer,
}

impl fmt::Display for PolicyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyFileError::Magic => f.write_str("not a policy file"),
            PolicyFileError::Version { found } => {
                write!(f, "version {found} of the policy format, expected {WITHOUT_CALIBRATION} to {POLICY_VERSION}")
            }
            PolicyFileError::Checksum => f.write_str("the checksum does not match: the policy was damaged or changed"),
            PolicyFileError::Content => f.write_str("the content is not a valid policy"),
            PolicyFileError::Exits => {
                write!(f, "expected one name of at most {MAX_EXIT_NAME} bytes for each exit of the frontier")
            }
            PolicyFileError::Guarantee => f.write_str("the guarantee's loss and confidence must be between 0 and 1"),
            PolicyFileError::Model { calibrated, given } => {
                write!(f, "calibrated for model {calibrated}, but the model is {given}")
            }
            PolicyFileError::Buffer => write!(f, "the buffer is too short, {MAX_POLICY_BYTES} bytes are enough"),
        }
    }
}

impl core::error::Error for PolicyFileError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exit::frontier::tests::{full, three};
    use crate::exit::{Curve, EnsembleKind, Measure};

    fn policy() -> CalibratedPolicy {
        let guarantee = Some(Guarantee { max_loss: 0.01, confidence: 0.95, samples: 7 });
        let policy = CalibratedPolicy::new(ModelDigest([7; 32]), ["early", "late"], 100, guarantee, three()).unwrap();
        policy.with_calibration(calibration(2)).unwrap()
    }

    fn calibration(exits: usize) -> Calibration {
        let (first, later) = (std::vec![Curve::new(1.5, 0.25); exits], std::vec![Curve::new(0.75, -1.0); exits]);
        Calibration::new(Measure::Margin, EnsembleKind::Mean, &first, &later).unwrap()
    }

    #[test]
    fn policy_files_without_a_calibration_are_still_read() {
        let bare = policy().with_calibration(None).unwrap();
        let mut content = std::vec![0; MAX_POLICY_BYTES];
        let content = postcard::to_slice(&policy(), &mut content).unwrap();
        let mut bytes = [MAGIC.as_slice(), &[1], content].concat();
        bytes.extend(crc32(&bytes).to_le_bytes());
        assert_eq!(CalibratedPolicy::from_slice(&bytes), Ok(bare.clone()));
        let json = serde_json::to_string(&bare).unwrap();
        assert!(!json.contains("calibration"), "{json}");
        assert_eq!(serde_json::from_str::<CalibratedPolicy>(&json).unwrap(), bare);
        assert_eq!(bare.with_calibration(calibration(3)), Err(PolicyFileError::Exits));
    }

    #[test]
    fn policy_file_binary_and_json_carry_the_same_content() {
        let policy = policy();
        let mut buffer = [0; MAX_POLICY_BYTES];
        let bytes = policy.to_slice(&mut buffer).unwrap();
        assert_eq!(CalibratedPolicy::from_slice(bytes), Ok(policy.clone()));
        let json = serde_json::to_string(&policy).unwrap();
        assert!(json.contains("sha256:0707"), "{json}");
        assert_eq!(serde_json::from_str::<CalibratedPolicy>(&json).unwrap(), policy);
    }

    #[test]
    fn policy_file_of_the_largest_policy_fits_the_stated_length() {
        let name = "x".repeat(MAX_EXIT_NAME);
        let guarantee = Some(Guarantee { max_loss: 0.01, confidence: 0.95, samples: u32::MAX });
        let names = [name.as_str(); MAX_EXITS];
        let policy = CalibratedPolicy::new(ModelDigest([255; 32]), names, u32::MAX, guarantee, full()).unwrap();
        let policy = policy.with_calibration(calibration(MAX_EXITS)).unwrap();
        let mut buffer = [0; MAX_POLICY_BYTES];
        let used = policy.to_slice(&mut buffer).unwrap().len();
        assert_eq!(policy.to_slice(&mut std::vec![0; used - 1]), Err(PolicyFileError::Buffer));
    }

    #[test]
    fn policy_file_refuses_other_models_versions_and_lengths() {
        let policy = policy();
        assert!(policy.for_model(ModelDigest([7; 32])).is_ok());
        let given = ModelDigest([8; 32]);
        let refusal = PolicyFileError::Model { calibrated: ModelDigest([7; 32]), given };
        assert_eq!(policy.for_model(given), Err(refusal));
        let mut buffer = [0; MAX_POLICY_BYTES];
        let mut bytes = policy.to_slice(&mut buffer).unwrap().to_vec();
        for cut in 0..bytes.len() {
            assert!(CalibratedPolicy::from_slice(&bytes[..cut]).is_err());
        }
        bytes[4] = 3;
        assert_eq!(CalibratedPolicy::from_slice(&bytes), Err(PolicyFileError::Version { found: 3 }));
    }

    proptest! {
        #[test]
        fn policy_file_damage_is_noticed(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut buffer = [0; MAX_POLICY_BYTES];
            let mut bytes = policy().to_slice(&mut buffer).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(CalibratedPolicy::from_slice(&bytes).is_err());
        }

        #[test]
        fn policy_file_of_any_bytes_gives_a_policy_or_an_error(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            // With a right checksum, so that the content is looked at.
            let mut bytes = [MAGIC.as_slice(), &[POLICY_VERSION], &content].concat();
            bytes.extend(crc32(&bytes).to_le_bytes());
            if let Ok(policy) = CalibratedPolicy::from_slice(&bytes) {
                prop_assert_eq!(policy.exits().len(), policy.frontier().exits());
            }
        }
    }
}
