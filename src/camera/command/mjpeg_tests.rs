use proptest::prelude::*;

use super::*;

const JPEG: &[u8] = include_bytes!("../../../tests/fixtures/camera/colour.jpg");

/// All pieces of a stream that arrives in parts of `part` bytes; `Err` for damaged ones.
fn split(stream: &[u8], part: usize) -> Vec<Result<Vec<u8>, &'static str>> {
    let mut splitter = MjpegSplitter::default();
    let mut pieces = Vec::new();
    let mut frame = Vec::new();
    for part in stream.chunks(part) {
        splitter.push(part);
        while let Some(piece) = splitter.next_piece(&mut frame) {
            pieces.push(match piece {
                Piece::Whole => Ok(frame.clone()),
                Piece::Damaged(reason) => Err(reason),
            });
        }
    }
    pieces
}

fn whole(pieces: &[Result<Vec<u8>, &'static str>]) -> usize {
    pieces.iter().filter(|piece| piece.as_deref() == Ok(JPEG)).count()
}

#[test]
fn mjpeg_is_cut_apart_wherever_the_parts_end() {
    // A thumbnail in an application segment has start and end markers of its own; restarts and fill bytes are legal.
    let thumbnail = [&JPEG[..2], &[0xff, 0xe1, 0, 8, 0xff, 0xd8, 0xff, 0xe0, 0xff, 0xd9], &[0xff], &JPEG[2..]].concat();
    let stream = [JPEG, &thumbnail, JPEG].concat();
    for part in [1, 2, 7, 100, 1 << 16] {
        let pieces = split(&stream, part);
        assert_eq!(pieces, [Ok(JPEG.to_vec()), Ok(thumbnail.clone()), Ok(JPEG.to_vec())], "parts of {part}");
    }
}

#[test]
fn mjpeg_padding_and_multipart_headers_between_frames_are_skipped() {
    let header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 4233\r\n\r\n";
    for gap in [&[0; 7][..], &[0xff; 5], b"\r\n", header, &[0xd8, 0x00, 0xff]] {
        let stream = [gap, JPEG, gap, JPEG, gap, gap, JPEG, gap].concat();
        for part in [1, 3, 1000] {
            let pieces = split(&stream, part);
            assert_eq!((pieces.len(), whole(&pieces)), (3, 3), "{gap:?}");
        }
    }
}

#[test]
fn an_mjpeg_frame_cut_anywhere_costs_no_other_frame() {
    for end in (2..JPEG.len() - 2).step_by(5) {
        let stream = [JPEG, &JPEG[..end], JPEG, JPEG].concat();
        let pieces = split(&stream, 4096);
        let damaged = pieces.iter().filter(|piece| piece.is_err()).count();
        assert_eq!((whole(&pieces), damaged), (3, 1), "cut to {end} bytes");
    }
}

#[test]
fn an_mjpeg_segment_of_a_wrong_length_costs_no_other_frame() {
    let scan = JPEG.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    let mut at = 2;
    while at <= scan {
        for length in [0u16, 1, 60_000] {
            let mut bad = JPEG.to_vec();
            bad[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
            let stream = [JPEG, &bad, JPEG].concat();
            // An application segment may be as long: then only more bytes tell.
            let stream = [&stream, JPEG.repeat(20).as_slice()].concat();
            let pieces = split(&stream, 512);
            assert_eq!(whole(&pieces), 22, "length {length} of the segment at {at}");
        }
        at += 2 + usize::from(u16::from_be_bytes([JPEG[at + 2], JPEG[at + 3]]));
    }
}

#[test]
fn hostile_mjpeg_markers_are_not_passed_again_and_again() {
    // Many starts, each with a segment that ends at the same place; there, a long run of markers that ends nowhere.
    let (starts, runs) = (1000, 20_000);
    let end = 6 * starts;
    let mut stream = Vec::new();
    for start in 0..starts {
        let length = (end - 6 * start - 4) as u16;
        stream.extend([0xff, 0xd8, 0xff, 0xe0]);
        stream.extend(length.to_be_bytes());
    }
    for (run, what) in [([0xff, 0xd0], "restart markers"), ([0xff, 0xff], "fill bytes")] {
        let hostile = [&*stream, &run.repeat(runs), &[0x00; 2], JPEG].concat();
        let mut splitter = MjpegSplitter::default();
        let mut frame = Vec::new();
        let mut whole = 0;
        for part in hostile.chunks(4096) {
            splitter.push(part);
            while let Some(piece) = splitter.next_piece(&mut frame) {
                whole += usize::from(piece == Piece::Whole && frame == JPEG);
            }
        }
        assert_eq!(whole, 1, "{what}");
        assert!(splitter.looked < 4 * hostile.len(), "{what}: {} for {} bytes", splitter.looked, hostile.len());
    }
}

#[test]
fn an_endless_mjpeg_frame_is_given_up() {
    // A marker that never comes, and coded data that never end.
    for (start, filling) in [(&b"\xff\xd8"[..], 0xff), (b"\xff\xd8\xff\xda\0\x02", 0x55)] {
        let mut splitter = MjpegSplitter::default();
        splitter.push(start);
        let part = vec![filling; 1 << 20];
        let mut frame = Vec::new();
        let given_up = (0..40).any(|_| {
            splitter.push(&part);
            splitter.next_piece(&mut frame) == Some(Piece::Damaged("it is longer than 32 MiB"))
        });
        assert!(given_up);
        for _ in 0..100 {
            splitter.push(&part);
            assert_eq!(splitter.next_piece(&mut frame), None);
        }
        assert!(splitter.buffer.len() < 3 << 20, "{}", splitter.buffer.len());
        assert!(splitter.skipped() > 90 << 20);
        splitter.push(JPEG);
        assert_eq!(splitter.next_piece(&mut frame), Some(Piece::Whole));
        assert_eq!((&*frame, splitter.skipped()), (JPEG, 0));
    }
}

proptest! {
    #[test]
    fn mjpeg_of_any_bytes_comes_to_an_end(
        bytes in proptest::collection::vec(prop_oneof![Just(0xff), Just(0xd8), Just(0xd9), Just(0xda), Just(0), any::<u8>()], 0..2000),
        part in 1usize..200,
    ) {
        let pieces = split(&bytes, part);
        let length: usize = pieces.iter().map(|piece| piece.as_ref().map_or(0, Vec::len)).sum();
        prop_assert!(length <= bytes.len());
        for piece in pieces.iter().flatten() {
            prop_assert!(piece.starts_with(&[0xff, 0xd8]) && piece.ends_with(&[0xff, 0xd9]));
        }
        // However the stream is cut into parts, the same comes out.
        prop_assert_eq!(pieces, split(&bytes, 1 << 16));
    }
}
