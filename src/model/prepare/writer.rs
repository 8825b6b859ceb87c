//! Writes nodes that compute in float in place of quantised ones.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::fact::Check;
use super::super::guard::attribute;
use super::super::tensor;
use super::edit::{Names, node};

/// Operators that hand whole numbers on as they are.
const CARRIERS: [&str; 14] = [
    "Identity",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Concat",
    "Slice",
    "Split",
    "Gather",
    "MaxPool",
    "DepthToSpace",
    "SpaceToDepth",
    "Expand",
];

/// How a tensor is quantised.
pub(super) struct Scale {
    /// The constant's values, if it is one.
    pub values: Option<Vec<f32>>,
}

/// Writes nodes in place of the quantised ones.
pub(super) struct Writer {
    names: Names,
    weights: HashMap<String, TensorProto>,
    /// Quantised tensors that are floats now.
    pub whole: HashSet<String>,
    pub nodes: Vec<NodeProto>,
    made: Vec<TensorProto>,
    /// Integer weights that have been turned into floats.
    floats: HashMap<String, String>,
    /// Constants of one number, by its bits: equal nodes read the same ones, and become one.
    scalars: HashMap<u32, String>,
}

impl Writer {
    /// Writes into `graph`, whose nodes have been taken out.
    pub(super) fn new(graph: &GraphProto, nodes: &[NodeProto]) -> Writer {
        let weights = graph
            .initializer
            .iter()
            .filter(|w| w.data_type != DataType::Float as i32 || w.dims.iter().product::<i64>() <= 1 << 16)
            .map(|w| (w.name.clone(), w.clone()))
            .collect();
        Writer {
            names: Names::of_parts(graph, nodes),
            weights,
            whole: HashSet::new(),
            nodes: vec![],
            made: vec![],
            floats: HashMap::new(),
            scalars: HashMap::new(),
        }
    }

    /// Puts what was written into the graph.
    pub(super) fn finish(mut self, graph: &mut GraphProto) {
        graph.node = self.nodes;
        graph.initializer.append(&mut self.made);
    }

    pub(super) fn fresh(&mut self, base: &str) -> String {
        self.names.fresh(base)
    }

    pub(super) fn copy(&mut self, proto: NodeProto) {
        if CARRIERS.contains(&proto.op_type.as_str()) && proto.input.iter().any(|input| self.whole.contains(input)) {
            self.whole.extend(proto.output.iter().cloned());
        }
        self.nodes.push(proto);
    }

    /// Adds a node with one output and gives its name.
    pub(super) fn add(&mut self, operator: &str, inputs: &[&str], output: &str) -> String {
        self.nodes.push(node(operator, inputs, &[output]));
        output.to_string()
    }

    /// A new constant.
    pub(super) fn constant(&mut self, base: &str, dims: &[usize], values: &[f32]) -> String {
        let single = if let ([], &[value]) = (dims, values) { Some(value.to_bits()) } else { None };
        if let Some(known) = single.and_then(|bits| self.scalars.get(&bits)) {
            return known.clone();
        }
        let name = self.fresh(base);
        let made = tensor::of_floats(&name, dims, values);
        if values.len() == 1 {
            self.weights.insert(name.clone(), made.clone());
        }
        self.scalars.extend(single.map(|bits| (bits, name.clone())));
        self.made.push(made);
        name
    }

    /// The dimensions and values of a weight, as floats.
    pub(super) fn weight(&self, name: &str) -> Check<Option<(Vec<usize>, Vec<f32>)>> {
        let Some(weight) = self.weights.get(name) else { return Ok(None) };
        Ok(Some((tensor::dims(weight)?, tensor::floats(weight)?)))
    }

    /// The scale of that name.
    pub(super) fn scale(&self, name: &str) -> Check<Scale> {
        let values = self.weight(name)?.map(|(_, values)| values);
        if values.as_ref().is_some_and(|values| values.iter().any(|v| !(v.is_finite() && *v > 0.0))) {
            return Err(format!("scale {name:?} is no number above 0"));
        }
        Ok(Scale { values })
    }

