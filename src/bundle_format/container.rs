//! The outermost form of a bundle: a header, the manifest, the weights, each with its checksum.
//!
//! ```text
//! bytes  0.. 8   the bytes 89 'd' 'y' 'n' 'p' 0d 0a 1a
//!        8..12   version of the format
//!       12..16   checksum of the header, without the magic bytes, the version and itself
//!       16..24   length of the manifest
//!       24..32   length of the weights
//!       32..36   checksum of the manifest and the zeros that follow it
//!       36..40   checksum of the weights
//!       40..64   zeros
//!       64..     the manifest and the extras, in postcard; zeros up to the next multiple of 64; the weights to the end of the file
//! ```
//! Numbers are little-endian. Checksums are CRC-32 (ISO-HDLC).

use std::ops::Range;
use std::path::Path;

use super::error::{BundleError, VERSION};

/// How a bundle begins. As with PNG, no text begins so, and a transfer that mends line endings is noticed.
pub const MAGIC: &[u8; 8] = b"\x89dynp\r\n\x1a";

/// What weights are aligned to: a cache line, and a multiple of any vector.
pub(super) const ALIGN: usize = 64;
const HEADER: usize = 64;
const HEADER_CRC: Range<usize> = 12..16;

/// Where the parts of a bundle lie in the file.
pub(super) struct Container {
    pub manifest: Range<usize>,
    pub weights: Range<usize>,
    checksum: u32,
}

/// A whole bundle.
pub(super) fn join(manifest: &[u8], weights: &[u8]) -> Vec<u8> {
    let start = (HEADER + manifest.len()).next_multiple_of(ALIGN);
    let mut bytes = vec![0; start];
    bytes[HEADER..HEADER + manifest.len()].copy_from_slice(manifest);
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&(manifest.len() as u64).to_le_bytes());
    bytes[24..32].copy_from_slice(&(weights.len() as u64).to_le_bytes());
    let crc = crc32fast::hash(&bytes[HEADER..]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    bytes[36..40].copy_from_slice(&crc32fast::hash(weights).to_le_bytes());
    let crc = crc32fast::hash(&bytes[HEADER_CRC.end..HEADER]);
    bytes[HEADER_CRC].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(weights);
    bytes
}

/// Finds the parts of a bundle and checks every byte of them but the weights', which is [`check_weights`]'s.
pub(super) fn split(bytes: &[u8], path: &Path) -> Result<Container, BundleError> {
    let length = |expected: u64| BundleError::Length { path: path.into(), expected, actual: bytes.len() as u64 };
    if !bytes.starts_with(MAGIC) {
        return Err(BundleError::NoBundle { path: path.into() });
    }
    let header = bytes.first_chunk::<HEADER>().ok_or_else(|| length(HEADER as u64))?;
    let found = number(header, 8);
    if found != VERSION {
        return Err(BundleError::Version { path: path.into(), found });
    }
    check(path, "header", number(header, HEADER_CRC.start), &header[HEADER_CRC.end..])?;
    let long = |at: usize| u64::from(number(header, at)) | u64::from(number(header, at + 4)) << 32;
    let (manifest, weights) = (long(16), long(24));
    let sum = |a: u64, b: u64| a.checked_add(b).ok_or_else(|| length(u64::MAX));
    let end = sum(HEADER as u64, manifest)?;
    let start = end.checked_next_multiple_of(ALIGN as u64).ok_or_else(|| length(u64::MAX))?;
    let expected = sum(start, weights)?;
    if expected != bytes.len() as u64 {
        return Err(length(expected));
    }
    // All are at most the file's length.
    let (end, start) = (end as usize, start as usize);
    check(path, "manifest", number(header, 32), &bytes[HEADER..start])?;
    Ok(Container { manifest: HEADER..end, weights: start..bytes.len(), checksum: number(header, 36) })
}

/// Checks every byte of the weights.
pub(super) fn check_weights(bytes: &[u8], container: &Container, path: &Path) -> Result<(), BundleError> {
    check(path, "weights", container.checksum, &bytes[container.weights.clone()])
}

fn check(path: &Path, place: &'static str, expected: u32, bytes: &[u8]) -> Result<(), BundleError> {
    match crc32fast::hash(bytes) {
        actual if actual == expected => Ok(()),
        actual => Err(BundleError::Checksum { path: path.into(), place, expected, actual }),
    }
}

fn number(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Finds the parts and checks all of them.
    fn whole(bytes: &[u8], path: &Path) -> Result<Container, BundleError> {
        let container = split(bytes, path)?;
        check_weights(bytes, &container, path)?;
        Ok(container)
    }

    proptest! {
        #[test]
        fn parts_come_back_and_damage_does_not(
            manifest in prop::collection::vec(any::<u8>(), 0..200), weights in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(), flip in 1_u8..,
        ) {
            let path = Path::new("a.dynp");
            let mut bytes = join(&manifest, &weights);
            let parts = whole(&bytes, path).unwrap();
            prop_assert_eq!(&bytes[parts.manifest], &manifest);
            prop_assert_eq!(parts.weights.start % ALIGN, 0);
            prop_assert_eq!(&bytes[parts.weights], &weights);
            let at = at.index(bytes.len());
            prop_assert!(whole(&bytes[..at], path).is_err());
            bytes[at] ^= flip;
            prop_assert!(whole(&bytes, path).is_err());
            bytes[at] ^= flip;
            bytes.push(0);
            prop_assert!(whole(&bytes, path).is_err());
        }
    }

    #[test]
    fn errors_name_the_place() {
        let bytes = join(b"manifest", b"weights");
        let refused = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            whole(&bytes, Path::new("a.dynp")).map(|_| ()).unwrap_err().to_string()
        };
        let other = format!("version {}", VERSION ^ 1);
        for (at, part) in [(0, "not a bundle"), (8, &*other), (13, "header"), (20, "header"), (50, "header")] {
            assert!(refused(at).contains(part), "{at}: {}", refused(at));
        }
        for (at, part) in [(65, "manifest: checksum"), (100, "manifest: checksum"), (129, "weights: checksum")] {
            assert!(refused(at).contains(part), "{at}: {}", refused(at));
        }
        let short = whole(&bytes[..30], Path::new("a.dynp")).map(|_| ()).unwrap_err().to_string();
        assert!(short.contains("30 bytes, expected 64"), "{short}");
    }
}
