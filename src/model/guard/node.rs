//! A node of the file and its attributes, read with their types checked.

use std::cell::Cell;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::super::fact::Check;
use super::super::fact::Fact;
use super::limits::LoadLimits;

/// A node with what its shape rule needs.
pub(crate) struct Node<'a> {
    pub proto: &'a NodeProto,
    /// Version of the default operator set.
    pub opset: i64,
    pub limits: &'a LoadLimits,
    /// Facts of the inputs; none for an optional one that is left out.
    pub inputs: Vec<Option<Fact>>,
    /// Multiply-accumulates that the node's evaluation takes, as far as its rule says.
    pub macs: Cell<u64>,
}

impl<'a> Node<'a> {
    /// The fact of input `index`.
    pub(super) fn input(&self, index: usize) -> Check<&Fact> {
        self.optional(index).ok_or_else(|| format!("input {index} is missing"))
    }

    /// The fact of input `index`, if it is there.
    pub(super) fn optional(&self, index: usize) -> Option<&Fact> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// Integers known before the graph runs; an error if they depend on the image.
    pub(super) fn known_ints(&self, index: usize) -> Check<&[i64]> {
        self.input(index)?.ints().ok_or_else(|| {
            format!("input {index} decides the size of the result and is not known before the model runs")
        })
    }

    /// A single known integer.
    pub(super) fn known_int(&self, index: usize) -> Check<i64> {
        match self.known_ints(index)? {
            &[value] => Ok(value),
            other => Err(format!("input {index} has {} values, expected one", other.len())),
        }
    }

    fn attribute(&self, name: &str, kind: AttributeType) -> Check<Option<&'a AttributeProto>> {
        attribute(self.proto, name, kind)
    }

    /// Whether the attribute is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.proto.attribute.iter().any(|a| a.name == name)
    }

    /// An integer attribute.
    pub(super) fn int(&self, name: &str, default: i64) -> Check<i64> {
        Ok(self.attribute(name, AttributeType::Int)?.map_or(default, |a| a.i))
    }

    /// A flag: 0 or 1.
    pub(super) fn flag(&self, name: &str, default: bool) -> Check<bool> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{name} is {other}, expected 0 or 1")),
        }
    }

    /// A finite float attribute.
    pub(super) fn float(&self, name: &str, default: f32) -> Check<f32> {
        let value = self.attribute(name, AttributeType::Float)?.map_or(default, |a| a.f);
        if value.is_finite() { Ok(value) } else { Err(format!("{name} is {value}, expected a finite number")) }
    }

    /// A list of integers; none when it is left out.
    pub(super) fn ints(&self, name: &str) -> Check<Option<&'a [i64]>> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    /// A list of floats; none when it is left out.
    pub(super) fn floats(&self, name: &str) -> Check<Option<&'a [f32]>> {
        Ok(self.attribute(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    /// A short text.
    pub(super) fn text(&self, name: &str, default: &'a str) -> Check<&'a str> {
        let Some(attribute) = self.attribute(name, AttributeType::String)? else { return Ok(default) };
        let text = std::str::from_utf8(&attribute.s).map_err(|_| format!("{name} is not UTF-8"))?;
        if text.len() <= 256 { Ok(text) } else { Err(format!("{name} has {} characters", text.len())) }
    }

    /// A list of texts; none when it is left out.
    pub(super) fn texts(&self, name: &str) -> Check<Option<Vec<&'a str>>> {
        let texts = |a: &'a AttributeProto| a.strings.iter().map(|s| std::str::from_utf8(s).unwrap_or("?")).collect();
        Ok(self.attribute(name, AttributeType::Strings)?.map(texts))
    }

    /// A text that is one of `known`.
    pub(super) fn one_of(&self, name: &str, default: &'a str, known: &[&str]) -> Check<&'a str> {
        let text = self.text(name, default)?;
        if known.contains(&text) { Ok(text) } else { Err(format!("{name} is {text:?}, expected {}", known.join(", "))) }
    }

    /// A tensor attribute.
    pub(super) fn tensor(&self, name: &str) -> Check<Option<&'a TensorProto>> {
        Ok(self.attribute(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    /// A subgraph.
    pub(super) fn graph(&self, name: &str) -> Check<&'a GraphProto> {
        let graph = self.attribute(name, AttributeType::Graph)?.and_then(|a| a.g.as_ref());
        graph.ok_or_else(|| format!("{name} is missing"))
    }

    /// An element type by its number.
    pub(super) fn element(&self, name: &str) -> Check<Option<DataType>> {
        if !self.has(name) {
            return Ok(None);
        }
        let number = self.int(name, 0)?;
        let kind = i32::try_from(number).ok().and_then(|n| DataType::try_from(n).ok());
        kind.map(Some).ok_or_else(|| format!("{name} is {number}, which is no element type"))
    }

    /// An axis attribute, counted from the front.
    pub(super) fn axis(&self, name: &str, default: i64, rank: usize) -> Check<usize> {
        axis(self.int(name, default)?, rank)
    }

    /// Whether every input is known to be independent of the image.
    pub(super) fn is_constant(&self) -> bool {
        self.inputs.iter().flatten().all(|fact| fact.constant)
    }

    /// Adds to the cost of evaluating the node.
    pub(super) fn charge(&self, macs: u64) {
        self.macs.set(self.macs.get().saturating_add(macs));
    }
}

/// An attribute of a node, if it is there and of the type wanted. Old files leave the type out.
pub(crate) fn attribute<'a>(
    proto: &'a NodeProto,
    name: &str,
    kind: AttributeType,
) -> Check<Option<&'a AttributeProto>> {
    let Some(found) = proto.attribute.iter().find(|a| a.name == name) else { return Ok(None) };
    if found.r#type != kind as i32 && found.r#type != AttributeType::Undefined as i32 {
        return Err(format!("attribute {name} has another type than {kind:?}"));
    }
    Ok(Some(found))
}

/// An axis in [-rank, rank), counted from the front.
pub(crate) fn axis(value: i64, rank: usize) -> Check<usize> {
    let size = rank as i64;
    if (-size..size).contains(&value) {
        Ok(value.rem_euclid(size) as usize)
    } else {
        Err(format!("axis {value} of a tensor with {rank} axes"))
    }
}

/// Different axes, counted from the front, in rising order.
pub(crate) fn axes(values: &[i64], rank: usize) -> Check<Vec<usize>> {
    let mut found = values.iter().map(|&value| axis(value, rank)).collect::<Check<Vec<_>>>()?;
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("axes {values:?} name one axis twice"));
    }
    Ok(found)
}
