//! A bundle's file to what a plan is made of.
//!
//! Checksums say that the bytes are those that were written. That they make sense is checked all the same, so that no
//! file can lead to a panic or to a read outside the weights.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dyn_perceiver_kernels::gemm::KernelFamily;
use tract_core::internal::*;
use tract_core::ops::konst::Const;

use super::extras::Extras;
use super::manifest::{Kind, Manifest, Node, Outlet, StoredSegment};
use super::{
    BundleError, BundleInfo, check_policy, container,
    operator::Operator,
    slots::{Found, check as check_slots},
    steps::Steps,
    target,
};
use crate::exit::MAX_EXITS;
use crate::graph::partition::SegmentGraph;
use crate::graph::parts::Parts;
use crate::model::{Layout, LoadOptions, ModelInfo};
use crate::quiet;
use crate::weights::{self, Mapping};

/// Most threads that build graphs: there are few segments, and the largest takes a third of the time.
const MOST_BUILDERS: usize = 4;
/// Most elements that a tensor of a bundle may have.
const MAX_ELEMENTS: usize = 1 << 28;

/// Reads a bundle.
///
/// # Errors
/// [`BundleError`] when it cannot be read, is damaged, of another version or layout, makes no sense, or was compiled with
/// other options than those asked for.
pub(crate) fn load(path: &Path, options: &LoadOptions) -> Result<(Parts, BundleInfo), BundleError> {
    if cfg!(target_endian = "big") {
        return Err(BundleError::ByteOrder { path: path.into() });
    }
    let mapping = Mapping::open(path).map_err(|source| BundleError::Read { path: path.into(), source })?;
    let container = container::split(mapping.bytes(), path)?;
    let content = |place: &str, reason: String| BundleError::Content { path: path.into(), place: place.into(), reason };
    let (manifest, rest): (Manifest, _) = postcard::take_from_bytes(&mapping.bytes()[container.manifest.clone()])
        .map_err(|error| content("manifest", error.to_string()))?;
    let extras = Extras::read(rest).map_err(|reason| content("extras", reason))?;
    let Manifest { program, target, kernels, layout, model, policy, stages, costs, segments, slots, .. } = manifest;
    let found =
        Found { input: manifest.input, exits: manifest.exits, levels: manifest.levels, states: manifest.states };
    // What float32 operators of this version read; int8 and float16 weights are of the families that `layout` covers.
    if kernels != KernelFamily::F32 {
        let (found, expected) = (kernels.to_string(), KernelFamily::F32.to_string());
        return Err(BundleError::Kernels { path: path.into(), found, expected });
    }
    let expected = target::layout();
    if layout != expected {
        return Err(BundleError::Layout { path: path.into(), target: target.to_string(), found: layout, expected });
    }
    let info = ModelInfo {
        path: path.into(),
        digest: model.digest,
        file_bytes: mapping.bytes().len() as u64,
        input: model.input,
        classes: model.classes,
        exits: model.exits,
        labels: model.labels,
        boxes: model.boxes,
        presence: model.presence,
        video: model.video,
        layout: Layout::ChannelsFirst,
        preprocessing_source: model.preprocessing_source,
        warnings: model.warnings,
        notes: vec![],
    };
    check_info(&info).map_err(|error| content("model", format!("{error:#}")))?;
    extras.check(info.outcome_names().len()).map_err(|reason| content("extras", reason))?;
    let Extras { calibration, times } = extras;
    let policy = match policy.map(|policy| policy.with_calibration(calibration)) {
        Some(Ok(policy)) => {
            check_policy(&policy, info.digest, &info.outcome_names(), path)?;
            Some(policy)
        }
        Some(Err(error)) => return Err(BundleError::Policy { path: path.into(), error }),
        None => None,
    };
    if stages.len() != info.exits.len() || stages.iter().zip(&info.exits).any(|(stage, exit)| stage.exit != *exit) {
        return Err(content("stages", format!("expected one for each exit of {}", info.exits.join(", "))));
    }
    check_options(&info, options)?;

    let weights = Weights { mapping: Arc::new(mapping), part: container.weights.clone() };
    // The checksum of the weights takes as long as the graphs, which do not read them.
    let (checked, segments) = std::thread::scope(|scope| {
        let check = || container::check_weights(weights.mapping.bytes(), &container, path);
        let helper = std::thread::Builder::new().name("checksum".into()).spawn_scoped(scope, check);
        let segments = graphs(segments, &weights);
        // Where no thread can be had, it is done here.
        (helper.map_or_else(|_| check(), |helper| helper.join().unwrap_or_else(|panic| resume_unwind(panic))), segments)
    });
    checked?;
    let segments = segments.and_then(|segments| {
        check_slots(&segments, slots, &found, &info).map_err(|error| format!("{error:#}"))?;
        Ok(segments)
    });
    let segments = segments.map_err(|reason| content("graph", reason))?;
    let Found { input, exits, levels, states } = found;
    let parts = Parts { info, stages, costs, segments, slots, input, exits, levels, states };
    Ok((parts, BundleInfo { source: model.source, program, target, kernels: kernels.to_string(), policy, times }))
}

