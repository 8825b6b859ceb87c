//! Shape rules of normalisations and of operators along one axis: as the input.

use super::super::node::Node;
use super::window::expect_vector;
use crate::model::fact::{Check, Fact, broadcasts_to, size};

/// `BatchNormalization` for inference: four vectors of the channels.
pub(in super::super) fn batch(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?.expect_rank(2..=5)?;
    for (index, name) in ["scale", "bias", "mean", "variance"].into_iter().enumerate() {
        expect_vector(node.input(index + 1)?.expect_float()?, x.dims[1], name)?;
    }
    node.float("epsilon", 1e-5)?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `InstanceNormalization`: two vectors of the channels.
pub(in super::super) fn instance(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?.expect_rank(3..=5)?;
    expect_vector(node.input(1)?, x.dims[1], "scale")?;
    expect_vector(node.input(2)?, x.dims[1], "bias")?;
    node.float("epsilon", 1e-5)?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `GroupNormalization`: vectors of the channels, or of the groups in older files.
pub(in super::super) fn group(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?.expect_rank(3..=5)?;
    let groups = size(node.int("num_groups", 0)?)?;
    if groups == 0 || !x.dims[1].is_multiple_of(groups) {
        return Err(format!("{} channels in {groups} groups", x.dims[1]));
    }
    let wanted = if node.opset < 21 { groups } else { x.dims[1] };
    expect_vector(node.input(1)?, wanted, "scale")?;
    expect_vector(node.input(2)?, wanted, "bias")?;
    node.float("epsilon", 1e-5)?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `LayerNormalization`, `RMSNormalization`: scale and bias broadcast to the axes from `axis` on.
pub(in super::super) fn layer(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?.expect_rank(1..=8)?;
    let axis = node.axis("axis", -1, x.rank())?;
    for fact in (1..3).filter_map(|index| node.optional(index)) {
        broadcasts_to(&x.dims[axis..], &fact.expect_float()?.dims)?;
    }
    if node.proto.output.iter().skip(1).any(|name| !name.is_empty()) {
        return Err("outputs for training".into());
    }
    node.int("stash_type", 1)?;
    node.float("epsilon", 1e-5)?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `LRN`, over an odd or even number of channels.
pub(in super::super) fn local_response(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?.expect_rank(3..=5)?;
    if !(1..=1 << 16).contains(&node.int("size", 0)?) {
        return Err(format!("size is {}", node.int("size", 0)?));
    }
    for name in ["alpha", "beta", "bias"] {
        node.float(name, 1.0)?;
    }
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `Softmax` and its kin, `LpNormalization`: along an axis.
pub(in super::super) fn along_axis(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?.expect_rank(1..=8)?;
    let old = node.opset < 13 && node.proto.op_type.contains("max");
    node.axis("axis", if old { 1 } else { -1 }, x.rank())?;
    if node.proto.op_type == "LpNormalization" && !(1..=2).contains(&node.int("p", 2)?) {
        return Err("p is neither 1 nor 2".into());
    }
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `MeanVarianceNormalization`.
pub(in super::super) fn mean_variance(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?;
    super::super::node::axes(node.ints("axes")?.unwrap_or(&[0, 2, 3]), x.rank())?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `CumSum` along one axis.
pub(in super::super) fn cumulative(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    super::super::node::axis(node.known_int(1)?, x.rank())?;
    node.flag("exclusive", false)?;
    node.flag("reverse", false)?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `Trilu` of the last two axes.
pub(in super::super) fn triangle(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(2..=8)?;
    node.flag("upper", true)?;
    if node.optional(1).is_some() {
        let k = node.known_int(1)?;
        if k.unsigned_abs() > 1 << 30 {
            return Err(format!("diagonal {k}"));
        }
    }
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `Dropout` in inference; the second output is the mask.
pub(in super::super) fn dropout(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let mask = Fact::new(tract_onnx::pb::tensor_proto::DataType::Bool, x.dims.clone());
    Ok([vec![x.clone()], vec![mask]].concat().into_iter().take(node.proto.output.len().max(1)).collect())
}
