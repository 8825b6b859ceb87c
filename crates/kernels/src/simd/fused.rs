//! Portable code that rounds as instruction sets with a fused multiply-add do.
//!
//! [`Plain`](super::Plain) does not fuse, which is faster where a library would have to do it. Where results have to be the
//! same bits on every CPU, as after integer products, that is not allowed.

use super::{Plain, Simd, not_inlined};

/// Token of portable code with one rounding in a multiply-add.
#[derive(Clone, Copy, Debug)]
pub struct Fused;

impl Simd for Fused {
    type Vector = [f32; 4];
    type Narrow = Fused;
    const LANES: usize = 4;

    #[inline(always)]
    fn narrow(self) -> Fused {
        self
    }

    #[inline(always)]
    fn mul_add_scalar(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> [f32; 4] {
        // SAFETY: by the caller's promise.
        unsafe { Plain.load(at) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, vector: [f32; 4]) {
        // SAFETY: by the caller's promise.
        unsafe { Plain.store(at, vector) };
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        Plain.add(a, b)
    }

    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        Plain.sub(a, b)
    }

    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        Plain.mul(a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, x: [f32; 4], low: [f32; 4]) -> [f32; 4] {
        Plain.max(x, low)
    }

    #[inline(always)]
    fn min(self, x: [f32; 4], high: [f32; 4]) -> [f32; 4] {
        Plain.min(x, high)
    }

    not_inlined!();
}