fn check_info(info: &ModelInfo) -> TractResult<()> {
    let input = &info.input;
    let sizes = [input.batch, input.channels, input.height, input.width, info.classes];
    ensure!(sizes.iter().all(|size| *size > 0), "a size is 0: {sizes:?}");
    elements(&sizes[..4])?;
    elements(&[input.batch, info.classes])?;
    ensure!(matches!(input.channels, 1 | 3), "{} channels, expected 1 or 3", input.channels);
    let preprocessing = &input.preprocessing;
    ensure!(preprocessing.mean.iter().all(|mean| mean.is_finite()), "a mean is no number");
    ensure!(preprocessing.std.iter().all(|std| *std > 0.0), "a standard deviation is not above 0");
    ensure!(preprocessing.crop > 0.0 && preprocessing.crop <= 1.0, "crop {} is not in (0, 1]", preprocessing.crop);
    ensure!((1..=MAX_EXITS).contains(&info.exits.len()), "{} exits, expected 1 to {MAX_EXITS}", info.exits.len());
    let labels = info.labels.as_ref().map_or(info.classes, Vec::len);
    ensure!(labels == info.classes, "{labels} labels for {} classes", info.classes);
    if let Some(boxes) = &info.boxes {
        boxes.check().map_err(|reason| format_err!(reason))?;
    }
    if let Some(presence) = &info.presence {
        ensure!(presence.nothing < info.classes, "class {} of nothing", presence.nothing);
    }
    for state in info.video.iter().flat_map(|video| &video.states) {
        elements(&state.shape)?;
    }
    Ok(())
}

fn check_options(info: &ModelInfo, options: &LoadOptions) -> Result<(), BundleError> {
    let path = info.path.clone();
    if options.batch.max(1) != info.input.batch {
        return Err(BundleError::Batch { path, expected: info.input.batch, actual: options.batch });
    }
    let fixed = [
        ("size", options.size.is_some()),
        ("layout", options.layout.is_some()),
        ("normalisation", options.mean.is_some() || options.std.is_some() || options.range.is_some()),
        ("crop", options.crop.is_some()),
    ];
    if let Some((what, _)) = fixed.iter().find(|(_, asked)| *asked) {
        return Err(BundleError::Fixed { path, what });
    }
    if let Some(wanted) = &options.exits {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        if sorted(wanted) != sorted(&info.exits) {
            return Err(BundleError::Exits { path, expected: info.exits.join(", "), actual: wanted.join(", ") });
        }
    }
    Ok(())
}

fn elements(shape: &[usize]) -> TractResult<usize> {
    let volume = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    volume.filter(|volume| *volume <= MAX_ELEMENTS).with_context(|| format!("a tensor of shape {shape:?}"))
}

struct Weights {
    mapping: Arc<Mapping>,
    /// Where they are in the file.
    part: Range<usize>,
}

