//! The end of an exit: whatever a file ends it with, a plan's exits are logits of shape (N, classes).
//!
//! Policies take the soft-max of an exit themselves, so that a temperature can be applied. A soft-max in the file is
//! therefore cut off; taking it twice would leave no confidence above 1 / (1 + (classes - 1) / e).

use std::collections::HashMap;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

use super::super::fact::{Check, Fact};
use super::super::guard::attribute;
use super::super::tensor;
use super::edit::{Names, int, node};

/// What the file ends an exit with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Ending {
    Logits,
    Softmax,
    LogSoftmax,
    Sigmoid,
}

/// Where the logits of an exit are, seen from its output.
struct Path {
    ending: Ending,
    /// The tensor with the logits.
    logits: String,
    /// Nodes between the ending and the output, which only change the shape; the last is nearest to the output.
    shaping: Vec<NodeProto>,
}

/// Nodes that hand on what they are given, in another shape.
fn hands_on(node: &NodeProto) -> bool {
    let known = ["Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast"];
    matches!(node.domain.as_str(), "" | "ai.onnx") && known.contains(&node.op_type.as_str())
}

fn trace(graph: &GraphProto, producers: &HashMap<&str, usize>, facts: &HashMap<String, Fact>, output: &str) -> Path {
    let maker = |name: &str| producers.get(name).map(|&index| &graph.node[index]);
    let mut shaping = vec![];
    let mut at = output.to_string();
    while let Some(node) = maker(&at) {
        let first = node.input.first().cloned().unwrap_or_default();
        let ending = match node.op_type.as_str() {
            "Softmax" if is_over_classes(node, facts) => Some((Ending::Softmax, first.clone())),
            "LogSoftmax" if is_over_classes(node, facts) => Some((Ending::LogSoftmax, first.clone())),
            "Sigmoid" => Some((Ending::Sigmoid, first.clone())),
            "Div" => written_out(node, &maker, facts).map(|logits| (Ending::Softmax, logits)),
            _ => None,
        };
        if let Some((ending, logits)) = ending {
            shaping.reverse();
            return Path { ending, logits, shaping };
        }
        if !hands_on(node) || node.output.len() != 1 {
            break;
        }
        shaping.push(node.clone());
        at = first;
    }
    Path { ending: Ending::Logits, logits: output.to_string(), shaping: vec![] }
}

/// Whether a soft-max is over the axis of the classes: the only one longer than 1 beside the batch.
fn is_over_classes(node: &NodeProto, facts: &HashMap<String, Fact>) -> bool {
    let Some(fact) = node.input.first().and_then(|name| facts.get(name)) else { return false };
    let axis = attribute(node, "axis", AttributeType::Int).ok().flatten().map(|a| a.i);
    let rank = fact.rank() as i64;
    // Older files flatten from axis 1 on, newer ones mean the last axis; both are the classes of a matrix.
    let axis = axis.unwrap_or(if rank == 2 { 1 } else { -1 });
    let axis = if axis < 0 { axis + rank } else { axis };
    let others = fact.dims.iter().enumerate().skip(1).filter(|(i, _)| *i as i64 != axis);
    axis >= 1 && others.into_iter().all(|(_, &dim)| dim == 1)
}

/// A soft-max of single operators: exp(x) / sum(exp(x)), the sum over the classes. Gives x.
fn written_out<'a>(
    node: &NodeProto,
    maker: &impl Fn(&str) -> Option<&'a NodeProto>,
    facts: &HashMap<String, Fact>,
) -> Option<String> {
    let [above, below] = &node.input[..] else { return None };
    let exp = maker(above).filter(|node| node.op_type == "Exp")?;
    let sum = maker(below).filter(|node| node.op_type == "ReduceSum")?;
    if sum.input.first() != Some(above) || !sums_over_classes(sum, facts) {
        return None;
    }
    exp.input.first().cloned()
}

/// Whether a sum is over the classes of each image and nothing else, and keeps its axes for the division.
fn sums_over_classes(sum: &NodeProto, facts: &HashMap<String, Fact>) -> bool {
    let Some(fact) = sum.input.first().and_then(|name| facts.get(name)) else { return false };
    let integer = |name, default| match attribute(sum, name, AttributeType::Int) {
        Ok(found) => found.map_or(default, |a| a.i),
        Err(_) => -1,
    };
    if integer("keepdims", 1) != 1 || integer("noop_with_empty_axes", 0) != 0 {
        return false;
    }
    // An input since operator set 13, an attribute before; left out, it is every axis.
    let listed = attribute(sum, "axes", AttributeType::Ints).ok().flatten().map(|a| a.ints.as_slice());
    let axes = match sum.input.get(1).filter(|name| !name.is_empty()) {
        Some(name) => match facts.get(name).and_then(Fact::ints) {
            Some(axes) => axes,
            None => return false,
        },
        None => listed.unwrap_or(&[]),
    };
    let is_summed = |axis: usize| {
        axes.is_empty() || axes.contains(&(axis as i64)) || axes.contains(&(axis as i64 - fact.rank() as i64))
    };
    fact.dims.iter().enumerate().all(|(axis, &dim)| dim == 1 || is_summed(axis) == (axis > 0))
}

