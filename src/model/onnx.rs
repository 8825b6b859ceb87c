//! Bytes of an ONNX file to tract's typed graph, with everything a broken file could contain checked on the way.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use prost::Message;
use tract_onnx::pb::{GraphProto, ModelProto, tensor_proto::DataLocation};
use tract_onnx::prelude::*;

use super::metadata::Metadata;

/// What went wrong, without the file's name, which the caller knows.
pub(super) enum OnnxError {
    NotOnnx(String),
    Unsupported(String),
    Input { input: String, actual: String },
}

pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    let proto = ModelProto::decode(bytes).map_err(|e| OnnxError::NotOnnx(e.to_string()))?;
    let graph = proto.graph.as_ref().ok_or_else(|| OnnxError::NotOnnx("it holds no graph".into()))?;
    check_names(graph).map_err(OnnxError::NotOnnx)?;
    Ok(proto)
}

/// Every tensor that is used must be made before it is used, and no weight may be cut short.
fn check_names(graph: &GraphProto) -> Result<(), String> {
    let mut known: HashSet<&str> = HashSet::new();
    for tensor in &graph.initializer {
        if tensor.dims.iter().any(|&d| d < 0) {
            return Err(format!("weight {:?} has a negative dimension", tensor.name));
        }
        if tensor.data_location == Some(DataLocation::External as i32) {
            return Err(format!("weight {:?} lies in another file, which is not supported", tensor.name));
        }
        known.insert(&tensor.name);
    }
    known.extend(graph.input.iter().map(|input| input.name.as_str()));
    for node in &graph.node {
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            if !known.contains(input.as_str()) {
                return Err(format!("node {:?} uses {input:?}, which nothing before it makes", node.name));
            }
        }
        known.extend(node.output.iter().map(String::as_str));
    }
    match graph.output.iter().find(|output| !known.contains(output.name.as_str())) {
        Some(output) => Err(format!("nothing makes output {:?}", output.name)),
        None => Ok(()),
    }
}

/// Shape of the one input, (batch, channels, height, width), taking what the file leaves open from its metadata.
fn input_shape(proto: &ModelProto, metadata: &Metadata, batch: usize) -> Result<(String, [usize; 4]), OnnxError> {
    use tract_onnx::pb::{tensor_shape_proto::dimension, type_proto};

    let graph = proto.graph.as_ref().ok_or_else(|| OnnxError::NotOnnx("it holds no graph".into()))?;
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|i| !weights.contains(i.name.as_str())).collect();
    let [input] = inputs[..] else {
        let names = inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(OnnxError::Input { input: names, actual: format!("{} inputs", inputs.len()) });
    };
    let refuse = |actual: String| OnnxError::Input { input: input.name.clone(), actual };
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(refuse("something that is no tensor".into()));
    };
    const FLOAT: i32 = tract_onnx::pb::tensor_proto::DataType::Float as i32;
    if tensor.elem_type != FLOAT {
        return Err(refuse(format!("ONNX element type {}, not float", tensor.elem_type)));
    }
    let dims: Vec<Option<usize>> = tensor.shape.iter().flat_map(|shape| &shape.dim).map(known_size).collect();
    fn known_size(dim: &tract_onnx::pb::tensor_shape_proto::Dimension) -> Option<usize> {
        match dim.value {
            Some(dimension::Value::DimValue(v)) => usize::try_from(v).ok().filter(|&v| v > 0),
            _ => None,
        }
    }
    let shown = || {
        let dims: Vec<_> = dims.iter().map(|d| d.map_or("?".to_string(), |d| d.to_string())).collect();
        format!("({})", dims.join(", "))
    };
    let &[n, c, h, w] = dims.as_slice() else { return Err(refuse(shown())) };
    let (Some(channels @ (1 | 3)), Some(height), Some(width)) = (c, h.or(metadata.size), w.or(metadata.size)) else {
        return Err(refuse(shown()));
    };
    // A batch that the file fixes is kept: the graph may hold shapes that depend on it.
    if n.is_some_and(|n| n != batch) {
        return Err(refuse(format!("{} where a batch of {batch} is wanted", shown())));
    }
    let pixels = height.checked_mul(width).filter(|&p| p <= 1 << 26);
    pixels.ok_or_else(|| refuse(shown()))?;
    Ok((input.name.clone(), [batch, channels, height, width]))
}

/// The decluttered graph with all shapes known, and the names of its outputs in order.
pub(super) struct Graph {
    pub typed: TypedModel,
    pub input: String,
    pub shape: [usize; 4],
    pub outputs: Vec<String>,
}

/// With `open`, the batch stays a symbol, if the file leaves it open.
pub(super) fn to_graph(proto: ModelProto, metadata: &Metadata, batch: usize, open: bool) -> Result<Graph, OnnxError> {
    let (input, shape) = input_shape(&proto, metadata, batch)?;
    let outputs = proto.graph.iter().flat_map(|g| &g.output).map(|o| o.name.clone()).collect();
    let translate = || -> TractResult<TypedModel> {
        let parsed = tract_onnx::onnx().with_ignore_output_shapes(true).parse(&proto, None)?;
        // The protobuf holds a second copy of all weights: let it go before anything else is made of them.
        drop(proto);
        let mut dims: TVec<TDim> = shape.iter().map(|dim| dim.to_dim()).collect();
        if open {
            dims[0] = parsed.model.symbols.sym("N").into();
        }
        parsed.model.with_input_fact(0, f32::fact(dims).into())?.into_typed()?.into_decluttered()
    };
    // tract panics on some graphs that no exporter writes; a file must not be able to end the program.
    let typed = match catch_unwind(AssertUnwindSafe(translate)) {
        Ok(Ok(typed)) => typed,
        Ok(Err(error)) => return Err(OnnxError::Unsupported(format!("{error:#}"))),
        Err(_) => {
            return Err(OnnxError::Unsupported("a node has attributes or weights that contradict each other".into()));
        }
    };
    Ok(Graph { typed, input, shape, outputs })
}
