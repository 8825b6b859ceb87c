//! Element-wise operators after a product, taken into it: constant scales and shifts, residuals, activations, roundings.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tract_core::internal::*;

use super::fused::volume;
use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::fake_quantise::{Rounding, Stage};
use dyn_perceiver_kernels::gemm::Epilogue;
use dyn_perceiver_kernels::halves::has_halves;

/// What a product does before it stores its result, `activation(product + bias + residual)` and then its stages one after another,
/// and so which inputs follow its x and weights: the bias (one value per column), then the residual (shaped as the output), then
/// those of each stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub bias: bool,
    pub residual: bool,
    pub activation: Activation,
    /// What follows in a network that was quantised elsewhere, at most [`MOST_STAGES`].
    pub then: Vec<Then>,
}

/// `round(activation(y + bias + residual))` of what comes before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Then {
    pub bias: bool,
    pub residual: bool,
    pub activation: Activation,
    pub rounding: Option<Rounding>,
}

/// How many stages there can be behind a product: so many are kept without allocating in a frame.
pub(crate) const MOST_STAGES: usize = 6;

/// Stages with their inputs.
pub(crate) type Stages<'a> = SmallVec<[Stage<'a>; MOST_STAGES]>;

impl Tail {
    /// Which inputs there are: for each whether it is a residual.
    fn inputs(&self) -> impl Iterator<Item = bool> {
        let stages = self.then.iter().map(|then| (then.bias, then.residual));
        let each = [(self.bias, self.residual)].into_iter().chain(stages);
        each.flat_map(|(bias, residual)| bias.then_some(false).into_iter().chain(residual.then_some(true)))
    }

    /// That there are as many inputs as the tail says, and stages that can be.
    pub(crate) fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let expected = 2 + self.inputs().count();
        ensure!(inputs.len() == expected, "expected {expected} inputs, found {}", inputs.len());
        ensure!(self.then.len() <= MOST_STAGES, "{} stages", self.then.len());
        let sound = |then: &Then| then.rounding.is_none_or(|rounding| rounding.is_sound());
        ensure!(self.then.iter().all(sound), "{:?}", self.then);
        Ok(())
    }

    /// That biases and residuals, after [`Tail::check`], have one value per column and per element of the result.
    pub(crate) fn check_sizes(&self, inputs: &[&[usize]], columns: usize, result: usize) -> TractResult<()> {
        for (shape, is_residual) in inputs[2..].iter().zip(self.inputs()) {
            let (name, expected) = if is_residual { ("residual", result) } else { ("bias", columns) };
            ensure!(volume(shape) == expected, "expected a {name} of {expected} values, found {shape:?}");
        }
        Ok(())
    }

    /// Whether a result can be kept as halves behind it, as far as a residual lets it.
    pub(crate) fn can_be_halves(&self) -> bool {
        self.then.is_empty() && has_halves(self.activation)
    }

    /// The stages with their inputs.
    pub(crate) fn stages<'a>(&self, inputs: &[(&'a [f32], &[usize])]) -> Stages<'a> {
        let before = 2 + usize::from(self.bias) + usize::from(self.residual);
        let mut rest = inputs.iter().skip(before).map(|(values, _)| *values);
        let stage = |then: &Then| {
            let bias = if then.bias { rest.next() } else { None };
            let residual = if then.residual { rest.next() } else { None };
            Stage { bias, residual, activation: then.activation, rounding: then.rounding }
        };
        self.then.iter().map(stage).collect()
    }

    /// What a kernel does, with these [`Tail::stages`].
    pub(crate) fn epilogue<'a>(&self, inputs: &[(&'a [f32], &[usize])], then: &'a [Stage<'a>]) -> Epilogue<'a> {
        let mut rest = inputs.iter().skip(2).map(|(values, _)| *values);
        let bias = if self.bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        Epilogue { bias, residual, activation: self.activation, then }
    }
}

/// An operator that has a [`Tail`].
pub(crate) trait WithTail: TypedOp + Clone {
    fn tail_mut(&mut self) -> &mut Tail;
    /// Entries of the output's last axis.
    fn columns(&self) -> usize;
}

/// A product that has a [`Tail`].
pub(crate) trait Scalable: WithTail {
    /// Multiplies the packed weights of column `n` by `scale(n)`.
    fn scale_weights(&self, packed: &mut [f32], scale: &dyn Fn(usize) -> f32);
}
