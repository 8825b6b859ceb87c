//! Stage plans on a device that tract has a runtime for, many images at once.
//!
//! A GPU is fast when it has much to do at a time, so images share each stage. Those that have left are taken out of the
//! tensors that later stages read before these run: a stage is computed for who still needs it, and no one else.

use std::fmt;
use std::time::Instant;

use tract_core::internal::*;
use tract_core::runtime::{State, runtime_for_name};

use super::walk::{self, Unreadable, Walk};
use super::{Outcome, RunError, StageTime};
use crate::deadline;
use crate::exit::ExitPolicy;
use crate::graph::partition::Goals;
use crate::graph::{ExitSet, GraphError, Slot, partition};
use crate::model::{Model, ModelInfo, declutter, late};
use crate::plan::{PlanError, check_rules};
use crate::quiet;

/// Where stages are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// An NVIDIA GPU, by CUDA; needs the feature `cuda` and the driver.
    Cuda,
    /// The processor by tract's own operators: to check the others by. [`super::Runtime`] is faster.
    Processor,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Cuda => "cuda",
            Device::Processor => "cpu",
        })
    }
}

/// Nodes of equal need, ready to run.
struct Segment {
    need: ExitSet,
    state: Box<dyn State>,
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    done: bool,
}

/// A tensor between stages.
#[derive(Default)]
struct Place {
    /// The axis with one entry per image; none where all images share the tensor.
    batch_axis: Option<usize>,
    value: Option<TValue>,
}

/// Runs the stages of one model on a [`Device`], for any number of images at once.
pub struct DeviceRuntime {
    info: ModelInfo,
    segments: Vec<Segment>,
    places: Vec<Place>,
    input: Slot,
    exits: Vec<Slot>,
    /// Images that are still there.
    images: usize,
}

impl std::fmt::Debug for DeviceRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceRuntime").field("info", &self.info).field("images", &self.images).finish_non_exhaustive()
    }
}

impl DeviceRuntime {
    /// Prepares the stages of a model for the device. The model's file is read again, with its batch left open.
    ///
    /// # Errors
    /// [`PlanError`] when the file's batch is fixed or the file has changed, when the device is not there, which says what
    /// is missing, when a stage cannot be prepared for it, or when it takes longer than the deadline the model was loaded
    /// under.
    pub fn new(model: Model, device: Device) -> Result<DeviceRuntime, PlanError> {
        let (path, limit) = (model.info.path.clone(), model.limits.deadline);
        let prepared = deadline::within(limit, move || {
            let path = model.info.path.clone();
            quiet::catch(|| Self::prepare(model, device)).unwrap_or_else(|reason| {
                Err(GraphError { path, place: format!("stages for {device}"), source: reason.into() }.into())
            })
        });
        prepared.unwrap_or_else(|overdue| Err(late(overdue, &path, limit).into()))
    }

    /// As [`DeviceRuntime::new`], on this thread.
    fn prepare(model: Model, device: Device) -> Result<DeviceRuntime, PlanError> {
        let path = model.info.path.clone();
        let refuse = |place: &str, error: TractError| GraphError {
            path: path.clone(),
            place: place.to_owned(),
            source: error.into(),
        };
        let name = device.to_string();
        link();
        let runtime = runtime_for_name(&name)
            .and_then(|runtime| runtime.with_context(|| format!("built without the feature `{name}`")))
            .map_err(|error| refuse(&format!("device {name}"), error))?;
        let Model { graph, mut info, limits } = model;
        if info.video.is_some() || info.boxes.is_some() {
            let reason = "a device computes exits of single images, neither boxes nor what goes from frame to frame";
            return Err(refuse("outputs", format_err!(reason)).into());
        }
        let goals = Goals::exits_only(info.exits.len());
        let order = partition::exits_by_cost(&graph, goals.exits).map_err(|e| refuse("graph", e))?;
        info.exits = order.iter().map(|&output| info.exits[output].clone()).collect();
        let graph = Model::open_batch(&info, &limits)?;
        let prepare = || -> TractResult<DeviceRuntime> {
            let parts = partition::partition(&graph, &goals, true)?;
            let batch_axis = |outlet: &OutletId| batch_axis(graph.outlet_fact(*outlet)?);
            let axes = parts.slots.iter().map(batch_axis).collect::<TractResult<Vec<_>>>()?;
            let mut segments = vec![];
            for partition::SegmentGraph { need, mut graph, inputs, outputs } in parts.segments {
                deadline::check()?;
                declutter(&mut graph)?;
                let state = runtime.prepare(graph)?.spawn()?;
                segments.push(Segment { need, state, inputs, outputs, done: false });
            }
            let places = axes.into_iter().map(|batch_axis| Place { batch_axis, value: None }).collect();
            let info = info.clone();
            Ok(DeviceRuntime { info, segments, places, input: parts.input, exits: parts.exits, images: 0 })
        };
        Ok(prepare().map_err(|error| refuse(&format!("stages for {name}"), error))?)
    }

    /// What is known of the model; exits are in order of cost, cheapest first.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Takes new images, one of [`crate::model::InputSpec::len`] floats after another, and computes nothing yet.
    ///
    /// # Errors
    /// [`RunError::InputLength`] when they are no whole number of images, or none.
    pub fn begin(&mut self, images: &[f32]) -> Result<(), RunError> {
        let input = &self.info.input;
        let len = input.len();
        if images.is_empty() || !images.len().is_multiple_of(len) {
            let expected = images.len().next_multiple_of(len).max(len);
            return Err(RunError::InputLength { expected, actual: images.len() });
        }
        let shape = [images.len() / len, input.channels, input.height, input.width];
        let value = Tensor::from_shape(&shape, images).map_err(RunError::tract)?.into_tvalue();
        self.places.iter_mut().for_each(|place| place.value = None);
        self.places[self.input.0].value = Some(value);
        self.segments.iter_mut().for_each(|segment| segment.done = false);
        self.images = shape[0];
        Ok(())
    }

