//! Operators that are run in the form of others: `Pad` that cuts off, ranges of floats, and `Upsample`, which later operator
//! sets dropped.

use std::collections::HashMap;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::fact::Check;
use super::super::guard::{Refusal, attribute};
use super::super::tensor;
use super::edit::{Names, int, ints, node};

/// Longest range of floats.
const LONGEST_RANGE: f64 = 65_536.0;

/// Rewrites them; a graph without any stays as it is.
///
/// # Errors
/// The first that has no other form.
pub(in super::super) fn rewrite(graph: &mut GraphProto, opset: i64) -> Result<(), Refusal> {
    let standard = |node: &NodeProto| matches!(node.domain.as_str(), "" | "ai.onnx");
    let concerns = |node: &NodeProto| standard(node) && matches!(node.op_type.as_str(), "Pad" | "Range" | "Upsample");
    if !graph.node.iter().any(concerns) {
        return Ok(());
    }
    let nodes = std::mem::take(&mut graph.node);
    let names = Names::of_parts(graph, &nodes);
    let small = graph.initializer.iter().filter(|weight| weight.dims.iter().product::<i64>() <= 64);
    let weights = small.map(|weight| (weight.name.clone(), weight.clone())).collect();
    let mut forms = Forms { opset, names, weights, nodes: vec![], made: vec![] };
    for proto in nodes {
        let written = match proto.op_type.as_str() {
            _ if !concerns(&proto) => Ok(false),
            "Pad" => forms.cutting_pad(&proto),
            "Range" => forms.float_range(&proto),
            _ => forms.upsample(&proto),
        };
        let refuse = |reason| Refusal::Node { node: proto.name.clone(), operator: proto.op_type.clone(), reason };
        if !written.map_err(refuse)? {
            forms.nodes.push(proto);
        }
    }
    graph.node = forms.nodes;
    graph.initializer.append(&mut forms.made);
    Ok(())
}

struct Forms {
    opset: i64,
    names: Names,
    /// Small weights by name.
    weights: HashMap<String, TensorProto>,
    nodes: Vec<NodeProto>,
    made: Vec<TensorProto>,
}

impl Forms {
    /// Integers of an input, or of an attribute in older files; none where they are not known.
    fn known(&self, proto: &NodeProto, input: usize, name: &str) -> Check<Option<Vec<i64>>> {
        match proto.input.get(input).filter(|name| !name.is_empty()) {
            Some(input) => self.weights.get(input).map(tensor::ints).transpose(),
            None => Ok(attribute(proto, name, AttributeType::Ints)?.map(|a| a.ints.clone())),
        }
    }

    fn constant(&mut self, base: &str, values: &[i64]) -> String {
        let name = self.names.fresh(base);
        self.made.push(tensor::of_ints(&name, &[values.len()], values));
        name
    }

    /// `Pad` with a pad below 0: what is cut off by `Slice`, and the other pads. Whether it is one.
    fn cutting_pad(&mut self, proto: &NodeProto) -> Check<bool> {
        let Some(pads) = self.known(proto, 1, "pads")? else { return Ok(false) };
        let (Some(x), Some(output)) = (proto.input.first(), proto.output.first()) else { return Ok(false) };
        if pads.iter().all(|&pad| pad >= 0) || pads.len() % 2 != 0 {
            return Ok(false);
        }
        let mode = attribute(proto, "mode", AttributeType::String)?.map_or(&b"constant"[..], |a| &a.s);
        if mode != b"constant" {
            return Err("pads below 0 in another mode than constant".into());
        }
        let half = pads.len() / 2;
        let axes = match proto.input.get(3).filter(|name| !name.is_empty()) {
            Some(_) => self.known(proto, 3, "")?.ok_or("its axes are not known before the model runs")?,
            None => (0..half as i64).collect(),
        };
        let starts: Vec<i64> = pads[..half].iter().map(|&pad| pad.saturating_neg().max(0)).collect();
        let ends: Vec<i64> = pads[half..].iter().map(|&pad| if pad < 0 { pad } else { i64::MAX }).collect();
        let cut = self.names.fresh(&format!("{output}/cut"));
        if self.opset < 10 {
            let attributes = vec![ints("starts", &starts), ints("ends", &ends), ints("axes", &axes)];
            self.nodes.push(NodeProto { attribute: attributes, ..node("Slice", &[x], &[&cut]) });
        } else {
            let [starts, ends, axes] = [("starts", &starts), ("ends", &ends), ("axes", &axes)]
                .map(|(what, values)| self.constant(&format!("{output}/{what}"), values));
            self.nodes.push(node("Slice", &[x, &starts, &ends, &axes], &[&cut]));
        }
        let left: Vec<i64> = pads.iter().map(|&pad| pad.max(0)).collect();
        let mut rest = proto.clone();
        rest.input[0] = cut;
        if proto.input.get(1).is_some_and(|name| !name.is_empty()) {
            rest.input[1] = self.constant(&format!("{output}/pads"), &left);
        } else {
            rest.attribute.retain(|a| a.name != "pads");
            rest.attribute.push(ints("pads", &left));
        }
        self.nodes.push(rest);
        Ok(true)
    }

