//! Operators on quantised tensors, as ONNX Runtime's static quantiser writes them: each becomes its float operator
//! between a dequantisation and a quantisation.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

use super::super::fact::Check;
use super::super::guard::attribute;
use super::edit::node;
use super::writer::Writer;

/// A quantised tensor among a node's inputs: itself, its scale and its zero point.
struct Quantised<'a> {
    q: &'a str,
    scale: &'a str,
    zero: &'a str,
}

/// Whether [`expand`] is for this node.
pub(super) fn is_quantised(node: &NodeProto) -> bool {
    match node.domain.as_str() {
        "" | "ai.onnx" => matches!(node.op_type.as_str(), "QLinearConv" | "QLinearMatMul"),
        "com.microsoft" => node.op_type == "QGemm" || node.op_type.starts_with("QLinear"),
        _ => false,
    }
}

fn at(proto: &NodeProto, index: usize) -> &str {
    proto.input.get(index).map_or("", String::as_str)
}

fn triple(proto: &NodeProto, index: usize) -> Check<Quantised<'_>> {
    let found = Quantised { q: at(proto, index), scale: at(proto, index + 1), zero: at(proto, index + 2) };
    if found.q.is_empty() || found.scale.is_empty() {
        return Err(format!("input {index} or its scale is missing"));
    }
    Ok(found)
}

fn real(writer: &mut Writer, from: &Quantised<'_>, axis: i64) -> Check<String> {
    writer.dequantise(from.q, from.scale, Some(from.zero), axis, None)
}

/// Writes the float operator between what turns its inputs into floats and what quantises its output.
pub(super) fn expand(writer: &mut Writer, proto: &NodeProto) -> Check<()> {
    let output = proto.output.first().filter(|name| !name.is_empty()).ok_or("it makes nothing")?.clone();
    let result = writer.fresh(&format!("{output}/real"));
    let keep = |names: &[&str]| -> Vec<AttributeProto> {
        proto.attribute.iter().filter(|a| names.contains(&a.name.as_str())).cloned().collect()
    };
    let flag = |name: &str| Ok::<_, String>(attribute(proto, name, AttributeType::Int)?.map_or(0, |a| a.i));
    if flag("channels_last")? != 0 {
        return Err("channels_last, which is not supported".into());
    }
    // Where the output's scale and zero point are found.
    let target;
    match proto.op_type.as_str() {
        "QLinearConv" => {
            let (x, w) = (triple(proto, 0)?, triple(proto, 3)?);
            target = 6;
            let (x_real, w_real) = (real(writer, &x, 1)?, real(writer, &w, 0)?);
            let mut inputs = vec![x_real, w_real];
            if !at(proto, 8).is_empty() {
                inputs.push(bias(writer, at(proto, 8), x.scale, w.scale)?);
            }
            push(writer, "Conv", &inputs, &result, proto.attribute.clone());
        }
        "QLinearMatMul" => {
            let (a, b) = (triple(proto, 0)?, triple(proto, 3)?);
            target = 6;
            let inputs = [real(writer, &a, -2)?, real(writer, &b, -1)?];
            push(writer, "MatMul", &inputs, &result, vec![]);
        }
        "QGemm" => {
            let (a, b) = (triple(proto, 0)?, triple(proto, 3)?);
            target = 7;
            if attribute(proto, "alpha", AttributeType::Float)?.is_some_and(|a| a.f != 1.0) {
                return Err("an alpha other than 1".into());
            }
            let axis = i64::from(flag("transB")? == 0);
            let mut inputs = vec![real(writer, &a, 1)?, real(writer, &b, axis)?];
            if !at(proto, 6).is_empty() {
                inputs.push(bias(writer, at(proto, 6), a.scale, b.scale)?);
            }
            push(writer, "Gemm", &inputs, &result, keep(&["transA", "transB"]));
        }
        "QLinearAdd" | "QLinearMul" => {
            let (a, b) = (triple(proto, 0)?, triple(proto, 3)?);
            target = 6;
            let inputs = [real(writer, &a, 1)?, real(writer, &b, 1)?];
            push(writer, &proto.op_type["QLinear".len()..], &inputs, &result, vec![]);
        }
        "QLinearConcat" => {
            target = 0;
            let groups = (2..proto.input.len()).step_by(3).map(|index| real(writer, &triple(proto, index)?, 1));
            let inputs = groups.collect::<Check<Vec<_>>>()?;
            push(writer, "Concat", &inputs, &result, keep(&["axis"]));
        }
        "QLinearGlobalAveragePool"
        | "QLinearAveragePool"
        | "QLinearLeakyRelu"
        | "QLinearSigmoid"
        | "QLinearSoftmax" => {
            let x = triple(proto, 0)?;
            target = 3;
            let attributes = proto.attribute.iter().filter(|a| !matches!(a.name.as_str(), "channels_last" | "opset"));
            let inputs = [real(writer, &x, 1)?];
            push(writer, &proto.op_type["QLinear".len()..], &inputs, &result, attributes.cloned().collect());
        }
        _ => return Err("the operator is not supported".into()),
    }
    let (scale, zero) = (at(proto, target), at(proto, target + 1));
    if scale.is_empty() {
        // QGemm without a scale makes floats.
        writer.add("Identity", &[&result], &output);
        return Ok(());
    }
    writer.quantise(&result, scale, Some(zero), 0, &output)
}

fn push(writer: &mut Writer, operator: &str, inputs: &[String], output: &str, attribute: Vec<AttributeProto>) {
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    writer.nodes.push(NodeProto { attribute, ..node(operator, &inputs, &[output]) });
}

/// A bias of integers: its scale is the product of those of input and weights.
fn bias(writer: &mut Writer, name: &str, input: &str, weights: &str) -> Check<String> {
    let (Some((dims, values)), Some((_, input)), Some((_, weights))) =
        (writer.weight(name)?, writer.weight(input)?, writer.weight(weights)?)
    else {
        return Err("its bias or scales are computed".into());
    };
    let (&[input], false) = (&input[..], weights.is_empty()) else { return Err("several scales of the input".into()) };
    if ![1, values.len()].contains(&weights.len()) {
        return Err(format!("{} scales for a bias of {}", weights.len(), values.len()));
    }
    let real: Vec<f32> =
        values.iter().enumerate().map(|(i, value)| value * (input * weights[i % weights.len()])).collect();
    Ok(writer.constant(&format!("{name}/real"), &dims, &real))
}

/// `ConvInteger` and `MatMulInteger` of tensors that are floats now: (x - zero) times (w - zero), which are whole numbers.
pub(super) fn expand_integer(writer: &mut Writer, proto: &NodeProto) -> Check<()> {
    let output = proto.output.first().filter(|name| !name.is_empty()).ok_or("it makes nothing")?.clone();
    let unit = writer.constant("unit", &[], &[1.0]);
    let mut inputs = vec![];
    for (index, axis) in [(0, 1), (1, if proto.op_type == "ConvInteger" { 0 } else { -1 })] {
        let zero = Some(at(proto, index + 2));
        inputs.push(writer.dequantise(at(proto, index), &unit, zero, axis, None)?);
    }
    let operator = proto.op_type.trim_end_matches("Integer").to_string();
    push(writer, &operator, &inputs, &output, proto.attribute.clone());
    writer.whole.insert(output);
    Ok(())
}
