//! Shape rules of reductions.

use tract_onnx::pb::tensor_proto::DataType;

use super::super::node::{Node, axes};
use crate::model::fact::{Check, Fact, Value};

/// `ReduceSum` and its kin. Axes are an attribute, or in newer files an input.
pub(in super::super) fn reduce(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    if matches!(x.element, DataType::Bool | DataType::String) {
        return Err(format!("input of {:?}, expected numbers", x.element));
    }
    let given = match node.optional(1) {
        Some(fact) => {
            fact.expect_index()?.expect_rank(1..=1)?;
            Some(node.known_ints(1)?)
        }
        None => node.ints("axes")?,
    };
    let keep = node.flag("keepdims", true)?;
    if given.is_none_or(<[i64]>::is_empty) && node.flag("noop_with_empty_axes", false)? {
        return Ok(vec![x.clone()]);
    }
    let reduced = match given {
        Some(values) if !values.is_empty() => axes(values, x.rank())?,
        _ => (0..x.rank()).collect(),
    };
    let dims = x.dims.iter().enumerate().filter(|(i, _)| keep || !reduced.contains(i));
    let dims: Vec<usize> = dims.map(|(i, &dim)| if reduced.contains(&i) { 1 } else { dim }).collect();
    node.charge(x.len()? as u64);
    let value = match (node.proto.op_type.as_str(), x.ints()) {
        _ if reduced.len() != x.rank() => None,
        ("ReduceProd", Some(values)) => {
            values.iter().try_fold(1i64, |p, &v| p.checked_mul(v)).map(|v| Value::Ints(vec![v]))
        }
        ("ReduceSum", Some(values)) => {
            values.iter().try_fold(0i64, |s, &v| s.checked_add(v)).map(|v| Value::Ints(vec![v]))
        }
        ("ReduceMax", Some(values)) => values.iter().max().map(|&v| Value::Ints(vec![v])),
        ("ReduceMin", Some(values)) => values.iter().min().map(|&v| Value::Ints(vec![v])),
        _ => None,
    };
    Ok(vec![Fact::new(x.element, dims).with_value(value)])
}

/// `ArgMax`, `ArgMin`: indices along one axis.
pub(in super::super) fn arg(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let axis = node.axis("axis", 0, x.rank())?;
    node.flag("select_last_index", false)?;
    let mut dims = x.dims.clone();
    if node.flag("keepdims", true)? {
        dims[axis] = 1;
    } else {
        dims.remove(axis);
    }
    Ok(vec![Fact::new(DataType::Int64, dims)])
}

/// `TopK`: values and indices along one axis.
pub(in super::super) fn top(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let axis = node.axis("axis", -1, x.rank())?;
    let k = match node.optional(1) {
        Some(_) => node.known_int(1)?,
        None => node.int("k", 0)?,
    };
    node.flag("largest", true)?;
    node.flag("sorted", true)?;
    let mut dims = x.dims.clone();
    dims[axis] = usize::try_from(k)
        .ok()
        .filter(|k| (1..=x.dims[axis]).contains(k))
        .ok_or_else(|| format!("the largest {k} of {}", x.dims[axis]))?;
    Ok(vec![Fact::new(x.element, dims.clone()), Fact::new(DataType::Int64, dims)])
}
