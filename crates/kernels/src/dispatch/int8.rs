//! Which instructions the int8 kernels run on, decided at run time.

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
    /// Proof that the CPU has AVX2.
    Avx2, is_x86_feature_detected, "avx2"
);
#[cfg(target_arch = "x86_64")]
token!(
    /// Proof that the CPU has AVX-VNNI.
    AvxVnni, is_x86_feature_detected, "avxvnni"
);
#[cfg(target_arch = "x86_64")]
token!(
    /// Proof that the CPU has AVX-512 VNNI on 256-bit registers.
    Avx512Vnni, is_x86_feature_detected, "avx512f", "avx512vl", "avx512vnni"
);
#[cfg(target_arch = "aarch64")]
token!(
    /// Proof that the CPU has NEON.
    Neon, is_aarch64_feature_detected, "neon"
);
#[cfg(target_arch = "aarch64")]
token!(
    /// Proof that the CPU has the dot-product extension.
    NeonDot, is_aarch64_feature_detected, "dotprod"
);

/// AVX2 with products of 16 bits, for weights that `vpmaddubsw` would saturate.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2Wide(pub(crate) Avx2);

/// Instructions that int8 kernels are written for. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Int8Isa {
    /// Portable code.
    Plain,
    /// AVX2: `vpmaddubsw`, whose 16-bit sums packed weights never saturate.
    Avx2,
    /// AVX-VNNI: `vpdpbusd`.
    AvxVnni,
    /// AVX-512 VNNI on 256-bit registers: `vpdpbusd`.
    Avx512Vnni,
    /// NEON: `smull`, `smlal2`, `sadalp`. Cortex-A53, A72.
    Neon,
    /// NEON with the dot-product extension: `sdot`. Cortex-A76, A78.
    NeonDot,
}

