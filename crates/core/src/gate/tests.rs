use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const SIZE: (usize, usize) = (160, 120);

/// A picture with a pattern that has structure at every scale.
fn picture(gain: f32) -> Vec<u8> {
    let level = |at: usize| {
        let (x, y) = (at % SIZE.0, at / SIZE.0);
        let pattern = 60 + (x * 37 / 16 + y * 53 / 16) % 90 + (x / 40 + y / 30) % 2 * 40;
        (pattern as f32 * gain).min(255.0) as u8
    };
    (0..SIZE.0 * SIZE.1).map(level).collect()
}

fn with_square(mut pixels: Vec<u8>, side: usize, level: u8) -> Vec<u8> {
    for y in 60..60 + side {
        pixels[y * SIZE.0 + 80..y * SIZE.0 + 80 + side].fill(level);
    }
    pixels
}

fn difference(now: &[u8], then: &[u8]) -> Option<f32> {
    let grid = |pixels: &[u8]| {
        let mut grid = Grid::new();
        grid.fill(&Luma::grey(pixels, SIZE.0, SIZE.1).unwrap());
        grid
    };
    grid(now).difference(&grid(then))
}

#[test]
fn a_change_of_light_is_no_change_and_an_object_is_one() {
    let threshold = GateSettings::THRESHOLD;
    for gain in [0.6, 0.8, 1.0, 1.1, 1.3] {
        let lit = picture(gain);
        let alone = difference(&lit, &picture(1.0)).unwrap();
        assert!(alone < threshold / 2.0, "light x {gain}: {alone}");
        let found = difference(&with_square(lit, 4, 10), &picture(1.0)).unwrap();
        assert!(found > threshold, "an object of one cell in light x {gain}: {found}");
    }
}

#[test]
fn a_covered_lens_and_a_lamp_are_changes() {
    let dark = vec![3; SIZE.0 * SIZE.1];
    assert_eq!(difference(&dark, &picture(1.0)), None);
    assert_eq!(difference(&picture(1.0), &picture(0.4)), None);
    // From black nothing is known of the light: every level counts.
    assert!(difference(&picture(1.0), &dark).unwrap() > 50.0);
    assert_eq!(difference(&dark, &dark), Some(0.0));
}

#[test]
fn a_large_object_does_not_pass_for_light() {
    let mut half = picture(1.0);
    half[..SIZE.0 * SIZE.1 * 2 / 5].fill(20);
    assert!(difference(&half, &picture(1.0)).unwrap() > 40.0);
}

#[test]
fn frames_are_compared_with_the_one_that_ran_so_that_small_steps_add_up() {
    let mut gate = Gate::new(GateSettings::new(8.0, Duration::from_secs(1000)));
    let mut ran = vec![];
    for second in 0..40 {
        let pixels = with_square(picture(1.0), 8, 40 + second as u8 * 3);
        let luma = Luma::grey(&pixels, SIZE.0, SIZE.1).unwrap();
        if gate.judge(Duration::from_secs(second), Scene::of(luma)) != Verdict::Reuse {
            ran.push(second);
        }
    }
    assert_eq!(ran[..4], [0, 3, 6, 9], "every third step makes more than 8 levels");
}

#[test]
fn an_answer_never_holds_longer_than_the_refresh() {
    let mut gate = Gate::new(GateSettings::new(8.0, Duration::from_secs(5)));
    let pixels = picture(1.0);
    let luma = Luma::grey(&pixels, SIZE.0, SIZE.1).unwrap();
    let verdicts: Vec<_> = (0..11).map(|s| gate.judge(Duration::from_secs(s), Scene::of(luma))).collect();
    let ran: Vec<_> = (0..11).filter(|&s| verdicts[s] != Verdict::Reuse).collect();
    assert_eq!(ran, [0, 5, 10]);
    assert_eq!(verdicts[5], Verdict::Run(Cause::Refresh));
    gate.forget();
    assert_eq!(gate.judge(Duration::from_secs(11), Scene::of(luma)), Verdict::Run(Cause::First));
}

