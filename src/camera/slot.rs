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
#[path = "slot_tests.rs"]
mod tests;
