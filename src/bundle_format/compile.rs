//! A model to the bytes of a bundle.

use std::collections::HashMap;
use std::path::Path;

use dyn_perceiver_kernels::gemm::KernelFamily;
use sha2::{Digest as _, Sha256};
use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;

use super::container::{self, ALIGN};
use super::extras::Extras;
use super::manifest::{Kind, Manifest, Model, Node, Outlet, StoredSegment};
use super::operator::Operator;
use super::steps::Steps;
use super::{BundleError, Target, check_policy, target};
use crate::exit::CalibratedPolicy;
use crate::graph::partition::SegmentGraph;
use crate::graph::parts::Parts;
use crate::ops;

/// The bytes of a bundle, and how many of them are weights.
pub(crate) fn bundle(
    parts: Parts,
    policy: Option<CalibratedPolicy>,
    target: Target,
) -> Result<(Vec<u8>, usize), BundleError> {
    let Parts { info, stages, costs, segments, slots, input, exits, levels, states } = parts;
    let path = info.path.as_path();
    if let Some(policy) = &policy {
        check_policy(policy, info.digest, &info.outcome_names(), path)?;
    }
    let calibration = policy.as_ref().and_then(CalibratedPolicy::calibration).cloned();
    let mut weights = Weights::default();
    let segments = segments.iter().map(|s| segment(s, &mut weights, path)).collect::<Result<_, _>>()?;
    let source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let manifest = Manifest {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        target,
        kernels: KernelFamily::F32,
        layout: target::layout(),
        model: Model {
            source,
            digest: info.digest,
            input: info.input,
            classes: info.classes,
            exits: info.exits,
            labels: info.labels,
            preprocessing_source: info.preprocessing_source,
            warnings: info.warnings,
            boxes: info.boxes,
            presence: info.presence,
            video: info.video,
        },
        policy,
        stages,
        costs,
        segments,
        slots,
        input,
        exits,
        levels,
        states,
    };
    let content = |reason: String| BundleError::Content { path: path.into(), place: "manifest".into(), reason };
    let extras = Extras { calibration, times: vec![] };
    let manifest = postcard::to_allocvec(&manifest)
        .and_then(|manifest| postcard::to_extend(&extras, manifest))
        .map_err(|error| content(error.to_string()))?;
    Ok((container::join(&manifest, &weights.bytes), weights.bytes.len()))
}

/// The weights' part of a bundle. Equal weights are stored once.
#[derive(Default)]
struct Weights {
    bytes: Vec<u8>,
    stored: HashMap<[u8; 32], usize>,
}

impl Weights {
    /// Where the bytes are stored.
    fn store(&mut self, bytes: Vec<u8>) -> usize {
        *self.stored.entry(Sha256::digest(&bytes).into()).or_insert_with(|| {
            self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
            let at = self.bytes.len();
            self.bytes.extend(bytes);
            at
        })
    }
}

/// The channels of a constant that depthwise convolutions alone read, as their filters.
fn filter_channels(graph: &TypedModel, constant: &TypedNode) -> Option<usize> {
    let [output] = constant.outputs.as_slice() else { return None };
    let channels_of = |inlet: &InletId| (inlet.slot == 1).then(|| ops::filter_channels(&*graph.node(inlet.node).op))?;
    let mut readers = output.successors.iter().map(channels_of);
    let channels = readers.next()??;
    let is_result = graph.outputs.contains(&constant.id.into());
    (!is_result && readers.all(|others| others == Some(channels))).then_some(channels)
}

fn segment(segment: &SegmentGraph, weights: &mut Weights, path: &Path) -> Result<StoredSegment, BundleError> {
    let graph = &segment.graph;
    let content = |error: TractError| BundleError::Content {
        path: path.into(),
        place: "graph".into(),
        reason: format!("{error:#}"),
    };
    // Sources first and in the order of the inputs, then the rest as it runs.
    let sources: Vec<usize> = graph.inputs.iter().map(|input| input.node).collect();
    let mut order = sources.clone();
    order.extend(graph.eval_order().map_err(content)?.into_iter().filter(|id| !sources.contains(id)));
    let place: HashMap<usize, usize> = order.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let outlet = |outlet: &OutletId| Outlet { node: place[&outlet.node], output: outlet.slot };
    let mut nodes = vec![];
    for node in order.iter().map(|id| graph.node(*id)) {
        let refuse = |reason: String| BundleError::Operator {
            path: path.into(),
            node: node.name.clone(),
            operator: node.op.name().into_owned(),
            reason,
        };
        let is_constant = node.op_is::<Const>();
        for output in &node.outputs {
            let is_words = is_constant && crate::weights::is_words(output.fact.datum_type);
            if output.fact.datum_type != f32::datum_type() && !is_words {
                return Err(refuse(format!(": it makes {:?}, only float32 can be stored", output.fact.datum_type)));
            }
        }
        let shape = |output: usize| match node.outputs.get(output).and_then(|o| o.fact.shape.as_concrete()) {
            Some(shape) => Ok(shape.to_vec()),
            None => Err(refuse(": its shape is not known".into())),
        };
        let kind = if node.op_is::<TypedSource>() {
            Kind::Source { shape: shape(0)? }
        } else if let Some(constant) = node.op_as::<Const>() {
            let floats = crate::weights::floats(constant.val()).map_err(content)?;
            let shape = shape(0)?;
            let steps =
                filter_channels(graph, node).and_then(|channels| Some((Steps::of(floats, channels)?, channels)));
            let whole = || floats.iter().flat_map(|value| value.to_le_bytes()).collect();
            match steps {
                Some((steps, columns)) => Kind::Steps { shape, columns, at: weights.store(steps.to_bytes()) },
                None if crate::weights::is_words(constant.val().datum_type()) => {
                    Kind::Words { shape, at: weights.store(whole()) }
                }
                None => Kind::Weights { shape, at: weights.store(whole()) },
            }
        } else {
            let operator = Operator::of(&*node.op).ok_or_else(|| refuse(String::new()))?;
            Kind::Operator { operator, inputs: node.inputs.iter().map(outlet).collect() }
        };
        nodes.push(Node { name: node.name.clone(), kind });
    }
    let results = graph.outputs.iter().map(outlet).collect();
    Ok(StoredSegment {
        need: segment.need,
        inputs: segment.inputs.clone(),
        outputs: segment.outputs.clone(),
        nodes,
        results,
    })
}