#[test]
fn the_age_of_an_answer_that_held_behind_the_gate_counts() {
    let mut gate = Gate::new(GateSettings::new(8.0, Duration::from_secs(5)));
    let (one, other) = (picture(1.0), with_square(picture(1.0), 20, 250));
    let scene = |pixels| Scene::of(Luma::grey(pixels, SIZE.0, SIZE.1).unwrap());
    let second = Duration::from_secs(1);
    assert_eq!(gate.judge(second, scene(&one)), Verdict::Run(Cause::First));
    assert_eq!(gate.judge(4 * second, scene(&other)), Verdict::Run(Cause::Changed));
    gate.answered_at(second);
    assert_eq!(gate.judge(5 * second, scene(&other)), Verdict::Reuse);
    assert_eq!(gate.judge(6 * second, scene(&other)), Verdict::Run(Cause::Refresh));
    // What is newer than the gate knows changes nothing.
    gate.answered_at(9 * second);
    assert_eq!(gate.judge(11 * second, scene(&other)), Verdict::Run(Cause::Refresh));
}

#[test]
fn a_quiet_sensor_stands_above_the_picture_and_an_alarmed_one_beside_it() {
    let mut gate = Gate::new(GateSettings::default());
    let (one, other) = (picture(1.0), with_square(picture(1.0), 20, 250));
    let scene = |pixels, signal| Scene::of(Luma::grey(pixels, SIZE.0, SIZE.1).unwrap()).with_signal(signal);
    let at = Duration::from_millis;
    assert_eq!(gate.judge(at(0), scene(&one, Some(false))), Verdict::Run(Cause::First));
    assert_eq!(gate.judge(at(1), scene(&other, Some(false))), Verdict::Reuse);
    assert_eq!(gate.judge(at(2), scene(&other, Some(true))), Verdict::Run(Cause::Changed));
    assert_eq!(gate.judge(at(3), scene(&other, Some(true))), Verdict::Reuse);
    // Without a picture the sensor decides alone, and after that a picture has nothing to be compared with.
    let alone = Scene::default();
    assert_eq!(gate.judge(at(4), alone.with_signal(Some(true))), Verdict::Run(Cause::Changed));
    assert_eq!(gate.judge(at(5), alone.with_signal(Some(false))), Verdict::Reuse);
    assert_eq!(gate.judge(at(6), scene(&other, None)), Verdict::Run(Cause::Changed));
    // Nothing at all says that nothing changed.
    assert_eq!(gate.judge(at(7), alone), Verdict::Run(Cause::Changed));
}

#[test]
fn luminance_is_read_where_each_layout_has_it() {
    let grey: Vec<u8> = (0..35).map(|i| i * 7).collect();
    let packed: Vec<u8> = grey.iter().flat_map(|&y| [y, 200]).collect();
    let padded: Vec<u8> = grey.chunks(7).flat_map(|row| [row, &[9; 3]].concat()).collect();
    let views = [
        Luma::grey(&grey, 7, 5).unwrap(),
        Luma::new(&packed, (7, 5), 2, 14).unwrap(),
        Luma::new(&padded, (7, 5), 1, 10).unwrap(),
    ];
    let rgb: Vec<u8> = grey.iter().flat_map(|&y| [0, y, 0]).collect();
    let green = Luma::new(&rgb[1..], (7, 5), 3, 21).unwrap();
    for view in views.into_iter().chain([green]) {
        let mut grid = Grid::new();
        grid.fill(&view);
        assert_eq!(grid.size(), (7, 5));
        assert!(grid.levels().eq(grey.iter().map(|&y| f32::from(y))));
    }
    assert!(Luma::grey(&grey, 7, 6).is_none() && Luma::grey(&grey, 0, 5).is_none());
    assert!(Luma::new(&grey, (2, 2), usize::MAX, usize::MAX).is_none());
}

proptest! {
    /// Whatever the picture: no panic, and a picture never differs from itself.
    #[test]
    fn any_picture_is_like_itself(width in 1usize..200, height in 1usize..200, pixel in 1usize..4, seed: u8) {
        let bytes: Vec<u8> = (0..width * height * pixel).map(|i| (i as u8).wrapping_mul(seed)).collect();
        let luma = Luma::new(&bytes, (width, height), pixel, width * pixel).unwrap();
        let mut grid = Grid::new();
        grid.fill(&luma);
        prop_assert!(grid.difference(&grid).is_some_and(|levels| levels < 0.5), "{:?}", grid.difference(&grid));
    }
}
