//! The input of the file, brought to what frames are made into: floats of shape (N, C, H, W).
//!
//! Files with the channels last or with 8-bit pixels get nodes in front that turn the floats into what they take.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};

use super::super::fact::Fact;
use super::super::metadata::{SIZE, Settings};
use super::super::{Layout, tensor};
use super::edit::{Names, int, ints, node};

/// Most pixels of an image.
const MOST_PIXELS: usize = 1 << 26;

/// What is wrong with the input.
#[derive(Debug, PartialEq)]
pub(in super::super) struct InputError {
    pub input: String,
    pub actual: String,
}

/// The input of a graph once it is adapted.
#[derive(Debug)]
pub(in super::super) struct Input {
    /// Its name in the file.
    pub name: String,
    /// Its name in the graph.
    pub tensor: String,
    /// (N, C, H, W).
    pub shape: [usize; 4],
    /// How the file orders axes.
    pub layout: Layout,
    /// Whether the file takes pixels of 0 to 255 as bytes.
    pub bytes: bool,
    /// Inputs beside it, each with its shape: what one frame hands to the next.
    pub states: Vec<(String, Vec<usize>)>,
    /// The batch that the file fixes, if it is another one than is wanted.
    pub rebatched: Option<usize>,
}

/// Finds the one input, settles its shape, and puts in front what the file needs.
///
/// # Errors
/// The input, and what it is instead of a batch of images.
///
/// `states` are inputs that are no image.
pub(in super::super) fn adapt(
    graph: &mut GraphProto,
    settings: &Settings,
    batch: usize,
    states: &[String],
) -> Result<Input, InputError> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let is_image = |name: &str| !weights.contains(name) && !states.iter().any(|state| state == name);
    let places: Vec<usize> = (0..graph.input.len()).filter(|&i| is_image(&graph.input[i].name)).collect();
    let states = states.iter().map(|state| state_shape(graph, state, batch)).collect::<Result<Vec<_>, _>>()?;
    let &[place] = &places[..] else {
        let names: Vec<&str> = places.iter().map(|&i| graph.input[i].name.as_str()).collect();
        return Err(InputError { input: names.join(", "), actual: format!("{} inputs", names.len()) });
    };
    let declared = &graph.input[place];
    let name = declared.name.clone();
    let refuse = |actual: String| InputError { input: name.clone(), actual };
    let Some(type_proto::Value::TensorType(tensor)) = declared.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(refuse("something that is no tensor".into()));
    };
    let bytes = match DataType::try_from(tensor.elem_type) {
        Ok(DataType::Float) => false,
        Ok(DataType::Uint8) => true,
        Ok(other) => return Err(refuse(format!("a tensor of {other:?}, which is neither float nor 8-bit pixels"))),
        Err(_) => return Err(refuse(format!("element type {}, which is not known", tensor.elem_type))),
    };
    let shape = tensor.shape.as_ref().ok_or_else(|| refuse("a tensor whose shape is not declared".into()))?;
    let dims: Vec<Option<usize>> = shape.dim.iter().map(known_size).collect();
    let shown = dims.iter().map(|d| d.map_or("?".to_string(), |d| d.to_string())).collect::<Vec<_>>().join(", ");
    let shown = format!("({shown})");
    let &[n, a, b, c] = &dims[..] else { return Err(refuse(shown)) };
    let images = |channels: Option<usize>| matches!(channels, Some(1 | 3));
    let layout = match settings.layout {
        Some(layout) => layout,
        None if !images(a) && images(c) => Layout::ChannelsLast,
        None => Layout::ChannelsFirst,
    };
    let (channels, height, width) = match layout {
        Layout::ChannelsFirst => (a, b, c),
        Layout::ChannelsLast => (c, a, b),
    };
    let Some(channels) = channels.filter(|&c| images(Some(c))) else { return Err(refuse(shown)) };
    let (height, width) = match (height, width, settings.size) {
        (Some(h), Some(w), Some(asked)) if settings.size_is_asked && asked != [h, w] => {
            let [height, width] = asked;
            return Err(refuse(format!("{shown}, fixed by the file, where {height}x{width} is asked for")));
        }
        (Some(h), Some(w), _) => (h, w),
        (h, w, Some([height, width])) => (h.unwrap_or(height), w.unwrap_or(width)),
        _ => {
            return Err(refuse(format!(
                "{shown} with an open height and width: name them with --size (LoadOptions::size) or with {SIZE} in \
                 the file's metadata"
            )));
        }
    };
    if height.checked_mul(width).is_none_or(|pixels| pixels > MOST_PIXELS) {
        return Err(refuse(format!("{shown}, more than {MOST_PIXELS} pixels")));
    }
    let rebatched = n.filter(|&n| n != batch);
    let shape = [batch, channels, height, width];

    let mut input = Input { tensor: name.clone(), name, shape, layout, bytes, states, rebatched };
    let front = adapters(graph, &mut input);
    graph.node.splice(0..0, front);
    // Old files list weights among the inputs, which they are no more.
    graph.input = vec![declare(&input.tensor, &shape)];
    graph.input.extend(input.states.iter().map(|(name, shape)| declare(name, shape)));
    if let Some(fixed) = rebatched {
        follow_batch(graph, fixed);
    }
    // What files say of other shapes is inferred anew, and often names the batch they were exported with.
    graph.value_info.clear();
    graph.output.iter_mut().for_each(|output| output.r#type = None);
    Ok(input)
}

