use proptest::prelude::*;

use super::*;
use crate::Activation;
use crate::dispatch::{DotToken, Int8Isa, Isa};
use crate::gemm::{Fragments, Prefetch, Rows, gemm_rows};
use crate::oracle::{activations, cases, for_each_int8, most};
use crate::testing::values;

/// A product as it is written: integers in 64 bits, then each step of the requantisation on its own.
struct Reference {
    x: Vec<f32>,
    scale: f32,
    zero_point: u8,
    reduction: usize,
    packed: pack::PackedI8,
    scales: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Reference {
    fn new(m: usize, k: usize, n: usize, zero_point: u8) -> Reference {
        let w = values(2, k * n);
        let packed = pack_i8(Reduction::whole(k), n, |k, column| w[k * n + column]);
        // Some rows go beyond what bytes stand for.
        let scale = 1.7 / 255.0;
        let scales = packed.scales.iter().map(|weights| scale * weights).collect();
        let (bias, residual) = (values(3, n), values(4, m * n));
        Reference { x: values(1, m * k), scale, zero_point, reduction: k, packed, scales, bias, residual }
    }

    fn byte(&self, x: f32) -> i64 {
        let rounded = (x * (1.0 / self.scale)).round_ties_even() + f32::from(self.zero_point);
        rounded.clamp(0.0, 255.0) as i64
    }

    fn expected(&self, activation: Activation) -> Vec<f32> {
        let (k, n) = (self.reduction, self.scales.len());
        let weights = KernelFamily::I8.unpack(Reduction::whole(k), n, &self.packed.weights);
        let sum = |row: usize, column: usize| -> i64 {
            let term = |i: usize| {
                (self.byte(self.x[row * k + i]) - i64::from(self.zero_point)) * i64::from(weights[i * n + column])
            };
            (0..k).map(term).sum()
        };
        let entry = |i: usize| {
            let (row, column) = (i / n, i % n);
            let product = (sum(row, column) as f32).mul_add(self.scales[column], self.bias[column]);
            let mut value = [product + self.residual[i]];
            activation.apply_row(crate::simd::Fused, &mut value);
            value[0]
        };
        (0..self.residual.len()).map(entry).collect()
    }

    fn rescale(&self) -> Rescale<'_> {
        Rescale {
            zero_point: self.zero_point,
            column_sums: &self.packed.column_sums,
            scales: &self.scales,
            wide: self.packed.wide,
        }
    }

    fn epilogue(&self, activation: Activation) -> Epilogue<'_> {
        Epilogue { bias: Some(&self.bias), residual: Some(&self.residual), activation, ..Epilogue::default() }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn gemm_i8_is_the_integer_reference_bit_for_bit_on_every_kernel(
        m in 1..=most(67), k in 1..=most(67), n in 1..=most(67), zero_point: u8, act in activations(),
    ) {
        let reference = Reference::new(m, k, n, zero_point);
        let expected = bits(&reference.expected(act));
        for_each_int8(|pool| {
            let mut bytes = vec![0xAA; m * padded_i8(k)];
            quantise(pool, &reference.x, k, reference.scale, zero_point, &mut bytes);
            let mut out = vec![f32::NAN; m * n];
            gemm_i8(pool, &bytes, k, &reference.packed.weights, reference.rescale(), reference.epilogue(act), &mut out);
            assert_eq!(bits(&out), expected, "{pool:?}");
        });
    }

    /// Weights of all sizes, as other programs quantise them: those that `vpmaddubsw` would saturate.
    #[test]
    fn gemm_i8_of_wide_weights_is_exact_on_every_kernel(
        m in 1..=most(67), k in 2..=most(67), n in 1..=most(67), zero_point: u8, largest: bool,
    ) {
        let weight = |k: usize, n: usize| match (k * 31 + n * 17) % 256 {
            0 if k == 0 => -128.0,
            _ if largest => 127.0,
            step => step as f32 - 128.0,
        };
        let weight = |k: usize, n: usize| if k > 0 { weight(k, n).max(-127.0) } else { weight(k, n) };
        let packed = pack_exact_i8(Reduction::whole(k), n, weight).unwrap();
        let unpacked = KernelFamily::I8.unpack(Reduction::whole(k), n, &packed.weights);
        let x: Vec<f32> = values(1, m * k).iter().map(|x| (300.0 * x).round()).collect();
        let scales = vec![1.0; n];
        let rescale = Rescale { zero_point, column_sums: &packed.column_sums, scales: &scales, wide: packed.wide };
        let (low, high) = (-f32::from(zero_point), f32::from(255 - zero_point));
        let entry = |i: usize| {
            let row = &x[i / n * k..][..k];
            let term = |(k, x): (usize, &f32)| x.clamp(low, high) as i64 * i64::from(unpacked[k * n + i % n]);
            row.iter().enumerate().map(term).sum::<i64>() as f32
        };
        let expected: Vec<f32> = (0..m * n).map(entry).collect();
        for_each_int8(|pool| {
            let (mut bytes, mut out) = (vec![0; m * padded_i8(k)], vec![f32::NAN; m * n]);
            quantise(pool, &x, k, 1.0, zero_point, &mut bytes);
            gemm_i8(pool, &bytes, k, &packed.weights, rescale, Epilogue::default(), &mut out);
            assert_eq!(out, expected, "{pool:?}");
        });
    }