    /// `Range` of floats that are known, as a constant: tract counts it in whole numbers. Whether it is one.
    fn float_range(&mut self, proto: &NodeProto) -> Check<bool> {
        let known = proto.input.iter().map(|name| self.weights.get(name)).collect::<Option<Vec<_>>>();
        let (Some(known), Some(output)) = (known, proto.output.first()) else { return Ok(false) };
        if known.len() != 3 || known.iter().any(|weight| weight.data_type != DataType::Float as i32) {
            return Ok(false);
        }
        let bounds = known.into_iter().map(tensor::floats).collect::<Check<Vec<_>>>()?;
        let [[start], [limit], [delta]] = [&bounds[0][..], &bounds[1], &bounds[2]] else {
            return Err("start, limit and delta are no single numbers".into());
        };
        // As ONNX Runtime does: the difference is taken in floats.
        let count = (f64::from(limit - start) / f64::from(*delta)).ceil().max(0.0);
        if !count.is_finite() || count > LONGEST_RANGE {
            return Err(format!("{count} elements, at most {LONGEST_RANGE} are allowed"));
        }
        let values: Vec<f32> = (0..count as usize).map(|place| start + place as f32 * delta).collect();
        self.made.push(tensor::of_floats(output, &[values.len()], &values));
        Ok(true)
    }

    /// `Upsample` to the nearest pixel by a whole number: channels repeated, and dealt out in blocks.
    fn upsample(&mut self, proto: &NodeProto) -> Check<bool> {
        let scales = match proto.input.get(1) {
            Some(name) => self.weights.get(name).map(tensor::floats).transpose()?,
            None => attribute(proto, "scales", AttributeType::Floats)?.map(|a| a.floats.clone()),
        };
        let (Some(x), Some(output)) = (proto.input.first(), proto.output.first()) else { return Ok(false) };
        let scales = scales.ok_or("its scales are not known before the model runs")?;
        let mode = attribute(proto, "mode", AttributeType::String)?.map_or(&b"nearest"[..], |a| &a.s);
        let block = match scales[..] {
            [1.0, 1.0, down, across] if down == across && (1.0..=64.0).contains(&down) && down.fract() == 0.0 => down,
            _ => return Err(format!("scales {scales:?}: only whole ones of rows and columns alike are supported")),
        };
        if mode != b"nearest" {
            return Err("a mode other than nearest: export the model with operator set 11 or later".into());
        }
        let repeats = self.constant(&format!("{output}/repeats"), &[1, (block * block) as i64, 1, 1]);
        let tiled = self.names.fresh(&format!("{output}/tiled"));
        self.nodes.push(node("Tile", &[x, &repeats], &[&tiled]));
        let blocks = node("DepthToSpace", &[&tiled], &[output]);
        self.nodes.push(NodeProto { attribute: vec![int("blocksize", block as i64)], ..blocks });
        Ok(true)
    }
}
