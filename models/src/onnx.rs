//! Writes a network as an ONNX file, constant by constant, so that no more than one of them is in memory.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use dyn_perceiver_core::file::atomic_write_with;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tract_onnx::pb;

use crate::error::Differences;
use crate::graph::{Attribute, Initializer, Node, Source, Value};
use crate::weights::{Constant, Weights, constant};
use crate::{Error, Metadata, Network, ParameterKind};

/// The operator set: the first with Gelu.
const OPSET: i64 = 20;
/// The file format that goes with it.
const IR_VERSION: i64 = 9;
/// The smallest tensor that half precision is worth a node for, in elements.
const HALF_FROM: usize = 256;
/// Field numbers in onnx.proto: `ModelProto.graph`, `GraphProto.initializer`, `TensorProto.raw_data`.
const GRAPH: u32 = 7;
const INITIALIZER: u32 = 5;
const RAW_DATA: u32 = 9;

impl Network {
    /// Holds the tensors of a checkpoint against those the network needs.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with every missing, surplus and misshapen key.
    pub fn check(&self, weights: &dyn Weights) -> Result<(), Error> {
        let Some(shapes) = weights.shapes() else { return Ok(()) };
        let mut differences = Differences::default();
        for (key, parameter) in self.parameters() {
            match shapes.get(key) {
                None if parameter.kind == ParameterKind::Counter => {}
                None => differences.missing.push(key.clone()),
                Some(shape) if *shape == parameter.shape => {}
                Some(shape) => differences.misshapen.push((key.clone(), parameter.shape.clone(), shape.clone())),
            }
        }
        differences.surplus.extend(shapes.keys().filter(|&key| !self.parameters().contains_key(key)).cloned());
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::Mismatch { network: self.config().name(), differences })
    }

    /// Writes the network as an ONNX file: beside `path` first, then renamed, so that `path` is never half
    /// a model.
    ///
    /// Input `image` (N, 3, H, W) in float32, outputs [`EXITS`](crate::EXITS) (N, classes), logits. A detector has
    /// `cls.P3` to `cls.P7` (N, 9 x classes, h, w) and `box.P3` to `box.P7` (N, 36, h, w) too, a network of videos the
    /// inputs `state.0`, ... and the outputs `state.0.next`, ..., or its whole clip for N. `progress` is told bytes
    /// written so far and in all.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the weights do not fit, [`Error::Configuration`] if the metadata do not, and what reading
    /// and writing the files gives.
    pub fn save(
        &self,
        path: &Path,
        weights: &mut dyn Weights,
        metadata: &Metadata,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        self.check(weights)?;
        metadata.check(self.config())?;
        // What went wrong inside is no error of the file system, and is told as it is.
        let mut failure = None;
        let done = atomic_write_with(path, |file| {
            let mut file = BufWriter::new(file);
            match self.write(&mut file, path, weights, metadata, progress) {
                Ok(()) => file.flush(),
                Err(error) => {
                    failure = Some(error);
                    Err(io::ErrorKind::Other.into())
                }
            }
        });
        done.map_err(|error| failure.unwrap_or_else(|| Error::io(path)(error)))
    }

    /// The model as bytes, for use without a file.
    ///
    /// # Errors
    /// As [`Network::save`].
    pub fn to_bytes(&self, weights: &mut dyn Weights, metadata: &Metadata) -> Result<Vec<u8>, Error> {
        self.check(weights)?;
        metadata.check(self.config())?;
        let mut bytes = Vec::new();
        self.write(&mut bytes, Path::new("memory"), weights, metadata, &mut |_, _| {})?;
        Ok(bytes)
    }

    /// A ModelProto whose graph field is written by hand-over: prost would need every constant in memory to know the
    /// graph's length, but the lengths follow from the shapes.
    fn write(
        &self,
        out: &mut dyn Write,
        path: &Path,
        weights: &mut dyn Weights,
        metadata: &Metadata,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let mut written = 0;
        let mut put = |bytes: &[u8]| {
            written += bytes.len() as u64;
            out.write_all(bytes).map_err(Error::io(path)).map(|()| written)
        };
        let graph = self.graph_proto().encode_to_vec();
        let lengths: Vec<usize> = self.graph().initializers.iter().map(|i| tensor_len(i, self.kind(i))).collect();
        let field = |length: usize| key_len(INITIALIZER) + encoded_len_varint(length as u64) + length;
        let graph_len = graph.len() + lengths.iter().map(|&length| field(length)).sum::<usize>();

        let mut head = self.model_proto(metadata).encode_to_vec();
        encode_key(GRAPH, WireType::LengthDelimited, &mut head);
        encode_varint(graph_len as u64, &mut head);
        let total = (head.len() + graph_len) as u64;
        put(&head)?;
        put(&graph)?;
        for (initializer, length) in self.graph().initializers.iter().zip(lengths) {
            let kind = self.kind(initializer);
            let tensor = tensor_proto(initializer, kind, constant(self, &initializer.source, weights)?);
            let tensor = tensor.ok_or_else(|| {
                let reason = "a weight is beyond what half precision holds, 65,504".to_owned();
                Error::malformed(path, &initializer.name, reason)
            })?;
            let mut bytes = Vec::with_capacity(field(length));
            encode_key(INITIALIZER, WireType::LengthDelimited, &mut bytes);
            encode_varint(length as u64, &mut bytes);
            if tensor.encoded_len() != length {
                let reason = format!("{} elements do not make shape {:?}", tensor.raw_data.len(), initializer.shape);
                return Err(Error::malformed(path, &initializer.name, reason));
            }
            tensor.encode_raw(&mut bytes);
            progress(put(&bytes)?, total);
        }
        Ok(())
    }

    /// Everything but the graph.
    fn model_proto(&self, metadata: &Metadata) -> pb::ModelProto {
        let entries = metadata.entries(self).into_iter();
        pb::ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: OPSET }],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            metadata_props: entries
                .map(|(key, value)| pb::StringStringEntryProto { key: key.to_owned(), value })
                .collect(),
            ..Default::default()
        }
    }

    /// Everything of the graph but its constants.
    fn kind(&self, initializer: &Initializer) -> Kind {
        match initializer.source {
            Source::Integers(_) => Kind::Integers,
            _ if self.half_weights() && initializer.shape.iter().product::<usize>() >= HALF_FROM => Kind::Halves,
            _ => Kind::Floats,
        }
    }

    fn graph_proto(&self) -> pb::GraphProto {
        let graph = self.graph();
        let (states, next): (Vec<&Value>, Vec<&Value>) = graph.states.iter().map(|(state, next)| (state, next)).unzip();
        let clip = self.clip_frames();
        // A clip is a batch of its own length, and its logits are one row.
        let frames = clip.map_or(Batch::Any, Batch::Of);
        let row = clip.map_or(Batch::Any, |_| Batch::Of(1));
        let halves = graph.initializers.iter().filter(|&initializer| self.kind(initializer) == Kind::Halves);
        let casts = halves.map(cast_proto);
        pb::GraphProto {
            name: self.config().name(),
            node: casts.chain(graph.nodes.iter().map(node_proto)).collect(),
            input: [&self.image()].into_iter().chain(states).map(|value| value_proto(value, frames)).collect(),
            output: graph.outputs.iter().chain(next).map(|value| value_proto(value, row)).collect(),
            ..Default::default()
        }
    }
}

