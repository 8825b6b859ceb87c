//! Fake quantisation: floats rounded to the values that bytes stand for, and kept as floats. What comes element by element before it
//! is done on the way, and products do all of it to what they have computed, while it is in the cache ([`Stage`]).

use serde::{Deserialize, Serialize};

use crate::Activation;
use crate::dispatch::dispatch;
use crate::gemm::Epilogue;
use crate::simd::Simd;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Adding and subtracting it rounds to the nearest integer, to even where two are as near.
const ROUND: f32 = 12_582_912.0;

/// Steps that a byte can be away from 0.
const MOST: i16 = 255;

/// Steps: how large they are, and how many there are below and above 0.
type Steps = (f32, f32, f32);

#[inline(always)]
fn round_row(row: &mut [f32], (scale, low, high): Steps) {
    let inverse = 1.0 / scale;
    for value in row {
        let scaled = *value * inverse;
        let raised = if scaled > low { scaled } else { low };
        let limited = if raised < high { raised } else { high };
        *value = ((limited + ROUND) - ROUND) * scale;
    }
}

/// A rounding of values that are multiplied by a factor before: `clamp(round(x * factor / scale), low, high) * scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rounding {
    /// What values are multiplied by.
    pub factor: f32,
    /// A step.
    pub scale: f32,
    /// Steps from 0 to the lowest value, from -255 to 0.
    pub low: i16,
    /// Steps from 0 to the highest value, from 0 to 255.
    pub high: i16,
}

impl Eq for Rounding {}

impl Rounding {
    /// Whether it rounds to values of a byte.
    pub fn is_sound(&self) -> bool {
        let normal = [self.factor, self.scale, 1.0 / self.scale].iter().all(|value| value.is_normal());
        let steps = (-MOST..=0).contains(&self.low) && (0..=MOST).contains(&self.high);
        normal && self.scale > 0.0 && steps && self.high - self.low <= MOST
    }

    #[inline(always)]
    pub(crate) fn apply_row(&self, row: &mut [f32]) {
        if self.factor != 1.0 {
            row.iter_mut().for_each(|value| *value *= self.factor);
        }
        round_row(row, (self.scale, f32::from(self.low), f32::from(self.high)));
    }
}

/// Values that all stages are applied to before the next ones: they stay in L1.
const CHUNK: usize = 2048;

/// What is done to a result behind its epilogue: `round(activation(y + bias + residual))`.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// One value per column.
    pub bias: Option<&'a [f32]>,
    /// Laid out as the result.
    pub residual: Option<&'a [f32]>,
    /// Applied to the sum.
    pub activation: Activation,
    /// Applied last, if at all.
    pub rounding: Option<Rounding>,
}

impl Stage<'_> {
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, at: usize, columns: usize, values: &mut [f32]) {
        if let Some(bias) = self.bias {
            // Values of several rows begin with one.
            let bias = &bias[at % columns..];
            for row in values.chunks_mut(columns) {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
        }
        if let Some(residual) = self.residual {
            values.iter_mut().zip(&residual[at..]).for_each(|(value, residual)| *value += residual);
        }
        if self.activation != Activation::Identity {
            self.activation.apply_row(simd, values);
        }
        if let Some(rounding) = self.rounding {
            rounding.apply_row(values);
        }
    }
}