/// What the file ends an exit with.
pub(in super::super) fn ending(graph: &GraphProto, facts: &HashMap<String, Fact>, output: &str) -> Ending {
    trace(graph, &producers(graph), facts, output).ending
}

fn producers(graph: &GraphProto) -> HashMap<&str, usize> {
    let made = graph.node.iter().enumerate();
    made.flat_map(|(index, node)| node.output.iter().map(move |name| (name.as_str(), index))).collect()
}

/// Makes the exits of these outputs, as logits of shape (N, classes), and the outputs `beside` them, as they are, the
/// graph's only outputs.
///
/// # Errors
/// None that a checked graph has; said in words.
pub(in super::super) fn cut(
    graph: &mut GraphProto,
    facts: &HashMap<String, Fact>,
    exits: &[String],
    one_output: bool,
    beside: &[String],
) -> Check<()> {
    let mut names = Names::of(graph);
    let mut added = vec![];
    let mut outputs = vec![];
    for exit in exits {
        let path = trace(graph, &producers(graph), facts, exit);
        let mut at = match path.ending {
            // The soft-max of a log-soft-max is that of the logits.
            Ending::Logits | Ending::LogSoftmax => exit.clone(),
            Ending::Softmax | Ending::Sigmoid => {
                let mut from = path.logits;
                for mut shaping in path.shaping {
                    let to = names.fresh(&format!("{exit}/logits"));
                    shaping.name.clone_from(&to);
                    *shaping.input.first_mut().ok_or("a node without input")? = from;
                    shaping.output = vec![to.clone()];
                    added.push(shaping);
                    from = to;
                }
                from
            }
        };
        let fact = facts.get(exit).ok_or_else(|| format!("nothing makes output {exit:?}"))?;
        if fact.rank() > 2 {
            let flat = names.fresh(&format!("{exit}/flat"));
            added.push(NodeProto { attribute: vec![int("axis", 1)], ..node("Flatten", &[&at], &[&flat]) });
            at = flat;
        }
        if one_output {
            // Two classes of logits 0 and x: their soft-max is the sigmoid of x.
            let (weights, pair) = (names.fresh(&format!("{exit}/pair/weights")), names.fresh(&format!("{exit}/pair")));
            graph.initializer.push(tensor::of_floats(&weights, &[1, 2], &[0.0, 1.0]));
            added.push(node("MatMul", &[&at, &weights], &[&pair]));
            at = pair;
        }
        outputs.push(ValueInfoProto { name: at, ..ValueInfoProto::default() });
    }
    graph.node.extend(added);
    let as_is = |name: &String| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() };
    outputs.extend(beside.iter().map(as_is));
    graph.output = outputs;
    drop_unused(graph);
    Ok(())
}

/// Leaves out nodes that no output needs: tract would translate them before it drops them.
fn drop_unused(graph: &mut GraphProto) {
    let mut needed: std::collections::HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let mut kept = vec![];
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            needed.extend(node.input.iter().cloned());
            for inner in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
                needed.extend(super::edit::used(inner));
            }
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|weight| needed.contains(&weight.name));
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::tensor_proto::DataType;

    use super::super::edit::ints;
    use super::*;

    /// The ending of exp(x) / sum(exp(x)) for logits of this shape, summed over `axes`.
    fn written_out(dims: &[usize], axes: Option<&[i64]>, as_input: bool, keepdims: i64) -> Ending {
        let mut facts =
            HashMap::from(["x", "e"].map(|name| (name.to_string(), Fact::new(DataType::Float, dims.to_vec()))));
        let mut sum = node("ReduceSum", &["e"], &["s"]);
        sum.attribute.push(int("keepdims", keepdims));
        match axes {
            Some(axes) if as_input => {
                facts.insert("axes".into(), Fact::of_ints(DataType::Int64, vec![axes.len()], axes.to_vec()));
                sum.input.push("axes".into());
            }
            Some(axes) => sum.attribute.push(ints("axes", axes)),
            None => {}
        }
        let nodes = vec![node("Exp", &["x"], &["e"]), sum, node("Div", &["e", "s"], &["y"])];
        let graph = GraphProto { node: nodes, ..GraphProto::default() };
        ending(&graph, &facts, "y")
    }

    #[test]
    fn a_written_out_soft_max_is_one_over_the_classes_only() {
        for as_input in [false, true] {
            for (dims, axes) in
                [(&[4, 10][..], &[1][..]), (&[4, 10], &[-1]), (&[4, 10, 1, 1], &[1, 2, 3]), (&[1, 10], &[0, 1])]
            {
                assert_eq!(written_out(dims, Some(axes), as_input, 1), Ending::Softmax, "{dims:?} {axes:?}");
            }
            for (dims, axes) in [(&[4, 10][..], &[0][..]), (&[4, 10], &[0, 1]), (&[4, 10, 7], &[1]), (&[1, 10], &[0])] {
                assert_eq!(written_out(dims, Some(axes), as_input, 1), Ending::Logits, "{dims:?} {axes:?}");
            }
            assert_eq!(written_out(&[4, 10], Some(&[1]), as_input, 0), Ending::Logits);
        }
        assert_eq!(written_out(&[1, 10], None, false, 1), Ending::Softmax);
        assert_eq!(written_out(&[4, 10], None, false, 1), Ending::Logits);
    }
}
