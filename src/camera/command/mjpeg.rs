//! A stream of JPEG files cut apart: Motion JPEG as cameras, `rpicam-vid`, GStreamer and HTTP servers send it.

/// Longest file; more than any camera's. The search for an end is given up beyond it.
const MAX_JPEG: usize = 32 << 20;

/// Fill bytes and markers without a segment before a marker, beyond which nothing before them is looked at again.
const LONGEST_FILL: usize = 64;

/// What a stream was cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A file from its start marker to its end marker. Whether all of the picture is in it only decoding tells.
    Whole,
    /// The beginning of a file whose rest did not come, with what came instead.
    Damaged(&'static str),
}

/// Cuts a stream of bytes into JPEG files.
///
/// Segments are passed over by their lengths, since a thumbnail inside has markers of its own; then the coded picture up to
/// the end marker. What lies between two files is skipped: zeros, line ends, the headers of a multipart stream. After damage
/// the search goes on at the next start marker. However the bytes are, no more than a file of 32 MiB is held.
///
/// ```
/// use dyn_perceiver::camera::{MjpegSplitter, Piece};
///
/// let mut splitter = MjpegSplitter::default();
/// let mut frame = Vec::new();
/// splitter.push(b"--boundary\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff\xda\0\x02picture");
/// assert_eq!(splitter.next_piece(&mut frame), None);
/// splitter.push(b"\xff\xd9");
/// assert_eq!(splitter.next_piece(&mut frame), Some(Piece::Whole));
/// assert_eq!(frame, b"\xff\xd8\xff\xda\0\x02picture\xff\xd9");
/// ```
#[derive(Debug, Default)]
pub struct MjpegSplitter {
    buffer: Vec<u8>,
    /// Where the file begins, or the search for one.
    start: usize,
    /// Next byte to look at.
    at: usize,
    state: State,
    /// Whether coded data have come.
    scanned: bool,
    /// Bytes skipped since the last file.
    skipped: usize,
    /// Markers looked for, to hold the search to a bound.
    #[cfg(test)]
    looked: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Outside of a file.
    #[default]
    Gap,
    /// Where a marker must come, from `from` on. `segment` is where the last segment began, which is to blame if none does.
    Marker { segment: usize, from: usize },
    /// In coded data.
    Scan,
}

