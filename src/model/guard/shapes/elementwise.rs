//! Shape rules of operators that work element by element.

use tract_onnx::pb::tensor_proto::DataType;

use super::super::node::Node;
use super::small;
use crate::model::fact::{Check, Fact, Value, broadcast, broadcasts_to};

/// As the first input: same type, same shape. Values of floors and roundings are followed.
pub(in super::super) fn unary(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    if x.element == DataType::Bool || x.element == DataType::String {
        return Err(format!("input of {:?}, expected numbers", x.element));
    }
    let value = x.value.as_ref().and_then(|value| small::unary(&node.proto.op_type, value));
    Ok(vec![Fact::new(x.element, x.dims.clone()).with_value(value)])
}

/// As [`unary`], of floats alone.
pub(in super::super) fn float(node: &Node<'_>) -> Check<Vec<Fact>> {
    node.input(0)?.expect_float()?;
    for name in ["alpha", "beta", "gamma", "bias", "lambd"] {
        if node.has(name) {
            node.float(name, 0.0)?;
        }
    }
    unary(node)
}

/// Identity of any type, with its values.
pub(in super::super) fn identity(node: &Node<'_>) -> Check<Vec<Fact>> {
    Ok(vec![node.input(0)?.clone()])
}

/// Two inputs of one type, broadcast.
pub(in super::super) fn binary(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (a, b) = pair(node)?;
    if a.element == DataType::Bool || a.element == DataType::String {
        return Err(format!("inputs of {:?}, expected numbers", a.element));
    }
    let dims = broadcast(&a.dims, &b.dims)?;
    if matches!(node.proto.op_type.as_str(), "Div" | "Mod") && b.ints().is_some_and(|values| values.contains(&0)) {
        return Err("integers are divided by 0".into());
    }
    let value = small::binary(&node.proto.op_type, a, b, &dims);
    Ok(vec![Fact::new(a.element, dims).with_value(value)])
}

fn pair<'a>(node: &'a Node<'_>) -> Check<(&'a Fact, &'a Fact)> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    if a.element != b.element && node.proto.op_type != "Pow" {
        return Err(format!("inputs of {:?} and {:?}", a.element, b.element));
    }
    Ok((a, b))
}

/// One or more inputs of one type, broadcast together.
pub(in super::super) fn variadic(node: &Node<'_>) -> Check<Vec<Fact>> {
    let first = node.input(0)?;
    let mut dims = first.dims.clone();
    for index in 1..node.inputs.len() {
        let next = node.input(index)?;
        if next.element != first.element {
            return Err(format!("inputs of {:?} and {:?}", first.element, next.element));
        }
        dims = broadcast(&dims, &next.dims)?;
    }
    let value = match node.inputs.len() {
        1 => first.value.clone(),
        2 => small::binary(&node.proto.op_type, first, node.input(1)?, &dims),
        _ => None,
    };
    Ok(vec![Fact::new(first.element, dims).with_value(value)])
}

/// A comparison: booleans.
pub(in super::super) fn comparison(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (a, b) = pair(node)?;
    let dims = broadcast(&a.dims, &b.dims)?;
    let value = small::binary(&node.proto.op_type, a, b, &dims);
    Ok(vec![Fact::new(DataType::Bool, dims).with_value(value)])
}

/// Logic on booleans.
pub(in super::super) fn logic(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (a, b) = pair(node)?;
    expect_bool(a)?;
    expect_bool(b)?;
    comparison(node)
}

/// Negation of booleans.
pub(in super::super) fn not(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    expect_bool(x)?;
    let value = x.ints().map(|values| Value::Ints(values.iter().map(|&v| i64::from(v == 0)).collect()));
    Ok(vec![Fact::new(DataType::Bool, x.dims.clone()).with_value(value)])
}

fn expect_bool(fact: &Fact) -> Check<()> {
    match fact.element {
        DataType::Bool => Ok(()),
        other => Err(format!("input of {other:?}, expected booleans")),
    }
}

/// Whether floats are NaN or infinite: booleans.
pub(in super::super) fn classify(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?;
    Ok(vec![Fact::new(DataType::Bool, x.dims.clone())])
}

/// Integers shifted or combined bit by bit.
pub(in super::super) fn bits(node: &Node<'_>) -> Check<Vec<Fact>> {
    for fact in node.inputs.iter().flatten() {
        if fact.is_float() || matches!(fact.element, DataType::Bool | DataType::String) {
            return Err(format!("input of {:?}, expected integers", fact.element));
        }
    }
    if node.inputs.len() == 1 { unary(node) } else { binary(node) }
}

/// `Where`: a condition and two inputs of one type.
pub(in super::super) fn choose(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (condition, a, b) = (node.input(0)?, node.input(1)?, node.input(2)?);
    expect_bool(condition)?;
    if a.element != b.element {
        return Err(format!("inputs of {:?} and {:?}", a.element, b.element));
    }
    let dims = broadcast(&broadcast(&condition.dims, &a.dims)?, &b.dims)?;
    let value = small::choose(condition, a, b, &dims);
    Ok(vec![Fact::new(a.element, dims).with_value(value)])
}

/// `PRelu`: the slope broadcasts to the input.
pub(in super::super) fn prelu(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (x, slope) = (node.input(0)?.expect_float()?, node.input(1)?.expect_float()?);
    broadcasts_to(&x.dims, &slope.dims)?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `Clip`: the limits are single values of the input's type.
pub(in super::super) fn clip(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    for limit in (1..3).filter_map(|index| node.optional(index)) {
        if limit.element != x.element || limit.len()? != 1 {
            return Err(format!("a limit of {:?} {:?}, expected one {:?}", limit.element, limit.dims, x.element));
        }
    }
    let value = match (node.optional(1).map(Fact::ints), node.optional(2).map(Fact::ints), x.ints()) {
        (low @ (None | Some(Some(_))), high @ (None | Some(Some(_))), Some(values)) => {
            let low = low.flatten().map_or(i64::MIN, |v| v[0]);
            let high = high.flatten().map_or(i64::MAX, |v| v[0]);
            Some(Value::Ints(values.iter().map(|&v| v.max(low).min(high)).collect()))
        }
        _ => None,
    };
    Ok(vec![Fact::new(x.element, x.dims.clone()).with_value(value)])
}

/// `Cast`, to the type that an attribute names.
pub(in super::super) fn cast(node: &Node<'_>) -> Check<Vec<Fact>> {
    let to = node.element("to")?.ok_or("attribute to is missing")?;
    cast_to(node.input(0)?, to)
}

/// `CastLike`, to the type of the second input.
pub(in super::super) fn cast_like(node: &Node<'_>) -> Check<Vec<Fact>> {
    cast_to(node.input(0)?, node.input(1)?.element)
}

fn cast_to(x: &Fact, to: DataType) -> Check<Vec<Fact>> {
    use DataType as T;
    match to {
        T::Float | T::Float16 | T::Double | T::Bool => {}
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Uint8 | T::Uint16 | T::Uint32 | T::Uint64 => {}
        other => return Err(format!("a cast to {other:?}")),
    }
    if x.element == T::String {
        return Err("a cast of texts".into());
    }
    let value = x.value.as_ref().and_then(|value| small::cast(value, to));
    Ok(vec![Fact::new(to, x.dims.clone()).with_value(value)])
}

/// `BiasGelu` and its kin: the bias broadcasts to the input.
pub(in super::super) fn biased(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?;
    if let Some(bias) = node.optional(1) {
        broadcasts_to(&x.dims, &bias.expect_float()?.dims)?;
    }
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}
