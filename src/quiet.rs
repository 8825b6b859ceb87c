//! Panics of a library that runs what a file says: caught, and silent.
//!
//! tract panics on some graphs. Such a panic is turned into an error that names the model, so the default message and
//! backtrace on the standard error would only mislead.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use dyn_perceiver_kernels::thread_pool;

thread_local! {
    /// How many [`catch`]es this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `f`; a panic inside becomes an error with its message, and nothing is printed.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    install();
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| match payload.downcast::<&'static str>() {
        Ok(text) => text.to_string(),
        Err(payload) => match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(_) => "a panic without a message".to_string(),
        },
    })
}

/// Puts a hook in front of the one that is there, once.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !is_silent() {
                before(info);
            }
        }));
    });
}

/// Whether a panic of this thread is told elsewhere: it is in a [`catch`], or a worker of a thread pool, which hands its
/// panics on to the thread that it works for.
fn is_silent() -> bool {
    // A thread that is about to end has no thread-locals any more.
    DEPTH.try_with(Cell::get).unwrap_or(0) > 0 || thread_pool::is_worker()
}

#[cfg(test)]
mod tests {
    use std::panic::{panic_any, resume_unwind};

    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        assert_eq!(catch(|| 3), Ok(3));
        assert_eq!(catch(|| -> u8 { panic!("at {}", 7) }), Err("at 7".into()));
        assert_eq!(catch(|| -> u8 { panic_any("text") }), Err("text".into()));
        assert_eq!(catch(|| -> u8 { panic_any(7) }), Err("a panic without a message".into()));
        // One inside another.
        assert_eq!(catch(|| catch(|| resume_unwind(Box::new("inner")))), Ok(Err::<(), _>("inner".into())));
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn a_panic_of_a_pools_worker_is_silent_and_handed_on() {
        let mut pool = thread_pool::ThreadPool::new(3.try_into().unwrap()).unwrap();
        let caller = std::thread::current().id();
        let here = || std::thread::current().id() == caller;
        pool.run(64, &|_| assert!(here() || is_silent()));
        assert!(!is_silent());
        let caught = catch(|| pool.run(64, &|part| assert!(part < 40 || !is_silent(), "part {part}")));
        assert!(caught.is_err_and(|reason| reason.starts_with("part ")));
    }
}
