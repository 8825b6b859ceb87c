//! Triple-buffered single-slot channel from a producer thread: how capture, preprocessing and inference overlap.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::CameraError;
use super::stop::{SLICE, StopToken, after};

/// What happens to an item that has not been taken when the next is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// It is overwritten and counted: the taker gets the newest.
    DropOldest,
    /// The thread waits until it has been taken: the taker gets all.
    Block,
    /// There is no next one: an item is begun only once it is [wanted](Slot::want), or waited for.
    OnDemand,
}

/// How long the owner of a thread waits for its end: devices are closed then. A driver that hangs longer is left behind.
const LONGEST_END: Duration = Duration::from_millis(1500);

/// A thread that makes items, one ahead of whoever takes them.
///
/// Items are swapped, never copied or allocated: the thread fills one while the second lies ready and the taker has the
/// third. Errors are handed over in their place among the items; only where items may be dropped, errors about a single
/// frame may be, too, so that they do not hold the thread up.
pub(crate) struct Slot<T> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
    /// Ends the waits of `make`.
    stop: StopToken,
    overwritten: u64,
}

impl<T> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let thread = self.thread.as_ref().and_then(|thread| thread.thread().name());
        f.debug_struct("Slot").field("thread", &thread).field("overwritten", &self.overwritten).finish_non_exhaustive()
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    item: T,
    fresh: bool,
    error: Option<CameraError>,
    /// Whether the next item is to be made, where that is on demand, and whether one is being made.
    wanted: bool,
    making: bool,
    ended: bool,
    stop: bool,
    overwritten: u64,
}

/// How a wait for an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recv {
    /// There is one.
    Item,
    /// There will be none any more, or the taker was told to stop.
    Closed,
    /// None came in time.
    Timeout,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it holds the lock; were it so, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an item made, unless there is one or will be.
    fn want(&self, state: &mut State<T>) {
        if !state.fresh && !state.making && state.error.is_none() {
            state.wanted = true;
            self.changed.notify_all();
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&self, state: MutexGuard<'a, State<T>>, limit: Duration) -> MutexGuard<'a, State<T>> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl<T: Default + Send + 'static> Slot<T> {
    /// Starts a thread that calls `make` again and again, until it returns `false` for the end. `stop` is set when the
    /// slot is dropped: what `make` waits for should end then.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(crate) fn start(
        name: &str,
        untaken: Overflow,
        stop: StopToken,
        make: impl FnMut(&mut T) -> Result<bool, CameraError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let state = State {
            item: T::default(),
            fresh: false,
            error: None,
            wanted: false,
            making: false,
            ended: false,
            stop: false,
            overwritten: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let in_thread = shared.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let _end = End(&in_thread);
            work(make, untaken, &in_thread);
        })?;
        Ok(Self { shared, thread: Some(thread), stop, overwritten: 0 })
    }

    /// Swaps the next item into `item`, and waits for it where there is none, up to a time or until `stop` is set.
    ///
    /// # Errors
    /// What `make` returned in place of an item; the thread goes on.
    pub(crate) fn take(
        &mut self,
        item: &mut T,
        limit: Option<Duration>,
        stop: &StopToken,
    ) -> Result<Recv, CameraError> {
        let until = limit.map(after);
        let mut state = self.shared.lock();
        self.shared.want(&mut state);
        loop {
            if state.fresh {
                state.fresh = false;
                std::mem::swap(item, &mut state.item);
                self.overwritten = state.overwritten;
                self.shared.changed.notify_all();
                return Ok(Recv::Item);
            }
            if let Some(error) = state.error.take() {
                self.shared.changed.notify_all();
                return Err(error);
            }
            if state.ended || stop.is_stopped() {
                return Ok(Recv::Closed);
            }
            let left = until.map_or(SLICE, |until| until.saturating_duration_since(Instant::now()).min(SLICE));
            if left.is_zero() {
                return Ok(Recv::Timeout);
            }
            state = self.shared.wait_for(state, left);
        }
    }

    /// Has the next item made ahead, where that is on demand.
    #[cfg(any(feature = "tract", test))]
    pub(crate) fn want(&mut self) {
        let mut state = self.shared.lock();
        self.shared.want(&mut state);
    }

    /// Items overwritten before the one that was last taken.
    pub(crate) fn overwritten(&self) -> u64 {
        self.overwritten
    }
}

/// Ends the stream when the thread does, also by a panic in a driver's binding.
struct End<'a, T>(&'a Shared<T>);

impl<T> Drop for End<'_, T> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

fn work<T: Default>(mut make: impl FnMut(&mut T) -> Result<bool, CameraError>, untaken: Overflow, shared: &Shared<T>) {
    let mut item = T::default();
    loop {
        if untaken == Overflow::OnDemand {
            let mut state = shared.lock();
            while !state.wanted && !state.stop {
                state = shared.wait(state);
            }
            if state.stop {
                return;
            }
            (state.wanted, state.making) = (false, true);
        }
        let result = make(&mut item);
        let mut state = shared.lock();
        state.making = false;
        match result {
            Ok(true) => {
                while untaken == Overflow::Block && state.fresh && !state.stop {
                    state = shared.wait(state);
                }
                state.overwritten += u64::from(state.fresh);
                state.fresh = true;
                std::mem::swap(&mut state.item, &mut item);
                shared.changed.notify_all();
            }
            Ok(false) => return,
            Err(error) => {
                let waits = untaken != Overflow::DropOldest || !error.is_of_one_frame();
                state.error = Some(error);
                shared.changed.notify_all();
                // The taker decides whether to go on: wait until it has seen the error.
                while waits && state.error.is_some() && !state.stop {
                    state = shared.wait(state);
                }
            }
        }
        if state.stop {
            return;
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        self.stop.stop();
        let until = Instant::now() + LONGEST_END;
        let mut state = self.shared.lock();
        state.stop = true;
        self.shared.changed.notify_all();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::warn!("a thread does not end: its device hangs");
                return;
            }
            state = self.shared.wait_for(state, left);
        }
        drop(state);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

/// However a camera hangs, a loop has ended two seconds after it was told to: one wait is noticed, and threads get this long.
const _: () = assert!(2 * SLICE.as_millis() + LONGEST_END.as_millis() < 2000);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Counts upwards to `last`, and tells outside how far it has come.
    fn counting(
        last: u64,
        made: &Arc<AtomicU64>,
    ) -> impl FnMut(&mut u64) -> Result<bool, CameraError> + Send + 'static {
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
}
