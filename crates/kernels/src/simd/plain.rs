//! Portable fallback: four floats in an array, no intrinsics.
//!
//! For targets without the other instruction sets, as the reference that the tests hold these against, and for Miri,
//! which does not know all intrinsics.

use super::{Simd, not_inlined};

/// Token of the portable path, which every CPU can run.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

#[inline(always)]
fn each(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Plain {
    type Vector = [f32; 4];
    type Narrow = Plain;
    const LANES: usize = 4;

    #[inline(always)]
    fn narrow(self) -> Plain {
        self
    }

    /// Not fused: `f32::mul_add` would be a library call.
    #[inline(always)]
    fn mul_add_scalar(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> [f32; 4] {
        // SAFETY: by the caller's promise; an array of floats is aligned as a float is.
        unsafe { at.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, vector: [f32; 4]) {
        // SAFETY: as for `load`.
        unsafe { at.cast::<[f32; 4]>().write(vector) };
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, x: [f32; 4], low: [f32; 4]) -> [f32; 4] {
        each(x, low, |x, low| if x < low { low } else { x })
    }

    #[inline(always)]
    fn min(self, x: [f32; 4], high: [f32; 4]) -> [f32; 4] {
        each(x, high, |x, high| if x > high { high } else { x })
    }

    not_inlined!();
}