    /// A quantised tensor as a float tensor of whole numbers.
    pub(super) fn floats(&mut self, name: &str) -> Check<String> {
        if self.whole.contains(name) {
            return Ok(name.to_string());
        }
        if let Some(known) = self.floats.get(name) {
            return Ok(known.clone());
        }
        let float = match self.weight(name)? {
            Some((dims, values)) => self.constant(&format!("{name}/float"), &dims, &values),
            None => {
                let cast = self.fresh(&format!("{name}/float"));
                self.nodes.push(NodeProto {
                    attribute: vec![super::edit::int("to", i64::from(DataType::Float as i32))],
                    ..node("Cast", &[name], &[&cast])
                });
                cast
            }
        };
        self.floats.insert(name.to_string(), float.clone());
        Ok(float)
    }

    /// The least and largest number of a quantised type: that of the zero point.
    pub(super) fn range(&self, zero: Option<&str>, declared: i64) -> Check<(f32, f32)> {
        let element = match zero.filter(|name| !name.is_empty()) {
            Some(name) => match self.weights.get(name) {
                Some(weight) => weight.data_type,
                // Only DynamicQuantizeLinear computes one.
                None => DataType::Uint8 as i32,
            },
            None if declared != 0 => i32::try_from(declared).unwrap_or(0),
            None => DataType::Uint8 as i32,
        };
        match DataType::try_from(element) {
            Ok(DataType::Uint8) => Ok((0.0, 255.0)),
            Ok(DataType::Int8) => Ok((-128.0, 127.0)),
            Ok(DataType::Uint16) => Ok((0.0, 65535.0)),
            Ok(DataType::Int16) => Ok((-32768.0, 32767.0)),
            Ok(other) => Err(format!("quantised to {other:?}, which is not supported")),
            Err(_) => Err(format!("quantised to element type {element}, which is not known")),
        }
    }

    /// `x`, quantised, under the name `output`.
    pub(super) fn quantise(
        &mut self,
        x: &str,
        scale: &str,
        zero: Option<&str>,
        declared: i64,
        output: &str,
    ) -> Check<()> {
        let (low, high) = self.range(zero, declared)?;
        let divisor = self.one(scale)?;
        let ratio = self.fresh(&format!("{output}/ratio"));
        let mut value = self.add("Div", &[x, &divisor], &ratio);
        let rounded = self.fresh(&format!("{output}/rounded"));
        value = self.add("Round", &[&value], &rounded);
        if let Some(zero) = self.zero(zero)? {
            let shifted = self.fresh(&format!("{output}/shifted"));
            value = self.add("Add", &[&value, &zero], &shifted);
        }
        let low = self.constant(&format!("{output}/low"), &[], &[low]);
        let high = self.constant(&format!("{output}/high"), &[], &[high]);
        let raised = self.fresh(&format!("{output}/raised"));
        value = self.add("Max", &[&value, &low], &raised);
        self.add("Min", &[&value, &high], output);
        self.whole.insert(output.to_string());
        Ok(())
    }

    /// A quantised tensor as what it stands for. Constants are computed; `axis` is that of their scales.
    pub(super) fn dequantise(
        &mut self,
        q: &str,
        scale: &str,
        zero: Option<&str>,
        axis: i64,
        output: Option<&str>,
    ) -> Check<String> {
        let zero = zero.filter(|name| !name.is_empty());
        if let (false, Some((dims, values)), Some((_, scales))) =
            (self.whole.contains(q), self.weight(q)?, self.weight(scale)?)
        {
            let zeros = match zero {
                Some(name) => self.weight(name)?.ok_or_else(|| format!("zero point {name:?} is computed"))?.1,
                None => vec![0.0],
            };
            let values = scaled(&dims, values, &scales, &zeros, axis)?;
            let name = match output {
                Some(name) => name.to_string(),
                None => self.fresh(&format!("{q}/real")),
            };
            self.made.push(tensor::of_floats(&name, &dims, &values));
            return Ok(name);
        }
        let factor = self.one(scale)?;
        let mut value = self.floats(q)?;
        if let Some(zero) = self.zero(zero)? {
            let shifted = self.fresh(&format!("{q}/shifted"));
            value = self.add("Sub", &[&value, &zero], &shifted);
        }
        let output = match output {
            Some(name) => name.to_string(),
            None => self.fresh(&format!("{q}/real")),
        };
        Ok(self.add("Mul", &[&value, &factor], &output))
    }

