//! Bytes of an ONNX file to tract's typed graph: what exporters write is edited into what runs, the result is judged,
//! and only then does tract see it.

use std::collections::HashMap;
use std::path::Path;

use prost::Message;
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;

use super::declutter::declutter;
use super::exits::{self, Exits};
use super::fact::Fact;
use super::guard::{self, Inferred, Refusal};
use super::integers::{self, Unable};
use super::metadata::{self, Metadata};
use super::prepare::{
    branches, constants, elementwise, external, forms, functions, heads, input, precision, quantised, training,
    upsample,
};
use super::{LoadOptions, ModelError, file, stateless};
use crate::deadline;

/// A file as it is read, checked and edited, before tract sees it.
pub(super) struct Prepared {
    proto: ModelProto,
    pub metadata: Metadata,
    pub input: input::Input,
    pub exits: Exits,
    /// What a user should be told.
    pub warnings: Vec<String>,
    /// What `inspect` shows.
    pub notes: Vec<String>,
}

/// Decodes a file and brings it into the form that is run.
pub(super) fn prepare(bytes: &[u8], path: &Path, options: &LoadOptions) -> Result<Prepared, ModelError> {
    let whole = |reason: String| ModelError::NotOnnx { path: path.into(), reason };
    let refused = |refusal: Refusal| match refusal {
        Refusal::File(reason) => ModelError::NotOnnx { path: path.into(), reason },
        Refusal::Node { node, operator, reason } => ModelError::Node { path: path.into(), node, operator, reason },
    };
    let limits = &options.limits;
    let mut proto = decode(bytes, path)?;
    let metadata = metadata::read(&entries(&proto)).map_err(|(key, reason)| ModelError::Metadata {
        path: path.into(),
        key,
        reason,
    })?;
    let opset = guard::opset(&proto).map_err(whole)?;
    functions::inline(&mut proto, limits).map_err(whole)?;
    let graph = proto.graph.as_mut().ok_or_else(|| whole("it holds no graph".into()))?;
    external::read(graph, path, limits).map_err(whole)?;
    guard::check_structure(graph, limits).map_err(whole)?;

    let (mut warnings, mut notes) = (vec![], vec![]);
    constants::collect(graph);
    forms::rewrite(graph, opset).map_err(refused)?;
    precision::to_float(graph).map_err(whole)?;
    training::leave_out(graph, &mut warnings).map_err(refused)?;
    quantised::to_float(graph).map_err(refused)?;
    upsample::write_out(graph);
    elementwise::write_out(graph);
    let batch = options.batch.max(1);
    let states: Vec<String> = metadata.states.iter().map(|[state, _]| state.clone()).collect();
    let input = input::adapt(graph, &metadata.settings(options), batch, &states).map_err(|e| ModelError::Input {
        path: path.into(),
        input: e.input,
        actual: e.actual,
    })?;

    let mut judge = || -> Result<Exits, ModelError> {
        let infer = |graph: &_| guard::infer(graph, opset, input::facts(&input), limits);
        let mut inferred = infer(graph).map_err(refused)?;
        for _ in 0..limits.depth {
            if inferred.decided.is_empty() {
                break;
            }
            branches::take(graph, &inferred.decided);
            guard::check_structure(graph, limits).map_err(whole)?;
            inferred = infer(graph).map_err(refused)?;
        }
        let Inferred { facts, .. } = inferred;
        let wanted = options.exits.as_deref().or(metadata.exits.as_deref());
        let exits = exits::find(path, graph, &facts, batch, wanted, &mut notes, &mut warnings)?;
        let beside = beside(&metadata, &input, &facts).map_err(|(key, reason)| ModelError::Metadata {
            path: path.into(),
            key,
            reason,
        })?;
        heads::cut(graph, &facts, &exits.names, exits.classes == 1, &beside).map_err(whole)?;
        infer(graph).map_err(refused)?;
        Ok(exits)
    };
    let exits = match (judge(), input.rebatched) {
        (Ok(exits), _) => exits,
        (Err(source), Some(fixed)) => {
            return Err(ModelError::Batch { path: path.into(), fixed, wanted: batch, source: Box::new(source) });
        }
        (Err(error), None) => return Err(error),
    };
    Ok(Prepared { proto, metadata, input, exits, warnings, notes })
}

/// Shapes of a file's tensors for one image, by name, as far as they are known.
///
/// # Errors
/// As loading the file.
#[cfg(feature = "calibrate")]
pub(crate) fn tensor_shapes(
    bytes: &[u8],
    path: &Path,
    options: &LoadOptions,
) -> Result<HashMap<String, Vec<usize>>, ModelError> {
    let whole = |reason: String| ModelError::NotOnnx { path: path.into(), reason };
    let Prepared { proto, input, .. } = prepare(bytes, path, options)?;
    let opset = guard::opset(&proto).map_err(whole)?;
    let Some(graph) = &proto.graph else { return Ok(HashMap::new()) };
    let inferred = guard::infer(graph, opset, input::facts(&input), &options.limits);
    // It was judged a moment ago; a file about which nothing is known has no shapes.
    let facts = inferred.map(|inferred| inferred.facts).unwrap_or_default();
    Ok(facts.into_iter().map(|(name, fact)| (name, fact.dims)).collect())
}

