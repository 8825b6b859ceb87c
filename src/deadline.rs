//! Work on files from outside: on a thread with a large stack, and given up when it takes too long.
//!
//! A thread cannot be stopped from outside. One that is given up notices at its next [`check`] and ends; where it is in one
//! long step of tract, it goes on until that is done. How many such threads there may be is bounded.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Stack of the thread that works: graphs are walked recursively in places.
const STACK_BYTES: usize = 64 << 20;
/// Threads that were given up and still work, at most: beyond it, nothing new is begun.
const MOST_LATE: usize = 8;

/// Why there is no result.
#[derive(Debug, PartialEq)]
pub(crate) enum Overdue {
    /// The time is over.
    Late,
    /// The work panicked.
    Panicked,
    /// So many earlier pieces of work were given up and have not ended.
    Busy(usize),
}

/// What [`check`] says on a thread that was given up; nobody reads it.
#[derive(Debug, thiserror::Error)]
#[error("given up: the time is over")]
pub(crate) struct GivenUp;

const WORKING: u8 = 0;
const GIVEN_UP: u8 = 1;
const ENDED: u8 = 2;

/// Threads that were given up and have not ended.
static LATE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Of a thread that works for [`within`]: how that stands.
    static STANDING: RefCell<Option<Arc<AtomicU8>>> = const { RefCell::new(None) };
}

/// An error on a thread whose caller has given it up: called between the steps of long work.
pub(crate) fn check() -> Result<(), GivenUp> {
    let given_up = STANDING.with_borrow(|s| s.as_ref().is_some_and(|s| s.load(Ordering::Relaxed) == GIVEN_UP));
    if given_up { Err(GivenUp) } else { Ok(()) }
}

/// Says that a thread has ended, however it did.
struct End<'a>(&'a AtomicU8, &'a AtomicUsize);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if self.0.swap(ENDED, Ordering::AcqRel) == GIVEN_UP {
            self.1.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Runs `work` on a thread of its own, whose stack is large, for at most `limit`; without a limit, as long as it takes.
pub(crate) fn within<T: Send + 'static>(
    limit: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Overdue> {
    within_counted(limit, &LATE, work)
}

fn within_counted<T: Send + 'static>(
    limit: Option<Duration>,
    late: &'static AtomicUsize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Overdue> {
    match late.load(Ordering::Acquire) {
        0..MOST_LATE => {}
        count => return Err(Overdue::Busy(count)),
    }
    let standing = Arc::new(AtomicU8::new(WORKING));
    let in_thread = standing.clone();
    let (sender, receiver) = sync_channel(1);
    let run = move || {
        let _end = End(&in_thread, late);
        STANDING.set(Some(in_thread.clone()));
        // Nobody listens any more if the time is over.
        let _ = sender.send(work());
    };
    if thread::Builder::new().name("load".into()).stack_size(STACK_BYTES).spawn(run).is_err() {
        // `work` has gone with the closure; a system without threads cannot run a model either.
        return Err(Overdue::Panicked);
    }
    let received = match limit {
        Some(limit) => receiver.recv_timeout(limit),
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match received {
        Ok(result) => Ok(result),
        Err(RecvTimeoutError::Disconnected) => Err(Overdue::Panicked),
        Err(RecvTimeoutError::Timeout) => {
            // Counted first: the thread may end between the two.
            late.fetch_add(1, Ordering::AcqRel);
            if standing.compare_exchange(WORKING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_err() {
                late.fetch_sub(1, Ordering::AcqRel);
                return receiver.try_recv().map_err(|_| Overdue::Panicked);
            }
            Err(Overdue::Late)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn work_that_never_ends_is_given_up() {
        let (hold, held) = channel::<()>();
        let late = within(Some(Duration::from_millis(10)), move || {
            let _ = held.recv();
        });
        assert_eq!(late, Err(Overdue::Late));
        drop(hold);
        assert_eq!(within(Some(Duration::from_secs(600)), || 7), Ok(7));
        assert_eq!(within(Some(Duration::MAX), || 7), Ok(7));
        assert_eq!(within(None, || 7), Ok(7));
    }

    #[test]
    fn work_that_is_given_up_ends_at_its_next_step() {
        let (told, tells) = channel();
        let late = within(Some(Duration::from_millis(1)), move || {
            while check().is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
            let _ = told.send(());
        });
        assert_eq!(late, Err(Overdue::Late));
        assert_eq!(tells.recv(), Ok(()));
        assert!(check().is_ok());
    }

    #[test]
    fn threads_that_were_given_up_are_bounded() {
        static LATE: AtomicUsize = AtomicUsize::new(0);
        let holds: Vec<_> = (0..MOST_LATE)
            .map(|_| {
                let (hold, held) = channel::<()>();
                let late = within_counted(Some(Duration::from_millis(1)), &LATE, move || {
                    let _ = held.recv();
                });
                assert_eq!(late, Err(Overdue::Late));
                hold
            })
            .collect();
        assert_eq!(within_counted(None, &LATE, || 7), Err(Overdue::Busy(MOST_LATE)));
        drop(holds);
        while LATE.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        assert_eq!(within_counted(None, &LATE, || 7), Ok(7));
    }

    #[test]
    fn a_stack_is_large_without_a_deadline_too() {
        // As deep as a hostile graph is nested; far beyond what a test's thread of 2 MiB has room for.
        fn deep(levels: usize) -> usize {
            let frame = std::hint::black_box([levels; 64]);
            if levels == 0 { 0 } else { deep(levels - 1) + usize::from(frame[levels % 64] > 0) }
        }
        assert_eq!(within(None, || deep(40_000)), Ok(40_000));
    }

    #[test]
    fn a_panic_is_told() {
        let result = within(Some(Duration::from_secs(600)), || crate::quiet::catch(|| -> u8 { panic!("no") }));
        assert_eq!(result, Ok(Err("no".into())));
        assert_eq!(within(None, || crate::quiet::catch(|| -> u8 { panic!("no") })), Ok(Err("no".into())));
    }
}
