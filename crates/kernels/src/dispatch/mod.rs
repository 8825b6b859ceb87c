//! Runtime ISA dispatch: which instruction set the kernels run on, chosen in this module alone: f32 here, int8 and f16 below.
//!
//! [`select_isa`] takes the best instruction set of the CPU, or the one that the environment variable
//! [`ISA_VARIABLE`] names, for tests and reports. A [`ThreadPool`](crate::thread_pool::ThreadPool) carries the choice
//! to every kernel that runs on it, so that one process can run the same network on several instruction sets.

pub(crate) mod half;
pub(crate) mod int8;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use thiserror::Error;

pub use self::half::HalfIsa;
pub(crate) use self::half::HalfToken;
pub(crate) use self::int8::DotToken;
pub use self::int8::Int8Isa;

#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
use crate::simd::Plain;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512, Simd as _};

/// The environment variable that forces an instruction set: `plain`, `avx2`, `avx512` or `neon`.
pub const ISA_VARIABLE: &str = "DYN_PERCEIVER_ISA";

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable code, compiled for what every CPU of the target has.
    Plain,
    /// AVX2 and FMA, on x86-64.
    Avx2,
    /// AVX-512F, AVX2 and FMA, on x86-64.
    Avx512,
    /// NEON, on aarch64.
    Neon,
}

/// Why an instruction set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IsaError {
    /// No instruction set has this name.
    #[error("no instruction set {name:?}: expected plain, avx2, avx512 or neon")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The environment variable names no instruction set.
    #[error("{ISA_VARIABLE}={}: expected plain, avx2, avx512 or neon", value.display())]
    Variable {
        /// The variable's value.
        value: OsString,
    },
    /// The CPU lacks it.
    #[error("this CPU does not have {isa}: it has {}", Isa::available().map(Isa::name).collect::<Vec<_>>().join(", "))]
    Unavailable {
        /// The instruction set.
        isa: Isa,
    },
}

impl Isa {
    /// From the least to the most wanted.
    const ALL: [Isa; 4] = [Isa::Plain, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The name that [`ISA_VARIABLE`] and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Plain => "plain",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        self.token().is_some()
    }

    /// The instruction sets of this CPU, the best last.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The best instruction set of this CPU.
    pub fn best() -> Isa {
        Isa::available().last().unwrap_or(Isa::Plain)
    }

