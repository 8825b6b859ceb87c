use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Counts upwards to `last`, and tells outside how far it has come.
fn counting(last: u64, made: &Arc<AtomicU64>) -> impl FnMut(&mut u64) -> Result<bool, CameraError> + Send + 'static {
    let made = made.clone();
    let mut next = 0;
    move |item| {
        next += 1;
        *item = next;
        made.store(next, Ordering::SeqCst);
        Ok(next <= last)
    }
}

fn until(what: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(20), "not in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_thread_is_at_most_one_item_ahead_of_one_that_waits() {
    let made = Arc::new(AtomicU64::new(0));
    let mut ahead = Slot::start("test", Overflow::Block, StopToken::default(), counting(5, &made)).unwrap();
    let mut item = 0;
    for n in 1..=5 {
        // One lies ready and one is complete, whatever the taker does meanwhile.
        until(|| made.load(Ordering::SeqCst) == n + 1);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(made.load(Ordering::SeqCst), n + 1);
        assert_eq!(ahead.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Item);
        assert_eq!(item, n);
    }
    assert_eq!(ahead.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Closed);
    assert_eq!(ahead.overwritten(), 0);
}

#[test]
fn a_taker_that_is_late_gets_the_newest_and_the_others_are_counted() {
    let made = Arc::new(AtomicU64::new(0));
    let mut ahead = Slot::start("test", Overflow::DropOldest, StopToken::default(), counting(100, &made)).unwrap();
    until(|| ahead.shared.lock().ended);
    let mut item = 0;
    assert_eq!(ahead.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Item);
    assert_eq!((item, ahead.overwritten()), (100, 99));
    assert_eq!(ahead.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Closed);
}

#[test]
fn dropping_does_not_wait_for_a_taker() {
    let made = Arc::new(AtomicU64::new(0));
    let ahead = Slot::start("test", Overflow::Block, StopToken::default(), counting(u64::MAX - 1, &made)).unwrap();
    until(|| made.load(Ordering::SeqCst) == 2);
    drop(ahead);
    assert_eq!(Arc::strong_count(&made), 1, "the thread has ended");
}

#[test]
fn items_on_demand_are_made_only_when_they_are_wanted() {
    let made = Arc::new(AtomicU64::new(0));
    let mut slot = Slot::start("test", Overflow::OnDemand, StopToken::default(), counting(4, &made)).unwrap();
    let mut item = 0;
    for n in 1..=2 {
        assert_eq!(slot.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Item);
        assert_eq!((item, made.load(Ordering::SeqCst)), (n, n));
    }
    slot.want();
    slot.want();
    until(|| slot.shared.lock().fresh);
    // One that lies ready is taken, and no further one is made for it.
    for n in 3..=4 {
        assert_eq!(slot.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Item);
        assert_eq!((item, made.load(Ordering::SeqCst)), (n, n));
    }
    assert_eq!(slot.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Closed);
    assert_eq!(slot.overwritten(), 0);
}

#[test]
fn a_taker_that_waits_for_ever_is_ended_by_its_token() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let hang = move |_: &mut u64| Ok(wait.recv().is_ok());
    let mut ahead = Slot::start("test", Overflow::Block, StopToken::default(), hang).unwrap();
    let stop = StopToken::default();
    let in_handler = stop.clone();
    let handler = std::thread::spawn(move || in_handler.stop());
    assert_eq!(ahead.take(&mut 0, None, &stop).unwrap(), Recv::Closed);
    handler.join().unwrap();
    drop(go_on);
}

#[test]
fn a_thread_that_hangs_in_its_driver_is_left_behind() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let hang = move |_: &mut u64| Ok(wait.recv().is_ok());
    let ahead = Slot::start("test", Overflow::Block, StopToken::default(), hang).unwrap();
    // This returns although the thread cannot end before `go_on` is dropped.
    drop(ahead);
    drop(go_on);
}

fn damaged(n: u64) -> CameraError {
    CameraError::Damaged { device: "test".into(), sequence: n, reason: "cut short".into() }
}

#[test]
fn damaged_frames_of_a_camera_do_not_hold_the_thread_up() {
    let made = Arc::new(AtomicU64::new(0));
    let count = made.clone();
    let make = move |_: &mut u64| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        if n < 50 { Err(damaged(n)) } else { Ok(n == 50) }
    };
    let mut ahead = Slot::start("test", Overflow::DropOldest, StopToken::default(), make).unwrap();
    until(|| ahead.shared.lock().ended);
    assert_eq!(ahead.take(&mut 0, None, &StopToken::default()).unwrap(), Recv::Item);
    let error = ahead.take(&mut 0, None, &StopToken::default()).unwrap_err();
    assert!(matches!(error, CameraError::Damaged { sequence: 49, .. }), "{error}");
}

#[test]
fn damaged_files_are_all_told_in_their_place() {
    let mut n = 0;
    let make = move |item: &mut u64| {
        n += 1;
        *item = n;
        if n % 2 == 0 { Err(damaged(n)) } else { Ok(n < 6) }
    };
    let mut files = Slot::start("test", Overflow::Block, StopToken::default(), make).unwrap();
    let mut item = 0;
    for n in [1, 3, 5] {
        assert_eq!(files.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Item);
        assert_eq!(item, n);
        let error = files.take(&mut item, None, &StopToken::default()).unwrap_err();
        assert!(matches!(error, CameraError::Damaged { sequence, .. } if sequence == n + 1), "{error}");
    }
    assert_eq!(files.take(&mut item, None, &StopToken::default()).unwrap(), Recv::Closed);
}
