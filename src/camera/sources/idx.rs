//! IDX files, the format of the MNIST family of data sets, gzipped or not.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::bufread::MultiGzDecoder;

use crate::camera::{CameraError, Frame, FrameSource, PixelFormat};

/// Magic number of a file of images: unsigned bytes (8), three dimensions.
const IMAGES: u32 = 0x0000_0803;
/// Magic number of a file of labels: unsigned bytes (8), one dimension.
const LABELS: u32 = 0x0000_0801;
/// More than the largest set of the family; a header is not believed beyond it.
const MAX_BYTES: u64 = 1 << 30;

/// Grey images from an IDX file, with the labels of a second one.
///
/// The files are read whole and checked when opened: afterwards no frame can fail.
#[derive(Debug)]
pub struct IdxSource {
    pixels: Vec<u8>,
    labels: Option<Vec<u8>>,
    width: u32,
    height: u32,
    count: u32,
    next: u32,
}

/// Where an IDX file is, and its dimensions and bytes.
type Named<'a, const RANK: usize> = (&'a Path, ([u32; RANK], Vec<u8>));

impl IdxSource {
    /// Opens `images` (`*-images-idx3-ubyte`, also `.gz`) and, where given, its `labels` (`*-labels-idx1-ubyte`).
    ///
    /// # Errors
    /// [`CameraError`] naming the file when it is missing, empty, cut short, longer than it says, of another kind, or
    /// when there is not one label per image.
    pub fn open(images: impl AsRef<Path>, labels: Option<&Path>) -> Result<Self, CameraError> {
        let images = images.as_ref();
        let images = (images, read(images, IMAGES, "an IDX file of images")?);
        let labels = match labels {
            Some(path) => Some((path, read(path, LABELS, "an IDX file of labels")?)),
            None => None,
        };
        Self::pair(images, labels)
    }

    /// As [`open`](Self::open), from bytes in memory; `name` only names them in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: &str, images: &[u8], labels: Option<&[u8]>) -> Result<Self, CameraError> {
        let path = Path::new(name);
        let images = (path, decode(images, path, IMAGES, "IDX images")?);
        let labels = match labels {
            Some(labels) => Some((path, decode(labels, path, LABELS, "IDX labels")?)),
            None => None,
        };
        Self::pair(images, labels)
    }

    fn pair(
        (images_path, ([images, height, width], pixels)): Named<'_, 3>,
        labels: Option<Named<'_, 1>>,
    ) -> Result<Self, CameraError> {
        if let Some((labels_path, ([labels], _))) = &labels
            && *labels != images
        {
            let (images_path, labels_path) = (images_path.into(), labels_path.to_path_buf());
            return Err(CameraError::LabelCount { images_path, images, labels_path, labels: *labels });
        }
        let labels = labels.map(|(_, (_, labels))| labels);
        Ok(Self { pixels, labels, width, height, count: images, next: 0 })
    }
}

/// The file of labels that by its name belongs to the file of images at `images`, if there is one:
/// `t10k-images-idx3-ubyte.gz` has `t10k-labels-idx1-ubyte.gz`.
pub(in crate::camera) fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let path = images.with_file_name(&labels);
    (labels != name && path.is_file()).then_some(path)
}

impl FrameSource for IdxSource {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        let bytes = self.width as usize * self.height as usize;
        let start = self.next as usize * bytes;
        let Some(pixels) = self.pixels.get(start..start + bytes) else { return Ok(false) };
        frame.pixels.clear();
        frame.pixels.extend_from_slice(pixels);
        frame.format = PixelFormat::Grey;
        (frame.width, frame.height) = (self.width, self.height);
        frame.sequence = u64::from(self.next);
        frame.captured = Instant::now();
        frame.label = self.labels.as_ref().and_then(|labels| labels.get(self.next as usize)).map(|&label| label.into());
        self.next += 1;
        Ok(true)
    }

    fn frames(&self) -> Option<u64> {
        Some(self.count.into())
    }
}

/// The dimensions and bytes of the IDX file at `path`, which must have the given magic number.
fn read<const RANK: usize>(path: &Path, magic: u32, what: &'static str) -> Result<([u32; RANK], Vec<u8>), CameraError> {
    let io = |source| CameraError::Io { path: path.into(), source };
    decode(BufReader::new(File::open(path).map_err(io)?), path, magic, what)
}

/// As [`read`], from the file's bytes, gzipped or not.
fn decode<const RANK: usize>(
    mut file: impl BufRead,
    path: &Path,
    magic: u32,
    what: &'static str,
) -> Result<([u32; RANK], Vec<u8>), CameraError> {
    let start = file.fill_buf().map_err(|source| CameraError::Io { path: path.into(), source })?;
    if start.is_empty() {
        return Err(CameraError::Empty { path: path.into(), expected: what });
    }
    if start.starts_with(&[0x1f, 0x8b]) {
        parse(MultiGzDecoder::new(file), path, magic, what)
    } else {
        parse(file, path, magic, what)
    }
}

