use super::super::JpegDecoder;
use super::*;
use crate::frame::{Frame, PixelFormat};

fn picture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pictures");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

fn verify(file: &[u8]) -> Result<Verified, String> {
    Verifier::default().verify(file, 1 << 26).map_err(|error| error.to_string())
}

fn decode(file: &[u8]) -> Result<Frame, String> {
    let mut decoded = Frame::default();
    JpegDecoder::default().decode(file, 1 << 26, &mut decoded).map(|_| decoded).map_err(|error| error.to_string())
}

const KINDS: [&str; 10] = [
    "baseline-420.jpg",
    "baseline-422.jpg",
    "baseline-444-optimised.jpg",
    "cmyk.jpg",
    "grey.jpg",
    "no-tables.jpg",
    "no-tables-no-app.jpg",
    "progressive.jpg",
    "progressive-grey.jpg",
    "restart.jpg",
];

#[test]
fn whole_jpegs_of_every_kind_are_walked_through_to_their_end() {
    for name in KINDS {
        let file = picture(name);
        let found = verify(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((found.width, found.height, found.end), (72, 40, file.len()), "{name}");
        assert_eq!(found.lacks_tables, name.starts_with("no-tables"), "{name}");
        let decoded = decode(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((decoded.width, decoded.height), (72, 40), "{name}");
        assert_eq!(decoded.format == PixelFormat::Grey, name.contains("grey"), "{name}");
    }
}

#[test]
fn a_jpeg_cut_anywhere_is_refused() {
    for name in KINDS {
        let file = picture(name);
        for end in 0..file.len() {
            assert!(verify(&file[..end]).is_err(), "{name} cut to {end} of {} bytes", file.len());
        }
    }
}

#[test]
fn a_jpeg_cut_short_and_ended_by_a_marker_is_refused() {
    for name in KINDS {
        let file = picture(name);
        let scan = file.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        // All but the last bytes, which may hold nothing but padding.
        for end in scan..file.len() - 4 {
            if file[end - 1] == 0xff {
                continue;
            }
            let cut = [&file[..end], &[0xff, 0xd9]].concat();
            assert!(verify(&cut).is_err(), "{name} cut to {end} of {} bytes", file.len());
        }
    }
}

#[test]
fn a_progressive_jpeg_that_ends_between_two_scans_ends_early() {
    for name in KINDS.into_iter().filter(|name| name.starts_with("progressive")) {
        let file = picture(name);
        assert!(verify(&file).is_ok(), "{name}");
        let scans: Vec<usize> =
            file.windows(2).enumerate().filter(|(_, w)| *w == [0xff, 0xda]).map(|(at, _)| at).collect();
        assert!(scans.len() > 3, "{name}");
        for &scan in &scans[1..] {
            let cut = [&file[..scan], &[0xff, 0xd9]].concat();
            assert_eq!(verify(&cut).unwrap_err(), "it ends before the picture is complete", "{name}");
        }
    }
}

#[test]
fn what_follows_the_end_of_a_jpeg_is_left_alone() {
    let file = picture("baseline-420.jpg");
    let with_more = [&*file, &[0; 100], b"a trailer", &file].concat();
    assert_eq!(verify(&with_more).unwrap().end, file.len());
    assert_eq!(decode(&with_more).unwrap().pixels, decode(&file).unwrap().pixels);
}

#[test]
fn a_lost_restart_interval_is_noticed() {
    let file = picture("restart.jpg");
    let markers: Vec<usize> =
        (0..file.len() - 1).filter(|&i| file[i] == 0xff && matches!(file[i + 1], 0xd0..=0xd7)).collect();
    assert!(markers.len() > 3);
    for pair in markers.windows(2) {
        let lost = [&file[..pair[0]], &file[pair[1]..]].concat();
        assert!(verify(&lost).is_err());
    }
}

#[test]
fn jpegs_without_huffman_tables_are_read_with_the_standard_ones() {
    let whole = decode(&picture("baseline-422.jpg")).unwrap();
    for name in ["no-tables.jpg", "no-tables-no-app.jpg", "no-tables-avi1.jpg"] {
        assert_eq!(decode(&picture(name)).unwrap().pixels, whole.pixels, "{name}");
    }
}

#[test]
fn headers_that_make_no_sense_are_refused_with_their_reason() {
    let file = picture("baseline-420.jpg");
    let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let with = |place: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[frame + place..frame + place + bytes.len()].copy_from_slice(bytes);
        verify(&file).unwrap_err()
    };
    assert!(with(1, &[0xc3]).contains("without loss"));
    assert!(with(4, &[12]).contains("12 bits per sample"));
    assert!(with(5, &[0, 0]).contains("frame header"));
    assert!(with(11, &[0]).contains("frame header"));
    assert_eq!(with(5, &[0xff, 0xff, 0xff, 0xff]), "65535x65535 pixels are more than the limit of 67108864 pixels");
    assert!(verify(b"<!DOCTYPE html>").unwrap_err().contains("does not begin"));
}

#[test]
fn damaged_jpegs_never_panic_and_a_verified_one_has_its_size() {
    let mut random = 1u64;
    let mut next = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut decoder = JpegDecoder::default();
    for name in KINDS {
        let file = picture(name);
        for _ in 0..200 {
            let mut bad = file.clone();
            for _ in 0..=next(4) {
                let place = next(bad.len());
                bad[place] = next(256) as u8;
            }
            let mut decoded = Frame::default();
            if decoder.decode(&bad, 1 << 20, &mut decoded).is_ok() {
                decoded.check().unwrap();
            }
        }
    }
}

#[test]
fn means_of_blocks_are_those_of_the_decoded_picture() {
    for name in KINDS.into_iter().filter(|name| *name != "cmyk.jpg") {
        let mut decoder = JpegDecoder::default();
        let (mut decoded, mut levels) = (Frame::default(), vec![]);
        let frame = Frame::new(picture(name), PixelFormat::Mjpeg, 1, 1);
        let took = decoder.decode_frame_if(&frame, &mut decoded, |luma| {
            let mut grid = dyn_perceiver_core::gate::Grid::new();
            let luma = luma.unwrap();
            grid.fill(&luma);
            levels = grid.levels().collect();
            assert_eq!((luma.size(), grid.size()), ((9, 5), (9, 5)), "{name}");
            true
        });
        assert!(took.unwrap());
        for (block, found) in levels.into_iter().enumerate() {
            let (left, top) = (block % 9 * 8, block / 9 * 8);
            let luminance = |at: usize| match decoded.format {
                PixelFormat::Grey => f32::from(decoded.pixels[at]),
                _ => {
                    let [r, g, b] = [0, 1, 2].map(|c| f32::from(decoded.pixels[3 * at + c]));
                    0.299 * r + 0.587 * g + 0.114 * b
                }
            };
            let sum: f32 = (0..64).map(|i| luminance((top + i / 8) * 72 + left + i % 8)).sum();
            // Rounding, colours that were clamped, and the bits that a later scan of a progressive file brings.
            assert!((found - sum / 64.0).abs() < 4.0, "{name} block {block}: {found} for {}", sum / 64.0);
        }
        assert!(!decoder.decode_frame_if(&frame, &mut decoded, |_| false).unwrap());
    }
}

#[test]
fn a_damaged_frame_is_refused_before_anybody_is_asked_whether_it_is_wanted() {
    let mut file = picture("baseline-420.jpg");
    file.truncate(file.len() / 2);
    let frame = Frame::new(file, PixelFormat::Mjpeg, 1, 1);
    let never = |_: Option<dyn_perceiver_core::gate::Luma<'_>>| panic!("asked");
    assert!(JpegDecoder::default().decode_frame_if(&frame, &mut Frame::default(), never).is_err());
}
