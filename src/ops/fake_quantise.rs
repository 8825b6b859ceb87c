//! Values rounded to those that bytes stand for: a quantisation and the way back, of a network that was quantised elsewhere.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::epilogue::Tail;
use super::fused::{Fused, fused_op, product};
use dyn_perceiver_kernels::fake_quantise::fake_quantise;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// `clamp(round(y / scale), low, high) * scale` of `y = activation(x + bias + residual)`. Inputs: x, whose last axis holds `columns`
/// entries; then what `tail` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FakeQuantise {
    /// Bits of a step, so that the operator has an equality.
    pub scale: u32,
    /// Steps from 0 to the lowest value, from -255 to 0.
    pub low: i16,
    /// Steps from 0 to the highest value, from 0 to 255.
    pub high: i16,
    pub columns: usize,
    pub tail: Tail,
}

/// Inputs of a product with the same tail, x also where it has its weights.
fn as_product<T: Copy>(inputs: &[T]) -> TractResult<TVec<T>> {
    let [x, tail @ ..] = inputs else { bail!("expected an input") };
    Ok([*x, *x].into_iter().chain(tail.iter().copied()).collect())
}

impl FakeQuantise {
    /// Steps between the lowest and the highest byte.
    const STEPS: i16 = 255;

    /// That it stands for values of a byte.
    pub(crate) fn is_sound(&self) -> bool {
        let scale = f32::from_bits(self.scale);
        // The kernels multiply by the inverse.
        let normal = scale.is_normal() && scale > 0.0 && (1.0 / scale).is_normal();
        let steps = (-Self::STEPS..=0).contains(&self.low) && (0..=Self::STEPS).contains(&self.high);
        normal && steps && self.high - self.low <= Self::STEPS
    }

    /// The byte that stands for 0 where bytes from 0 on are counted from the lowest value.
    pub(crate) fn zero_point(&self) -> u8 {
        self.low.unsigned_abs() as u8
    }

    /// Whether every byte stands for one of its values.
    pub(crate) fn takes_all_bytes(&self) -> bool {
        self.high - self.low == Self::STEPS
    }

    /// Whether it does nothing but round.
    pub(crate) fn only_rounds(&self) -> bool {
        self.tail == Tail::default()
    }

    /// Whether its results are among the same values as those of another.
    pub(crate) fn has_values_of(&self, other: &FakeQuantise) -> bool {
        (self.scale, self.low, self.high) == (other.scale, other.low, other.high)
    }
}

impl Fused for FakeQuantise {
    fn name(&self) -> &'static str {
        "FakeQuantise"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let inputs = as_product(inputs)?;
        self.tail.check(&inputs)?;
        Ok(inputs[0].into())
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let shape = self.output_shape(inputs)?;
        let values = product(&shape)?;
        ensure!(self.is_sound() && self.columns > 0 && values.is_multiple_of(self.columns), "{self:?} of {shape:?}");
        self.tail.check_sizes(&as_product(inputs)?, self.columns, values)
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let epilogue = self.tail.epilogue(&as_product(inputs)?);
        let scale = f32::from_bits(self.scale);
        fake_quantise(pool, inputs[0].0, self.columns, epilogue, scale, [self.low, self.high], out);
        Ok(())
    }

    fn details(&self) -> Vec<String> {
        let FakeQuantise { scale, low, high, tail, .. } = self;
        vec![format!("steps of {} from {low} to {high}, {tail:?}", f32::from_bits(*scale))]
    }
}
fused_op!(FakeQuantise);
