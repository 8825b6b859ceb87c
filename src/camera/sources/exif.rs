//! The orientation tag of Exif data: how a picture that was stored turned is turned back.

use image::metadata::Orientation;

/// Tag of the orientation, and of the field type of an unsigned 16-bit number.
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

/// The orientation that Exif data give, with or without the name `Exif` in front; `None` where they give none.
pub(super) fn orientation(exif: &[u8]) -> Option<Orientation> {
    let data = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match data.first_chunk::<4>()? {
        b"II\x2a\0" => true,
        b"MM\0\x2a" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = *data.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = *data.get(at..)?.first_chunk::<4>()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    // The first directory: the number of fields, then twelve bytes each.
    let directory = usize::try_from(long(4)?).ok()?;
    let fields = usize::from(short(directory)?);
    let field = (0..fields).map(|i| directory.saturating_add(2 + 12 * i)).find(|&at| short(at) == Some(ORIENTATION))?;
    let is_short = short(field + 2)? == SHORT && long(field + 4)? == 1;
    let value = short(field + 8).filter(|_| is_short)?;
    Orientation::from_exif(u8::try_from(value).ok()?)
}

/// The Exif data of a PNG file, in its chunk `eXIf`.
pub(super) fn of_png(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(8..)?;
    loop {
        let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk::<4>()?)).ok()?;
        let data = rest.get(8..8usize.checked_add(length)?)?;
        if &rest[4..8] == b"eXIf" {
            return Some(data);
        }
        rest = rest.get(length.checked_add(12)?..)?;
    }
}

/// The Exif data of a WebP file, in its chunk `EXIF`: as far as the file has them, whatever length the chunk claims.
pub(super) fn of_webp(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(12..)?;
    loop {
        let length = usize::try_from(u32::from_le_bytes(*rest.get(4..)?.first_chunk::<4>()?)).ok()?;
        if rest.starts_with(b"EXIF") {
            return rest.get(8..8usize.checked_add(length)?);
        }
        // A chunk of an odd length has a byte behind it.
        rest = rest.get(length.checked_add(8 + length % 2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(little: bool, tag: u16, value: u16) -> Vec<u8> {
        let short = |n: u16| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut data = if little { b"II\x2a\0".to_vec() } else { b"MM\0\x2a".to_vec() };
        data.extend(long(8));
        data.extend(short(2));
        for (tag, value) in [(0x010f, 7), (tag, value)] {
            data.extend([short(tag), short(SHORT)].concat());
            data.extend(long(1));
            data.extend([short(value), short(0)].concat());
        }
        data
    }

    #[test]
    fn the_orientation_is_found_in_both_byte_orders() {
        for little in [true, false] {
            assert_eq!(orientation(&exif(little, ORIENTATION, 6)), Some(Orientation::Rotate90));
            let named = [b"Exif\0\0".to_vec(), exif(little, ORIENTATION, 3)].concat();
            assert_eq!(orientation(&named), Some(Orientation::Rotate180));
            assert_eq!(orientation(&exif(little, 0x0100, 6)), None);
            assert_eq!(orientation(&exif(little, ORIENTATION, 9)), None);
        }
    }

    #[test]
    fn exif_data_of_webp_are_those_that_are_there() {
        let data = exif(true, ORIENTATION, 6);
        let length = |length: usize| (length as u32).to_le_bytes();
        let file = |claimed: [u8; 4]| [b"RIFF\0\0\0\0WEBPVP8X", &length(3)[..], b"abc\0EXIF", &claimed, &data].concat();
        assert_eq!(of_webp(&file(length(data.len()))), Some(&data[..]));
        assert_eq!(of_webp(&file([0xff; 4])), None);
        assert_eq!(of_webp(&file(length(data.len()))[..30]), None);
    }

    #[test]
    fn damaged_exif_data_give_no_orientation() {
        let whole = exif(true, ORIENTATION, 6);
        for end in 0..whole.len() - 2 {
            assert_eq!(orientation(&whole[..end]), None, "{end}");
        }
        let far = [b"II\x2a\0".as_slice(), &[0xff; 4]].concat();
        assert_eq!(orientation(&far), None);
        assert_eq!(of_png(&[0xff; 40]), None);
    }
}