    /// A scale of a whole tensor, without axes.
    fn one(&mut self, scale: &str) -> Check<String> {
        match self.scale(scale)?.values.as_deref() {
            Some(&[value]) => Ok(self.constant(&format!("{scale}/one"), &[], &[value])),
            Some(values) => Err(format!("{} scales for one computed tensor, which is not supported", values.len())),
            None => Ok(scale.to_string()),
        }
    }

    /// A zero point as a float; none when it is 0.
    fn zero(&mut self, zero: Option<&str>) -> Check<Option<String>> {
        let Some(name) = zero.filter(|name| !name.is_empty()) else { return Ok(None) };
        match self.weight(name)?.map(|(_, values)| values).as_deref() {
            Some(values) if values.iter().all(|&value| value == 0.0) => Ok(None),
            Some(&[value]) => Ok(Some(self.constant(&format!("{name}/one"), &[], &[value]))),
            Some(values) => Err(format!("{} zero points for one computed tensor", values.len())),
            None => self.floats(name).map(Some),
        }
    }

    pub(super) fn quantise_node(&mut self, proto: &NodeProto) -> Check<()> {
        let declared = attribute(proto, "output_dtype", AttributeType::Int)?.map_or(0, |a| a.i);
        let [x, scale] = first_two(proto)?;
        let output = proto.output.first().ok_or("it makes nothing")?;
        self.quantise(x, scale, proto.input.get(2).map(String::as_str), declared, output)
    }

    pub(super) fn dequantise_node(&mut self, proto: &NodeProto) -> Check<()> {
        if attribute(proto, "block_size", AttributeType::Int)?.is_some_and(|a| a.i != 0) {
            return Err("it is quantised in blocks, which is not supported".into());
        }
        let axis = attribute(proto, "axis", AttributeType::Int)?.map_or(1, |a| a.i);
        let [q, scale] = first_two(proto)?;
        let output = proto.output.first().ok_or("it makes nothing")?;
        self.dequantise(q, scale, proto.input.get(2).map(String::as_str), axis, Some(output))?;
        Ok(())
    }
}

fn first_two(proto: &NodeProto) -> Check<[&str; 2]> {
    match &proto.input[..] {
        [x, scale, ..] if !x.is_empty() && !scale.is_empty() && proto.input.len() <= 3 => Ok([x, scale]),
        inputs => Err(format!("it has {} inputs, expected 2 or 3", inputs.len())),
    }
}

/// (value - zero) * scale, with one scale or one for each place along `axis`.
fn scaled(dims: &[usize], values: Vec<f32>, scales: &[f32], zeros: &[f32], axis: i64) -> Check<Vec<f32>> {
    let (mut stride, mut count) = (1, 1);
    if scales.len() > 1 {
        let axis = super::super::guard::axis(axis, dims.len())?;
        if dims[axis] != scales.len() {
            return Err(format!("{} scales for shape {dims:?} along axis {axis}", scales.len()));
        }
        stride = dims[axis + 1..].iter().product();
        count = scales.len();
    }
    if ![1, count].contains(&zeros.len()) || scales.is_empty() {
        return Err(format!("{} zero points for {count} scales", zeros.len()));
    }
    let each = values.into_iter().enumerate().map(|(i, value)| {
        let place = i / stride % count;
        (value - zeros[if zeros.len() == 1 { 0 } else { place }]) * scales[place]
    });
    Ok(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_dequantised_along_their_axis() {
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(scaled(&[2, 3], values.clone(), &[2.0], &[1.0], 1), Ok(vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0]));
        let rows = scaled(&[2, 3], values.clone(), &[1.0, 10.0], &[0.0, 4.0], 0);
        assert_eq!(rows, Ok(vec![1.0, 2.0, 3.0, 0.0, 10.0, 20.0]));
        let columns = scaled(&[2, 3], values.clone(), &[1.0, 10.0, 100.0], &[0.0], -1);
        assert_eq!(columns, Ok(vec![1.0, 20.0, 300.0, 4.0, 50.0, 600.0]));
        assert!(scaled(&[2, 3], values.clone(), &[1.0, 2.0], &[0.0], 1).is_err());
        assert!(scaled(&[2, 3], values, &[1.0, 2.0], &[0.0; 3], 0).is_err());
    }
}