/// Applies stages to values of a result, of which the first is at `at`: part of a row of `columns` entries, or whole rows.
#[inline(always)]
pub(crate) fn apply_stages<S: Simd>(simd: S, stages: &[Stage<'_>], at: usize, columns: usize, values: &mut [f32]) {
    if stages.is_empty() {
        return;
    }
    let piece = if values.len() <= columns { columns } else { (CHUNK / columns).max(1) * columns };
    for (i, values) in values.chunks_mut(piece.max(1)).enumerate() {
        for stage in stages {
            stage.apply(simd, at + i * piece, columns, values);
        }
    }
}

dispatch! {
    /// Applies stages to values as [`apply_stages`].
    pub(crate) fn stages_of_rows(then: &[Stage<'_>], at: usize, columns: usize, values: &mut [f32]) = apply_stages;
}

#[inline(always)]
fn round_body<S: Simd>(simd: S, x: &[f32], at: usize, columns: usize, epilogue: Epilogue<'_>, out: &mut [f32]) {
    // Whole rows, so that the bias fits each.
    let chunk = (CHUNK / columns).max(1) * columns;
    for (i, (x, out)) in x.chunks(chunk).zip(out.chunks_mut(chunk)).enumerate() {
        let at = at + i * chunk;
        match (epilogue.bias, epilogue.residual.map(|residual| &residual[at..][..x.len()])) {
            (Some(bias), None) => {
                for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(columns)) {
                    x.iter().zip(bias).zip(out).for_each(|((x, bias), out)| *out = x + bias);
                }
            }
            (Some(bias), Some(residual)) => {
                let rows = x.chunks_exact(columns).zip(residual.chunks_exact(columns));
                for ((x, residual), out) in rows.zip(out.chunks_exact_mut(columns)) {
                    let sums = x.iter().zip(bias).zip(residual).map(|((x, bias), residual)| x + bias + residual);
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
                }
            }
            (None, Some(residual)) => {
                x.iter().zip(residual).zip(&mut *out).for_each(|((x, residual), out)| *out = x + residual);
            }
            (None, None) => out.copy_from_slice(x),
        }
        simd.activate_row(epilogue.activation, out);
        simd.apply_stages(epilogue.then, at, columns, out);
    }
}

dispatch! {
    fn round_values(x: &[f32], at: usize, columns: usize, epilogue: Epilogue<'_>, out: &mut [f32]) = round_body;
}

/// `out = stages(activation(x + bias + residual))`, as the epilogue says. Rounded values are multiples of a step, to even where two
/// are as near; NaN becomes the lowest. Rows have `columns` entries. [`quantise`](crate::gemm::quantise) makes the same bytes of
/// values before and behind a rounding without a factor, where these stand for all of its steps.
///
/// # Panics
/// A rounding is not [sound](Rounding::is_sound), or a slice not as long as `x` or a row.
pub fn fake_quantise(pool: &mut ThreadPool, x: &[f32], columns: usize, epilogue: Epilogue<'_>, out: &mut [f32]) {
    assert!(
        epilogue.then.iter().filter_map(|stage| stage.rounding).all(|rounding| rounding.is_sound()),
        "{:?}",
        epilogue.then
    );
    assert!(columns > 0 && x.len() == out.len() && x.len().is_multiple_of(columns), "whole rows of {columns}");
    let biases = epilogue.then.iter().map(|stage| stage.bias).chain([epilogue.bias]);
    assert!(biases.flatten().all(|bias| bias.len() == columns), "a bias of {columns}");
    let residuals = epilogue.then.iter().map(|stage| stage.residual).chain([epilogue.residual]);
    assert!(residuals.flatten().all(|residual| residual.len() == x.len()), "a residual for each value");
    let rows = x.len() / columns;
    let (token, parts) = (pool.token(), pool.parts(x.len(), rows));
    let sink = Sink::new(out);
    pool.run(parts, &|part| {
        let (from, until) = (part * rows / parts * columns, (part + 1) * rows / parts * columns);
        // SAFETY: each part writes its own rows.
        let mut out = unsafe { sink.share() };
        round_values(token, &x[from..until], from, columns, epilogue, out.entries(from, until - from));
    });
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod roundings {
    use proptest::prelude::*;

    use super::*;
    use crate::gemm::{padded_i8, quantise};
    use crate::oracle::{activation, activations, cases, for_each_int8, for_each_isa, most};
    use crate::testing::values;

    proptest! {
        #![proptest_config(cases(100))]

        #[test]
        fn values_are_those_of_bytes_and_become_the_same_bytes(
            rows in 1..most(67), columns in 1..most(67), zero_point: u8, scale in 1e-3_f32..0.1, bias: bool, residual: bool,
            act in activations(),
        ) {
            let len = rows * columns;
            let (x, b, r) = (values(1, len), values(2, columns), values(3, len));
            let (low, high) = (-i16::from(zero_point), 255 - i16::from(zero_point));
            let sum = |i: usize| {
                let biased = if bias { x[i] + b[i % columns] } else { x[i] };
                if residual { biased + r[i] } else { biased }
            };
            let rounding = Rounding { factor: 1.0, scale, low, high };
            let only = [Stage { bias: None, residual: None, activation: Activation::Identity, rounding: Some(rounding) }];
            let epilogue =
                Epilogue { bias: bias.then_some(&b), residual: residual.then_some(&r), activation: act, then: &only };
            let exact = (0..len).map(|i| activation(act, f64::from(sum(i)))).collect::<Vec<f64>>();
            for_each_isa(
                len,
                |pool, out| fake_quantise(pool, &x, columns, epilogue, out),
                |found| {
                    for (found, exact) in found.iter().zip(&exact) {
                        let steps = found / scale;
                        assert!((steps - steps.round()).abs() < 1e-3, "{found} is no step of {scale}");
                        let kept = exact.clamp(f64::from(low) * f64::from(scale), f64::from(high) * f64::from(scale));
                        let off = (f64::from(*found) - kept).abs();
                        assert!(off <= 0.5001 * f64::from(scale) + 1e-5, "{found} for {exact}, steps of {scale}");
                    }
                },
            );
            let plain = Epilogue { then: &only, ..Epilogue::default() };
            for_each_int8(|pool| {
                let mut rounded = vec![f32::NAN; len];
                fake_quantise(pool, &x, columns, plain, &mut rounded);
                let mut bytes = [&x, &rounded].map(|values| {
                    let mut bytes = vec![7; padded_i8(len)];
                    quantise(pool, values, len, scale, zero_point, &mut bytes);
                    bytes
                });
                let [of_x, of_rounded] = &mut bytes;
                assert_eq!(of_x, of_rounded);
            });
        }
    }

    #[test]
    fn what_is_no_number_becomes_the_lowest() {
        let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.24, 1e30];
        let mut out = [7.0; 6];
        let rounding = Some(Rounding { factor: 1.0, scale: 0.5, low: -4, high: 3 });
        let then = [Stage { bias: None, residual: None, activation: Activation::Identity, rounding }];
        fake_quantise(&mut ThreadPool::single(), &x, 3, Epilogue { then: &then, ..Epilogue::default() }, &mut out);
        assert_eq!(out, [-2.0, 1.5, -2.0, 0.0, -0.0, 1.5]);
    }
}