impl Weights {
    fn range(&self, at: usize, shape: &[usize]) -> TractResult<Range<usize>> {
        self.bytes(at, elements(shape)? * size_of::<f32>(), shape)
    }

    fn bytes(&self, at: usize, length: usize, shape: &[usize]) -> TractResult<Range<usize>> {
        let start = self.part.start.checked_add(at);
        let end = start.and_then(|start| start.checked_add(length)).filter(|end| *end <= self.part.end);
        let (start, end) = start.zip(end).with_context(|| format!("weights of shape {shape:?} at {at}"))?;
        Ok(start..end)
    }
}

/// Which nodes of a segment are read by this project's operators only: as weights, these stay where they are.
fn read_in_place(segment: &StoredSegment) -> Vec<bool> {
    let mut in_place = vec![true; segment.nodes.len()];
    let mut copied = |outlet: &Outlet| in_place.get_mut(outlet.node).map(|in_place| *in_place = false);
    segment.results.iter().for_each(|outlet| _ = copied(outlet));
    for node in &segment.nodes {
        if let Kind::Operator { operator, inputs } = &node.kind
            && !matches!(operator, Operator::Own(_))
        {
            inputs.iter().for_each(|outlet| _ = copied(outlet));
        }
    }
    in_place
}

/// The graphs of all segments, each built by the next thread that is free; else what is wrong with the first that cannot be.
fn graphs(segments: Vec<StoredSegment>, weights: &Weights) -> Result<Vec<SegmentGraph>, String> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = cores.min(MOST_BUILDERS).min(segments.len());
    let queue = Mutex::new(segments.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let build = || {
        let built = |(at, stored)| {
            // tract asserts where its own translators never err.
            let graph = quiet::catch(|| segment(stored, weights));
            let contradicts = |reason| format!("an operator's attributes contradict each other ({reason})");
            (at, graph.map_err(contradicts).and_then(|graph| graph.map_err(|error| format!("{error:#}"))))
        };
        std::iter::from_fn(next).map(built).collect::<Vec<_>>()
    };
    let mut built = std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().name("graphs".into()).spawn_scoped(scope, build);
        // Where a thread cannot be had, the others build its share.
        let helpers: Vec<_> = (1..threads).filter_map(|at| spawn(at).ok()).collect();
        let mut built = build();
        for helper in helpers {
            built.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        built
    });
    built.sort_by_key(|(at, _)| *at);
    built.into_iter().map(|(_, graph)| graph).collect()
}

/// Adds a node, whose outputs are what its operator says. tract's own way compares each constant with all others, to keep one of those
/// that are equal, and tries to evaluate what reads constants alone: both was done before the bundle was written, and takes longer
/// than everything else.
fn add_node(
    graph: &mut TypedModel,
    name: String,
    op: Box<dyn TypedOp>,
    inputs: &[OutletId],
) -> TractResult<TVec<OutletId>> {
    let facts = {
        let read = inputs.iter().map(|outlet| graph.outlet_fact(*outlet)).collect::<TractResult<TVec<_>>>()?;
        op.output_facts(&read).with_context(|| format!("node {name:?}"))?
    };
    let outputs = facts.len();
    let id = graph.add_node(name, op, facts)?;
    for (slot, outlet) in inputs.iter().enumerate() {
        graph.add_edge(*outlet, InletId::new(id, slot))?;
    }
    Ok((0..outputs).map(|slot| OutletId::new(id, slot)).collect())
}