/// How a constant stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integers,
    Floats,
    /// Half precision under a name of its own; a `Cast` gives the float tensor of the constant's name.
    Halves,
}

fn half_name(initializer: &Initializer) -> String {
    format!("{}/half", initializer.name)
}

/// From half precision to the constant that the graph reads.
fn cast_proto(initializer: &Initializer) -> pb::NodeProto {
    let float = pb::tensor_proto::DataType::Float as i64;
    pb::NodeProto {
        name: format!("{}/float", initializer.name),
        op_type: "Cast".to_owned(),
        input: vec![half_name(initializer)],
        output: vec![initializer.name.clone()],
        attribute: vec![attribute_proto("to", &Attribute::Int(float))],
        ..Default::default()
    }
}

fn node_proto(node: &Node) -> pb::NodeProto {
    pb::NodeProto {
        name: node.name.clone(),
        op_type: node.op.to_owned(),
        input: node.inputs.clone(),
        output: vec![node.output.clone()],
        attribute: node.attributes.iter().map(|(name, attribute)| attribute_proto(name, attribute)).collect(),
        ..Default::default()
    }
}

fn attribute_proto(name: &str, attribute: &Attribute) -> pb::AttributeProto {
    use pb::attribute_proto::AttributeType;
    let proto = pb::AttributeProto { name: name.to_owned(), ..Default::default() };
    match attribute {
        Attribute::Int(i) => pb::AttributeProto { r#type: AttributeType::Int.into(), i: *i, ..proto },
        Attribute::Ints(ints) => pb::AttributeProto { r#type: AttributeType::Ints.into(), ints: ints.clone(), ..proto },
        Attribute::Float(f) => pb::AttributeProto { r#type: AttributeType::Float.into(), f: *f, ..proto },
        Attribute::Text(text) => {
            pb::AttributeProto { r#type: AttributeType::String.into(), s: text.as_bytes().to_vec(), ..proto }
        }
    }
}

/// What stands for the batch of a tensor in the file.
#[derive(Clone, Copy)]
enum Batch {
    Any,
    Of(usize),
}

/// A float32 tensor with a batch in front.
fn value_proto(value: &Value, batch: Batch) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension};
    let dimension = |value| Dimension { value: Some(value), ..Default::default() };
    let sizes = value.shape.iter().skip(1).map(|&size| dimension(dimension::Value::DimValue(size as i64)));
    let batch = dimension(match batch {
        Batch::Any => dimension::Value::DimParam("N".to_owned()),
        Batch::Of(size) => dimension::Value::DimValue(size as i64),
    });
    let shape = pb::TensorShapeProto { dim: std::iter::once(batch).chain(sizes).collect() };
    let elem_type = pb::tensor_proto::DataType::Float.into();
    let tensor = pb::type_proto::Tensor { elem_type, shape: Some(shape) };
    let value_type = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: value.name.clone(), r#type: Some(value_type), ..Default::default() }
}

/// A constant without its numbers.
fn tensor_head(initializer: &Initializer, kind: Kind) -> pb::TensorProto {
    use pb::tensor_proto::DataType;
    let (data_type, name) = match kind {
        Kind::Integers => (DataType::Int64, initializer.name.clone()),
        Kind::Floats => (DataType::Float, initializer.name.clone()),
        Kind::Halves => (DataType::Float16, half_name(initializer)),
    };
    pb::TensorProto {
        name,
        dims: initializer.shape.iter().map(|&d| d as i64).collect(),
        data_type: data_type.into(),
        ..Default::default()
    }
}

/// Encoded length of a constant, from its shape alone.
fn tensor_len(initializer: &Initializer, kind: Kind) -> usize {
    let element = match kind {
        Kind::Integers => 8,
        Kind::Floats => 4,
        Kind::Halves => 2,
    };
    let bytes = initializer.shape.iter().product::<usize>() * element;
    tensor_head(initializer, kind).encoded_len() + key_len(RAW_DATA) + encoded_len_varint(bytes as u64) + bytes
}

/// `None` if a number is beyond half precision.
fn tensor_proto(initializer: &Initializer, kind: Kind, constant: Constant) -> Option<pb::TensorProto> {
    let raw_data = match constant {
        Constant::Integers(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Constant::Numbers(values) if kind == Kind::Halves => {
            let halves = values.iter().map(|&v| half::f16::from_f32(v));
            let fits = |(half, &value): (&half::f16, &f32)| half.is_finite() || !value.is_finite();
            let halves: Vec<half::f16> = halves.collect();
            if !halves.iter().zip(&values).all(fits) {
                return None;
            }
            halves.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        Constant::Numbers(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    Some(pb::TensorProto { raw_data, ..tensor_head(initializer, kind) })
}
