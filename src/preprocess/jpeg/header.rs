//! Segments of a JPEG file.

use super::error::JpegError;

/// One of up to four colour components.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors: blocks in an MCU, across and down.
    pub(super) h: usize,
    pub(super) v: usize,
    /// Its quantisation table.
    pub(super) table: usize,
}

/// What a frame header says.
#[derive(Clone, Debug)]
pub(super) struct FrameHeader {
    pub(super) progressive: bool,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) components: Vec<Component>,
}

impl FrameHeader {
    /// Reads the segment of a marker from 0xc0 to 0xcf that begins a frame.
    pub(super) fn read(marker: u8, segment: &[u8]) -> Result<Self, JpegError> {
        let wrong = || JpegError::refused("its frame header is wrong");
        if !matches!(marker, 0xc0..=0xc2) {
            return Err(JpegError::refused("a JPEG without loss, of several frames or with arithmetic coding"));
        }
        let &[precision, height_high, height_low, width_high, width_low, count] =
            segment.first_chunk::<6>().ok_or_else(wrong)?;
        if precision != 8 {
            return Err(JpegError::refused(format!("a JPEG of {precision} bits per sample; 8 are read")));
        }
        let side = |high, low| u32::from(u16::from_be_bytes([high, low]));
        let (width, height) = (side(width_high, width_low), side(height_high, height_low));
        if width == 0 || height == 0 || !matches!(count, 1 | 3 | 4) {
            return Err(wrong());
        }
        let one = |bytes: &[u8]| Component {
            id: bytes[0],
            h: (bytes[1] >> 4).into(),
            v: (bytes[1] & 15).into(),
            table: (bytes[2] & 3).into(),
        };
        let mut components: Vec<_> = segment[6..].chunks_exact(3).take(count.into()).map(one).collect();
        let in_range = |side| (1..=4).contains(&side);
        if components.len() != usize::from(count) || !components.iter().all(|c| in_range(c.h) && in_range(c.v)) {
            return Err(wrong());
        }
        if let [only] = &mut components[..] {
            // A scan of one component has one block per MCU, whatever its factors.
            (only.h, only.v) = (1, 1);
        }
        Ok(Self { progressive: marker == 0xc2, width, height, components })
    }

    /// Largest sampling factors.
    fn most(&self) -> (usize, usize) {
        self.components.iter().fold((1, 1), |most, c| (most.0.max(c.h), most.1.max(c.v)))
    }

    /// MCUs of a scan of several components, across and down.
    pub(super) fn mcus(&self) -> (usize, usize) {
        let (h, v) = self.most();
        ((self.width as usize).div_ceil(8 * h), (self.height as usize).div_ceil(8 * v))
    }

    /// Blocks of a component in a scan of its own, across and down.
    pub(super) fn blocks(&self, component: Component) -> (usize, usize) {
        let (h, v) = self.most();
        let side = |length: u32, own: usize, most: usize| (length as usize * own).div_ceil(8 * most);
        (side(self.width, component.h, h), side(self.height, component.v, v))
    }
}

/// What a scan header says.
#[derive(Clone, Debug)]
pub(super) struct ScanHeader {
    /// Place of each component in the frame, and its tables of DC and AC coefficients.
    pub(super) components: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Whether it refines coefficients that an earlier scan began.
    pub(super) refines: bool,
    /// Bits of each coefficient that are left to later scans.
    pub(super) left: u8,
}

impl ScanHeader {
    pub(super) fn read(frame: &FrameHeader, segment: &[u8]) -> Result<Self, JpegError> {
        let wrong = || JpegError::refused("a scan header is wrong");
        let (&count, rest) = segment.split_first().ok_or_else(wrong)?;
        let count = usize::from(count);
        let (listed, rest) = rest.split_at_checked(2 * count).ok_or_else(wrong)?;
        let &[first, last, bits] = rest.first_chunk::<3>().ok_or_else(wrong)?;
        let mut components: Vec<(usize, usize, usize)> = Vec::with_capacity(count);
        for pair in listed.chunks_exact(2) {
            let place = frame.components.iter().position(|c| c.id == pair[0]).ok_or_else(wrong)?;
            let (dc, ac) = (usize::from(pair[1] >> 4), usize::from(pair[1] & 15));
            if dc > 3 || ac > 3 || components.iter().any(|&(other, ..)| other == place) {
                return Err(wrong());
            }
            components.push((place, dc, ac));
        }
        // A sequential file has one scan for all coefficients, whatever it says.
        let (first, last, refines, left) =
            if frame.progressive { (first, last, bits >> 4 != 0, bits & 15) } else { (0, 63, false, 0) };
        let fits =
            first <= last && last < 64 && (first == 0 || count == 1) && !(first == 0 && last > 0 && frame.progressive);
        if count == 0 || !fits {
            return Err(wrong());
        }
        Ok(Self { components, first: first.into(), last: last.into(), refines, left })
    }
}
