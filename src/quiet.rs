//! Panics of a library that runs what a file says: caught, and silent.
//!
//! tract panics on some graphs. Such a panic is turned into an error that names the model, so the default message and
//! backtrace on the standard error would only mislead.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

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
            // A thread that is about to end has no thread-locals any more.
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                before(info);
            }
        }));
    });
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
}
