//! Model-local functions are put in place of the nodes that call them.

use std::collections::HashMap;

use prost::Message as _;
use tract_onnx::pb::{AttributeProto, FunctionProto, ModelProto, NodeProto};

use super::super::fact::Check;
use super::super::guard::LoadLimits;
use super::edit::Names;

/// How deep functions may call each other.
const DEEPEST: usize = 16;
/// Bytes that copies of function bodies may take.
const MOST_BYTES: usize = 1 << 28;

/// Inlines every function. The nodes that come of it count against the limit.
///
/// # Errors
/// A function that calls itself, that is used otherwise than declared, or that was written for another operator set.
pub(in super::super) fn inline(model: &mut ModelProto, limits: &LoadLimits) -> Check<()> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let functions = std::mem::take(&mut model.functions);
    let by_name: HashMap<(&str, &str), &FunctionProto> =
        functions.iter().map(|f| ((f.domain.as_deref().unwrap_or(""), f.name.as_deref().unwrap_or("")), f)).collect();
    let version = |sets: &[tract_onnx::pb::OperatorSetIdProto]| {
        sets.iter().find(|set| set.domain.is_empty() || set.domain == "ai.onnx").map(|set| set.version)
    };
    let wanted = version(&model.opset_import);
    for function in &functions {
        if let Some(other) = version(&function.opset_import).filter(|v| Some(*v) != wanted) {
            return Err(format!(
                "function {:?} is written for operator set {other}, the model for {}",
                function.name.as_deref().unwrap_or(""),
                wanted.unwrap_or(0)
            ));
        }
    }
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    let mut names = Names::of(graph);
    let mut copied = 0;
    for _ in 0..DEEPEST {
        let is_call = |node: &NodeProto| by_name.contains_key(&(node.domain.as_str(), node.op_type.as_str()));
        if !graph.node.iter().any(is_call) {
            return Ok(());
        }
        let mut nodes = vec![];
        for node in std::mem::take(&mut graph.node) {
            match by_name.get(&(node.domain.as_str(), node.op_type.as_str())) {
                Some(function) => {
                    copied += function.node.iter().map(|node| node.encoded_len()).sum::<usize>();
                    if copied > MOST_BYTES {
                        return Err(format!("its functions make more than {MOST_BYTES} bytes"));
                    }
                    nodes.extend(body(function, &node, &mut names)?);
                }
                None => nodes.push(node),
            }
            if nodes.len() > limits.nodes {
                return Err(format!("its functions make more than {} nodes, the limit on loading", limits.nodes));
            }
        }
        graph.node = nodes;
    }
    Err(format!("its functions call each other more than {DEEPEST} deep"))
}

/// The nodes of a function for one call.
fn body(function: &FunctionProto, call: &NodeProto, names: &mut Names) -> Check<Vec<NodeProto>> {
    let called = |what: &str| format!("node {:?} calls {:?} with {what}", call.name, call.op_type);
    if call.input.len() > function.input.len() || call.output.len() > function.output.len() {
        return Err(called("more inputs or outputs than it has"));
    }
    let prefix = call.output.iter().chain([&call.name]).find(|name| !name.is_empty()).cloned().unwrap_or_default();
    let given = call.input.iter().cloned().chain(std::iter::repeat(String::new()));
    let mut renamed: HashMap<String, String> = function.input.iter().cloned().zip(given).collect();
    for (inner, outer) in function.output.iter().zip(&call.output) {
        if !outer.is_empty() {
            renamed.insert(inner.clone(), outer.clone());
        }
    }
    let attributes: HashMap<&str, &AttributeProto> = call.attribute.iter().map(|a| (a.name.as_str(), a)).collect();
    let mut nodes = vec![];
    for inner in &function.node {
        if inner.attribute.iter().any(|a| a.g.is_some()) {
            return Err(called("a branch inside, which is not supported"));
        }
        let mut node = inner.clone();
        for name in node.input.iter_mut().chain(&mut node.output).filter(|name| !name.is_empty()) {
            let fresh = || names.fresh(&format!("{prefix}/{name}"));
            *name = renamed.entry(name.clone()).or_insert_with(fresh).clone();
        }
        node.name = names.fresh(&format!("{prefix}/{}", inner.name));
        // An attribute that refers to one of the call's is left out if the call leaves that out.
        node.attribute = std::mem::take(&mut node.attribute)
            .into_iter()
            .filter_map(|attribute| match attribute.ref_attr_name.as_str() {
                "" => Some(attribute),
                reference => {
                    attributes.get(reference).map(|&value| AttributeProto { name: attribute.name, ..value.clone() })
                }
            })
            .collect();
        nodes.push(node);
    }
    // An output that is an input handed on.
    for (inner, outer) in function.output.iter().zip(&call.output) {
        if let Some(position) = function.input.iter().position(|input| input == inner)
            && let Some(source) = call.input.get(position)
        {
            nodes.push(super::edit::node("Identity", &[source], &[outer]));
        }
    }
    Ok(nodes)
}