fn parse<const RANK: usize>(
    mut reader: impl Read,
    path: &Path,
    magic: u32,
    what: &'static str,
) -> Result<([u32; RANK], Vec<u8>), CameraError> {
    let header_bytes = 4 + 4 * RANK;
    let (header, _) = take(&mut reader, header_bytes as u64, path)?;
    let number = |i: usize| header.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    let actual = number(0);
    if let Some(actual) = actual
        && actual != magic
    {
        return Err(CameraError::IdxMagic { path: path.into(), what, expected: magic, actual });
    }
    if header.len() < header_bytes {
        return Err(CameraError::IdxHeader { path: path.into(), expected: header_bytes, actual: header.len() });
    }
    let shape: [u32; RANK] = std::array::from_fn(|i| number(i + 1).unwrap_or(0));
    let text = || shape.map(|n| n.to_string()).join(" x ");
    let expected = shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n.into()));
    let expected = match expected {
        // No image at all is an empty set, but an image of no pixels is none.
        Some(bytes) if bytes <= MAX_BYTES && !shape.contains(&0) => bytes,
        _ => return Err(CameraError::IdxShape { path: path.into(), shape: text(), limit: MAX_BYTES }),
    };
    let (bytes, early_end) = take(&mut reader, expected + 1, path)?;
    let found = bytes.len() as u64;
    if found != expected {
        let actual = if found > expected { "more".into() } else { found.to_string() };
        return Err(CameraError::IdxSize { path: path.into(), shape: text(), expected, actual });
    }
    if let Some(source) = early_end {
        // All data are there, but not the checksum behind them.
        return Err(CameraError::Io { path: path.into(), source });
    }
    Ok((shape, bytes))
}

/// Up to `limit` bytes. A gzip stream that ends early is no error yet but returned beside the bytes it still gave, so that
/// the caller can tell how many were missing.
fn take(reader: &mut impl Read, limit: u64, path: &Path) -> Result<(Vec<u8>, Option<std::io::Error>), CameraError> {
    let mut bytes = Vec::new();
    match reader.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok((bytes, None)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok((bytes, Some(error))),
        Err(source) => Err(CameraError::Io { path: path.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn idx(magic: u32, shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = magic.to_be_bytes().to_vec();
        shape.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn two_images() -> Vec<u8> {
        idx(IMAGES, &[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    }

    /// Opens files with the given contents; labels of length 0 are not given.
    fn open(images: &[u8], labels: &[u8]) -> Result<IdxSource, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-images-idx3-ubyte");
        std::fs::write(&path, images).unwrap();
        let labels_path = folder.path().join("a-labels-idx1-ubyte");
        if !labels.is_empty() {
            std::fs::write(&labels_path, labels).unwrap();
        }
        assert_eq!(labels_beside(&path).is_some(), !labels.is_empty());
        IdxSource::open(&path, labels_beside(&path).as_deref()).map_err(|error| error.to_string())
    }

    #[test]
    fn images_come_with_their_labels_gzipped_or_not() {
        let labels = idx(LABELS, &[2], &[7, 9]);
        for (images, labels) in [(two_images(), labels.clone()), (gzip(&two_images()), gzip(&labels))] {
            let mut source = open(&images, &labels).unwrap();
            assert_eq!(source.frames(), Some(2));
            let frame = source.next().unwrap().unwrap();
            assert_eq!((frame.width, frame.height, frame.sequence, frame.label), (3, 2, 0, Some(7)));
            assert_eq!(frame.pixels, [1, 2, 3, 4, 5, 6]);
            let frame = source.next().unwrap().unwrap();
            assert_eq!((frame.pixels[0], frame.sequence, frame.label), (7, 1, Some(9)));
            assert!(source.next().unwrap().is_none());
        }
        assert_eq!(open(&two_images(), &[]).unwrap().next().unwrap().unwrap().label, None);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        for (images, labels, message) in [
            (vec![], vec![], "an IDX file of images expected, but it is empty"),
            (
                b"\x89PNG\r\n\x1a\n".to_vec(),
                vec![],
                "bytes 0..4 should be 0x00000803 (an IDX file of images), found 0x89504e47",
            ),
            (idx(LABELS, &[2], &[1, 2]), vec![], "0x00000803 (an IDX file of images), found 0x00000801"),
            (two_images()[..9].to_vec(), vec![], "ends after 9 bytes, inside its header of 16"),
            (two_images()[..20].to_vec(), vec![], "announces 2 x 2 x 3, 12 bytes, but 4 follow it"),
            ([two_images(), vec![0]].concat(), vec![], "12 bytes, but more follow it"),
            (idx(IMAGES, &[u32::MAX; 3], &[]), vec![], "at most 1073741824 bytes"),
            (idx(IMAGES, &[2, 0, 3], &[]), vec![], "2 x 0 x 3"),
            (two_images(), idx(LABELS, &[3], &[1, 2, 3]), "has 3 labels, but"),
            (two_images(), two_images(), "0x00000801 (an IDX file of labels), found 0x00000803"),
        ] {
            let error = open(&images, &labels).unwrap_err();
            assert!(error.contains(message), "{error:?} should say {message:?}");
            assert!(error.contains("a-images-idx3-ubyte") || error.contains("a-labels-idx1-ubyte"), "{error}");
        }
    }

    #[test]
    fn a_gzip_stream_cut_short_or_damaged_is_refused() {
        let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let whole = gzip(&idx(IMAGES, &[4, 32, 32], &noise));
        assert!(open(&whole, &[]).is_ok());
        for keep in [1, 5, 30, whole.len() / 2, whole.len() - 1] {
            assert!(open(&whole[..keep], &[]).is_err(), "{keep} of {} bytes", whole.len());
        }
        let mut damaged = whole;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xff;
        assert!(open(&damaged, &[]).is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = IdxSource::open("no/such-images", None).unwrap_err().to_string();
        assert!(error.starts_with("no/such-images: "), "{error}");
    }
}
