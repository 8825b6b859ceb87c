//! Whether a JPEG file holds all of its picture.

use super::blocks::{Blocks, Pass};
use super::error::JpegError;
use super::header::{FrameHeader, ScanHeader};
use super::huffman::Huffman;
use super::means::Means;

/// More than any encoder writes; each costs a pass over the blocks, however few bytes it has.
const MAX_SCANS: u32 = 100;
/// What was found of a file that is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verified {
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1, 3 or 4.
    pub(super) components: usize,
    /// Bytes of the picture; what follows belongs to something else.
    pub(super) end: usize,
    /// Whether a scan uses a standard Huffman table that the file leaves out.
    pub(super) lacks_tables: bool,
    /// Whether bytes lie between segments that belong to none.
    pub(super) has_gaps: bool,
}

/// Walks through JPEG files, entropy-coded data included: every block's codes are read and their values passed over.
#[derive(Debug, Default)]
pub(super) struct Verifier {
    /// Of progressive files, for each component and block, which coefficients are known not to be zero: on these depends
    /// how many bits a refinement has.
    nonzero: [Vec<u64>; 4],
    /// Mean luminance of each block, where it is wanted.
    pub(super) means: Means,
}

/// A walk through one file.
struct Walk<'a> {
    file: &'a [u8],
    at: usize,
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// MCUs between restart markers; 0 for none.
    restart: usize,
    /// By quantisation table, the step of its DC coefficients.
    steps: [Option<u16>; 4],
    lacks_tables: bool,
    has_gaps: bool,
}

impl Verifier {
    /// Walks through `file` to its end marker.
    pub(super) fn verify(&mut self, file: &[u8], max_pixels: u64) -> Result<Verified, JpegError> {
        if !file.starts_with(&[0xff, 0xd8]) {
            return Err(JpegError::refused("it does not begin as a JPEG does"));
        }
        let (dc, ac) = ([const { None }; 4], [const { None }; 4]);
        let steps = [None; 4];
        let mut walk = Walk { file, at: 2, dc, ac, restart: 0, steps, lacks_tables: false, has_gaps: false };
        let mut frame: Option<FrameHeader> = None;
        // Of each coefficient of each component, the bits that have not come yet.
        let mut left = [[u8::MAX; 64]; 4];
        let mut scans = 0;
        loop {
            match walk.marker()? {
                0xd9 => break,
                0xd8 => return Err(JpegError::refused("another picture begins before it is complete")),
                0x01 | 0xd0..=0xd7 => {}
                0xc4 => walk.huffman_tables()?,
                0xdb => walk.quantisation_tables()?,
                0xdd => {
                    let segment = walk.segment()?;
                    let interval = segment.first_chunk().ok_or_else(|| JpegError::refused("a segment is too short"))?;
                    walk.restart = u16::from_be_bytes(*interval).into();
                }
                marker @ (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                    let header = FrameHeader::read(marker, walk.segment()?)?;
                    let (width, height) = (header.width, header.height);
                    if u64::from(width) * u64::from(height) > max_pixels {
                        return Err(JpegError::TooLarge { width, height, limit: max_pixels });
                    }
                    if frame.is_some() {
                        return Err(JpegError::refused("it has two frame headers"));
                    }
                    self.begin(&header);
                    frame = Some(header);
                }
                0xda => {
                    let frame = frame.as_ref().ok_or_else(|| JpegError::refused("a scan comes before its frame"))?;
                    let scan = ScanHeader::read(frame, walk.segment()?)?;
                    scans += 1;
                    if scans > MAX_SCANS {
                        return Err(JpegError::refused("it has more than 100 scans"));
                    }
                    for &(place, ..) in &scan.components {
                        left[place][scan.first as usize..=scan.last as usize].fill(scan.left);
                    }
                    self.scan(&mut walk, frame, &scan)?;
                }
                _ => {
                    walk.segment()?;
                }
            }
        }
        // One that was cut between two scans looks whole, only less sharp: it is judged by what every encoder sends.
        let is_whole =
            |frame: &FrameHeader| left[..frame.components.len()].as_flattened().iter().all(|&left| left == 0);
        let frame = frame.filter(is_whole);
        let frame = frame.ok_or_else(|| JpegError::refused("it ends before the picture is complete"))?;
        let Walk { at: end, lacks_tables, has_gaps, steps, .. } = walk;
        self.means.finish(steps[frame.components[0].table]);
        let (width, height, components) = (frame.width, frame.height, frame.components.len());
        Ok(Verified { width, height, components, end, lacks_tables, has_gaps })
    }

    fn begin(&mut self, frame: &FrameHeader) {
        let (across, down) = frame.mcus();
        self.means.begin(frame);
        for (nonzero, component) in self.nonzero.iter_mut().zip(&frame.components) {
            nonzero.clear();
            if frame.progressive {
                nonzero.resize(across * component.h * down * component.v, 0);
            }
        }
    }

