//! Nearest-neighbour upsampling by whole numbers, written as copies side by side: operators that run in the arena and
//! that bundles hold.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::guard::attribute;
use super::super::tensor;
use super::edit::{Names, int, ints, node};

/// Largest factor that is written so.
const MOST: usize = 4;

/// Replaces every `Resize` that repeats rows and columns of an image (N, C, H, W) some whole number of times.
pub(in super::super) fn write_out(graph: &mut GraphProto) {
    let mut names = Names::of(graph);
    let mut nodes = Vec::with_capacity(graph.node.len());
    for resize in std::mem::take(&mut graph.node) {
        match factors(graph, &resize) {
            Some(factors) => nodes.extend(copies(graph, &mut names, &resize, factors)),
            None => nodes.push(resize),
        }
    }
    graph.node = nodes;
}

/// How often rows and columns are repeated, if the node does just that.
fn factors(graph: &GraphProto, resize: &NodeProto) -> Option<[usize; 2]> {
    if resize.op_type != "Resize" || !matches!(resize.domain.as_str(), "" | "ai.onnx") || resize.output.len() != 1 {
        return None;
    }
    let text = |name: &str, default: &str| {
        let found = attribute(resize, name, AttributeType::String).ok()?;
        Some(found.map_or(default.to_owned(), |attribute| String::from_utf8_lossy(&attribute.s).into_owned()))
    };
    // Row i is row floor(i / factor).
    let nearest = text("mode", "nearest")? == "nearest"
        && text("coordinate_transformation_mode", "half_pixel")? == "asymmetric"
        && text("nearest_mode", "round_prefer_floor")? == "floor";
    let [_, _, scales, rest @ ..] = &resize.input[..] else { return None };
    let axes = attribute(resize, "axes", AttributeType::Ints).ok()?;
    if !nearest || rest.iter().any(|sizes| !sizes.is_empty()) || axes.is_some() {
        return None;
    }
    let scales = graph.initializer.iter().find(|weight| weight.name == *scales)?;
    let [1.0, 1.0, rows, columns] = tensor::floats(scales).ok()?[..] else { return None };
    let whole = |scale: f32| (1..=MOST).find(|factor| *factor as f32 == scale);
    Some([whole(rows)?, whole(columns)?])
}

/// The nodes in its place.
fn copies(
    graph: &mut GraphProto,
    names: &mut Names,
    resize: &NodeProto,
    [rows, columns]: [usize; 2],
) -> Vec<NodeProto> {
    let base = resize.output[0].clone();
    let mut made = vec![];
    let mut at = resize.input[0].clone();
    let add = |op: &str, inputs: &[&str], attribute: Vec<_>, names: &mut Names, made: &mut Vec<NodeProto>| {
        let to = names.fresh(&format!("{base}/{op}"));
        made.push(NodeProto { name: to.clone(), attribute, ..node(op, inputs, &[&to]) });
        to
    };
    let swapped = || vec![ints("perm", &[0, 1, 3, 2])];
    for factor in [columns, rows] {
        if factor > 1 {
            let mut shape = |dims: &[i64], names: &mut Names| {
                let name = names.fresh(&format!("{base}/shape"));
                graph.initializer.push(tensor::of_ints(&name, &[dims.len()], dims));
                name
            };
            let (apart, together) = (shape(&[0, 0, 0, 0, 1], names), shape(&[0, 0, 0, -1], names));
            let one = add("Reshape", &[&at, &apart], vec![], names, &mut made);
            let beside = add("Concat", &vec![one.as_str(); factor], vec![int("axis", 4)], names, &mut made);
            at = add("Reshape", &[&beside, &together], vec![], names, &mut made);
        }
        at = add("Transpose", &[&at], swapped(), names, &mut made);
    }
    if let Some(last) = made.last_mut() {
        last.output = vec![base.clone()];
    }
    made
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;

    use super::*;

    fn resize(scales: &[f32], mode: &str) -> GraphProto {
        let text = |name: &str, text: &str| AttributeProto {
            name: name.into(),
            r#type: AttributeType::String as i32,
            s: text.into(),
            ..AttributeProto::default()
        };
        let attribute = vec![text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", mode)];
        let up = NodeProto { attribute, ..node("Resize", &["x", "", "scales"], &["y"]) };
        let initializer = vec![tensor::of_floats("scales", &[scales.len()], scales)];
        GraphProto { node: vec![up], initializer, ..GraphProto::default() }
    }

    #[test]
    fn only_whole_repetitions_are_written_out() {
        let mut graph = resize(&[1.0, 1.0, 2.0, 3.0], "floor");
        write_out(&mut graph);
        assert!(graph.node.iter().all(|node| node.op_type != "Resize"));
        assert_eq!(graph.node.last().unwrap().output, ["y"]);
        for (scales, mode) in [
            (&[1.0, 1.0, 1.5, 2.0][..], "floor"),
            (&[1.0, 2.0, 2.0, 2.0], "floor"),
            (&[1.0, 1.0, 2.0, 2.0], "ceil"),
            (&[1.0, 1.0, 9.0, 2.0], "floor"),
            (&[1.0, 2.0, 2.0], "floor"),
        ] {
            let mut graph = resize(scales, mode);
            write_out(&mut graph);
            assert_eq!(graph.node[0].op_type, "Resize", "{scales:?} {mode}");
        }
    }
}