fn segment(stored: StoredSegment, weights: &Weights) -> TractResult<SegmentGraph> {
    let in_place = read_in_place(&stored);
    let mut graph = TypedModel::default();
    let mut made: Vec<TVec<OutletId>> = vec![];
    let mut names = HashSet::new();
    let find = |made: &[TVec<OutletId>], outlet: &Outlet| {
        let found = made.get(outlet.node).and_then(|outlets| outlets.get(outlet.output)).copied();
        found.with_context(|| format!("output {} of node {} is read before it is made", outlet.output, outlet.node))
    };
    let constant = |tensor: Tensor| -> TractResult<Box<dyn TypedOp>> { Ok(Box::new(Const::new(Arc::new(tensor))?)) };
    for (Node { name, kind }, in_place) in stored.nodes.into_iter().zip(in_place) {
        ensure!(names.insert(name.clone()), "two nodes have the name {name:?}");
        let expected = if matches!(kind, Kind::Words { .. }) { i32::datum_type() } else { f32::datum_type() };
        let outlets = match kind {
            Kind::Source { shape } => {
                elements(&shape)?;
                tvec!(graph.add_source(name, f32::fact(&shape))?)
            }
            Kind::Words { shape, at } => {
                ensure!(in_place, "{name} is read by an operator that takes floats");
                let range = weights.range(at, &shape)?;
                let constant = weights::constant(&weights.mapping, range, i32::datum_type(), &shape)?;
                let constant = constant.with_context(|| format!("weights at {at} are not aligned"))?;
                add_node(&mut graph, name, Box::new(constant), &[])?
            }
            Kind::Weights { shape, at } => {
                let range = weights.range(at, &shape)?;
                let misaligned = || format!("weights at {at} are not aligned");
                let op = if in_place {
                    let constant = weights::constant(&weights.mapping, range, f32::datum_type(), &shape)?;
                    Box::new(constant.with_context(misaligned)?)
                } else {
                    let floats = weights.mapping.floats(range).with_context(misaligned)?;
                    constant(Tensor::from_shape(&shape, floats)?)?
                };
                add_node(&mut graph, name, op, &[])?
            }
            Kind::Steps { shape, columns, at } => {
                let length = Steps::stored_len(elements(&shape)?, columns);
                let length = length.with_context(|| format!("weights of shape {shape:?} in {columns} columns"))?;
                let stored = weights.mapping.bytes().get(weights.bytes(at, length, &shape)?).unwrap_or_default();
                let floats = Tensor::from_shape(&shape, &Steps::floats(stored, columns))?;
                add_node(&mut graph, name, constant(floats)?, &[])?
            }
            Kind::Operator { operator, inputs } => {
                ensure!(!inputs.is_empty(), "{name} reads nothing");
                let inputs = inputs.iter().map(|outlet| find(&made, outlet)).collect::<TractResult<TVec<_>>>()?;
                let shapes = inputs.iter().map(|outlet| {
                    let fact = graph.outlet_fact(*outlet)?;
                    fact.shape.as_concrete().with_context(|| format!("a tensor of shape {:?}", fact.shape))
                });
                let shapes = shapes.collect::<TractResult<TVec<_>>>()?;
                operator.check_inputs(&shapes).with_context(|| format!("node {name:?}"))?;
                drop(shapes);
                add_node(&mut graph, name, operator.into_op()?, &inputs)?
            }
        };
        for outlet in &outlets {
            let fact = graph.outlet_fact(*outlet)?;
            let shape = fact.shape.as_concrete().with_context(|| format!("a tensor of shape {:?}", fact.shape))?;
            elements(shape)?;
            ensure!(fact.datum_type == expected, "a tensor of {:?}", fact.datum_type);
        }
        made.push(outlets);
    }
    let results = stored.results.iter().map(|outlet| find(&made, outlet)).collect::<TractResult<TVec<_>>>()?;
    graph.select_output_outlets(&results)?;
    let StoredSegment { need, inputs, outputs, .. } = stored;
    Ok(SegmentGraph { need, graph, inputs, outputs })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compile as bundle;
    use super::*;
    use crate::bundle::Target;
    use crate::model::Model;
    use crate::plan::Plan;
    use crate::runtime::Runtime;

    /// Manifest and weights of the shipped model.
    fn parts() -> (Vec<u8>, Vec<u8>) {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/model.onnx");
        let parts = Parts::of(Model::load(model).unwrap(), true).unwrap();
        let (bytes, _) = bundle(parts, None, Target::host()).unwrap();
        let parts = container::split(&bytes, Path::new("a.dynp")).unwrap();
        (bytes[parts.manifest].to_vec(), bytes[parts.weights].to_vec())
    }

    fn load_joined(manifest: &[u8], weights: &[u8]) -> Result<Plan, crate::plan::PlanError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dynp");
        std::fs::write(&path, container::join(manifest, weights)).unwrap();
        Plan::load(&path, &LoadOptions::default())
    }

    /// With the right checksums, whatever the content.
    #[test]
    fn content_that_makes_no_sense_is_refused_and_what_is_loaded_runs() {
        let (manifest, weights) = parts();
        let strategy = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
        let ran = runner.run(&strategy, |changes| {
            let mut changed = manifest.clone();
            for (at, value) in changes {
                changed[at.index(manifest.len())] = value;
            }
            if let Ok(plan) = load_joined(&changed, &weights) {
                let image = vec![0.5; plan.info().input.len()];
                let exits = plan.info().exits.len();
                let logits = Runtime::new(Arc::new(plan)).unwrap().all_logits(&image);
                prop_assert!(logits.is_ok_and(|logits| logits.len() == exits));
            }
            Ok(())
        });
        ran.unwrap();
    }

    /// The first weights as steps in so many columns.
    fn in_columns(manifest: &mut Manifest, columns: usize) {
        let nodes = manifest.segments.iter_mut().flat_map(|segment| &mut segment.nodes);
        let mut kinds = nodes.map(|node| &mut node.kind);
        let found = kinds.find(|kind| matches!(kind, Kind::Weights { .. })).unwrap();
        let Kind::Weights { shape, at } = found else { unreachable!("it was found") };
        *found = Kind::Steps { shape: std::mem::take(shape), columns, at: *at };
    }

    #[test]
    fn refuses_by_place() {
        let (manifest, weights) = parts();
        let refused = |change: &dyn Fn(&mut Manifest)| {
            let (mut decoded, extras): (Manifest, _) = postcard::take_from_bytes(&manifest).unwrap();
            change(&mut decoded);
            let manifest = postcard::to_allocvec(&decoded).unwrap();
            let manifest = [&manifest, extras].concat();
            load_joined(&manifest, &weights).map(|_| ()).unwrap_err().to_string()
        };
        let kernels = refused(&|manifest| manifest.kernels = "i8-nr8-k4".parse().unwrap());
        assert!(kernels.contains("packed for i8-nr8-k4") && kernels.contains("f32-nr16"), "{kernels}");
        let layout = refused(&|manifest| manifest.layout ^= 1);
        assert!(layout.contains("weights are laid out for"), "{layout}");
        for (place, change) in [
            ("model: 2 channels", (|m| m.model.input.channels = 2) as fn(&mut Manifest)),
            ("model: 11 labels", |m| m.model.labels.as_mut().unwrap().push("eleventh".into())),
            ("stages: expected one for each exit", |m| m.stages.truncate(3)),
            ("graph: early3 has shape", |m| {
                m.model.classes = 11;
                m.model.labels = None;
            }),
            ("graph: slot", |m| m.segments.swap(0, 1)),
            ("graph: 3 exits", |m| m.exits.truncate(3)),
            ("graph: nothing makes slot", |m| m.segments.truncate(1)),
            ("in 0 columns", |m| in_columns(m, 0)),
            ("columns", |m| in_columns(m, 1 << 40)),
            ("graph: output 0 of node", |m| m.segments[0].nodes.truncate(1)),
        ] {
            let error = refused(&change);
            assert!(error.contains("a.dynp") && error.contains(place), "{place}: {error}");
        }
        let mut long = manifest.clone();
        long.push(0);
        let error = load_joined(&long, &weights).unwrap_err().to_string();
        assert!(error.contains("extras: 1 bytes too many"), "{error}");
        let error = load_joined(&manifest, &weights[..weights.len() / 2]).unwrap_err().to_string();
        assert!(error.contains("graph: weights of shape"), "{error}");
    }
}
