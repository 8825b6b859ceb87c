//! A picture as a grid of mean luminances, and how far two of them differ.

use super::Luma;

/// Most cells of a grid across and down. Of 640x480 pixels a cell is 16 across and 12 down.
pub const CELLS: usize = 40;

/// Steps of a level of luminance in a cell.
const STEPS: u32 = 16;
/// Pixels that a cell is the mean of, at least where it has so many: more cost time, fewer leave more of the noise.
const SAMPLES: usize = 32;
/// Levels below and above which a cell says nothing of the light: black and saturated pixels do not follow it.
const DARK: f32 = 12.0;
const BRIGHT: f32 = 245.0;
/// Light may fall to half or double; beyond that the picture is another one.
const LEAST_GAIN: f32 = 0.5;
const MOST_GAIN: f32 = 2.0;
/// Classes of the histogram that finds the median, between those two.
const BINS: usize = 768;

/// Mean luminances of a picture, cell by cell.
#[derive(Clone, Debug)]
pub struct Grid {
    columns: usize,
    rows: usize,
    /// Row by row, in sixteenths of a level.
    cells: [u16; CELLS * CELLS],
}

impl Default for Grid {
    fn default() -> Self {
        Self::new()
    }
}

impl Grid {
    /// A grid without cells.
    pub const fn new() -> Self {
        Grid { columns: 0, rows: 0, cells: [0; CELLS * CELLS] }
    }

    /// Cells across and down.
    pub const fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// Mean levels of the cells, row by row.
    pub fn levels(&self) -> impl Iterator<Item = f32> + '_ {
        self.cells().iter().map(|&cell| f32::from(cell) / STEPS as f32)
    }

    /// Takes in a picture.
    pub fn fill(&mut self, luma: &Luma<'_>) {
        let (width, height) = luma.size();
        (self.columns, self.rows) = (width.min(CELLS), height.min(CELLS));
        let rows = self.cells.chunks_exact_mut(self.columns.max(1)).take(self.rows);
        for (row, cells) in rows.enumerate() {
            let (top, bottom) = span(row, height, self.rows);
            for (column, cell) in cells.iter_mut().enumerate() {
                let (left, right) = span(column, width, self.columns);
                let across = right - left;
                // So many rows of the cell, spread over it.
                let taken = SAMPLES.div_ceil(across).clamp(1, bottom - top);
                let sum: u32 = (0..taken).map(|n| luma.sum(top + n * (bottom - top) / taken, left, right)).sum();
                let count = (taken * across) as u32;
                // At most 16384 pixels across: the sum of a cell stays far below what a u32 holds.
                *cell = (sum * STEPS / count.max(1)).min(u32::from(u16::MAX)) as u16;
            }
        }
    }

    /// The cells in use.
    fn cells(&self) -> &[u16] {
        self.cells.get(..self.columns * self.rows).unwrap_or(&[])
    }

    /// Levels by which the most changed cell differs from that of an `earlier` picture, when the change of light between
    /// the two is taken out: the median of the cells' ratios, which no object of less than half the picture moves. `None`
    /// where the two cannot be compared: another size, or light that more than doubled or fell by more than half.
    pub fn difference(&self, earlier: &Grid) -> Option<f32> {
        if self.size() != earlier.size() || self.cells().is_empty() {
            return None;
        }
        let gain = self.gain(earlier)?;
        let steps = STEPS as f32;
        let limit = 255.0 * steps;
        let pairs = self.cells().iter().zip(earlier.cells());
        let most = pairs.fold(0.0f32, |most, (&now, &then)| {
            // Light cannot lift a pixel above its brightest level.
            let expected = (f32::from(then) * gain).min(limit);
            most.max((f32::from(now) - expected).abs())
        });
        Some(most / steps)
    }

    /// The median ratio of cells now and earlier; 1 where too few of them tell anything of the light.
    fn gain(&self, earlier: &Grid) -> Option<f32> {
        let mut bins = [0u16; BINS];
        let steps = STEPS as f32;
        let (dark, bright) = (DARK * steps, BRIGHT * steps);
        let scale = BINS as f32 / (MOST_GAIN - LEAST_GAIN);
        let (mut count, mut below, mut above) = (0u32, 0u32, 0u32);
        for (&now, &then) in self.cells().iter().zip(earlier.cells()) {
            let (now, then) = (f32::from(now), f32::from(then));
            // Judged by the earlier picture: what turns black now has changed.
            if then < dark || then > bright || now > bright {
                continue;
            }
            count += 1;
            let place = (now / then - LEAST_GAIN) * scale;
            if place < 0.0 {
                below += 1;
            } else if let Some(bin) = bins.get_mut(place as usize) {
                *bin += 1;
            } else {
                above += 1;
            }
        }
        if (count as usize) * 4 < self.cells().len() {
            return Some(1.0);
        }
        let middle = count / 2;
        if below > middle || above > middle {
            return None;
        }
        let mut seen = below;
        let bin = bins.iter().position(|&bin| {
            seen += u32::from(bin);
            seen > middle
        })?;
        Some(LEAST_GAIN + (bin as f32 + 0.5) / scale)
    }
}

/// Where cell `at` of `cells` begins and ends in `length` pixels; at least one pixel.
fn span(at: usize, length: usize, cells: usize) -> (usize, usize) {
    let begin = at * length / cells.max(1);
    (begin, ((at + 1) * length / cells.max(1)).max(begin + 1))
}
