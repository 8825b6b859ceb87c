//! Operator-fusion passes over tract's typed graph: structural pattern matching, independent of node names.
//!
//! Each pass puts one operator of [`crate::ops`] in place of the several it recognises, so any ONNX classifier with such
//! shapes gains. A pass leaves a graph that computes the same; none takes in a tensor that is an output of the model or has
//! a second reader. The order matters: the first passes write every recognised operator in one canonical, channels-last
//! (NHWC) form with [`Permute`](crate::ops::permute::Permute) around it, [`layout`] then makes almost all of these cancel,
//! and [`epilogue`] fuses the element-wise operators that follow products into them. [`fake_quantise`] comes first, so that
//! nothing takes a part of a rounding in, [`quantised`] behind [`epilogue`], when products have their weights, and
//! [`stages`] last, when it is known which roundings are needed.

mod attention;
mod attention_values;
mod channel_gate;
mod convolution;
mod epilogue;
mod fake_quantise;
pub(crate) mod halves;
mod join;
mod layer_norm;
mod layout;
mod linear;
mod mean;
mod mean_before_linear;
mod merge_adaptive_pool;
mod merge_depthwise_pool;
mod pattern;
mod pool;
mod quantised;
mod repeat;
mod stages;
mod strided_pointwise;
#[cfg(test)]
pub(crate) mod testing;
mod winograd;

use tract_core::internal::*;

use crate::deadline;

/// Rewrites a decluttered float32 model with concrete shapes. What no pass recognises stays as it is.
pub(crate) fn rewrite(mut model: TypedModel) -> TractResult<TypedModel> {
    let is_quantised = fake_quantise::recognise(&mut model)?;
    for fuse in [
        layer_norm::fuse,
        attention::fuse,
        convolution::fuse,
        pool::fuse,
        merge_adaptive_pool::fuse,
        linear::fuse,
        repeat::fuse,
    ] {
        deadline::check()?;
        fuse(&mut model)?;
    }
    let mut model = layout::settle(&model)?;
    deadline::check()?;
    strided_pointwise::fuse(&mut model)?;
    mean::fuse(&mut model)?;
    epilogue::fold(&mut model)?;
    deadline::check()?;
    mean_before_linear::hoist(&mut model)?;
    attention_values::merge(&mut model)?;
    deadline::check()?;
    fake_quantise::fold(&mut model)?;
    quantised::fuse(&mut model)?;
    merge_depthwise_pool::fuse(&mut model)?;
    channel_gate::fuse(&mut model)?;
    join::fuse(&mut model)?;
    deadline::check()?;
    winograd::fuse(&mut model)?;
    if is_quantised {
        stages::fold(&mut model)?;
    }
    Ok(model)
}