    /// Walks through the data of a scan.
    fn scan(&mut self, walk: &mut Walk<'_>, frame: &FrameHeader, scan: &ScanHeader) -> Result<(), JpegError> {
        // A sequential scan has coefficients of both kinds, a progressive one of either.
        let needs_dc = scan.first == 0 && !(frame.progressive && scan.refines);
        let needs_ac = scan.last > 0;
        let mut passes: Vec<Pass> = Vec::with_capacity(scan.components.len());
        for &(_, dc, ac) in &scan.components {
            let dc = if needs_dc { Some(walk.table(false, dc)?) } else { None };
            let ac = if needs_ac { Some(walk.table(true, ac)?) } else { None };
            passes.push(match (dc, ac) {
                (Some(dc), Some(ac)) => Pass::Sequential { dc, ac },
                (Some(dc), None) => Pass::DcFirst { dc },
                (None, Some(ac)) if scan.refines => Pass::AcRefine { ac },
                (None, Some(ac)) => Pass::AcFirst { ac },
                (None, None) => Pass::DcRefine,
            });
        }
        // A scan of one component goes over the blocks inside the picture only, one by one.
        let single = scan.components.len() == 1;
        let (across, down) = if single { frame.blocks(frame.components[scan.components[0].0]) } else { frame.mcus() };
        let padded = frame.mcus().0;
        if scan.components.iter().any(|&(place, ..)| place == 0) && needs_dc {
            self.means.set_low(scan.left.into());
        }
        let mut walker = Blocks::new(walk.file, walk.at, scan.last);
        let mut in_interval = 0;
        let mut restarts = 0;
        for row in 0..down {
            for column in 0..across {
                if walk.restart > 0 && in_interval == walk.restart {
                    walk.at = walker.end()?;
                    walk.restart_marker(restarts)?;
                    restarts += 1;
                    in_interval = 0;
                    walker = Blocks::new(walk.file, walk.at, scan.last);
                }
                in_interval += 1;
                for (&(place, ..), pass) in scan.components.iter().zip(&passes) {
                    let component = frame.components[place];
                    let (h, v) = if single { (1, 1) } else { (component.h, component.v) };
                    for y in row * v..row * v + v {
                        for x in column * h..column * h + h {
                            let at = y * padded * component.h + x;
                            let mean = if place == 0 { self.means.get_mut(at) } else { None };
                            walker.block(pass, scan.first, self.nonzero[place].get_mut(at), mean)?;
                        }
                    }
                }
                walker.bits.check()?;
            }
        }
        walk.at = walker.end()?;
        Ok(())
    }
}

impl<'a> Walk<'a> {
    /// The second byte of the next marker.
    fn marker(&mut self) -> Result<u8, JpegError> {
        let cut = || JpegError::refused("it is cut short");
        let rest = self.file.get(self.at..).ok_or_else(cut)?;
        let gap = rest.iter().position(|&byte| byte == 0xff).ok_or_else(cut)?;
        // Any number of fill bytes may come before the second byte.
        let fill = rest[gap..].iter().position(|&byte| byte != 0xff).ok_or_else(cut)?;
        self.has_gaps |= gap > 0;
        self.at += gap + fill + 1;
        match rest[gap + fill] {
            0x00 => {
                self.has_gaps = true;
                self.marker()
            }
            marker => Ok(marker),
        }
    }

    /// The segment behind a marker.
    fn segment(&mut self) -> Result<&'a [u8], JpegError> {
        let cut = || JpegError::refused("it is cut short");
        let rest = self.file.get(self.at..).ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or_else(cut)?));
        if length < 2 {
            return Err(JpegError::refused("a segment is too short"));
        }
        self.at += length;
        rest.get(2..length).ok_or_else(cut)
    }

    fn huffman_tables(&mut self) -> Result<(), JpegError> {
        let wrong = || JpegError::refused("a Huffman table is wrong");
        let mut segment = self.segment()?;
        while let Some((&[what, ref counts @ ..], rest)) = segment.split_first_chunk::<17>() {
            let codes = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(codes).ok_or_else(wrong)?;
            let tables = if what >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(what & 15)).ok_or_else(wrong)? = Some(Huffman::new(*counts, symbols)?);
            segment = rest;
        }
        Ok(())
    }

    fn quantisation_tables(&mut self) -> Result<(), JpegError> {
        let mut segment = self.segment()?;
        while let Some((&what, rest)) = segment.split_first() {
            let bytes = if what >> 4 == 0 { 64 } else { 128 };
            // One that is cut short is the decoder's to refuse.
            let Some((table, rest)) = rest.split_at_checked(bytes) else { break };
            let step = if bytes == 64 { table[0].into() } else { u16::from_be_bytes([table[0], table[1]]) };
            self.steps[usize::from(what & 3)] = Some(step);
            segment = rest;
        }
        Ok(())
    }

    /// A table, or the standard one where the file has none.
    fn table(&mut self, is_ac: bool, number: usize) -> Result<Huffman, JpegError> {
        let tables = if is_ac { &mut self.ac } else { &mut self.dc };
        if tables[number].is_none() {
            self.lacks_tables = true;
            tables[number] = Some(Huffman::standard(is_ac, number)?);
        }
        tables[number].clone().ok_or_else(|| JpegError::refused("a Huffman table is missing"))
    }

    /// Passes restart marker number `count`.
    fn restart_marker(&mut self, count: u8) -> Result<(), JpegError> {
        let had_gaps = self.has_gaps;
        let marker = self.marker()?;
        // Leftovers of an interval have been judged already.
        self.has_gaps = had_gaps;
        if marker == 0xd0 + count % 8 {
            return Ok(());
        }
        Err(JpegError::refused("data between two restart markers are missing"))
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
