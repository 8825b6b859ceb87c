//! Values rounded to those that bytes stand for: a quantisation and the way back, of a network that was quantised elsewhere.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::epilogue::{MOST_STAGES, Tail, WithTail};
use super::fused::{Fused, fused_op, product};
use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::fake_quantise::{Rounding, Stage, fake_quantise};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// `clamp(round(y / scale), low, high) * scale` of `y = activation(x + bias + residual)`, and then the stages of `tail`. Inputs: x,
/// whose last axis holds `columns` entries; then what `tail` says.
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
        self.rounding().is_sound() && self.tail.then.len() < MOST_STAGES
    }

    /// What the kernels do.
    pub(crate) fn rounding(&self) -> Rounding {
        Rounding { factor: 1.0, scale: f32::from_bits(self.scale), low: self.low, high: self.high }
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

    /// Whether it begins with rounding, whatever comes behind.
    pub(crate) fn only_rounds_first(&self) -> bool {
        let Tail { bias, residual, activation, .. } = self.tail;
        !bias && !residual && activation == Activation::Identity
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
        let inputs = as_product(inputs)?;
        let own =
            Stage { bias: None, residual: None, activation: Activation::Identity, rounding: Some(self.rounding()) };
        let mut stages = self.tail.stages(&inputs);
        stages.insert(0, own);
        fake_quantise(pool, inputs[0].0, self.columns, self.tail.epilogue(&inputs, &stages), out);
        Ok(())
    }

    fn details(&self) -> Vec<String> {
        let FakeQuantise { scale, low, high, tail, .. } = self;
        vec![format!("steps of {} from {low} to {high}, {tail:?}", f32::from_bits(*scale))]
    }
}
fused_op!(FakeQuantise);

impl WithTail for FakeQuantise {
    fn tail_mut(&mut self) -> &mut Tail {
        &mut self.tail
    }

    fn columns(&self) -> usize {
        self.columns
    }
}
