//! Which instructions kernels with f16 weights run on, decided at run time.

use std::fmt;

use super::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::token;
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx2 as Floats;
#[cfg(target_arch = "aarch64")]
use crate::simd::Neon as Floats;

/// Token of portable code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

#[cfg(target_arch = "x86_64")]
token!(
    /// Proof that the CPU has F16C, AVX2 and FMA.
    F16c, is_x86_feature_detected, "f16c"
);
#[cfg(target_arch = "aarch64")]
token!(
    /// Proof that the CPU has NEON.
    Neon, is_aarch64_feature_detected, "neon"
);
#[cfg(target_arch = "aarch64")]
token!(
    /// Proof that the CPU multiplies halves.
    NeonFp16, is_aarch64_feature_detected, "fp16"
);

/// Instructions that kernels with f16 weights are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HalfIsa {
    /// Portable code that widens weights.
    Plain,
    /// F16C widens weights, AVX2 and FMA multiply f32.
    F16c,
    /// NEON widens weights and multiplies f32. Cortex-A53, A72.
    Neon,
    /// NEON multiplies halves. Cortex-A76, A78.
    NeonFp16,
}

impl HalfIsa {
    /// From the least to the most wanted.
    const ALL: [HalfIsa; 4] = [HalfIsa::Plain, HalfIsa::F16c, HalfIsa::Neon, HalfIsa::NeonFp16];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            HalfIsa::Plain => "plain",
            HalfIsa::F16c => "f16c",
            HalfIsa::Neon => "neon",
            HalfIsa::NeonFp16 => "neon-fp16",
        }
    }

    /// Whether halves are multiplied, not only stored.
    pub fn is_arithmetic(self) -> bool {
        self == HalfIsa::NeonFp16
    }

    /// Those of this CPU that belong to an instruction set of the f32 kernels, the best last. Never empty.
    pub fn available(isa: Isa) -> impl Iterator<Item = HalfIsa> {
        HalfIsa::ALL.into_iter().filter(move |half| half.belongs_to(isa) && half.token().is_some())
    }

    /// The best for an instruction set of the f32 kernels.
    pub fn best(isa: Isa) -> HalfIsa {
        HalfIsa::available(isa).last().unwrap_or(HalfIsa::Plain)
    }

    /// Portable code belongs to all: a CPU with AVX2 need not have F16C.
    fn belongs_to(self, isa: Isa) -> bool {
        match self {
            HalfIsa::Plain => true,
            HalfIsa::F16c => matches!(isa, Isa::Avx2 | Isa::Avx512),
            HalfIsa::Neon | HalfIsa::NeonFp16 => isa == Isa::Neon,
        }
    }

    /// The proof that the CPU has it.
    pub(crate) fn token(self) -> Option<HalfToken> {
        match self {
            HalfIsa::Plain => Some(HalfToken::Plain(Plain)),
            #[cfg(target_arch = "x86_64")]
            HalfIsa::F16c => F16c::detect().map(HalfToken::F16c),
            #[cfg(target_arch = "aarch64")]
            HalfIsa::Neon => Neon::detect().map(HalfToken::Neon),
            #[cfg(target_arch = "aarch64")]
            HalfIsa::NeonFp16 => NeonFp16::detect().map(HalfToken::NeonFp16),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
}

impl fmt::Display for HalfIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Instructions together with the proof that the CPU has them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HalfToken {
    Plain(Plain),
    #[cfg(target_arch = "x86_64")]
    F16c(F16c),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(target_arch = "aarch64")]
    NeonFp16(NeonFp16),
}

impl HalfToken {
    /// The best for an instruction set of the f32 kernels; every CPU has one.
    pub(crate) fn best(isa: Isa) -> HalfToken {
        HalfIsa::best(isa).token().unwrap_or(HalfToken::Plain(Plain))
    }

    /// Which instructions they are.
    pub(crate) fn isa(self) -> HalfIsa {
        match self {
            HalfToken::Plain(_) => HalfIsa::Plain,
            #[cfg(target_arch = "x86_64")]
            HalfToken::F16c(_) => HalfIsa::F16c,
            #[cfg(target_arch = "aarch64")]
            HalfToken::Neon(_) => HalfIsa::Neon,
            #[cfg(target_arch = "aarch64")]
            HalfToken::NeonFp16(_) => HalfIsa::NeonFp16,
        }
    }
}
