//! What kind of file the first bytes tell.

use image::ImageFormat;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Jpeg,
    /// PNG, BMP or WebP, which are decoded by the crate `image`.
    Other(ImageFormat),
    /// A picture of a kind that is not read, with its article.
    Unsupported(&'static str),
    /// No picture at all, with a reason.
    NoPicture(&'static str),
}

/// Bytes that are looked at.
pub(super) const SNIFFED: usize = 64;

/// The kind of a file that begins with `start`: its contents decide, not its name.
pub(super) fn sniff(start: &[u8]) -> Kind {
    use Kind::{Jpeg, NoPicture, Other, Unsupported};
    let riff = |kind: &[u8; 4]| start.starts_with(b"RIFF") && start.get(8..12) == Some(kind);
    let text: Vec<u8> = start.trim_ascii_start().to_ascii_lowercase();
    match start {
        [0xff, 0xd8, ..] => Jpeg,
        [0x89, b'P', b'N', b'G', ..] => Other(ImageFormat::Png),
        [b'B', b'M', ..] => Other(ImageFormat::Bmp),
        _ if riff(b"WEBP") => Other(ImageFormat::WebP),
        [b'G', b'I', b'F', b'8', ..] => Unsupported("a GIF file"),
        [b'I', b'I', 0x2a | 0x2b, 0, ..] | [b'M', b'M', 0, 0x2a | 0x2b, ..] => Unsupported("a TIFF or camera raw file"),
        [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace() => Unsupported("a PNM file"),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => Unsupported("a JPEG XL file"),
        [0, 0, 0, 12, b'j', b'P', ..] => Unsupported("a JPEG 2000 file"),
        [0, 0, 1, 0, ..] => Unsupported("an icon file"),
        [b'8', b'B', b'P', b'S', ..] => Unsupported("a Photoshop file"),
        [b'%', b'P', b'D', b'F', ..] => Unsupported("a PDF file"),
        [_, _, _, _, b'f', b't', b'y', b'p', brands @ ..] => of_brands(brands),
        _ if text.starts_with(b"<!doctype html") || text.starts_with(b"<html") => {
            NoPicture("this is a web page; the download went wrong")
        }
        _ if text.starts_with(b"<svg") => Unsupported("an SVG file"),
        _ if text.starts_with(b"<?xml") => NoPicture("this is an XML file"),
        _ if start.starts_with(b"version https://git-lfs") => {
            NoPicture("this is a pointer of git-lfs; `git lfs pull` fetches the file")
        }
        _ => NoPicture("neither JPEG nor PNG, WebP or BMP"),
    }
}

/// The kind of a file of the ISO base media family, by its list of brands.
fn of_brands(brands: &[u8]) -> Kind {
    let has = |names: &[&[u8; 4]]| brands.chunks_exact(4).any(|brand| names.iter().any(|name| brand == *name));
    // AVIF files name the brand of HEIF, too.
    if has(&[b"avif", b"avis"]) {
        Kind::Unsupported("an AVIF file")
    } else if has(&[b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"]) {
        Kind::Unsupported("an HEIC file, as phones write them")
    } else {
        Kind::NoPicture("this is a video")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contents_decide_what_a_file_is() {
        for (start, kind) in [
            (&b"\xff\xd8\xff\xe0"[..], Kind::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Kind::Other(ImageFormat::Png)),
            (b"RIFF\0\0\0\0WEBPVP8L", Kind::Other(ImageFormat::WebP)),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", Kind::Unsupported("an HEIC file, as phones write them")),
            (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", Kind::Unsupported("an AVIF file")),
            (b"II\x2a\0", Kind::Unsupported("a TIFF or camera raw file")),
            (b"P6 3 2", Kind::Unsupported("a PNM file")),
            (b"\n <!DOCTYPE HTML>", Kind::NoPicture("this is a web page; the download went wrong")),
            (b"hello", Kind::NoPicture("neither JPEG nor PNG, WebP or BMP")),
            (b"", Kind::NoPicture("neither JPEG nor PNG, WebP or BMP")),
        ] {
            assert_eq!(sniff(start), kind);
        }
    }
}