    /// Long reductions at the ends of the range: sums near the limits of 32 bits, every pair as large as it may be.
    #[test]
    fn gemm_i8_is_exact_where_sums_are_largest(k in 1..most(3000), n in 1_usize..20, up: bool, negative: bool) {
        let weight = if negative { -1.0 } else { 1.0 };
        let packed = pack_i8(Reduction::whole(k), n, |_, _| weight);
        let (x, zero_point) = (vec![if up { 1e9 } else { -1e9 }; k], if up { 0 } else { 255 });
        let scales = vec![1.0; n];
        let rescale = Rescale { zero_point, column_sums: &packed.column_sums, scales: &scales, wide: packed.wide };
        for_each_int8(|pool| {
            let (mut bytes, mut out) = (vec![0; padded_i8(k)], vec![f32::NAN; n]);
            quantise(pool, &x, k, 1.0, zero_point, &mut bytes);
            gemm_i8(pool, &bytes, k, &packed.weights, rescale, Epilogue::default(), &mut out);
            for (out, sum) in out.iter().zip(&packed.column_sums) {
                let expected = (if up { 255 } else { -255 }) * i64::from(*sum);
                assert_eq!(*out, expected as f32, "{pool:?}");
            }
        });
    }

    /// Fragments at an offset: what an implicit-GEMM convolution asks for.
    #[test]
    fn gemm_i8_of_fragments_matches_three_loops(
        m in 1_usize..30, fragments in 1_usize..5, groups in 1_usize..4, offset in 0_usize..3, n in 1_usize..20,
    ) {
        let len = GROUP * groups;
        let (row, reduction) = (offset + len, Reduction { fragments, len });
        let slices: Vec<u8> = values(1, m * fragments * row).iter().map(|x| (128.0 + 127.0 * x) as u8).collect();
        let w = values(2, reduction.entries() * n);
        let packed = pack_i8(reduction, n, |k, column| w[k * n + column]);
        let weights = KernelFamily::I8.unpack(reduction, n, &packed.weights);
        let list: Vec<&[u8]> = slices.chunks_exact(row).collect();
        let x: Vec<u8> = list.iter().flat_map(|slice| slice[offset..].iter().copied()).collect();
        let entry = |i: usize| {
            let (m, n_) = (i / n, i % n);
            let row = &x[m * reduction.entries()..][..reduction.entries()];
            let sum = |(k, x): (usize, &u8)| i32::from(*x) * i32::from(weights[k * n + n_]);
            row.iter().enumerate().map(sum).sum::<i32>() as f32
        };
        let expected: Vec<f32> = (0..m * n).map(entry).collect();
        let scales = vec![1.0; n];
        let rescale = Rescale { zero_point: 0, column_sums: &packed.column_sums, scales: &scales, wide: packed.wide };
        let epilogue = I8Epilogue { rescale, float: Epilogue::default() };
        let mut out = vec![f32::NAN; m * n];
        let rows = Fragments { rows: Rows::Listed(&list), per_row: fragments, offset, len };
        let to = Columns { first: 0, stride: n, offset: 0, columns: n };
        gemm_rows(Dot(int8::Plain), rows, &packed.weights, to, epilogue, Prefetch::NextPanel, Sink::new(&mut out));
        prop_assert_eq!(out, expected);
    }
}

#[test]
fn quantise_rounds_to_even_clamps_and_takes_nan_for_the_lowest() {
    let x = [0.5, 1.5, -0.5, -1.5, 2.4, -2.6, 300.0, -300.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let expected = [10, 12, 10, 8, 12, 7, 255, 0, 0, 255, 0];
    // Fewer than a vector of any instruction set, and more than two.
    for times in [1, 5] {
        let (x, expected) = (x.repeat(times), expected.repeat(times));
        for_each_int8(|pool| {
            let mut bytes = vec![7; padded_i8(x.len())];
            quantise(pool, &x, x.len(), 1.0, 10, &mut bytes);
            let flip = if pool.dot().is_signed() { 0x80 } else { 0 };
            let (found, padding) = bytes.split_at(x.len());
            assert_eq!(found.iter().map(|byte| byte ^ flip).collect::<Vec<u8>>(), expected, "{pool:?}");
            // Padding, which no instruction set flips.
            assert!(padding.iter().all(|byte| *byte == 0), "{pool:?}");
        });
    }
}

#[test]
fn every_instruction_set_has_int8_kernels() {
    for isa in Isa::available() {
        assert!(Int8Isa::available(isa).all(|int8| int8.token().unwrap().isa() == int8));
        assert_eq!(Int8Isa::available(isa).last(), Some(Int8Isa::best(isa)));
        assert_eq!(DotToken::best(isa).isa(), Int8Isa::best(isa));
    }
    assert_eq!(Int8Isa::best(Isa::Plain).to_string(), "plain");
}