    /// Computes what exit `exit` needs and has not been computed for the images that are still there, and gives their
    /// logits, (images, classes) row by row.
    ///
    /// # Errors
    /// [`RunError::NoSuchExit`], [`RunError::NoImage`] before [`DeviceRuntime::begin`], or what tract says.
    pub fn advance(&mut self, exit: usize) -> Result<&[f32], RunError> {
        let exits = self.exits.len();
        let slot = *self.exits.get(exit).ok_or(RunError::NoSuchExit { exit, exits })?;
        if self.images == 0 {
            return Err(RunError::NoImage);
        }
        for segment in self.segments.iter_mut().filter(|segment| segment.need.contains(exit) && !segment.done) {
            let ran = quiet::catch(|| segment.run(&mut self.places));
            ran.map_err(|reason| RunError::Tract(reason.into()))?.map_err(RunError::tract)?;
        }
        let logits = || self.places[slot.0].value.as_ref().context("no logits")?.try_as_plain_ram()?.as_slice::<f32>();
        logits().map_err(RunError::tract)
    }

    /// Keeps the images with these numbers, which count those that are still there and ascend; the others are computed no
    /// further.
    ///
    /// # Errors
    /// [`RunError::Tract`] when a number is not one of theirs.
    pub fn retain(&mut self, images: &[usize]) -> Result<(), RunError> {
        if images.len() == self.images {
            return Ok(());
        }
        for place in &mut self.places {
            let (Some(axis), Some(value)) = (place.batch_axis, &place.value) else { continue };
            place.value = Some(rows(value, axis, images).map_err(RunError::tract)?.into_tvalue());
        }
        self.images = images.len();
        Ok(())
    }

    /// Runs all images exit by exit until the policy leaves for each; one outcome per image, in their order. The time of
    /// a stage is that for all images that it was computed for.
    ///
    /// # Errors
    /// As [`DeviceRuntime::begin`] and [`DeviceRuntime::advance`]; [`RunError::PolicyExits`] when the policy is for another
    /// number of exits; [`RunError::Logits`] when the network makes something that is no number.
    pub fn run(&mut self, images: &[f32], policy: &ExitPolicy) -> Result<Vec<Outcome>, RunError> {
        let exits = self.exits.len();
        if policy.rules().len() != exits {
            return Err(RunError::PolicyExits { expected: exits, actual: policy.rules().len() });
        }
        check_rules(policy, exits)?;
        self.begin(images)?;
        let (classes, last, names) = (self.info.classes, policy.last_exit(), self.info.exits.clone());
        let error = |(exit, source): Unreadable| RunError::Logits { exit: names[exit].clone(), source };
        let mut scratch = vec![0.0; self.images * classes];
        let mut walks: Vec<Walk<'_>> =
            scratch.chunks_exact_mut(classes).map(|scratch| Walk::new(policy, scratch)).collect();
        let mut there: Vec<usize> = (0..self.images).collect();
        for exit in walk::exits(policy) {
            let began = Instant::now();
            let rows = there.iter().zip(self.advance(exit)?.chunks_exact(classes));
            let goes_on: Vec<bool> = rows
                .map(|(&image, logits)| walks[image].observe(exit, logits))
                .collect::<Result<_, _>>()
                .map_err(error)?;
            let stage = StageTime { exit, time: began.elapsed() };
            there.iter().for_each(|&image| walks[image].stages.push(stage));
            let staying: Vec<usize> = (0..there.len()).filter(|&row| goes_on[row]).collect();
            if staying.is_empty() || exit == last {
                break;
            }
            self.retain(&staying)?;
            there = staying.into_iter().map(|row| there[row]).collect();
        }
        walks.into_iter().filter_map(|walk| walk.outcome(None).map_err(error).transpose()).collect()
    }
}

impl Segment {
    fn run(&mut self, places: &mut [Place]) -> TractResult<()> {
        let read = |slot: &Slot| places[slot.0].value.clone().context("a tensor is read before it is made");
        let inputs = self.inputs.iter().map(read).collect::<TractResult<_>>()?;
        let made = self.state.run(inputs)?;
        for (slot, value) in self.outputs.iter().zip(made) {
            places[slot.0].value = Some(value);
        }
        self.done = true;
        Ok(())
    }
}

/// The axis whose size is the number of images.
fn batch_axis(fact: &TypedFact) -> TractResult<Option<usize>> {
    let open: Vec<usize> = (0..fact.rank()).filter(|&axis| fact.shape[axis].to_usize().is_err()).collect();
    match open.as_slice() {
        [] => Ok(None),
        [axis] if matches!(fact.shape[*axis], TDim::Sym(_)) => Ok(Some(*axis)),
        _ => bail!("images cannot be told apart in a tensor of shape {:?}", fact.shape),
    }
}

/// The entries `wanted` of an axis.
fn rows(tensor: &Tensor, axis: usize, wanted: &[usize]) -> TractResult<Tensor> {
    let slices = wanted.iter().map(|&row| tensor.slice(axis, row, row + 1)).collect::<TractResult<TVec<_>>>()?;
    Tensor::stack_tensors(axis, &slices)
}

/// Keeps the linker from dropping the crate whose runtime is found by name.
fn link() {
    #[cfg(feature = "cuda")]
    use tract_cuda as _;
}
