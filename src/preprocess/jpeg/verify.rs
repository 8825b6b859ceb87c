//! Whether a JPEG file holds all of its picture.

use super::bits::Bits;
use super::error::JpegError;
use super::header::{FrameHeader, ScanHeader};
use super::huffman::{END, Huffman};

/// More than any encoder writes; each costs a pass over the blocks, however few bytes it has.
const MAX_SCANS: u32 = 100;
/// Bytes between the last block of a scan and the marker behind it that may be left over. Some encoders leave a few, but
/// after damage in the middle blocks are read from wrong places, and many are.
const MOST_UNUSED: usize = 64;

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
}

/// A walk through one file.
struct Walk<'a> {
    file: &'a [u8],
    at: usize,
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// MCUs between restart markers; 0 for none.
    restart: usize,
    lacks_tables: bool,
    has_gaps: bool,
}

/// What a scan does to the blocks of a component.
enum Pass {
    Sequential { dc: Huffman, ac: Huffman },
    DcFirst { dc: Huffman },
    DcRefine,
    AcFirst { ac: Huffman },
    AcRefine { ac: Huffman },
}

impl Verifier {
    /// Walks through `file` to its end marker.
    pub(super) fn verify(&mut self, file: &[u8], max_pixels: u64) -> Result<Verified, JpegError> {
        if !file.starts_with(&[0xff, 0xd8]) {
            return Err(JpegError::refused("it does not begin as a JPEG does"));
        }
        let (dc, ac) = ([const { None }; 4], [const { None }; 4]);
        let mut walk = Walk { file, at: 2, dc, ac, restart: 0, lacks_tables: false, has_gaps: false };
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
        let Walk { at: end, lacks_tables, has_gaps, .. } = walk;
        let (width, height, components) = (frame.width, frame.height, frame.components.len());
        Ok(Verified { width, height, components, end, lacks_tables, has_gaps })
    }

    fn begin(&mut self, frame: &FrameHeader) {
        let (across, down) = frame.mcus();
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
        let mut walker = Blocks { bits: Bits::new(walk.file, walk.at), last: scan.last, end_run: 0 };
        let mut in_interval = 0;
        let mut restarts = 0;
        for row in 0..down {
            for column in 0..across {
                if walk.restart > 0 && in_interval == walk.restart {
                    walk.at = walker.end()?;
                    walk.restart_marker(restarts)?;
                    restarts += 1;
                    in_interval = 0;
                    walker = Blocks { bits: Bits::new(walk.file, walk.at), last: scan.last, end_run: 0 };
                }
                in_interval += 1;
                for (&(place, ..), pass) in scan.components.iter().zip(&passes) {
                    let component = frame.components[place];
                    let (h, v) = if single { (1, 1) } else { (component.h, component.v) };
                    for y in row * v..row * v + v {
                        for x in column * h..column * h + h {
                            let block = self.nonzero[place].get_mut(y * padded * component.h + x);
                            walker.block(pass, scan.first, block)?;
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

/// The blocks between two markers.
struct Blocks<'a> {
    bits: Bits<'a>,
    /// Last coefficient of the scan.
    last: u32,
    /// Blocks that follow without a further coefficient.
    end_run: u32,
}

impl Blocks<'_> {
    /// Walks through one block; `nonzero` is there for those of progressive files.
    #[inline]
    fn block(&mut self, pass: &Pass, first: u32, nonzero: Option<&mut u64>) -> Result<(), JpegError> {
        match (pass, nonzero) {
            (Pass::Sequential { dc, ac }, _) => self.sequential(dc, ac),
            (Pass::DcFirst { dc }, _) => self.dc_first(dc),
            (Pass::DcRefine, _) => {
                self.bits.take(1);
                Ok(())
            }
            (Pass::AcFirst { ac }, Some(nonzero)) => self.ac_first(ac, first, nonzero),
            (Pass::AcRefine { ac }, Some(nonzero)) => self.ac_refine(ac, first, nonzero),
            (Pass::AcFirst { .. } | Pass::AcRefine { .. }, None) => Ok(()),
        }
    }

    fn sequential(&mut self, dc: &Huffman, ac: &Huffman) -> Result<(), JpegError> {
        self.dc_first(dc)?;
        let mut k = 1;
        while k <= 63 {
            k += ac.step(&mut self.bits);
        }
        if k > 64 && k <= END { Err(too_many()) } else { Ok(()) }
    }

    fn dc_first(&mut self, dc: &Huffman) -> Result<(), JpegError> {
        let (size, length) = dc.peek(&mut self.bits);
        if size > 15 {
            return Err(too_many());
        }
        self.bits.skip(length + u32::from(size));
        Ok(())
    }

    fn ac_first(&mut self, ac: &Huffman, first: u32, nonzero: &mut u64) -> Result<(), JpegError> {
        if self.end_run > 0 {
            self.end_run -= 1;
            return Ok(());
        }
        let mut k = first;
        while k <= self.last {
            let (symbol, length) = ac.peek(&mut self.bits);
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            self.bits.skip(length + size);
            if size == 0 && run != 15 {
                self.end_run = (1 << run) - 1 + self.bits.take(run);
                break;
            }
            k += run;
            if size > 0 {
                if k > self.last {
                    return Err(too_many());
                }
                *nonzero |= 1 << k;
            }
            k += 1;
        }
        Ok(())
    }

    fn ac_refine(&mut self, ac: &Huffman, first: u32, nonzero: &mut u64) -> Result<(), JpegError> {
        let mut k = first;
        while k <= self.last && self.end_run == 0 {
            let (symbol, length) = ac.peek(&mut self.bits);
            let (mut run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size > 1 {
                return Err(too_many());
            }
            // A new coefficient is one bit: its sign.
            self.bits.skip(length + size);
            if size == 0 && run != 15 {
                self.end_run = (1 << run) + self.bits.take(run);
                break;
            }
            // Pass `run` coefficients that are still zero; those that are not have a bit each on the way.
            while k <= self.last {
                if *nonzero >> k & 1 == 1 {
                    self.bits.take(1);
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            if size > 0 {
                if k > self.last {
                    return Err(too_many());
                }
                *nonzero |= 1 << k;
            }
            k += 1;
        }
        if self.end_run > 0 {
            self.end_run -= 1;
            while k <= self.last {
                if *nonzero >> k & 1 == 1 {
                    self.bits.take(1);
                }
                k += 1;
            }
        }
        Ok(())
    }

    /// Place of the marker behind the data.
    fn end(&mut self) -> Result<usize, JpegError> {
        let bits = std::mem::replace(&mut self.bits, Bits::new(&[], 0));
        match bits.finish() {
            (at, unused) if unused <= MOST_UNUSED => Ok(at),
            (_, unused) => {
                Err(JpegError::refused(format!("{unused} bytes of its data belong to no part of the picture")))
            }
        }
    }
}

fn too_many() -> JpegError {
    JpegError::refused("its data hold more coefficients than a block has")
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
