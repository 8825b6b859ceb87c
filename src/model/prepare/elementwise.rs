//! Element-wise operators that tract computes otherwise than ONNX defines them, written out in others.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::guard::attribute;
use super::super::tensor;
use super::edit::{Names, every_graph, int, node};

/// Replaces `Celu` with an alpha of its own, whose factor tract leaves out below 0, and `Mod` without `fmod`, which tract
/// rounds towards 0 where integers are what shapes are made of.
pub(in super::super) fn write_out(graph: &mut GraphProto) {
    let mut names = Names::of(graph);
    let done: Result<(), std::convert::Infallible> = every_graph(graph, &mut |graph| {
        let mut nodes = Vec::with_capacity(graph.node.len());
        for old in std::mem::take(&mut graph.node) {
            match written(graph, &mut names, &old) {
                Some(new) => nodes.extend(new),
                None => nodes.push(old),
            }
        }
        graph.node = nodes;
        Ok(())
    });
    match done {
        Ok(()) => {}
    }
}

fn written(graph: &mut GraphProto, names: &mut Names, old: &NodeProto) -> Option<Vec<NodeProto>> {
    if !matches!(old.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    let result = old.output.first()?;
    match (old.op_type.as_str(), &old.input[..]) {
        ("Celu", [x]) => {
            let alpha = attribute(old, "alpha", AttributeType::Float).ok()?.map_or(1.0, |alpha| alpha.f);
            if alpha == 1.0 {
                return None;
            }
            let [factor, less, bent] = ["alpha", "less", "bent"].map(|part| names.fresh(&format!("{result}/{part}")));
            graph.initializer.push(tensor::of_floats(&factor, &[], &[alpha]));
            Some(vec![
                node("Div", &[x, &factor], &[&less]),
                node("Elu", &[&less], &[&bent]),
                node("Mul", &[&bent, &factor], &[result]),
            ])
        }
        // The remainder has the sign of the divisor: that of the dividend's sign is moved by one divisor, and taken again.
        ("Mod", [a, b]) => {
            if attribute(old, "fmod", AttributeType::Int).ok()?.is_some_and(|fmod| fmod.i != 0) {
                return None;
            }
            let [rest, moved] = ["rest", "moved"].map(|part| names.fresh(&format!("{result}/{part}")));
            let rem = |a: &str, b: &str, to: &str| NodeProto {
                attribute: vec![int("fmod", 1)],
                ..node("Mod", &[a, b], &[to])
            };
            Some(vec![rem(a, b, &rest), node("Add", &[&rest, b], &[&moved]), rem(&moved, b, result)])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;

    use super::*;

    fn operators(old: NodeProto) -> Vec<String> {
        let mut graph = GraphProto { node: vec![old], ..GraphProto::default() };
        write_out(&mut graph);
        assert_eq!(graph.node.last().unwrap().output, ["y"]);
        graph.node.into_iter().map(|node| node.op_type).collect()
    }

    #[test]
    fn only_what_tract_computes_otherwise_is_written_out() {
        let celu = |alpha: f32| {
            let attribute = AttributeProto {
                name: "alpha".into(),
                r#type: AttributeType::Float as i32,
                f: alpha,
                ..AttributeProto::default()
            };
            NodeProto { attribute: vec![attribute], ..node("Celu", &["x"], &["y"]) }
        };
        assert_eq!(operators(celu(1.0)), ["Celu"]);
        assert_eq!(operators(celu(2.0)), ["Div", "Elu", "Mul"]);
        assert_eq!(operators(node("Mod", &["a", "b"], &["y"])), ["Mod", "Add", "Mod"]);
        let fmod = NodeProto { attribute: vec![int("fmod", 1)], ..node("Mod", &["a", "b"], &["y"]) };
        assert_eq!(operators(fmod), ["Mod"]);
    }
}
