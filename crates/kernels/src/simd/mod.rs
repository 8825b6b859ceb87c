//! SIMD vectors of `f32`: one trait, implemented by a token per instruction set.
//!
//! A kernel is one generic body over [`Simd`]; [`crate::dispatch`] compiles it for each instruction set and picks one at
//! run time. A token that stands for instructions which not every CPU of the target has can only be got by detecting
//! them ([`Avx2::detect`]). Methods take the token as `self`, so that safe code cannot reach an instruction that the CPU
//! lacks. Tokens are zero-sized and cost nothing.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod fused;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use fused::Fused;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use plain::Plain;

use crate::Activation;
use crate::fake_quantise::Stage;

/// Vectors of floats and what differs between instruction sets in otherwise equal source.
pub trait Simd: Copy + Send + Sync + 'static {
    /// [`Simd::LANES`] floats in a register.
    type Vector: Copy;
    /// An instruction set with fewer lanes, at most eight, for what is too narrow for this one; this one where it has no more.
    type Narrow: Simd;
    /// Floats in a vector.
    const LANES: usize;

    /// The token of [`Simd::Narrow`].
    fn narrow(self) -> Self::Narrow;

    /// `a * b + c` of scalars, rounded as [`Simd::mul_add`] rounds.
    fn mul_add_scalar(self, a: f32, b: f32, c: f32) -> f32;

    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::Vector;

    /// The floats from `at` on.
    ///
    /// # Safety
    /// [`Simd::LANES`] floats from `at` on are valid for reads.
    unsafe fn load(self, at: *const f32) -> Self::Vector;

    /// Writes the lanes from `at` on.
    ///
    /// # Safety
    /// [`Simd::LANES`] floats from `at` on are valid for writes.
    unsafe fn store(self, at: *mut f32, vector: Self::Vector);

    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a - b`.
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b`.
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b + c`, in one rounding where the instruction set has a fused multiply-add.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// The larger of each lane and the same of `low`; NaN in `x` stays NaN.
    fn max(self, x: Self::Vector, low: Self::Vector) -> Self::Vector;

    /// The smaller of each lane and the same of `high`; NaN in `x` stays NaN.
    fn min(self, x: Self::Vector, high: Self::Vector) -> Self::Vector;

    /// Applies an activation to a row. A function of its own, as [`Simd::apply_stages`] is: inlined, it would be compiled anew into
    /// every tile of every kernel, and its constants would take the registers of their loops.
    fn activate_row(self, activation: Activation, row: &mut [f32]);

    /// Applies stages to values of a result, of which the first is at `at`: part of a row of `columns` entries, or whole rows.
    fn apply_stages(self, stages: &[Stage<'_>], at: usize, columns: usize, values: &mut [f32]);
}

/// The functions of [`Simd`] that are not inlined, compiled for what the instruction set has.
macro_rules! not_inlined {
    ($(#[$feature:meta])?) => {
        #[inline(never)]
        fn activate_row(self, activation: $crate::Activation, row: &mut [f32]) {
            $(#[$feature])?
            fn activate<S: $crate::simd::Simd>(simd: S, activation: $crate::Activation, row: &mut [f32]) {
                activation.apply_row(simd, row);
            }
            // SAFETY: the token proves that the CPU has what it is compiled for.
            #[allow(unused_unsafe, reason = "where it is compiled for the baseline")]
            unsafe { activate(self, activation, row) }
        }

        #[inline(never)]
        fn apply_stages(
            self,
            stages: &[$crate::fake_quantise::Stage<'_>],
            at: usize,
            columns: usize,
            values: &mut [f32],
        ) {
            $(#[$feature])?
            fn apply<S: $crate::simd::Simd>(
                simd: S,
                stages: &[$crate::fake_quantise::Stage<'_>],
                at: usize,
                columns: usize,
                values: &mut [f32],
            ) {
                $crate::fake_quantise::apply_stages(simd, stages, at, columns, values);
            }
            // SAFETY: the token proves that the CPU has what it is compiled for.
            #[allow(unused_unsafe, reason = "where it is compiled for the baseline")]
            unsafe { apply(self, stages, at, columns, values) }
        }
    };
}
use not_inlined;
