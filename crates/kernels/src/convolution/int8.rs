//! Convolution of bytes with signed bytes: the image is quantised, and the fragments of the implicit GEMM are its pixels.

use super::{Shape, by_taps};
use crate::gemm::{Epilogue, KernelFamily, PackedI8, Reduction, Rescale, i8_rows, pack_exact_i8, pack_i8, quantise};
use crate::thread_pool::ThreadPool;

/// The longest reduction whose sums fit 32 bits, with room to spare.
const LONGEST: usize = 1 << 16;

impl Shape {
    /// Whether [`convolve_i8`] can compute it: the channels of a group are whole groups of bytes.
    pub fn fits_i8(&self) -> bool {
        let channels = self.channels_in / self.groups;
        channels.is_multiple_of(KernelFamily::I8.group()) && self.reduction() <= LONGEST
    }

    /// Length of the packed int8 weights.
    pub fn packed_len_i8(&self) -> usize {
        self.groups * KernelFamily::I8.packed_len(Reduction::whole(self.reduction()), self.channels_out / self.groups)
    }

    /// Bytes of scratch memory that [`convolve_i8`] needs: the image, and a pixel outside it.
    pub fn scratch_len_i8(&self) -> usize {
        (self.window.input[0] * self.window.input[1] + 1) * self.channels_in
    }

    /// Weights for [`convolve_i8`] from those that [`Shape::pack`] has packed.
    ///
    /// # Panics
    /// `packed` does not have [`Shape::packed_len`] entries, or a weight is not finite.
    pub fn pack_i8(&self, packed: &[f32]) -> PackedI8 {
        let all = self
            .pack_groups(packed, |whole, columns, plain| Some(pack_i8(whole, columns, |k, n| plain[k * columns + n])));
        all.unwrap_or_default()
    }

    /// As [`Shape::pack_i8`], for weights that are whole numbers of steps: [`pack_exact_i8`].
    pub fn pack_exact_i8(&self, packed: &[f32]) -> Option<PackedI8> {
        self.pack_groups(packed, |whole, columns, plain| pack_exact_i8(whole, columns, |k, n| plain[k * columns + n]))
    }

    fn pack_groups(
        &self,
        packed: &[f32],
        pack: impl Fn(Reduction, usize, &[f32]) -> Option<PackedI8>,
    ) -> Option<PackedI8> {
        let (whole, columns) = (Reduction::whole(self.reduction()), self.channels_out / self.groups);
        let mut all = PackedI8::default();
        for group in packed.chunks_exact(self.group_len()) {
            let group = pack(whole, columns, &KernelFamily::F32.unpack(whole, columns, group))?;
            all.weights.extend(group.weights);
            all.column_sums.extend(group.column_sums);
            all.scales.extend(group.scales);
            all.wide |= group.wide;
        }
        Some(all)
    }
}

