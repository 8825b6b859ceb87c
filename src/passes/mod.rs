//! Passes over tract's typed graph that put one fast operator in place of the several it recognises.
//!
//! They know shapes of computation, not this network's names, so any ONNX classifier with such shapes gains. Each pass
//! leaves a graph that computes the same; none takes in a tensor that is an output of the model or has a second reader.
//! The order matters: the first passes write every recognised operator in one canonical, channels-last form with
//! [`permute::Permute`] around it, [`layout`] then makes almost all of these cancel, and [`epilogue`] lets products take
//! in the element-wise operators that follow them.

mod attention;
mod convolution;
mod epilogue;
mod fused;
mod layer_norm;
mod layout;
mod linear;
mod mean;
mod operator;
mod permute;
mod pooled;
mod pooling;
mod scale;
mod strided;
#[cfg(test)]
pub(crate) mod testing;

use tract_core::internal::*;

pub(crate) use fused::Fused;
pub(crate) use operator::Operator;

/// Rewrites a decluttered float32 model with concrete shapes. What no pass recognises stays as it is.
pub(crate) fn rewrite(mut model: TypedModel) -> TractResult<TypedModel> {
    layer_norm::fuse(&mut model)?;
    attention::fuse(&mut model)?;
    convolution::fuse(&mut model)?;
    pooling::fuse(&mut model)?;
    linear::fuse(&mut model)?;
    let mut model = layout::settle(&model)?;
    strided::fuse(&mut model)?;
    mean::fuse(&mut model)?;
    epilogue::fold(&mut model)?;
    pooled::fuse(&mut model)?;
    scale::fuse(&mut model)?;
    Ok(model)
}

/// What an operator of these modules computes; none for any other operator.
pub(crate) fn fused(op: &dyn TypedOp) -> Option<Box<dyn Fused>> {
    Operator::of(op).map(Operator::into_fused)
}
