//! How many threads a command works on.

use std::num::NonZeroUsize;
use std::str::FromStr;

/// A number of threads, or as many as there are cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    Auto,
    Count(NonZeroUsize),
}

impl Threads {
    /// The number of threads.
    pub(crate) fn count(self) -> NonZeroUsize {
        match self {
            Threads::Count(count) => count,
            Threads::Auto => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl FromStr for Threads {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        /// More would only be a slip of the finger.
        const MOST: usize = 1024;
        match text {
            "auto" => Ok(Threads::Auto),
            number => number
                .parse()
                .ok()
                .filter(|count: &NonZeroUsize| count.get() <= MOST)
                .map(Threads::Count)
                .ok_or("expected a number from 1 to 1024, or auto for one thread per core"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_a_number_or_auto() {
        assert_eq!("auto".parse(), Ok(Threads::Auto));
        assert_eq!("4".parse(), Ok(Threads::Count(NonZeroUsize::new(4).unwrap())));
        for text in ["0", "-1", "all", "5000", ""] {
            assert!(text.parse::<Threads>().is_err(), "{text}");
        }
    }
}
