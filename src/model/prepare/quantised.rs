//! Quantised graphs run in float: a quantised tensor is a float tensor of whole numbers.
//!
//! `QuantizeLinear` becomes round(x / scale) + zero point, held in the range of its type, and `DequantizeLinear` the
//! way back; quantised weights are turned into floats once. So the result is that of the quantised network up to
//! sums that another order of additions rounds otherwise. Integer kernels would be faster; this makes such files run.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::guard::Refusal;
use super::qlinear;
use super::writer::Writer;

/// Rewrites every quantised operator; graphs without any stay as they are.
///
/// # Errors
/// The first operator that is quantised in a way that is not supported.
pub(in super::super) fn to_float(graph: &mut GraphProto) -> Result<(), Refusal> {
    let quantised = |node: &NodeProto| is_linear(node) || qlinear::is_quantised(node);
    if !graph.node.iter().any(quantised) {
        return Ok(());
    }
    let nodes = std::mem::take(&mut graph.node);
    let mut writer = Writer::new(graph, &nodes);
    for proto in nodes {
        let refuse = |reason| Refusal::Node { node: proto.name.clone(), operator: proto.op_type.clone(), reason };
        match proto.op_type.as_str() {
            _ if is_linear(&proto) && proto.op_type == "QuantizeLinear" => writer.quantise_node(&proto),
            _ if is_linear(&proto) => writer.dequantise_node(&proto),
            _ if qlinear::is_quantised(&proto) => qlinear::expand(&mut writer, &proto),
            "ConvInteger" | "MatMulInteger" if proto.input.iter().take(2).any(|x| writer.whole.contains(x)) => {
                qlinear::expand_integer(&mut writer, &proto)
            }
            _ => {
                writer.copy(proto.clone());
                Ok(())
            }
        }
        .map_err(refuse)?;
    }
    writer.finish(graph);
    let used = super::edit::used(graph);
    graph.initializer.retain(|weight| used.contains(&weight.name));
    Ok(())
}

fn is_linear(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear")
        && matches!(node.domain.as_str(), "" | "ai.onnx" | "com.microsoft")
}
