//! Element-wise operators after a product, taken into it: constant scales and shifts, residuals, activations.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::fused::volume;
use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::gemm::Epilogue;

/// What a product does before it stores its result, `activation(product + bias + residual)`, and so which inputs follow
/// its x and weights: the bias (one value per column), then the residual (shaped as the output).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub bias: bool,
    pub residual: bool,
    pub activation: Activation,
}

impl Tail {
    /// That there are as many inputs as the tail says.
    pub(crate) fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let expected = 2 + usize::from(self.bias) + usize::from(self.residual);
        ensure!(inputs.len() == expected, "expected {expected} inputs, found {}", inputs.len());
        Ok(())
    }

    /// That bias and residual, after [`Tail::check`], have one value per column and per element of the result.
    pub(crate) fn check_sizes(&self, inputs: &[&[usize]], columns: usize, result: usize) -> TractResult<()> {
        let mut rest = inputs[2..].iter().map(|shape| volume(shape));
        ensure!(!self.bias || rest.next() == Some(columns), "expected a bias of {columns} values");
        ensure!(!self.residual || rest.next() == Some(result), "expected a residual of {result} values");
        Ok(())
    }

    pub(crate) fn epilogue<'a>(&self, inputs: &[(&'a [f32], &[usize])]) -> Epilogue<'a> {
        let mut rest = inputs.iter().skip(2).map(|(values, _)| *values);
        let bias = if self.bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        Epilogue { bias, residual, activation: self.activation }
    }
}

/// A product that has a [`Tail`].
pub(crate) trait WithTail: TypedOp + Clone {
    fn tail_mut(&mut self) -> &mut Tail;
    /// Entries of the output's last axis.
    fn columns(&self) -> usize;
    /// Multiplies the packed weights of column `n` by `scale(n)`.
    fn scale_weights(&self, packed: &mut [f32], scale: &dyn Fn(usize) -> f32);
}