/// Name and shape of a state, the batch in front.
fn state_shape(graph: &GraphProto, state: &str, batch: usize) -> Result<(String, Vec<usize>), InputError> {
    let refuse = |actual: String| InputError { input: state.to_owned(), actual };
    let declared = graph.input.iter().find(|input| input.name == state);
    let declared = declared.ok_or_else(|| refuse("a state that is no input of the graph".into()))?;
    let Some(type_proto::Value::TensorType(tensor)) = declared.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(refuse("a state that is no tensor".into()));
    };
    if tensor.elem_type != DataType::Float as i32 {
        return Err(refuse("a state that is not of floats".into()));
    }
    let dims: Vec<Option<usize>> = tensor.shape.iter().flat_map(|shape| &shape.dim).map(known_size).collect();
    let inner: Option<Vec<usize>> = dims.iter().skip(1).copied().collect();
    let inner = inner.filter(|inner| !inner.is_empty()).ok_or_else(|| refuse("a state of open shape".into()))?;
    if inner.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim)).is_none_or(|len| len > MOST_PIXELS) {
        return Err(refuse(format!("a state with more than {MOST_PIXELS} numbers")));
    }
    Ok((state.to_owned(), std::iter::once(batch).chain(inner).collect()))
}

fn known_size(dim: &Dimension) -> Option<usize> {
    match dim.value {
        Some(dimension::Value::DimValue(v)) => usize::try_from(v).ok().filter(|&v| v > 0),
        _ => None,
    }
}

fn declare(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dim =
        |&size: &usize| Dimension { value: Some(dimension::Value::DimValue(size as i64)), ..Dimension::default() };
    let shape = Some(TensorShapeProto { dim: shape.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

/// What is known of the inputs, the image first.
pub(in super::super) fn facts(input: &Input) -> Vec<(String, Fact)> {
    let image = (input.tensor.clone(), Fact::new(DataType::Float, input.shape.to_vec()));
    let state = |(name, shape): &(String, Vec<usize>)| (name.clone(), Fact::new(DataType::Float, shape.clone()));
    std::iter::once(image).chain(input.states.iter().map(state)).collect()
}

/// The nodes between the floats and what the file takes.
fn adapters(graph: &mut GraphProto, input: &mut Input) -> Vec<NodeProto> {
    let mut names = Names::of(graph);
    let mut steps: Vec<NodeProto> = vec![];
    if input.layout == Layout::ChannelsLast {
        let order = ints("perm", &[0, 2, 3, 1]);
        steps.push(NodeProto { attribute: vec![order], ..node("Transpose", &[], &[]) });
    }
    if input.bytes {
        // Pixels come as floats of 0 to 255, some a rounding error away from a whole number.
        let mut bound = |base: &str, value: f32| {
            let name = names.fresh(base);
            graph.initializer.push(tensor::of_floats(&name, &[], &[value]));
            name
        };
        let (black, white) = (bound("black", 0.0), bound("white", 255.0));
        steps.push(node("Round", &[], &[]));
        steps.push(node("Max", &[&black], &[]));
        steps.push(node("Min", &[&white], &[]));
        let byte = int("to", i64::from(DataType::Uint8 as i32));
        steps.push(NodeProto { attribute: vec![byte], ..node("Cast", &[], &[]) });
    }
    if steps.is_empty() {
        return steps;
    }
    input.tensor = names.fresh(&format!("{}/frames", input.name));
    let mut from = input.tensor.clone();
    let last = steps.len() - 1;
    for (index, step) in steps.iter_mut().enumerate() {
        let to =
            if index == last { input.name.clone() } else { names.fresh(&format!("{}/{}", input.name, step.op_type)) };
        step.name = names.fresh(&format!("{}/adapt/{}", input.name, step.op_type));
        step.input.insert(0, from);
        step.output = vec![to.clone()];
        from = to;
    }
    steps
}

/// Lets constant shapes of `Reshape` that begin with the file's batch keep the batch of their input instead.
fn follow_batch(graph: &mut GraphProto, fixed: usize) {
    let mut names = Names::of(graph);
    let mut made = vec![];
    for reshape in graph.node.iter_mut().filter(|node| node.op_type == "Reshape" && node.attribute.is_empty()) {
        let Some(name) = reshape.input.get_mut(1) else { continue };
        let shape = graph.initializer.iter().find(|weight| weight.name == *name).map(tensor::ints);
        let Some(Ok(mut values)) = shape else { continue };
        if values.len() > 1 && values.first() == Some(&(fixed as i64)) {
            values[0] = 0;
            *name = names.fresh(&format!("{name}/batch"));
            made.push(tensor::of_ints(name, &[values.len()], &values));
        }
    }
    graph.initializer.extend(made);
}