    fn token(self) -> Option<Token> {
        match self {
            Isa::Plain => Some(Token::Plain(Plain)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().map(Token::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().map(Token::Avx512),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Neon::detect().map(Token::Neon),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Isa, IsaError> {
        let found = Isa::ALL.into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| IsaError::Unknown { name: name.to_owned() })
    }
}

/// The instruction set of new thread pools: the one that [`ISA_VARIABLE`] names, else the best of this CPU. The
/// variable is read once in a process.
///
/// # Errors
/// The variable names no instruction set, or one that this CPU lacks.
pub fn select_isa() -> Result<Isa, IsaError> {
    static SELECTED: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
    SELECTED.get_or_init(|| choose(std::env::var_os(ISA_VARIABLE).as_deref())).clone()
}

/// As [`select_isa`], for reports: the best instruction set of this CPU where the variable's value is refused.
pub fn isa() -> Isa {
    select_isa().unwrap_or_else(|_| Isa::best())
}

/// An empty variable counts as none.
fn choose(variable: Option<&OsStr>) -> Result<Isa, IsaError> {
    let Some(value) = variable.filter(|value| !value.is_empty()) else { return Ok(Isa::best()) };
    let isa = value.to_str().and_then(|name| name.parse().ok());
    let isa: Isa = isa.ok_or_else(|| IsaError::Variable { value: value.to_owned() })?;
    if isa.is_available() { Ok(isa) } else { Err(IsaError::Unavailable { isa }) }
}

/// An instruction set together with the proof that the CPU has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    Plain(Plain),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Token {
    /// Detects an instruction set.
    pub(crate) fn detect(isa: Isa) -> Result<Token, IsaError> {
        isa.token().ok_or(IsaError::Unavailable { isa })
    }

    /// One with at most eight lanes, for what is too narrow for this one.
    pub(crate) fn narrow(self) -> Token {
        match self {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(simd) => Token::Avx2(simd.narrow()),
            token => token,
        }
    }

    /// Which instruction set it is.
    pub(crate) fn isa(self) -> Isa {
        match self {
            Token::Plain(_) => Isa::Plain,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Isa::Avx512,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Isa::Neon,
        }
    }
}

/// Defines a kernel's entry point from its generic body: `dispatch! { fn NAME(ARGS) = BODY; }` becomes
/// `fn NAME(token: Token, ARGS)`, which calls `BODY(simd, ARGS)` compiled for the token's instruction set. `BODY` and
/// what it calls must be `#[inline(always)]`, or they are compiled for the baseline of the target.
macro_rules! dispatch {
    ($(#[$attribute:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident;) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(token: $crate::dispatch::Token, $($arg: $ty),*) {
            match token {
                $crate::dispatch::Token::Plain(simd) => $body(simd, $($arg),*),
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Token::Avx2(simd) => {
                    #[target_feature(enable = "avx2,fma")]
                    #[allow(clippy::too_many_arguments)]
                    fn avx2(simd: $crate::simd::Avx2, $($arg: $ty),*) {
                        $body(simd, $($arg),*)
                    }
                    // SAFETY: the token proves that the CPU has what `avx2` is compiled for.
                    unsafe { avx2(simd, $($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Token::Avx512(simd) => {
                    $name($crate::dispatch::Token::Avx2(simd.base()), $($arg),*)
                }
                #[cfg(target_arch = "aarch64")]
                $crate::dispatch::Token::Neon(simd) => $body(simd, $($arg),*),
            }
        }
    };
}
pub(crate) use dispatch;

/// As [`dispatch!`], for bodies that gain by AVX-512, which [`dispatch!`] runs on AVX2: each is compiled once more.
macro_rules! dispatch_wide {
    ($(#[$attribute:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident;) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(token: $crate::dispatch::Token, $($arg: $ty),*) {
            $crate::dispatch::dispatch! {
                fn others($($arg: $ty),*) = $body;
            }
            #[cfg(target_arch = "x86_64")]
            if let $crate::dispatch::Token::Avx512(simd) = token {
                #[target_feature(enable = "avx2,fma,avx512f")]
                #[allow(clippy::too_many_arguments)]
                fn avx512(simd: $crate::simd::Avx512, $($arg: $ty),*) {
                    $body(simd, $($arg),*)
                }
                // SAFETY: the token proves that the CPU has what `avx512` is compiled for.
                return unsafe { avx512(simd, $($arg),*) };
            }
            others(token, $($arg),*)
        }
    };
}
pub(crate) use dispatch_wide;

/// A token that only detection makes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! token {
    ($(#[$attribute:meta])* $name:ident, $detected:ident, $($feature:tt),*) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(Floats);

        impl $name {
            /// The token, if the CPU has the instructions.
            pub(crate) fn detect() -> Option<$name> {
                let found = true $(&& std::arch::$detected!($feature))*;
                Floats::detect().filter(|_| found).map($name)
            }

            /// The proof that the CPU has what the f32 kernels need.
            #[inline(always)]
            pub(crate) fn base(self) -> Floats {
                self.0
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use token;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isa_names_are_parsed_and_others_refused() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
            assert_eq!(isa.to_string(), isa.name());
        }
        let error = "sse9".parse::<Isa>().unwrap_err();
        assert_eq!(error.to_string(), "no instruction set \"sse9\": expected plain, avx2, avx512 or neon");
    }

    #[test]
    fn isa_variable_chooses_among_those_of_the_cpu() {
        assert_eq!(choose(None).unwrap(), Isa::best());
        assert_eq!(choose(Some(OsStr::new(""))).unwrap(), Isa::best());
        for isa in Isa::ALL {
            let chosen = choose(Some(OsStr::new(isa.name())));
            let expected = if isa.is_available() { Ok(isa) } else { Err(IsaError::Unavailable { isa }) };
            assert_eq!(chosen, expected);
        }
        let error = choose(Some(OsStr::new("AVX2 "))).unwrap_err();
        assert_eq!(error.to_string(), "DYN_PERCEIVER_ISA=AVX2 : expected plain, avx2, avx512 or neon");
    }

    #[test]
    fn isa_of_another_architecture_is_unavailable() {
        let foreign = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
        assert!(!foreign.is_available());
        let error = Token::detect(foreign).unwrap_err();
        let own = Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ");
        assert_eq!(error.to_string(), format!("this CPU does not have {foreign}: it has {own}"));
        assert!(Isa::available().all(|isa| Token::detect(isa).unwrap().isa() == isa));
    }
}
