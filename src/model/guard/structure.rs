//! What can be judged of a file without following its tensors: sizes, nesting, names, declared shapes.

use crate::model::fact::Check;
use std::collections::HashSet;

use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto, type_proto};

use super::limits::LoadLimits;
use crate::model::tensor;

/// Longest name of a tensor or node. Exporters of deep modules write some hundred characters.
const LONGEST_NAME: usize = 2048;
/// Longest name of an open dimension.
const LONGEST_DIMENSION: usize = 64;
/// Most axes a declared shape may have.
const MOST_AXES: usize = 16;

/// Versions of the operator set whose meaning is known.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=26;

/// Judges everything that can be judged node by node; functions have to be inlined before.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn check(graph: &GraphProto, limits: &LoadLimits) -> Check<()> {
    let mut nodes = 0;
    check_graph(graph, limits, 0, &mut nodes)
}

/// Version of the default operator set.
pub(crate) fn opset(model: &ModelProto) -> Check<i64> {
    let default = model.opset_import.iter().find(|set| set.domain.is_empty() || set.domain == "ai.onnx");
    let version = default.ok_or("it names no operator set")?.version;
    if OPSETS.contains(&version) {
        return Ok(version);
    }
    Err(format!(
        "it uses operator set {version}, this program knows {} to {}: export the model anew with one of these",
        OPSETS.start(),
        OPSETS.end()
    ))
}

fn check_graph(graph: &GraphProto, limits: &LoadLimits, depth: usize, nodes: &mut usize) -> Check<()> {
    if depth > limits.depth {
        return Err(format!("graphs lie more than {} deep in each other", limits.depth));
    }
    *nodes += graph.node.len();
    if *nodes > limits.nodes {
        return Err(format!("it has more than {} nodes, the limit on loading", limits.nodes));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err("it has sparse weights, which are not supported".into());
    }
    for info in graph.input.iter().chain(&graph.output) {
        check_declared(info)?;
    }
    let mut made = HashSet::new();
    for weight in &graph.initializer {
        check_name(&weight.name)?;
        tensor::dims(weight).map_err(|reason| format!("weight {:?}: {reason}", weight.name))?;
        if !made.insert(weight.name.as_str()) {
            return Err(format!("weight {:?} occurs twice", weight.name));
        }
    }
    made.extend(graph.input.iter().map(|input| input.name.as_str()));
    for node in &graph.node {
        for name in node.input.iter().chain(&node.output).chain([&node.name, &node.op_type, &node.domain]) {
            check_name(name)?;
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !made.insert(output) {
                return Err(format!("node {:?} makes {output:?}, which is made before", node.name));
            }
        }
        for attribute in &node.attribute {
            if let Some(inner) = &attribute.g {
                check_graph(inner, limits, depth + 1, nodes)?;
            }
            let odd =
                !attribute.graphs.is_empty() || !attribute.tensors.is_empty() || attribute.sparse_tensor.is_some();
            if odd || !attribute.sparse_tensors.is_empty() || !attribute.ref_attr_name.is_empty() {
                return Err(format!("node {:?}: attribute {:?} is of an unknown kind", node.name, attribute.name));
            }
            if attribute.ints.len().max(attribute.floats.len()).max(attribute.s.len()) > 1 << 16 {
                return Err(format!("node {:?}: attribute {:?} is too long", node.name, attribute.name));
            }
            if let Some(value) = &attribute.t {
                let inside = |reason| format!("node {:?}: attribute {:?}: {reason}", node.name, attribute.name);
                tensor::dims(value).map_err(inside)?;
            }
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Check<()> {
    match name.len() {
        0..=LONGEST_NAME => Ok(()),
        length => Err(format!("a name has {length} characters, at most {LONGEST_NAME} are allowed")),
    }
}

/// Declared shapes: few axes, open ones named by an identifier or a simple sum of such.
fn check_declared(info: &ValueInfoProto) -> Check<()> {
    check_name(&info.name)?;
    let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Ok(());
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    if dims.len() > MOST_AXES {
        return Err(format!("{:?} has {} axes", info.name, dims.len()));
    }
    for dim in dims {
        if let Some(dimension::Value::DimParam(text)) = &dim.value
            && !is_dimension_name(text)
        {
            let shown: String = text.chars().take(40).collect();
            return Err(format!("{:?}: {shown:?} is no name of a dimension", info.name));
        }
    }
    Ok(())
}

fn is_dimension_name(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || " _.,:/?*+-()".contains(c);
    text.len() <= LONGEST_DIMENSION && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dimensions_are_short() {
        for name in ["N", "batch_size", "batch.1", "height + 1", "floor(h/2)", "unk__12", "?", "größe"] {
            assert!(is_dimension_name(name), "{name}");
        }
        for name in ["(".repeat(65), "a\u{1b}[31m".into(), "a;b".into(), "a".repeat(65)] {
            assert!(!is_dimension_name(&name), "{name:?}");
        }
    }
}
