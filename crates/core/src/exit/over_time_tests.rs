use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::exit::Measure;

fn settings(thresholds: &[f32], window: usize, repeats: u32) -> OverTimeSettings {
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, thresholds.len() + 1, thresholds).unwrap();
    OverTimeSettings::new(policy, window, repeats).unwrap()
}

/// Logits by which class `class` has the probability `p` of two.
fn sure(class: usize, p: f32) -> [f32; 2] {
    let logit = (p / (1.0 - p)).ln();
    if class == 0 { [logit, 0.0] } else { [0.0, logit] }
}

/// Runs a frame in which all exits say the same; the exits that were looked at.
fn frame(video: &mut OverTime<Vec<f32>>, logits: &[[f32; 2]]) -> (Vec<usize>, FrameAnswer) {
    video.begin();
    let mut looked_at = vec![];
    for (exit, logits) in logits.iter().enumerate() {
        looked_at.push(exit);
        if video.observe(exit, logits).unwrap() == Decision::Leave {
            break;
        }
    }
    (looked_at, video.finish())
}

fn video(settings: OverTimeSettings) -> OverTime<Vec<f32>> {
    let len = OverTime::<Vec<f32>>::storage_len(settings.policy().rules().len(), 2, settings.window());
    OverTime::new(settings, 2, vec![0.0; len]).unwrap()
}

#[test]
fn unsure_frames_add_up_until_they_are_sure() {
    let mut video = video(settings(&[0.9], 4, 1));
    let unsure = [sure(1, 0.7), sure(1, 0.7)];
    // 0.7 three times is (0.7 / 0.3)^3 to one.
    let exits: Vec<Vec<usize>> = (0..3).map(|_| frame(&mut video, &unsure).0).collect();
    assert_eq!(exits, [vec![0, 1], vec![0, 1], vec![0]]);
    let (_, answer) = frame(&mut video, &unsure);
    assert_eq!((answer.class, answer.exit), (Some(1), Some(0)));
    assert!((answer.reading.unwrap().confidence - 1.0 / (1.0 + (0.3f32 / 0.7).powi(4))).abs() < 1e-5);
}

#[test]
fn an_answer_changes_after_equal_ones_in_a_row() {
    let mut video = video(settings(&[0.6], 1, 2));
    let says = |class| [sure(class, 0.8), sure(class, 0.8)];
    let answers: Vec<Option<usize>> =
        [0, 0, 1, 0, 1, 1, 1].map(|class| frame(&mut video, &says(class)).1.class).to_vec();
    assert_eq!(answers, [None, Some(0), Some(0), Some(0), Some(0), Some(1), Some(1)]);
}

#[test]
fn once_certain_only_the_first_exit_is_looked_at_until_it_disagrees() {
    let mut video = video(settings(&[0.95, 0.95], 1, 1));
    let unsure_first = |class| [sure(class, 0.6), sure(class, 0.99), sure(class, 0.99)];
    let (looked_at, answer) = frame(&mut video, &unsure_first(1));
    assert_eq!((looked_at, answer.certain), (vec![0, 1], true));
    // Not sure itself, but it agrees.
    assert_eq!(frame(&mut video, &unsure_first(1)).0, [0]);
    let (looked_at, answer) = frame(&mut video, &unsure_first(0));
    assert_eq!((looked_at, answer.class, answer.changed), (vec![0, 1], Some(0), true));
    // An answer that is not sure is not certain, and the next frame goes on as any does.
    let unsure = [sure(0, 0.6); 3];
    video.reset();
    assert_eq!(frame(&mut video, &unsure).0, [0, 1, 2]);
    assert_eq!(frame(&mut video, &unsure).0, [0, 1, 2]);
}

#[test]
fn states_held_too_long_are_stale_and_the_next_full_frame_is_warming() {
    let mut video = video(settings(&[0.9], 1, 1).with_hold(2).with_warming(1));
    // Sure of one class, or unsure of the other: that disagrees, and goes on.
    let (early, full) = ([sure(1, 0.99), sure(1, 0.99)], [sure(0, 0.6), sure(0, 0.99)]);
    for frames in [2, 3] {
        video.reset();
        for deep in [&full, &early] {
            let answer = frame(&mut video, deep).1;
            assert_eq!((answer.held, answer.warming), (0, false));
        }
        for held in 1..=frames {
            let answer = frame(&mut video, &early).1;
            assert_eq!((answer.held, answer.warming), (held, false));
        }
        assert_eq!((video.is_stale(1), video.is_stale(0)), (frames > 2, false));
        assert_eq!(frame(&mut video, &full).1.warming, frames > 2);
    }
    assert!(!frame(&mut video, &early).1.warming);
}

