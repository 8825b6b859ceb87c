//! One kernel source, compiled for several instruction sets.

use super::matmul::{Factors, PANEL, Sums};

/// Vectors of floats and what differs between instruction sets in otherwise equal source. An instruction set that not
/// every CPU of the target has is used only by code that [`vectorised!`] has chosen for a CPU that has it.
pub trait Arch: Copy {
    /// [`Arch::LANES`] floats in a register.
    type Vector: Copy;
    /// Floats in a vector: 4 or 8.
    const LANES: usize;

    /// `a * b + c` of scalars.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;

    /// The same value in every lane.
    fn splat(value: f32) -> Self::Vector;

    /// The floats from `at` on.
    ///
    /// # Safety
    /// They may be read.
    unsafe fn load(at: *const f32) -> Self::Vector;

    /// Writes them from `at` on.
    ///
    /// # Safety
    /// They may be written.
    unsafe fn store(at: *mut f32, vector: Self::Vector);

    /// `a + b`.
    fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b`.
    fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b + c`.
    fn fused(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// The larger of each lane and the same of `low`; NaN in `x` stays NaN.
    fn at_least(x: Self::Vector, low: Self::Vector) -> Self::Vector;

    /// The smaller of each lane and the same of `high`; NaN in `x` stays NaN.
    fn at_most(x: Self::Vector, high: Self::Vector) -> Self::Vector;

    /// See [`Factors::product`].
    #[inline(always)]
    fn product<const M: usize, const N: usize>(factors: &Factors<'_>, start: &[f32; PANEL]) -> Sums<Self, M> {
        factors.product::<Self, M, N>(start)
    }
}

/// The best of the target, for tests of what uses no vectors and so runs on any of its CPUs.
#[cfg(all(test, target_arch = "x86_64"))]
pub type Native = super::avx2::Avx2;
#[cfg(all(test, target_arch = "aarch64"))]
pub type Native = super::neon::Neon;

/// Plain source, for a target without the others and for the tests of these.
#[derive(Clone, Copy)]
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
pub struct Plain;

#[inline(always)]
fn each(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Arch for Plain {
    type Vector = [f32; 4];
    const LANES: usize = 4;

    /// Not fused: `f32::mul_add` would be a library call.
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn splat(value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> [f32; 4] {
        // SAFETY: by the caller's promise; an array of floats is aligned as a float is.
        unsafe { at.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(at: *mut f32, vector: [f32; 4]) {
        // SAFETY: as for `load`.
        unsafe { at.cast::<[f32; 4]>().write(vector) };
    }

    #[inline(always)]
    fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn fused(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        Self::add(Self::mul(a, b), c)
    }

    #[inline(always)]
    fn at_least(x: [f32; 4], low: [f32; 4]) -> [f32; 4] {
        each(x, low, |x, low| if x < low { low } else { x })
    }

    #[inline(always)]
    fn at_most(x: [f32; 4], high: [f32; 4]) -> [f32; 4] {
        each(x, high, |x, high| if x > high { high } else { x })
    }
}

/// Asks for the line of the cache that `at` is in, to be found in the second level; `at` may be anywhere.
#[inline(always)]
pub fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is a hint. It reads nothing and faults nowhere, and every x86-64 CPU has it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    // Elsewhere it is left to the hardware: there was nothing to measure on.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Defines a kernel's entry point from its generic body: `vectorised! { pub fn NAME(ARGS) = BODY; }` picks
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
                    $body::<$crate::avx2::Avx2>($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the CPU has the features that `avx2` is compiled for; the body itself is safe code.
                    return unsafe { avx2($($arg),*) };
                }
            }
            #[cfg(target_arch = "aarch64")]
            $body::<$crate::neon::Neon>($($arg),*);
            #[cfg(not(target_arch = "aarch64"))]
            $body::<$crate::arch::Plain>($($arg),*);
        }
    };
}
pub(crate) use vectorised;
