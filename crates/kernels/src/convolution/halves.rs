//! Convolutions with weights in half precision, of pixels that are halves where the CPU multiplies them.

#[cfg(target_arch = "aarch64")]
use super::{Product, by_taps, kernel_rows};
use super::{Shape, convolve};
#[cfg(target_arch = "aarch64")]
use crate::dispatch::{HalfToken, half::NeonFp16};
use crate::gemm::f16::convert;
#[cfg(target_arch = "aarch64")]
use crate::gemm::f16::{HalfEpilogue, Residual, StoredEpilogue, half_rows_fp16, half_rows_stored, rows_in_halves};
use crate::gemm::{Epilogue, LARGEST_WEIGHT};
use crate::halves::Ends;
#[cfg(target_arch = "aarch64")]
use crate::halves::{self, Form, Largest};
#[cfg(target_arch = "aarch64")]
use crate::memory::as_u16_mut;
use crate::thread_pool::ThreadPool;

impl Shape {
    /// Weights of [`Shape::pack`] as halves, which lie as they do; none where one is not finite or beyond
    /// [`LARGEST_WEIGHT`].
    pub fn pack_f16(&self, packed: &[f32]) -> Option<Vec<u16>> {
        let fits = packed.iter().all(|weight| weight.abs() <= LARGEST_WEIGHT);
        fits.then(|| packed.iter().map(|weight| convert::from_f32(*weight)).collect())
    }

    /// Floats of scratch memory that [`convolve_f16`] needs on so many threads: for the image or the weights in the other form, pixels
    /// outside, and what [`convolve`] needs.
    pub fn scratch_len_f16(&self, threads: usize) -> usize {
        let image = self.window.input[0] * self.window.input[1] * self.channels_in;
        self.scratch_len(threads) + self.channels_in + self.packed_len().max(image)
    }
}

/// As [`convolve`], with weights from [`Shape::pack_f16`] and [`Shape::scratch_len_f16`] floats of scratch memory. Where halves are
/// multiplied, `x` may be kept as such, and `out` is where it can be, as `ends` tells: results that are have no residual, no stages and an
/// activation that is not costly.
///
/// # Panics
/// A slice is shorter than `shape` says.
#[allow(clippy::too_many_arguments)]
pub fn convolve_f16(
    pool: &mut ThreadPool,
    x: &[f32],
    shape: &Shape,
    packed: &[u16],
    epilogue: Epilogue<'_>,
    ends: Ends,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    #[cfg(target_arch = "aarch64")]
    if let HalfToken::NeonFp16(kernel) = pool.half() {
        return in_halves(pool, kernel, x, shape, packed, epilogue, ends, scratch, out);
    }
    let _ = ends;
    let (weights, scratch) = scratch.split_at_mut(packed.len());
    weights.iter_mut().zip(packed).for_each(|(weight, half)| *weight = convert::to_f32(*half));
    convolve(pool, x, shape, weights, epilogue, scratch, out);
}

/// Pixels in halves, and the memory of the threads that copy some.
#[cfg(target_arch = "aarch64")]
struct Pixels<'a> {
    x: &'a [u16],
    outside: &'a [u16],
    copies: &'a mut [f32],
    /// Of the packed weights.
    len: usize,
}

