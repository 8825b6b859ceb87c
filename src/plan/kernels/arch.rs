//! One kernel source, compiled for several instruction sets.

use super::matmul::Factors;

/// How a kernel multiplies and adds: what differs between instruction sets in otherwise equal source.
pub(crate) trait Arch: Copy {
    /// `a * b + c`.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;

    /// See [`Factors::product`]; another than that where the compiler does not find the best instructions.
    #[inline(always)]
    fn product<const M: usize, const N: usize>(factors: &Factors<'_>, start: [f32; N]) -> [[f32; N]; M] {
        factors.product::<Self, M, N>(start)
    }

    /// Each value, but at least `low` and at most `high`; NaN stays NaN.
    #[inline(always)]
    fn clamp<const N: usize>(values: &mut [f32; N], low: f32, high: f32) {
        // Comparisons in this order keep NaN, as the operators replaced do.
        values.iter_mut().for_each(|x| {
            let raised = if *x < low { low } else { *x };
            *x = if raised > high { high } else { raised };
        });
    }

    /// `x * clamp(x / 6 + 1/2, 0, 1)` of each value.
    #[inline(always)]
    fn hard_swish<const N: usize>(values: &mut [f32; N]) {
        values.iter_mut().for_each(|x| *x *= Self::mul_add(*x, 1.0 / 6.0, 0.5).clamp(0.0, 1.0));
    }
}

/// The target has a fused multiply-add instruction.
#[derive(Clone, Copy)]
pub(crate) struct Fused;

/// It has none, and `f32::mul_add` would be a library call.
#[derive(Clone, Copy)]
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
pub(crate) struct Separate;

impl Arch for Fused {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn product<const M: usize, const N: usize>(factors: &Factors<'_>, start: [f32; N]) -> [[f32; N]; M] {
        super::neon::product(factors, start)
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn clamp<const N: usize>(values: &mut [f32; N], low: f32, high: f32) {
        super::neon::clamp(values, low, high);
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn hard_swish<const N: usize>(values: &mut [f32; N]) {
        super::neon::hard_swish(values);
    }
}

impl Arch for Separate {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// Asks for the line of the cache that `at` is in, to be found in the second level; `at` may be anywhere.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is a hint. It reads nothing and faults nowhere, and every x86-64 CPU has it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    // Elsewhere it is left to the hardware: there was nothing to measure on.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Defines a kernel's entry point from its generic body: `vectorised! { pub(crate) fn NAME(ARGS) = BODY; }` picks
/// `BODY::<A>` compiled for the best instruction set of the CPU at hand. `BODY` and what it calls must be
/// `#[inline(always)]`, or they are compiled for the baseline.
macro_rules! vectorised {
    ($(#[$attribute:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident;) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) {
                    $body::<$crate::plan::kernels::arch::Fused>($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the CPU has the features that `avx2` is compiled for; the body itself is safe code.
                    return unsafe { avx2($($arg),*) };
                }
            }
            #[cfg(target_arch = "aarch64")]
            $body::<$crate::plan::kernels::arch::Fused>($($arg),*);
            #[cfg(not(target_arch = "aarch64"))]
            $body::<$crate::plan::kernels::arch::Separate>($($arg),*);
        }
    };
}
pub(crate) use vectorised;