/// Quantises the image `x` (height, width, channels) by `scale` and the zero point of `rescale`, and convolves it into `out`:
/// exact sums, then one written requantisation as in [`gemm_i8`](crate::gemm::gemm_i8). `packed` are the weights of
/// [`Shape::pack_i8`], `scratch` has [`Shape::scratch_len_i8`] bytes.
///
/// # Panics
/// The shape does not [fit](Shape::fits_i8), or a slice is shorter than it says.
#[allow(clippy::too_many_arguments)]
pub fn convolve_i8(
    pool: &mut ThreadPool,
    x: &[f32],
    scale: f32,
    shape: &Shape,
    packed: &[i8],
    rescale: Rescale<'_>,
    epilogue: Epilogue<'_>,
    scratch: &mut [u8],
    out: &mut [f32],
) {
    assert!(shape.fits_i8() && packed.len() == shape.packed_len_i8(), "int8 weights of {shape:?}");
    assert!(rescale.scales.len() == shape.channels_out && rescale.column_sums.len() == shape.channels_out, "columns");
    let (image, outside) = scratch[..shape.scratch_len_i8()].split_at_mut(x.len());
    quantise(pool, x, shape.channels_in, scale, rescale.zero_point, image);
    let token = pool.dot().taking(rescale.wide);
    // What stands for 0, as the pool's instructions read it.
    outside.fill(rescale.zero_point ^ if token.is_signed() { 0x80 } else { 0 });
    by_taps(pool, [image, outside], shape, packed.len(), out, &|a, weights, to, prefetch, out| {
        i8_rows(token, a, &packed[weights], to, (rescale, epilogue), prefetch, out);
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::{activations, cases, convolution, for_each_int8, most, windows};
    use crate::simd::Fused;
    use crate::testing::values;

    /// The int8 weights as whole floats in OIHW layout.
    fn oihw(shape: &Shape, packed: &PackedI8) -> Vec<f32> {
        let [kh, kw] = shape.window.kernel;
        let (ci, co) = (shape.channels_in / shape.groups, shape.channels_out / shape.groups);
        let whole = Reduction::whole(shape.reduction());
        let groups = packed.weights.chunks_exact(packed.weights.len() / shape.groups);
        let groups: Vec<Vec<i8>> = groups.map(|group| KernelFamily::I8.unpack(whole, co, group)).collect();
        let mut weights = vec![];
        for n in 0..shape.channels_out {
            for i in 0..ci {
                weights.extend((0..kh * kw).map(|tap| f32::from(groups[n / co][(tap * ci + i) * co + n % co])));
            }
        }
        weights
    }

    proptest! {
        #![proptest_config(cases(120))]

        #[test]
        fn convolve_i8_is_the_integer_reference_bit_for_bit_on_every_kernel(
            window in windows(), groups in 1_usize..4, ci in 1..most(9), co in 1..most(40), activation in activations(),
            residual: bool, zero_point: u8,
        ) {
            let shape = Shape { window, channels_in: 4 * groups * ci, channels_out: groups * co, groups };
            let weights = values(2, shape.channels_out * 4 * ci * window.kernel[0] * window.kernel[1]);
            let packed = shape.pack_i8(&shape.pack(&weights));
            prop_assert_eq!(packed.weights.len(), shape.packed_len_i8());
            // Some pixels go beyond what bytes stand for.
            let scale = 1.7 / 255.0;
            let x = values(1, window.input[0] * window.input[1] * shape.channels_in);
            let (low, high) = (-f32::from(zero_point), f32::from(255 - zero_point));
            let steps: Vec<f32> = x.iter().map(|x| (x * (1.0 / scale)).round_ties_even().clamp(low, high)).collect();
            // Whole numbers: their sums are exact in 64 bits.
            let sums = convolution(&steps, &shape, &oihw(&shape, &packed), &vec![0.0; shape.channels_out]);
            let (bias, added) = (values(3, shape.channels_out), values(4, sums.len()));
            let scales: Vec<f32> = packed.scales.iter().map(|weights| scale * weights).collect();
            let result = |(i, sum): (usize, &f64)| {
                let n = i % shape.channels_out;
                let mut value = [(*sum as f32).mul_add(scales[n], bias[n]) + if residual { added[i] } else { 0.0 }];
                activation.apply_row(Fused, &mut value);
                value[0].to_bits()
            };
            let expected: Vec<u32> = sums.iter().enumerate().map(result).collect();
            let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&added), activation, ..Epilogue::default() };
            let rescale = Rescale { zero_point, column_sums: &packed.column_sums, scales: &scales, wide: packed.wide };
            for_each_int8(|pool| {
                let (mut scratch, mut out) = (vec![7; shape.scratch_len_i8()], vec![f32::NAN; expected.len()]);
                convolve_i8(pool, &x, scale, &shape, &packed.weights, rescale, epilogue, &mut scratch, &mut out);
                let found: Vec<u32> = out.iter().map(|value| value.to_bits()).collect();
                assert_eq!(found, expected, "{pool:?}");
            });
        }
    }
}
