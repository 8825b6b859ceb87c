//! From the maps of a detector's head to boxes: anchors, decoding, suppression, letterbox, tracks.
//!
//! Everything has a fixed capacity, and nothing panics whatever the numbers are: a score that is NaN is below every
//! threshold, and a box that is no box is dropped. [`Anchors`] and [`BoxCode`] say what the numbers of a map mean,
//! [`Candidates`] turns maps into boxes, [`Letterbox`] brings them back to the pixels of the frame, [`Tracker`] keeps
//! their names from frame to frame.
//!
//! ```
//! use dyn_perceiver_core::detect::{Anchors, BoxCode, Candidates, LevelMaps, Limits};
//!
//! // One place, one class: of its nine anchors the last scores, and its box is the anchor.
//! let mut classes = [-5.0; 9];
//! classes[8] = 2.0;
//! let maps = LevelMaps::new(8, [1, 1], 1, &classes, &[0.0; 36])?;
//! let mut candidates = Candidates::<16>::new();
//! candidates.add_level(0, &maps, &Anchors::retina(), &BoxCode::retina(), [64.0, 64.0], &Limits::retina());
//! let found = candidates.suppress(0.5, 100);
//! assert_eq!((found.len(), found[0].label, found[0].anchor), (1, 0, 8));
//! # Ok::<(), dyn_perceiver_core::detect::MapError>(())
//! ```

mod anchors;
mod boxes;
mod candidates;
mod code;
mod letterbox;
mod tracks;

pub use anchors::{Anchors, MAX_ANCHORS};
pub use boxes::BoundingBox;
pub use candidates::{Candidates, Found, LevelMaps, Limits, MapError, MapOrder};
pub use code::BoxCode;
pub use letterbox::Letterbox;
pub use tracks::{Changes, Track, Tracker, TrackerSettings};