/// The outputs beside the exits, as [`translate`] has them behind these: maps of the levels, then what becomes the states.
fn beside(
    metadata: &Metadata,
    input: &input::Input,
    facts: &HashMap<String, Fact>,
) -> Result<Vec<String>, (&'static str, String)> {
    let mut outputs = vec![];
    let float = |name: &str| facts.get(name).filter(|fact| fact.element == DataType::Float);
    if let Some(boxes) = &metadata.boxes {
        let anchors = boxes.anchors.ratios.len() * boxes.anchors.scales.len();
        for level in &boxes.levels {
            let refuse = |name: &str| (metadata::BOXES, format!("output {name:?} is no map of {anchors} anchors"));
            let map = |name: &str, per_anchor: usize| {
                let map = float(name).filter(|fact| fact.dims.len() == 4 && fact.dims[0] == input.shape[0]);
                map.filter(|fact| fact.dims[1] == anchors * per_anchor).map(|fact| fact.dims[2..].to_vec())
            };
            let scores = map(&level.classes, boxes.classes).ok_or_else(|| refuse(&level.classes))?;
            let deltas = map(&level.boxes, 4).ok_or_else(|| refuse(&level.boxes))?;
            if scores != deltas || scores.contains(&0) {
                return Err((metadata::BOXES, format!("the maps of level {:?} differ in size", level.name)));
            }
        }
        outputs.extend(boxes.outputs());
    }
    for ([_, next], (name, shape)) in metadata.states.iter().zip(&input.states) {
        if float(next).is_none_or(|fact| fact.dims != *shape) {
            return Err((metadata::STATES, format!("output {next:?} has not the shape of {name:?}, {shape:?}")));
        }
        outputs.push(next.clone());
    }
    Ok(outputs)
}

fn decode(bytes: &[u8], path: &Path) -> Result<ModelProto, ModelError> {
    if bytes.is_empty() {
        return Err(ModelError::Empty { path: path.into() });
    }
    if let Some((kind, cure)) = file::other_kind(bytes) {
        return Err(ModelError::OtherKind { path: path.into(), kind, cure });
    }
    let proto = ModelProto::decode(bytes).ok().filter(|proto| proto.graph.is_some());
    proto.ok_or_else(|| {
        // An ONNX model begins with the version of its format, a small number in field 1.
        let reason = match bytes {
            [8, 1..=20, ..] => "it begins as one, but is damaged or was cut short",
            _ => "it does not begin as one",
        };
        ModelError::NotOnnx { path: path.into(), reason: reason.into() }
    })
}

fn entries(proto: &ModelProto) -> HashMap<&str, &str> {
    proto.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect()
}

/// The decluttered graph with all shapes known; its outputs are the exits, behind them those of [`beside`]. With `open`, the batch stays a symbol.
pub(super) fn translate(prepared: Prepared, path: &Path, open: bool) -> Result<TypedModel, ModelError> {
    let Prepared { proto, input, .. } = prepared;
    let translate = || -> TractResult<TypedModel> {
        let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let parsed = onnx.parse(&proto, None)?;
        deadline::check()?;
        // The protobuf holds a second copy of all weights: let it go before anything else is made of them.
        drop(proto);
        let mut dims: TVec<TDim> = input.shape.iter().map(|dim| dim.to_dim()).collect();
        if open {
            dims[0] = parsed.model.symbols.sym("N").into();
        }
        let mut model = parsed.model.with_input_fact(0, f32::fact(dims).into())?;
        for (i, (_, shape)) in input.states.iter().enumerate() {
            model = model.with_input_fact(i + 1, f32::fact(shape).into())?;
        }
        let mut typed = model.into_typed()?;
        stateless::begin_anew(&mut typed);
        deadline::check()?;
        declutter(&mut typed)?;
        Ok(typed)
    };
    // tract panics on some graphs that no exporter writes; a file must not be able to end the program.
    match crate::quiet::catch(translate) {
        Ok(Ok(typed)) => match integers::try_each(&typed) {
            Ok(()) => Ok(typed),
            Err(Unable { node, operator, reason }) => {
                Err(ModelError::Node { path: path.into(), node, operator, reason })
            }
        },
        Ok(Err(error)) => Err(ModelError::Unsupported { path: path.into(), source: error.into() }),
        Err(reason) => Err(ModelError::Panic { path: path.into(), reason }),
    }
}
