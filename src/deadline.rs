//! Work that has to be done by a certain time.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Stack of the thread that works: graphs are walked recursively in places.
const STACK_BYTES: usize = 64 << 20;

/// Why there is no result.
#[derive(Debug, PartialEq)]
pub(crate) enum Overdue {
    /// The time is over. The thread cannot be stopped: it goes on until it is done, or the process ends.
    Late,
    /// The work panicked.
    Panicked,
}

/// Runs `work` on a thread of its own for at most `limit`; on this thread if there is no limit.
pub(crate) fn within<T: Send + 'static>(
    limit: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Overdue> {
    let Some(limit) = limit else { return Ok(work()) };
    let (sender, receiver) = sync_channel(1);
    let run = move || {
        // Nobody listens any more if the time is over.
        let _ = sender.send(work());
    };
    if thread::Builder::new().name("load".into()).stack_size(STACK_BYTES).spawn(run).is_err() {
        // `work` has gone with the closure; a system without threads cannot run a model either.
        return Err(Overdue::Panicked);
    }
    receiver.recv_timeout(limit).map_err(|error| match error {
        RecvTimeoutError::Timeout => Overdue::Late,
        RecvTimeoutError::Disconnected => Overdue::Panicked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_never_ends_is_given_up() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let late = within(Some(Duration::from_millis(10)), move || {
            let _ = held.recv();
        });
        assert_eq!(late, Err(Overdue::Late));
        drop(hold);
        assert_eq!(within(Some(Duration::from_secs(600)), || 7), Ok(7));
        assert_eq!(within(None, || 7), Ok(7));
    }

    #[test]
    fn a_panic_is_told() {
        let result = within(Some(Duration::from_secs(600)), || crate::quiet::catch(|| -> u8 { panic!("no") }));
        assert_eq!(result, Ok(Err("no".into())));
    }
}