#[cfg(target_arch = "aarch64")]
impl Pixels<'_> {
    fn convolve<O: Copy + Send>(
        &mut self,
        pool: &mut ThreadPool,
        shape: &Shape,
        out: &mut [O],
        product: &Product<'_, u16, O>,
    ) {
        if shape.is_by_kernel_rows() {
            kernel_rows::convolve(pool, self.x, shape, self.len, (self.copies, as_u16_mut), out, product);
        } else {
            by_taps(pool, [self.x, self.outside], shape, self.len, out, product);
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[allow(clippy::too_many_arguments)]
fn in_halves(
    pool: &mut ThreadPool,
    kernel: NeonFp16,
    x: &[f32],
    shape: &Shape,
    packed: &[u16],
    epilogue: Epilogue<'_>,
    ends: Ends,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let (copies, rest) = scratch.split_at_mut(shape.scratch_len(pool.threads()));
    let (outside, room) = as_u16_mut(rest).split_at_mut(shape.channels_in);
    outside.fill(0);
    let x = if ends.input { Form::of(x) } else { Form::Floats(x) };
    let (x, scale) = rows_in_halves(pool, kernel, x, room);
    let mut pixels = Pixels { x, outside, copies, len: packed.len() };
    if ends.output {
        let Epilogue { bias, residual, activation, then } = epilogue;
        let can_be = residual.is_none() && then.is_empty() && halves::has_halves(activation);
        assert!(can_be, "results are no halves");
        if let Some(room) = halves::room(out) {
            let largest = Largest::default();
            pixels.convolve(pool, shape, room, &|a, weights, to, prefetch, out| {
                let bias = bias.map(|bias| &bias[to.offset..][..to.columns]);
                let (residual, largest) = (Residual::Zeros, &largest);
                let epilogue = StoredEpilogue { scale, bias, residual, activation, largest };
                half_rows_stored(kernel, a, &packed[weights], to, epilogue, prefetch, out);
            });
            if halves::keep(out, largest.before(activation)) {
                return;
            }
        }
    }
    pixels.convolve(pool, shape, out, &|a, weights, to, prefetch, out| {
        let bias = epilogue.bias.map(|bias| &bias[to.offset..][..to.columns]);
        let epilogue = HalfEpilogue { scale, float: Epilogue { bias, ..epilogue } };
        half_rows_fp16(kernel, a, &packed[weights], to, epilogue, prefetch, out);
    });
    if ends.output {
        halves::keep_floats(out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::halves::has_room;
    use crate::oracle::{activation, activations, cases, convolution, for_each_half, kept, most, read, windows};
    use crate::testing::values;

    fn halves(values: &[f32]) -> Vec<f32> {
        values.iter().map(|x| convert::to_f32(convert::from_f32(*x))).collect()
    }

    fn magnitudes(values: &[f32]) -> Vec<f32> {
        values.iter().map(|x| x.abs()).collect()
    }

    proptest! {
        #![proptest_config(cases(150))]

        #[test]
        fn convolve_f16_matches_reference(
            window in windows(), groups in 1_usize..4, ci in 1..most(67), co in 1..most(40), act in activations(),
            residual: bool, input: bool, output: bool, exponent in -4_i32..16,
        ) {
            let shape = Shape { window, channels_in: groups * ci, channels_out: groups * co, groups };
            let size = 2.0_f32.powi(exponent);
            let x: Vec<f32> = values(1, window.input[0] * window.input[1] * shape.channels_in);
            let x = halves(&x.iter().map(|x| size * x).collect::<Vec<f32>>());
            let w = halves(&values(2, shape.channels_out * ci * window.kernel[0] * window.kernel[1]));
            let bias = values(3, shape.channels_out);
            let sums = convolution(&x, &shape, &w, &bias);
            let sizes = convolution(&magnitudes(&x), &shape, &magnitudes(&w), &magnitudes(&bias));
            let largest = sizes.iter().fold(1.0, |a: f64, b| a.max(*b));
            prop_assume!(has_room(x.len()) && has_room(sums.len()) && largest < 60_000.0);
            prop_assume!(halves(&x).iter().any(|x| x.abs() > 0.02));
            let output = output && !residual && crate::halves::has_halves(act);
            let r = values(4, sums.len());
            let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), activation: act, ..Epilogue::default() };
            let packed = shape.pack_f16(&shape.pack(&w)).unwrap();
            let (x_halves, mut first) = (kept(&x), None);
            for_each_half(|pool| {
                let arithmetic = pool.half_isa().is_arithmetic();
                // Whatever earlier operators have left there.
                let mut scratch = vec![f32::NAN; shape.scratch_len_f16(pool.threads())];
                let mut out = vec![f32::NAN; sums.len()];
                let ends = Ends { input, residual: false, output };
                let from = if input && arithmetic { &x_halves } else { &x };
                convolve_f16(pool, from, &shape, &packed, epilogue, ends, &mut scratch, &mut out);
                let (out, is_halves) = read(&out);
                assert!(!is_halves || arithmetic && output);
                for (i, (found, sum)) in out.iter().zip(&sums).enumerate() {
                    let expected = activation(act, sum + if residual { f64::from(r[i]) } else { 0.0 });
                    let error = (f64::from(*found) - expected).abs();
                    let limit = if arithmetic { 6e-3 } else { 2e-5 };
                    assert!(error <= limit * (1.0 + largest), "{pool:?}, {i}: off by {error}, kept {is_halves}");
                }
                // The same bits on any number of threads.
                if arithmetic {
                    let first = first.get_or_insert_with(|| out.clone());
                    assert!(first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "{pool:?}");
                }
            });
        }
    }

    #[test]
    fn weights_that_halves_cannot_hold_are_not_packed() {
        let window =
            super::super::Window { input: [1; 2], output: [1; 2], kernel: [1; 2], stride: [1; 2], padding: [0; 2] };
        let shape = Shape { window, channels_in: 1, channels_out: 1, groups: 1 };
        for (weight, fits) in [(LARGEST_WEIGHT, true), (-64.0, false), (f32::NAN, false), (f32::INFINITY, false)] {
            assert_eq!(shape.pack_f16(&shape.pack(&[weight])).is_some(), fits, "{weight}");
        }
    }
}
