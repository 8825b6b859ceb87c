//! Frame sources without a device: files, generated frames, and wrappers around another source.

mod decode;
mod exif;
mod idx;
mod images;
mod latest;
mod memory;
mod reconnect;
mod sniff;
mod synthetic;

pub use decode::{ImageLimits, decode_image};
pub use idx::IdxSource;
pub(super) use idx::labels_beside;
pub use images::ImageSource;
pub use latest::Latest;
pub use memory::{MemoryImage, MemorySource};
pub use reconnect::Reconnecting;
pub use synthetic::SyntheticSource;