impl MjpegSplitter {
    /// Appends bytes of the stream. Take all pieces out before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        // What has been taken out is removed now and then, so that little is moved.
        if self.start > 1 << 16 || self.start == self.buffer.len() {
            self.buffer.drain(..self.start);
            self.at -= self.start;
            if let State::Marker { segment, from } = &mut self.state {
                *segment -= self.start;
                *from -= self.start;
            }
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; its bytes replace those of `frame` where it is whole. `None` until more bytes are pushed.
    pub fn next_piece(&mut self, frame: &mut Vec<u8>) -> Option<Piece> {
        loop {
            let piece = match self.state {
                State::Gap => self.gap()?,
                State::Marker { segment, from } => self.marker(segment, from)?,
                State::Scan => self.scan()?,
            };
            match piece {
                Some(Piece::Whole) => {
                    frame.clear();
                    frame.extend_from_slice(&self.buffer[self.start..self.at]);
                    self.resume(self.at);
                    self.skipped = 0;
                    return piece;
                }
                Some(Piece::Damaged(_)) => return piece,
                None => {}
            }
        }
    }

    /// Whether a file has begun that has not ended.
    #[must_use]
    pub fn is_inside_file(&self) -> bool {
        self.state != State::Gap
    }

    /// Bytes skipped since the last file, for telling that a stream is something else.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Searches for the next file from `place` on.
    fn resume(&mut self, place: usize) {
        (self.start, self.at, self.state) = (place, place, State::Gap);
        self.scanned = false;
    }

    // The functions below return `None` for want of bytes, and otherwise the piece they completed, if any.

    /// Looks for a start marker and the beginning of the marker behind it.
    fn gap(&mut self) -> Option<Option<Piece>> {
        let rest = &self.buffer[self.at..];
        let found = rest.windows(3).position(|bytes| bytes == [0xff, 0xd8, 0xff]);
        // The last two bytes may be the beginning of one.
        let skipped = found.unwrap_or(rest.len().saturating_sub(2));
        self.skipped += skipped;
        self.at += skipped;
        self.start = self.at;
        found?;
        self.at += 2;
        self.state = State::Marker { segment: self.at, from: self.at };
        Some(None)
    }

    fn marker(&mut self, segment: usize, from: usize) -> Option<Option<Piece>> {
        #[cfg(test)]
        {
            self.looked += 1;
        }
        // Of a file that broke off, the last segment has the next one's start marker as its last bytes.
        if self.buffer[segment..self.at].ends_with(&[0xff, 0xd8]) && self.buffer.get(self.at)? == &0xff {
            return Some(self.damaged(self.at - 2, "another frame begins in its header"));
        }
        let rest = &self.buffer[self.at..];
        match rest {
            [0xff, 0xff, ..] => {
                // Any number of fill bytes may come before the second byte.
                let fill = rest.iter().position(|&byte| byte != 0xff).unwrap_or(rest.len());
                self.at += fill - 1;
                if self.is_too_long() {
                    return Some(self.too_long());
                }
                (self.buffer.len() > self.at + 1).then_some(None)
            }
            [0xff, 0xd9, ..] if self.scanned => {
                self.at += 2;
                Some(Some(Piece::Whole))
            }
            [0xff, 0xd9, ..] => Some(self.damaged(self.at + 2, "it has no picture")),
            [0xff, 0xd8, ..] => Some(self.damaged(self.at, "another frame begins in its header")),
            [0xff, 0x01 | 0xd0..=0xd7, ..] => {
                self.at += 2;
                Some(None)
            }
            &[0xff, marker @ 1..=0xff, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if !is_possible(marker, length) {
                    return Some(self.damaged(self.at + 2, "a segment of its header has an impossible length"));
                }
                if rest.len() < 2 + length {
                    return None;
                }
                // A thumbnail may begin in an application segment, but nothing begins in a table.
                if !matches!(marker, 0xe0..=0xef | 0xfe)
                    && let Some(place) = rest[4..2 + length].windows(4).position(is_start)
                {
                    return Some(self.damaged(self.at + 4 + place, "another frame begins in its header"));
                }
                let segment = self.at + 2;
                self.at += 2 + length;
                self.scanned |= marker == 0xda;
                self.state = if marker == 0xda { State::Scan } else { State::Marker { segment, from: self.at } };
                if self.is_too_long() { Some(self.too_long()) } else { Some(None) }
            }
            [] | [0xff] | [0xff, 1..=0xff, ..] if rest.len() < 4 => None,
            // The last segment had another length than it said, or broke off: a file may have begun inside it. Not looked for
            // behind a long run of fill bytes and restart markers, which would be passed again from each start inside.
            _ if self.at - from > LONGEST_FILL => Some(self.damaged(self.at, "its header is damaged")),
            _ => Some(self.damaged(segment, "its header is damaged")),
        }
    }

    /// Passes coded data up to a marker that ends them.
    fn scan(&mut self) -> Option<Option<Piece>> {
        loop {
            let rest = &self.buffer[self.at..];
            let plain = rest.iter().position(|&byte| byte == 0xff).unwrap_or(rest.len());
            self.at += plain;
            if self.is_too_long() {
                return Some(self.too_long());
            }
            match (rest.get(plain + 1)?, rest.get(plain + 2)) {
                // 0xff 0x00 is a byte of data and 0xff 0xd0 to 0xd7 are restarts; 0xff before another is a fill byte.
                (0x00 | 0xd0..=0xd7, _) => self.at += 2,
                (0xff, _) => self.at += 1,
                (0xd9, _) => {
                    self.at += 2;
                    return Some(Some(Piece::Whole));
                }
                (0xd8, _) => return Some(self.damaged(self.at, "another frame begins before its end")),
                // The scan header broke off, and took the first byte or both of a start marker.
                _ if self.buffer[self.start + 2..self.at].ends_with(&[0xff, 0xd8]) => {
                    return Some(self.damaged(self.at - 2, "another frame begins in its header"));
                }
                _ => {
                    self.state = State::Marker { segment: self.at, from: self.at };
                    return Some(None);
                }
            }
        }
    }

    /// Gives the file up, and searches for the next one from `place` on.
    fn damaged(&mut self, place: usize, reason: &'static str) -> Option<Piece> {
        self.resume(place);
        Some(Piece::Damaged(reason))
    }

    fn is_too_long(&self) -> bool {
        self.at - self.start > MAX_JPEG
    }

    fn too_long(&mut self) -> Option<Piece> {
        self.damaged(self.at, "it is longer than 32 MiB")
    }
}

/// Whether a file begins with these four bytes, which a table would hardly hold.
fn is_start(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xd8, 0xff, 0xc0..=0xc2 | 0xc4 | 0xdb | 0xdd | 0xe0..=0xef | 0xfe])
}

/// Whether a segment of this kind can have this length, its two bytes included. A wrong length would pass over the frames
/// behind it.
fn is_possible(marker: u8, length: usize) -> bool {
    match marker {
        // Quantisation tables: up to four of 65 or 129 bytes.
        0xdb => length > 2 && length <= 2 + 4 * 129,
        // Huffman tables: up to eight of up to 17 + 256 bytes.
        0xc4 => length > 2 && length <= 2 + 8 * (17 + 256),
        0xdd => length == 4,
        // A frame header and a scan header of up to four components.
        0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => (11..=20).contains(&length),
        0xda => (2..=14).contains(&length),
        _ => length >= 2,
    }
}

#[cfg(test)]
#[path = "mjpeg_tests.rs"]
mod tests;