impl Int8Isa {
    /// From the least to the most wanted.
    const ALL: [Int8Isa; 6] =
        [Int8Isa::Plain, Int8Isa::Avx2, Int8Isa::AvxVnni, Int8Isa::Avx512Vnni, Int8Isa::Neon, Int8Isa::NeonDot];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Int8Isa::Plain => "plain",
            Int8Isa::Avx2 => "avx2",
            Int8Isa::AvxVnni => "avx-vnni",
            Int8Isa::Avx512Vnni => "avx512-vnni",
            Int8Isa::Neon => "neon",
            Int8Isa::NeonDot => "neon-dot",
        }
    }

    /// Those of this CPU that belong to an instruction set of the f32 kernels, the best last. Never empty.
    pub fn available(isa: Isa) -> impl Iterator<Item = Int8Isa> {
        Int8Isa::ALL.into_iter().filter(move |int8| int8.belongs_to(isa) && int8.token().is_some())
    }

    /// The best for an instruction set of the f32 kernels.
    pub fn best(isa: Isa) -> Int8Isa {
        Int8Isa::available(isa).last().unwrap_or(Int8Isa::Plain)
    }

    fn belongs_to(self, isa: Isa) -> bool {
        match self {
            Int8Isa::Plain => isa == Isa::Plain,
            Int8Isa::Avx2 | Int8Isa::AvxVnni | Int8Isa::Avx512Vnni => matches!(isa, Isa::Avx2 | Isa::Avx512),
            Int8Isa::Neon | Int8Isa::NeonDot => isa == Isa::Neon,
        }
    }

    /// The proof that the CPU has it.
    pub(crate) fn token(self) -> Option<DotToken> {
        match self {
            Int8Isa::Plain => Some(DotToken::Plain(Plain)),
            #[cfg(target_arch = "x86_64")]
            Int8Isa::Avx2 => Avx2::detect().map(DotToken::Avx2),
            #[cfg(target_arch = "x86_64")]
            Int8Isa::AvxVnni => AvxVnni::detect().map(DotToken::AvxVnni),
            #[cfg(target_arch = "x86_64")]
            Int8Isa::Avx512Vnni => Avx512Vnni::detect().map(DotToken::Avx512Vnni),
            #[cfg(target_arch = "aarch64")]
            Int8Isa::Neon => Neon::detect().map(DotToken::Neon),
            #[cfg(target_arch = "aarch64")]
            Int8Isa::NeonDot => NeonDot::detect().map(DotToken::NeonDot),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
}

impl fmt::Display for Int8Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Instructions together with the proof that the CPU has them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DotToken {
    Plain(Plain),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx2Wide(Avx2Wide),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
}

impl DotToken {
    /// The best for an instruction set of the f32 kernels; every CPU has one.
    pub(crate) fn best(isa: Isa) -> DotToken {
        Int8Isa::best(isa).token().unwrap_or(DotToken::Plain(Plain))
    }

    /// Which instructions they are.
    pub(crate) fn isa(self) -> Int8Isa {
        match self {
            DotToken::Plain(_) => Int8Isa::Plain,
            #[cfg(target_arch = "x86_64")]
            DotToken::Avx2(_) | DotToken::Avx2Wide(_) => Int8Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            DotToken::AvxVnni(_) => Int8Isa::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            DotToken::Avx512Vnni(_) => Int8Isa::Avx512Vnni,
            #[cfg(target_arch = "aarch64")]
            DotToken::Neon(_) => Int8Isa::Neon,
            #[cfg(target_arch = "aarch64")]
            DotToken::NeonDot(_) => Int8Isa::NeonDot,
        }
    }

    /// The same instructions, or where they would not be exact for wide weights those that are.
    pub(crate) fn taking(self, wide: bool) -> DotToken {
        match self {
            _ if !wide => self,
            #[cfg(target_arch = "x86_64")]
            DotToken::Avx2(avx2) => DotToken::Avx2Wide(Avx2Wide(avx2)),
            _ => self,
        }
    }

    /// Whether rows are read as signed bytes.
    pub(crate) fn is_signed(self) -> bool {
        matches!(self.isa(), Int8Isa::Neon | Int8Isa::NeonDot)
    }
}

/// As `dispatch!`, for [`DotToken`] and bodies generic over the kernel of its instructions.
macro_rules! dispatch_dot {
    ($(#[$attribute:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident;) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(token: $crate::dispatch::int8::DotToken, $($arg: $ty),*) {
            use $crate::dispatch::int8::{self, DotToken};
            match token {
                DotToken::Plain(kernel) => $body(kernel, $($arg),*),
                #[cfg(target_arch = "x86_64")]
                DotToken::Avx2(kernel) => {
                    #[target_feature(enable = "avx2,fma")]
                    #[allow(clippy::too_many_arguments)]
                    fn avx2(kernel: int8::Avx2, $($arg: $ty),*) {
                        $body(kernel, $($arg),*)
                    }
                    // SAFETY: the token proves that the CPU has what the function is compiled for, here and below.
                    unsafe { avx2(kernel, $($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                DotToken::Avx2Wide(kernel) => {
                    #[target_feature(enable = "avx2,fma")]
                    #[allow(clippy::too_many_arguments)]
                    fn avx2_wide(kernel: int8::Avx2Wide, $($arg: $ty),*) {
                        $body(kernel, $($arg),*)
                    }
                    // SAFETY: as above.
                    unsafe { avx2_wide(kernel, $($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                DotToken::AvxVnni(kernel) => {
                    #[target_feature(enable = "avx2,fma,avxvnni")]
                    #[allow(clippy::too_many_arguments)]
                    fn avx_vnni(kernel: int8::AvxVnni, $($arg: $ty),*) {
                        $body(kernel, $($arg),*)
                    }
                    // SAFETY: as above.
                    unsafe { avx_vnni(kernel, $($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                DotToken::Avx512Vnni(kernel) => {
                    #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512vnni")]
                    #[allow(clippy::too_many_arguments)]
                    fn avx512_vnni(kernel: int8::Avx512Vnni, $($arg: $ty),*) {
                        $body(kernel, $($arg),*)
                    }
                    // SAFETY: as above.
                    unsafe { avx512_vnni(kernel, $($arg),*) }
                }
                #[cfg(target_arch = "aarch64")]
                DotToken::Neon(kernel) => $body(kernel, $($arg),*),
                #[cfg(target_arch = "aarch64")]
                DotToken::NeonDot(kernel) => {
                    #[target_feature(enable = "neon,dotprod")]
                    #[allow(clippy::too_many_arguments)]
                    fn neon_dot(kernel: int8::NeonDot, $($arg: $ty),*) {
                        $body(kernel, $($arg),*)
                    }
                    // SAFETY: as above.
                    unsafe { neon_dot(kernel, $($arg),*) }
                }
            }
        }
    };
}
pub(crate) use dispatch_dot;
