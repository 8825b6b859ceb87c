//! `Constant` nodes become weights, so that later steps find constants in one place.

use tract_onnx::pb::GraphProto;
use tract_onnx::pb::attribute_proto::AttributeType;

use super::super::guard::attribute;
use super::edit::every_graph;

/// Moves the tensors of `Constant` nodes to the weights.
pub(in super::super) fn collect(graph: &mut GraphProto) {
    let moved = every_graph(graph, &mut |graph: &mut GraphProto| {
        let mut nodes = vec![];
        for mut node in std::mem::take(&mut graph.node) {
            let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
            let holds = standard
                && node.op_type == "Constant"
                && node.output.len() == 1
                && matches!(attribute(&node, "value", AttributeType::Tensor), Ok(Some(value)) if value.t.is_some());
            let value = node.attribute.iter_mut().find(|a| holds && a.name == "value").and_then(|a| a.t.take());
            match value {
                Some(mut tensor) => {
                    tensor.name = node.output.swap_remove(0);
                    graph.initializer.push(tensor);
                }
                None => nodes.push(node),
            }
        }
        graph.node = nodes;
        Ok::<(), std::convert::Infallible>(())
    });
    match moved {
        Ok(()) => {}
        Err(never) => match never {},
    }
}
