use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn told(debouncer: &mut Debouncer<2>, frames: &[(u64, u16, f32)]) -> Vec<(u64, EventKind, u16)> {
    let mut events = vec![];
    for &(second, class, confidence) in frames {
        let seen = [Sighting::new(class, confidence)];
        debouncer.observe(Duration::from_secs(second), &seen, |event| events.push((second, event.kind, event.class)));
    }
    events
}

fn frames(classes: &[u16]) -> Vec<(u64, u16, f32)> {
    classes.iter().enumerate().map(|(second, &class)| (second as u64, class, 0.9)).collect()
}

#[test]
fn an_event_needs_n_of_m_frames_both_ways() {
    let mut debouncer = Debouncer::new(EventSettings::new(3, 4).unwrap());
    let events = told(&mut debouncer, &frames(&[1, 0, 1, 1, 1, 0, 1, 0, 0, 0]));
    let ones: Vec<_> = events.iter().filter(|(_, _, class)| *class == 1).collect();
    assert_eq!(ones, [&(3, EventKind::Appeared, 1), &(8, EventKind::Left, 1)]);
    assert_eq!(debouncer.here().collect::<Vec<_>>(), [0]);
}

#[test]
fn one_frame_that_is_wrong_tells_nothing() {
    let mut debouncer = Debouncer::new(EventSettings::default());
    let events = told(&mut debouncer, &frames(&[0, 0, 0, 0, 5, 0, 0, 0, 5, 5, 0, 0, 0, 0]));
    assert_eq!(events, [(2, EventKind::Appeared, 0)]);
}

#[test]
fn one_of_many_frames_suffices_and_all_must_be_missing() {
    let mut debouncer = Debouncer::new(EventSettings::new(1, 3).unwrap());
    let events = told(&mut debouncer, &frames(&[1, 0, 0, 1, 0, 0, 0]));
    let ones: Vec<_> =
        events.iter().filter(|(_, _, class)| *class == 1).map(|&(second, kind, _)| (second, kind)).collect();
    assert_eq!(ones, [(0, EventKind::Appeared), (6, EventKind::Left)]);
}

#[test]
fn a_class_that_came_and_went_is_told_again_only_after_its_cool_down() {
    let settings = EventSettings::new(1, 1).unwrap().with_cool_down(Duration::from_secs(5));
    let mut debouncer = Debouncer::new(settings);
    let events = told(&mut debouncer, &frames(&[1, 0, 1, 0, 1, 0, 1, 0]));
    let ones: Vec<_> =
        events.iter().filter(|(_, _, class)| *class == 1).map(|&(second, kind, _)| (second, kind)).collect();
    let (appeared, left) = (EventKind::Appeared, EventKind::Left);
    assert_eq!(ones, [(0, appeared), (1, left), (6, appeared), (7, left)]);
}

#[test]
fn what_stays_is_told_as_often_as_asked() {
    let settings = EventSettings::new(1, 2).unwrap().with_still_every(Some(Duration::from_secs(3)));
    let mut debouncer = Debouncer::<2>::new(settings);
    let mut events = vec![];
    for second in 0..8 {
        let seen = [Sighting::new(4, 0.7 + second as f32 / 100.0)];
        debouncer.observe(Duration::from_secs(second), &seen, |event| events.push((second, event)));
    }
    let kinds: Vec<_> = events.iter().map(|(second, event)| (*second, event.kind, event.lasted.as_secs())).collect();
    assert_eq!(kinds, [(0, EventKind::Appeared, 0), (3, EventKind::StillHere, 3), (6, EventKind::StillHere, 6)]);
    assert!((events[2].1.confidence - 0.76).abs() < 1e-6);
}

#[test]
fn classes_have_confidences_of_their_own() {
    let mut confidences = Confidences::new(0.6);
    assert!(confidences.set(1, 0.95) && confidences.set(2, 0.1) && confidences.set(1, 0.9) && !confidences.set(3, 0.5));
    let mut debouncer = Debouncer::new(EventSettings::new(1, 1).unwrap()).with_confidences(confidences);
    let frames = [(0, 1, 0.8), (1, 2, 0.2), (2, 7, 0.5), (3, 7, f32::NAN), (4, 1, 0.9)];
    let events = told(&mut debouncer, &frames);
    assert_eq!(events, [(1, EventKind::Appeared, 2), (2, EventKind::Left, 2), (4, EventKind::Appeared, 1)]);
}

#[test]
fn more_classes_than_there_is_room_for_are_counted() {
    let mut debouncer = Debouncer::<2>::new(EventSettings::new(1, 1).unwrap());
    let seen: Vec<_> = (0..3).map(|class| Sighting::new(class, 1.0)).collect();
    let mut events = 0;
    // Those that have just come may be pushed out by those behind them, those that are here may not.
    debouncer.observe(Duration::ZERO, &seen[..2], |_| events += 1);
    debouncer.observe(Duration::from_secs(1), &seen, |_| events += 1);
    assert_eq!((events, debouncer.overlooked()), (2, 1));
}

#[test]
fn impossible_numbers_of_frames_are_refused() {
    for (needed, of) in [(0, 3), (4, 3), (1, 33)] {
        let error = EventSettings::new(needed, of).unwrap_err();
        assert_eq!(error, EventSettingsError { needed, of });
    }
    assert!(EventSettings::new(32, 32).is_ok());
}

proptest! {
    /// Of every class, appearing and leaving take turns, and nothing stays that has left.
    #[test]
    fn classes_appear_and_leave_in_turns(
        (needed, of) in (1u8..=32).prop_flat_map(|of| (1..=of, Just(of))),
        classes in proptest::collection::vec(0u16..4, 1..200),
        cool_down in 0u64..20,
    ) {
        let settings = EventSettings::new(needed, of).unwrap().with_cool_down(Duration::from_secs(cool_down));
        let mut debouncer = Debouncer::<3>::new(settings.with_still_every(Some(Duration::from_secs(2))));
        let mut here = [false; 4];
        for (second, class) in classes.into_iter().enumerate() {
            let seen = [Sighting::new(class, 0.9)];
            let mut wrong = false;
            debouncer.observe(Duration::from_secs(second as u64), &seen, |event| {
                let here = &mut here[usize::from(event.class)];
                match event.kind {
                    EventKind::Appeared => wrong |= std::mem::replace(here, true),
                    EventKind::Left => wrong |= !std::mem::replace(here, false),
                    EventKind::StillHere => wrong |= !*here,
                }
            });
            prop_assert!(!wrong);
        }
    }
}