#[test]
fn a_reset_forgets_everything() {
    let mut video = video(settings(&[0.9], 8, 3));
    let frames = [sure(0, 0.6), sure(0, 0.6)];
    let first: Vec<FrameAnswer> = (0..6).map(|_| frame(&mut video, &frames).1).collect();
    video.reset();
    let again: Vec<FrameAnswer> = (0..6).map(|_| frame(&mut video, &frames).1).collect();
    assert_eq!(first, again);
}

#[test]
fn what_does_not_fit_is_refused() {
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[0.9]).unwrap();
    assert_eq!(OverTimeSettings::new(policy.clone(), 0, 1), Err(OverTimeError::Window { frames: 0 }));
    assert_eq!(OverTimeSettings::new(policy.clone(), 33, 1), Err(OverTimeError::Window { frames: 33 }));
    assert_eq!(OverTimeSettings::new(policy.clone(), 32, 0), Err(OverTimeError::Repeats));
    let settings = OverTimeSettings::new(policy, 4, 1).unwrap();
    assert!(matches!(OverTime::new(settings.clone(), 2, [0.0; 17]), Err(OverTimeError::Storage { expected: 18, .. })));
    assert!(OverTime::new(settings.clone(), 0, [0.0; 17]).is_err());
    let mut video = OverTime::new(settings, 2, [0.0; 18]).unwrap();
    video.begin();
    assert_eq!(video.observe(0, &[0.0]), Err(LogitsError::Empty));
    assert_eq!(video.observe(7, &[0.0, 1.0]), Err(LogitsError::Empty));
    assert_eq!(video.observe(0, &[0.0, f32::NAN]), Err(LogitsError::NotFinite { index: 1 }));
    assert_eq!(video.finish().exit, None);
}

#[test]
fn a_gap_is_more_than_two_periods() {
    assert!(!is_gap(0.2, Some(0.1)) && is_gap(0.21, Some(0.1)) && is_gap(f32::NAN, Some(0.1)));
    assert!(!is_gap(1e9, None));
}

proptest! {
    #[test]
    fn whatever_the_logits_nothing_panics_and_answers_change_only_after_repeats(
        frames in prop::collection::vec(prop::collection::vec(any::<f32>(), 6), 1..60),
        window in 1usize..6, repeats in 1u32..4, thresholds in [0f32..1.0, 0f32..1.0],
    ) {
        let mut video = video(settings(&thresholds, window, repeats));
        let mut in_a_row = (None, 0);
        let mut before = None;
        for logits in &frames {
            video.begin();
            for (exit, logits) in logits.chunks_exact(2).enumerate() {
                if video.observe(exit, logits) == Ok(Decision::Leave) {
                    break;
                }
            }
            let answer = video.finish();
            if let Some(reading) = answer.reading {
                let times = if in_a_row.0 == Some(reading.class) { in_a_row.1 + 1 } else { 1 };
                in_a_row = (Some(reading.class), times);
            }
            prop_assert_eq!(answer.changed, answer.class != before);
            if answer.changed {
                prop_assert_eq!(answer.class, in_a_row.0);
                prop_assert!(in_a_row.1 >= repeats);
            }
            before = answer.class;
        }
    }

    #[test]
    fn the_sum_is_that_of_the_last_frames(logits in prop::collection::vec([-9f32..9.0, -9f32..9.0], 1..40), window in 1usize..8) {
        let mut video = video(settings(&[1.0], window, 1));
        for (t, last) in logits.iter().enumerate() {
            video.begin();
            let _ = video.observe(0, last).unwrap();
            let mut sum = [0f32; 2];
            for frame in &logits[(t + 1).saturating_sub(window)..=t] {
                sum[0] += frame[0];
                sum[1] += frame[1];
            }
            let expected = Measure::MaxSoftmax.read(&sum).unwrap();
            prop_assert_eq!(video.reached.unwrap().1, expected);
            let _ = video.finish();
        }
    }
}
