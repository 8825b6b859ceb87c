//! A sequence seen through a gate, beside a network that always runs.

use std::time::Duration;

use dyn_perceiver_core::events::{Debouncer, EventKind, EventSettings, Sighting};
use dyn_perceiver_core::gate::{Gate, GateSettings, Luma, Verdict};

use super::sequences::{HEIGHT, RATE, Scene, WIDTH};

/// An event that comes later than this counts as missed: the visitors of these sequences stay for three seconds and more.
const LATEST: f32 = 2.0;
const NOBODY: u16 = 0;
const SOMEBODY: u16 = 1;

/// What came of a sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub frames: u32,
    pub skipped: u32,
    /// Events of a network that always runs, and those that the gate had none for.
    pub events: u32,
    pub missed: u32,
    /// Seconds by which the latest event came later.
    pub latest: f32,
}

impl Seen {
    pub(super) fn add(&mut self, one: Seen) {
        self.frames += one.frames;
        self.skipped += one.skipped;
        self.events += one.events;
        self.missed += one.missed;
        self.latest = self.latest.max(one.latest);
    }
}

/// Events of one stream of answers.
struct Answers {
    debouncer: Debouncer<4>,
    events: Vec<(EventKind, f32)>,
}

impl Answers {
    fn new() -> Self {
        Answers { debouncer: Debouncer::new(EventSettings::default()), events: vec![] }
    }

    fn add(&mut self, time: Duration, visitor: bool) {
        let sighting = Sighting::new(if visitor { SOMEBODY } else { NOBODY }, 1.0);
        self.debouncer.observe(time, &[sighting], |event| {
            if event.class == SOMEBODY {
                self.events.push((event.kind, time.as_secs_f32()));
            }
        });
    }
}

/// A gate, and the answers behind it.
struct Gated {
    gate: Gate,
    answer: bool,
    answers: Answers,
    seen: Seen,
}

impl Gated {
    fn add(&mut self, time: Duration, luma: Luma<'_>, visitor: bool) {
        self.seen.frames += 1;
        match self.gate.judge(time, dyn_perceiver_core::gate::Scene::of(luma)) {
            Verdict::Run(_) => self.answer = visitor,
            Verdict::Reuse => self.seen.skipped += 1,
        }
        self.answers.add(time, self.answer);
    }
}

/// Watches a sequence through gates of these thresholds.
pub(super) fn watch<const N: usize>(sequence: &'static str, seed: u64, thresholds: [f32; N]) -> [Seen; N] {
    let mut gates = thresholds.map(|threshold| Gated {
        gate: Gate::new(GateSettings::new(threshold, GateSettings::REFRESH)),
        answer: false,
        answers: Answers::new(),
        seen: Seen::default(),
    });
    let mut always = Answers::new();
    let mut scene = Scene::new(sequence, seed);
    let mut frame = 0;
    while let Some(shot) = scene.next() {
        let time = Duration::from_secs_f32(frame as f32 / RATE);
        frame += 1;
        let Some(luma) = Luma::new(&shot.yuyv, (WIDTH, HEIGHT), 2, 2 * WIDTH) else { continue };
        always.add(time, shot.visitor);
        gates.iter_mut().for_each(|gated| gated.add(time, luma, shot.visitor));
    }
    gates.map(|gated| compared(&always.events, gated.answers.events, gated.seen))
}

/// What comes of frames with or without a visitor, of which a gate let the last answer hold for some.
pub(super) fn told(visitors: &[bool], reused: &[bool]) -> Seen {
    let (mut always, mut gated) = (Answers::new(), Answers::new());
    let mut seen = Seen::default();
    let mut answer = false;
    for (frame, (&visitor, &reused)) in visitors.iter().zip(reused).enumerate() {
        let time = Duration::from_secs_f32(frame as f32 / RATE);
        seen.frames += 1;
        seen.skipped += u32::from(reused);
        if !reused {
            answer = visitor;
        }
        always.add(time, visitor);
        gated.add(time, answer);
    }
    compared(&always.events, gated.events, seen)
}

/// Which events a gate has none for, and how late the others are.
fn compared(always: &[(EventKind, f32)], mut left: Vec<(EventKind, f32)>, mut seen: Seen) -> Seen {
    for &(kind, time) in always {
        seen.events += 1;
        let found = left.iter().position(|&(other, at)| other == kind && (-0.01..=LATEST).contains(&(at - time)));
        match found {
            Some(at) => seen.latest = seen.latest.max(left.remove(at).1 - time),
            None => seen.missed += 1,
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_whose_frames_are_all_held_back_is_missed() {
        let visitors: Vec<bool> = (0..100).map(|frame| (30..60).contains(&frame)).collect();
        let seen = told(&visitors, &[false; 100]);
        assert_eq!((seen.events, seen.missed, seen.skipped), (2, 0, 0));
        let seen = told(&visitors, &std::array::from_fn::<_, 100, _>(|frame| frame > 0));
        assert_eq!((seen.events, seen.missed, seen.skipped), (2, 2, 99));
    }
}
