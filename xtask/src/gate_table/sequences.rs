//! Sequences of frames as cameras that watch a place send them, made by a seeded script.

use fastrand::Rng;

pub(super) const WIDTH: usize = 320;
pub(super) const HEIGHT: usize = 240;
/// Frames of a sequence: one minute.
pub(super) const FRAMES: usize = 600;
/// Frames a second.
pub(super) const RATE: f32 = 10.0;

/// A kind of sequence.
pub(super) struct Sequence {
    pub name: &'static str,
    pub title: &'static str,
}

pub(super) const SEQUENCES: [Sequence; 7] = [
    Sequence { name: "still", title: "still scene, one visitor for a few seconds" },
    Sequence { name: "light", title: "light that falls by a third and rises again" },
    Sequence { name: "flicker", title: "flicker of lamps, in bands" },
    Sequence { name: "stops", title: "a person who comes, stops and leaves" },
    Sequence { name: "small", title: "a small object far away, of low contrast" },
    Sequence { name: "creeps", title: "a person who creeps in, slower than a pixel a frame" },
    Sequence { name: "shake", title: "camera that shakes in the wind" },
];

/// A frame: luminance as a camera sends it in YUYV, and whether somebody is there.
pub(super) struct Shot {
    pub yuyv: Vec<u8>,
    pub visitor: bool,
}

/// Somebody in front of the camera: a box with a pattern of its own.
struct Visitor {
    /// Place of the left upper corner and size, in pixels.
    left: f32,
    top: f32,
    width: f32,
    height: f32,
    level: f32,
}

/// Makes the frames of a sequence one by one.
pub(super) struct Scene {
    name: &'static str,
    rng: Rng,
    /// Larger than a frame, so that a camera can shake.
    background: Vec<f32>,
    /// Noise of a camera, to be read from random places on: made anew for every pixel it takes longer than all else.
    noise: Vec<f32>,
    frame: usize,
    begins: usize,
    lasts: usize,
}

const NOISE: usize = 1 << 16;
const MARGIN: usize = 4;
const STRIDE: usize = WIDTH + 2 * MARGIN;

impl Scene {
    pub(super) fn new(name: &'static str, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (begins, lasts) = (100 + rng.usize(..150), 30 + rng.usize(..60));
        let lasts = if matches!(name, "stops" | "creeps") { 300 } else { lasts };
        let background = background(&mut rng);
        // Standard deviations of 3 to 5 levels a pixel.
        let deviation = 3.0 + 2.0 * rng.f32();
        // The sum of three uniforms is near enough to a normal distribution.
        let one = |_| (rng.f32() + rng.f32() + rng.f32() - 1.5) * 2.0 * deviation;
        let noise = (0..NOISE).map(one).collect();
        Scene { name, noise, rng, background, frame: 0, begins, lasts }
    }

    /// The visitor of this frame; none before and after.
    fn visitor(&self) -> Option<Visitor> {
        let since = self.frame.checked_sub(self.begins).filter(|&since| since < self.lasts)? as f32;
        let seconds = since / RATE;
        let rest = (self.lasts as f32 - since) / RATE;
        let person = |left: f32| Visitor { left, top: 80.0, width: 40.0, height: 120.0, level: 60.0 };
        Some(match self.name {
            // Walks in within a second, stands, and walks out again.
            "stops" => person((160.0 * seconds).min(160.0 * rest).min(150.0) - 10.0),
            // 0.7 pixels a frame: from one frame to the next hardly anything changes.
            "creeps" => person(since * 0.7 - 40.0),
            "small" => Visitor { left: 60.0 + 20.0 * seconds, top: 100.0, width: 14.0, height: 18.0, level: 105.0 },
            _ => person(20.0 + 40.0 * seconds),
        })
    }

    /// Factor of the light in row `y` of this frame.
    fn light(&self, y: usize) -> f32 {
        let seconds = self.frame as f32 / RATE;
        match self.name {
            "light" => 1.0 - 0.33 * (std::f32::consts::PI * seconds / 60.0).sin(),
            // Mains of 50 Hz against rows that are read one after the other: bands of 3 % that wander, and the whole
            // picture by 2 %.
            "flicker" => {
                let bands = (std::f32::consts::TAU * (y as f32 / 90.0 + seconds * 0.7)).sin();
                1.0 + 0.03 * bands + 0.02 * (seconds * 9.0).sin()
            }
            _ => 1.0,
        }
    }

    pub(super) fn next(&mut self) -> Option<Shot> {
        if self.frame == FRAMES {
            return None;
        }
        let visitor = self.visitor();
        let shake = match self.name {
            "shake" => (self.rng.usize(..=2), self.rng.usize(..=2)),
            _ => (0, 0),
        };
        let mut yuyv = Vec::with_capacity(WIDTH * HEIGHT * 2);
        let mut visible = false;
        for y in 0..HEIGHT {
            let light = self.light(y);
            let row = (y + MARGIN + shake.1) * STRIDE + MARGIN + shake.0;
            let mut levels: [f32; WIDTH] = std::array::from_fn(|x| self.background[row + x]);
            if let Some(Visitor { left, top, width, height, level }) = &visitor
                && (*top..top + height).contains(&(y as f32))
            {
                let own = level + if (y as f32) < top + height / 4.0 { 60.0 } else { 0.0 };
                let side = |x: f32| x.clamp(0.0, WIDTH as f32).ceil() as usize;
                let columns = side(*left)..side(left + width);
                visible |= !columns.is_empty();
                levels[columns].fill(own);
            }
            let noise = self.rng.usize(..NOISE - WIDTH);
            for (level, noise) in levels.iter().zip(&self.noise[noise..]) {
                yuyv.push((level * light + noise).clamp(0.0, 255.0) as u8);
                yuyv.push(128);
            }
        }
        self.frame += 1;
        Some(Shot { yuyv, visitor: visible })
    }
}

/// Boxes upon boxes over a gradient: edges of every contrast, as rooms and streets have them.
fn background(rng: &mut Rng) -> Vec<f32> {
    let rows = HEIGHT + 2 * MARGIN;
    let mut level: Vec<f32> = (0..STRIDE * rows).map(|at| 90.0 + 60.0 * (at / STRIDE) as f32 / rows as f32).collect();
    for _ in 0..40 {
        let (width, height) = (8 + rng.usize(..90), 8 + rng.usize(..70));
        let (left, top) = (rng.usize(..STRIDE), rng.usize(..rows));
        let own = 30.0 + 190.0 * rng.f32();
        for y in top..(top + height).min(rows) {
            level[y * STRIDE + left..y * STRIDE + (left + width).min(STRIDE)].fill(own);
        }
    }
    level
}
