//! Shape rules of operators whose size is decided by a value, and of resizing.

use tract_onnx::pb::tensor_proto::DataType;

use super::super::node::{Node, axis};
use crate::model::fact::{Check, Fact, Value, elements, size};
use crate::model::tensor;

/// `Constant`, of any of the attributes that may hold it.
pub(in super::super) fn constant(node: &Node<'_>) -> Check<Vec<Fact>> {
    if let Some(tensor) = node.tensor("value")? {
        return Ok(vec![tensor::fact(tensor)?]);
    }
    let fact = if node.has("value_int") {
        Fact::of_ints(DataType::Int64, vec![], vec![node.int("value_int", 0)?])
    } else if let Some(values) = node.ints("value_ints")? {
        Fact::of_ints(DataType::Int64, vec![values.len()], values.to_vec())
    } else if node.has("value_float") {
        let value = Value::Floats(vec![node.float("value_float", 0.0)?]);
        Fact::new(DataType::Float, vec![]).with_value(Some(value))
    } else if let Some(values) = node.floats("value_floats")? {
        Fact::new(DataType::Float, vec![values.len()]).with_value(Some(Value::Floats(values.to_vec())))
    } else {
        return Err("it holds no tensor".into());
    };
    Ok(vec![fact])
}

/// `ConstantOfShape`: one value everywhere.
pub(in super::super) fn filled(node: &Node<'_>) -> Check<Vec<Fact>> {
    node.input(0)?.expect_index()?.expect_rank(1..=1)?;
    let dims = node.known_ints(0)?.iter().map(|&v| size(v)).collect::<Check<Vec<_>>>()?;
    let value = match node.tensor("value")? {
        Some(tensor) => tensor::fact(tensor)?,
        None => Fact::new(DataType::Float, vec![1]).with_value(Some(Value::Floats(vec![0.0]))),
    };
    if value.len()? != 1 {
        return Err(format!("a value of shape {:?}", value.dims));
    }
    let count = elements(&dims)?;
    let few = count <= crate::model::fact::FOLLOWED;
    let spread = value.value.as_ref().filter(|_| few).and_then(|v| v.pick(std::iter::repeat_n(0, count)));
    Ok(vec![Fact::new(value.element, dims).with_value(spread)])
}

/// `Range` of known numbers.
pub(in super::super) fn range(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (start, limit, delta) = (node.input(0)?, node.input(1)?, node.input(2)?);
    if start.element != limit.element || start.element != delta.element {
        return Err("start, limit and delta of different types".into());
    }
    if start.is_float() {
        return Err("a range of floats whose bounds depend on the image".into());
    }
    let one = |fact: &Fact| fact.ints().and_then(|values| values.first()).map(|&value| value as f64);
    let (Some(from), Some(to), Some(step)) = (one(start), one(limit), one(delta)) else {
        return Err("its bounds are not known before the model runs".into());
    };
    let count = ((to - from) / step).ceil().max(0.0);
    if !count.is_finite() || count > node.limits.constant_elements as f64 {
        return Err(format!("{count} elements, at most {} are allowed", node.limits.constant_elements));
    }
    let count = count as usize;
    let followed = count <= crate::model::fact::FOLLOWED;
    let value = match (start.ints(), delta.ints()) {
        (Some(from), Some(step)) if followed => {
            let at = |k: usize| step[0].checked_mul(k as i64).and_then(|v| v.checked_add(from[0]));
            (0..count).map(at).collect::<Option<_>>().map(Value::Ints)
        }
        _ => None,
    };
    Ok(vec![Fact::new(start.element, vec![count]).with_value(value)])
}

/// `EyeLike`: as a matrix.
pub(in super::super) fn eye(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(2..=2)?;
    if node.int("k", 0)?.unsigned_abs() > 1 << 30 {
        return Err("a diagonal outside the matrix".into());
    }
    Ok(vec![Fact::new(node.element("dtype")?.unwrap_or(x.element), x.dims.clone())])
}

/// `Resize`, `Upsample`: by scales or to sizes, known before the graph runs.
pub(in super::super) fn resize(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?.expect_rank(1..=5)?;
    if node.opset < 10 && node.proto.op_type == "Resize" {
        return Err(format!("Resize in operator set {}", node.opset));
    }
    node.one_of("mode", "nearest", &["nearest", "linear", "cubic"])?;
    let modes = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"];
    node.one_of("coordinate_transformation_mode", "half_pixel", &modes)?;
    node.one_of("keep_aspect_ratio_policy", "stretch", &["stretch"])?;
    let old = node.opset < 11;
    if (11..13).contains(&node.opset) {
        node.input(1).map_err(|_| "its region of interest is left out, which operator set 13 allows first")?;
    }
    let (scales_at, sizes_at) = if old { (1, 9) } else { (2, 3) };
    let along: Vec<usize> = match node.ints("axes")? {
        Some(values) => values.iter().map(|&v| axis(v, x.rank())).collect::<Check<_>>()?,
        None => (0..x.rank()).collect(),
    };
    let mut dims = x.dims.clone();
    let scales = node.optional(scales_at).filter(|fact| fact.dims != [0]);
    let largest = node.limits.tensor_elements.saturating_mul(x.dims[0].max(1));
    if let Some(scales) = scales {
        let Some(values) = scales.floats().filter(|values| values.len() == along.len()) else {
            return Err(format!("scales of shape {:?} that are not known before the model runs", scales.dims));
        };
        for (&at, &scale) in along.iter().zip(values) {
            let dim = (dims[at] as f32 * scale).floor();
            if !(scale > 0.0 && scale.is_finite() && dim >= 1.0 && f64::from(dim) <= largest as f64) {
                return Err(format!("{} scaled by {scale}", dims[at]));
            }
            dims[at] = dim as usize;
        }
    } else {
        let values = node.known_ints(sizes_at)?;
        if values.len() != along.len() {
            return Err(format!("{} sizes for {} axes", values.len(), along.len()));
        }
        for (&at, &value) in along.iter().zip(values) {
            dims[at] = size(value)?;
        }
    }
    node.charge((elements(&dims)? as u64).saturating_mul(4));
    Ok(vec![Fact::new(x.element, dims)])
}

/// `DynamicQuantizeLinear`: bytes, a scale and a zero point.
pub(in super::super) fn quantise_dynamically(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?;
    let scalar = |element| Fact::new(element, vec![]);
    Ok(vec![Fact::new(DataType::Uint8, x.dims.clone()), scalar(DataType::Float), scalar(DataType::Uint8)])
}
