//! Triple-buffered single-slot channel from a producer thread: how capture, preprocessing and inference overlap.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::camera::CameraError;

/// What happens to an item that has not been taken when the next is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// It is overwritten and counted: the taker gets the newest.
    DropOldest,
    /// The thread waits until it has been taken: the taker gets all.
    Block,
}

/// A thread that makes items, one ahead of whoever takes them.
///
/// Items are swapped, never copied or allocated: the thread fills one while the second lies ready and the taker has the
/// third. Errors are handed over in their place among the items.
pub(crate) struct Slot<T> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
    overwritten: u64,
}

struct Shared<T> {
    slot: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    item: T,
    fresh: bool,
    error: Option<CameraError>,
    ended: bool,
    stop: bool,
    overwritten: u64,
}

/// How a wait for an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recv {
    /// There is one.
    Item,
    /// There will be none any more.
    Closed,
    /// None came in time.
    Timeout,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it holds the lock; were it so, the slot would still be whole.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, slot: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default + Send + 'static> Slot<T> {
    /// Starts a thread that calls `make` again and again, until it returns `false` for the end.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(crate) fn start(
        name: &str,
        untaken: Overflow,
        make: impl FnMut(&mut T) -> Result<bool, CameraError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let slot = State { item: T::default(), fresh: false, error: None, ended: false, stop: false, overwritten: 0 };
        let shared = Arc::new(Shared { slot: Mutex::new(slot), changed: Condvar::new() });
        let in_thread = shared.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let _end = End(&in_thread);
            work(make, untaken, &in_thread);
        })?;
        Ok(Self { shared, thread: Some(thread), overwritten: 0 })
    }

    /// Swaps the next item into `item`, and waits for it where there is none, up to a time.
    ///
    /// # Errors
    /// What `make` returned in place of an item; the thread goes on.
    pub(crate) fn take(&mut self, item: &mut T, limit: Option<Duration>) -> Result<Recv, CameraError> {
        let shared = self.shared.clone();
        let mut slot = shared.lock();
        loop {
            if slot.fresh {
                slot.fresh = false;
                std::mem::swap(item, &mut slot.item);
                self.overwritten = slot.overwritten;
                shared.changed.notify_all();
                return Ok(Recv::Item);
            }
            if let Some(error) = slot.error.take() {
                shared.changed.notify_all();
                return Err(error);
            }
            if slot.ended {
                return Ok(Recv::Closed);
            }
            let Some(limit) = limit else {
                slot = shared.wait(slot);
                continue;
            };
            let waited = shared.changed.wait_timeout(slot, limit).unwrap_or_else(PoisonError::into_inner);
            slot = waited.0;
            if waited.1.timed_out() && !slot.fresh && slot.error.is_none() && !slot.ended {
                return Ok(Recv::Timeout);
            }
        }
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
        let result = make(&mut item);
        let mut slot = shared.lock();
        match result {
            Ok(true) => {
                while untaken == Overflow::Block && slot.fresh && !slot.stop {
                    slot = shared.wait(slot);
                }
                slot.overwritten += u64::from(slot.fresh);
                slot.fresh = true;
                std::mem::swap(&mut slot.item, &mut item);
                shared.changed.notify_all();
            }
            Ok(false) => return,
            Err(error) => {
                slot.error = Some(error);
                shared.changed.notify_all();
                // The taker decides whether to go on: wait until it has seen the error.
                while slot.error.is_some() && !slot.stop {
                    slot = shared.wait(slot);
                }
            }
        }
        if slot.stop {
            return;
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // So that devices are closed when this returns. A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

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
        let mut ahead = Slot::start("test", Overflow::Block, counting(5, &made)).unwrap();
        let mut item = 0;
        for n in 1..=5 {
            // One lies ready and one is complete, whatever the taker does meanwhile.
            until(|| made.load(Ordering::SeqCst) == n + 1);
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(made.load(Ordering::SeqCst), n + 1);
            assert_eq!(ahead.take(&mut item, None).unwrap(), Recv::Item);
            assert_eq!(item, n);
        }
        assert_eq!(ahead.take(&mut item, None).unwrap(), Recv::Closed);
        assert_eq!(ahead.overwritten(), 0);
    }

    #[test]
    fn a_taker_that_is_late_gets_the_newest_and_the_others_are_counted() {
        let made = Arc::new(AtomicU64::new(0));
        let mut ahead = Slot::start("test", Overflow::DropOldest, counting(100, &made)).unwrap();
        until(|| ahead.shared.lock().ended);
        let mut item = 0;
        assert_eq!(ahead.take(&mut item, None).unwrap(), Recv::Item);
        assert_eq!((item, ahead.overwritten()), (100, 99));
        assert_eq!(ahead.take(&mut item, None).unwrap(), Recv::Closed);
    }

    #[test]
    fn dropping_does_not_wait_for_a_taker() {
        let made = Arc::new(AtomicU64::new(0));
        let ahead = Slot::start("test", Overflow::Block, counting(u64::MAX - 1, &made)).unwrap();
        until(|| made.load(Ordering::SeqCst) == 2);
        drop(ahead);
        assert_eq!(Arc::strong_count(&made), 1, "the thread has ended");
    }
}
