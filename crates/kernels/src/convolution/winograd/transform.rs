//! The transforms of F(4x4, 3x3) along one axis, over vectors of channels: Lavin and Gray, "Fast algorithms for
//! convolutional neural networks", with the points 0, 1, -1, 2, -2 and infinity.

use super::{IN, OUT};
use crate::simd::Simd;

/// The transform of weights along one axis, six values of three.
pub(super) const WEIGHTS: [[f64; 3]; IN] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// The transform of an input along one axis.
#[inline(always)]
pub(super) fn input<S: Simd>(simd: S, d: [S::Vector; IN]) -> [S::Vector; IN] {
    let [four, minus_four, minus_five] = [4.0, -4.0, -5.0].map(|value| simd.splat(value));
    let [two, minus_two] = [2.0, -2.0].map(|value| simd.splat(value));
    let (even, odd) = (simd.mul_add(d[2], minus_four, d[4]), simd.mul_add(d[1], minus_four, d[3]));
    let (outer, inner) = (simd.sub(d[4], d[2]), simd.sub(d[3], d[1]));
    [
        simd.mul_add(d[0], four, simd.mul_add(d[2], minus_five, d[4])),
        simd.add(even, odd),
        simd.sub(even, odd),
        simd.mul_add(inner, two, outer),
        simd.mul_add(inner, minus_two, outer),
        simd.mul_add(d[1], four, simd.mul_add(d[3], minus_five, d[5])),
    ]
}

/// The transform of products along one axis.
#[inline(always)]
pub(super) fn output<S: Simd>(simd: S, m: [S::Vector; IN]) -> [S::Vector; OUT] {
    let [two, four, eight] = [2.0, 4.0, 8.0].map(|value| simd.splat(value));
    let (sum, difference) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
    let (far_sum, far_difference) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
    [
        simd.add(simd.add(m[0], sum), far_sum),
        simd.mul_add(far_difference, two, difference),
        simd.mul_add(far_sum, four, sum),
        simd.add(simd.mul_add(far_difference, eight, difference), m[5]),
    ]
}

/// Transforms lines of `len` floats: vector by vector, those of `from` through `f`, which is told where they begin, to
/// those of `to`. The last vector may overlap the one before it.
///
/// # Safety
/// `len` floats may be read from each of `from` and written to each of `to`; no line of `to` overlaps one of `from`, or
/// what `f` reads.
///
/// # Panics
/// A line is shorter than a vector.
#[inline(always)]
pub(super) unsafe fn lines<S: Simd, const TO: usize>(
    simd: S,
    len: usize,
    from: [*const f32; IN],
    to: [*mut f32; TO],
    f: impl Fn(usize, [S::Vector; IN]) -> [S::Vector; TO],
) {
    assert!(len >= S::LANES, "a line of {len} floats");
    let mut at = 0;
    loop {
        // SAFETY: a vector from `at` on ends within `len` floats; the rest by the caller's promise.
        unsafe {
            let values = f(at, from.map(|from| simd.load(from.add(at))));
            for (to, value) in to.into_iter().zip(values) {
                simd.store(to.add(at), value);
            }
        }
        at += S::LANES;
        if at + S::LANES > len {
            if at >= len {
                return;
            }
            at = len - S::LANES;
        }
    }
}
