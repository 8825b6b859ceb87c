//! Runs stage plans: one image, exit by exit, as far as a policy wants.
//!
//! ```no_run
//! use std::sync::Arc;
//! use dyn_perceiver::{exit::{ExitPolicy, Measure}, model::Model, plan::Plan, runtime::Runtime};
//!
//! let plan = Arc::new(Plan::new(Model::load("model.onnx")?)?);
//! let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, plan.stages().len(), &[0.9, 0.8, 0.7])?;
//! let mut runtime = Runtime::new(plan)?;
//! let image = vec![0.0; runtime.plan().info().input.len()];
//! let outcome = runtime.run(&image, &policy)?;
//! println!("class {} at exit {}", outcome.class, outcome.exit);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod check;
mod deadline;
mod device;
mod finite;
mod gated;
mod maps;
mod outcome;
mod stage_times;
mod threads;
mod timing;
mod walk;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

pub use crate::executor::OperatorTime;
pub use crate::executor::RunError;
pub use crate::graph::ExitSet;
pub use batch::BatchRuntime;
pub use deadline::StageLimits;
pub use device::{Device, DeviceRuntime};
pub use dyn_perceiver_kernels::{Isa, IsaError};
pub use gated::Gated;
pub use maps::{BoxMaps, GoalMaps};
pub use outcome::Outcome;
pub use stage_times::{StageTime, StageTimes};
pub use threads::{ThreadChoice, ThreadTime, Threads, ThreadsError};

use self::batch::TOGETHER;
use self::finite::all_finite;
use self::walk::Walk;
use crate::executor::{Arena, Watcher};
use crate::exit::{CalibratedPolicy, Calibration, ExitPolicy, MAX_EXITS};
use crate::graph::{Slot, StateSlots};
use crate::plan::{Plan, State};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Runs the stage plans of one [`Plan`], one image (or batch) at a time. Make one per thread; weights are shared.
pub struct Runtime {
    plan: Arc<Plan>,
    arena: Arena,
    /// The threads that work, and the instruction set they work with.
    pool: ThreadPool,
    /// Whether there is an image.
    begun: bool,
    /// Which segments have run for it.
    done: Vec<bool>,
    /// Room for the policy's ensemble, one float per class.
    scratch: Vec<f32>,
    /// How probably answers are right.
    calibration: Option<Calibration>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("plan", &self.plan).field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// A runtime with its own buffers over shared plans, on the calling thread alone.
    ///
    /// # Errors
    /// [`RunError::Tract`] when a plan cannot be set up, [`RunError::InstructionSet`] when `DYN_PERCEIVER_ISA` names none
    /// that this CPU has.
    pub fn new(plan: Arc<Plan>) -> Result<Runtime, RunError> {
        Runtime::alone(plan)
    }

    /// The same runtime on exactly `threads` threads: the calling one and those it starts. Results do not depend on how
    /// many there are, bit for bit. More threads than there are free cores make it slower.
    ///
    /// # Errors
    /// [`RunError::Threads`] when a thread cannot be started.
    pub fn with_threads(self, threads: NonZeroUsize) -> Result<Runtime, RunError> {
        let isa = self.isa();
        self.with_pool(threads, isa)
    }

    /// Threads that work on an image, the calling one among them.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The same runtime with kernels on another instruction set than the one that `DYN_PERCEIVER_ISA` or the CPU's best
    /// one is. Results may differ between instruction sets in the last bits, since not all of them fuse multiply and add.
    ///
    /// # Errors
    /// [`RunError::InstructionSet`] when this CPU does not have it, [`RunError::Threads`] when a thread cannot be started.
    pub fn with_isa(self, isa: Isa) -> Result<Runtime, RunError> {
        let threads = NonZeroUsize::new(self.threads()).unwrap_or(NonZeroUsize::MIN);
        self.with_pool(threads, isa)
    }

    /// The instruction set that kernels run on.
    pub fn isa(&self) -> Isa {
        self.pool.isa()
    }

    /// The instructions that int8 kernels run on, such as `avx-vnni`; all give the same bits.
    pub fn int8_isa(&self) -> &'static str {
        self.pool.int8_isa().name()
    }

    fn with_pool(self, threads: NonZeroUsize, isa: Isa) -> Result<Runtime, RunError> {
        let pool = ThreadPool::with_isa(threads, isa).map_err(|error| RunError::pool(threads, error))?;
        let mut runtime = Runtime { pool, ..self };
        runtime.arena.set_pool(&runtime.plan.executor, &runtime.pool).map_err(RunError::tract)?;
        Ok(runtime)
    }

    fn alone(plan: Arc<Plan>) -> Result<Runtime, RunError> {
        let threads = NonZeroUsize::MIN;
        let pool = ThreadPool::new(threads).map_err(|error| RunError::pool(threads, error))?;
        let arena = crate::quiet::catch(|| Arena::new(&plan.executor));
        let arena = arena.map_err(|reason| RunError::Tract(reason.into()))?.map_err(RunError::tract)?;
        let done = vec![false; plan.needs.len()];
        let scratch = vec![0.0; plan.info().classes];
        let policy = plan.bundle().and_then(|bundle| bundle.policy.as_ref());
        let calibration = policy.and_then(CalibratedPolicy::calibration).cloned();
        Ok(Runtime { plan, arena, pool, begun: false, done, scratch, calibration })
    }

    /// The plans that are run.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// From now on tells by this calibration how probably answers are right, or no longer; at first it is that of the
    /// bundle's policy.
    pub fn set_calibration(&mut self, calibration: impl Into<Option<Calibration>>) {
        self.calibration = calibration.into();
    }

    /// Takes a new image, an NCHW tensor of [`crate::model::InputSpec::len`] floats, and computes nothing yet.
    ///
    /// # Errors
    /// [`RunError::InputLength`] or [`RunError::InputNotFinite`].
    pub fn begin(&mut self, image: &[f32]) -> Result<(), RunError> {
        let input = &self.plan.info().input;
        if image.len() != input.len() {
            return Err(RunError::InputLength { expected: input.len(), actual: image.len() });
        }
        // Threads wake while the image is checked and copied.
        self.pool.wake();
        if !all_finite(image) {
            let index = image.iter().position(|v| !v.is_finite()).unwrap_or(0);
            return Err(RunError::InputNotFinite { index, value: image[index] });
        }
        self.carry_states()?;
        self.arena.set(&self.plan.executor, self.plan.input, image).map_err(RunError::tract)?;
        self.done.fill(false);
        self.begun = true;
        Ok(())
    }

    /// States that the image before read and made anew become those of this one; others are held.
    fn carry_states(&mut self) -> Result<(), RunError> {
        for state in self.plan.states.iter().filter(|state| state.is_new(&self.done)) {
            let StateSlots { input, next } = state.slots;
            self.arena.carry(&self.plan.executor, next, input, state.swap).map_err(RunError::tract)?;
        }
        Ok(())
    }

    /// Forgets what a network of videos carries from frame to frame: the next image is the first of another video. Other
    /// networks carry nothing.
    pub fn reset(&mut self) {
        self.done.fill(false);
        self.begun = false;
        for state in &self.plan.states {
            // An input's slot is a buffer, always.
            let _ = self.arena.clear(&self.plan.executor, state.slots.input);
        }
    }

    /// The states that the next image will be given, each as it lies in memory, batch first; those of [`VideoSpec::states`].
    ///
    /// [`VideoSpec::states`]: crate::model::VideoSpec::states
    ///
    /// # Errors
    /// What tract says.
    pub fn next_states(&self) -> Result<Vec<Vec<f32>>, RunError> {
        let of = |state: &State| {
            let slot = if state.is_new(&self.done) { state.slots.next } else { state.slots.input };
            self.arena.get(&self.plan.executor, slot).map(<[f32]>::to_vec).map_err(RunError::tract)
        };
        self.plan.states.iter().map(of).collect()
    }

    /// Computes the maps of `goal`, of [`Plan::goals`], as far as they have not been computed for this image, and gives
    /// those of each of its levels.
    ///
    /// # Errors
    /// [`RunError::NoSuchGoal`], [`RunError::NoImage`] before [`Runtime::begin`], or what tract says.
    pub fn advance_to_boxes(&mut self, goal: usize) -> Result<GoalMaps<'_>, RunError> {
        let goals = self.plan.levels.len();
        if goal >= goals {
            return Err(RunError::NoSuchGoal { goal, goals });
        }
        self.compute(self.plan.exits.len() + goal)?;
        let plan = &self.plan;
        let map = |slot: Slot| self.arena.get(&plan.executor, slot).map_err(RunError::tract);
        let mut maps = GoalMaps::default();
        for (&level, pair) in plan.goals()[goal].levels.iter().zip(plan.levels[goal].chunks_exact(2)) {
            let shape = plan.executor.shape(pair[0]).map_err(RunError::tract)?;
            let shape = [shape[2], shape[3]];
            maps.push(BoxMaps { level, shape, scores: map(pair[0])?, deltas: map(pair[1])? });
        }
        Ok(maps)
    }

    /// Computes what exit `exit` needs and has not been computed for this image, and gives its logits, (batch, classes)
    /// row by row.
    ///
    /// # Errors
    /// [`RunError::NoSuchExit`], [`RunError::NoImage`] before [`Runtime::begin`], or what tract says.
    pub fn advance(&mut self, exit: usize) -> Result<&[f32], RunError> {
        let exits = self.plan.exits.len();
        if exit >= exits {
            return Err(RunError::NoSuchExit { exit, exits });
        }
        self.compute(exit)?;
        self.logits(exit)
    }

    /// Computes what these exits need and has not been computed for this image, without stopping at any. On several threads that is faster
    /// than one exit after another: what later exits need of the backbone runs beside the latent code of earlier ones.
    /// [`Runtime::advance`] then gives the logits of each.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), dyn_perceiver::runtime::RunError> {
    /// # let (mut runtime, image): (dyn_perceiver::Runtime, Vec<f32>) = unimplemented!();
    /// use dyn_perceiver::runtime::ExitSet;
    ///
    /// runtime.begin(&image)?;
    /// runtime.advance_through(ExitSet::of([0, 3]))?;
    /// let (first, last) = (runtime.advance(0)?.to_vec(), runtime.advance(3)?.to_vec());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Runtime::advance`].
    pub fn advance_through(&mut self, wanted: ExitSet) -> Result<(), RunError> {
        let exits = self.plan.exits.len();
        if let Some(exit) = (exits..MAX_EXITS).find(|&exit| wanted.contains(exit)) {
            return Err(RunError::NoSuchExit { exit, exits });
        }
        Runtime::compute_together(&mut [self], wanted)
    }

    /// The logits of an exit that has been computed for this image.
    fn logits(&self, exit: usize) -> Result<&[f32], RunError> {
        self.arena.get(&self.plan.executor, self.plan.exits[exit]).map_err(RunError::tract)
    }

    /// Runs the segments of a goal, exits first and then boxes, that have not run for this image.
    fn compute(&mut self, goal: usize) -> Result<(), RunError> {
        Runtime::compute_together(&mut [self], ExitSet::default().with(goal))
    }

    /// The same for several goals and images, each in a runtime of its own, of one plan. All have had the same segments run.
    fn compute_together(runtimes: &mut [&mut Runtime], goals: ExitSet) -> Result<(), RunError> {
        let Some(first) = runtimes.first() else { return Ok(()) };
        debug_assert!(runtimes.iter().all(|one| Arc::ptr_eq(&one.plan, &first.plan) && one.done == first.done));
        if runtimes.iter().any(|runtime| !runtime.begun) {
            return Err(RunError::NoImage);
        }
        let plan = first.plan.clone();
        let done = std::mem::take(&mut runtimes[0].done);
        let runs = |segment: usize| plan.needs[segment].intersects(goals) && !done[segment];
        // What a panic leaves behind is written anew by the next image.
        let ran = crate::quiet::catch(|| {
            let members = runtimes.iter_mut().map(|runtime| (&mut runtime.arena, &mut runtime.pool));
            plan.executor.run(runs, &mut members.collect::<SmallVec<[_; TOGETHER]>>())
        });
        runtimes[0].done = done;
        match ran {
            Ok(ran) => ran.map_err(RunError::tract)?,
            Err(reason) => {
                // States of one image are of no use beside those of another.
                runtimes.iter_mut().for_each(|runtime| runtime.reset());
                return Err(RunError::Tract(reason.into()));
            }
        }
        for runtime in runtimes {
            runtime.done.iter_mut().zip(&plan.needs).for_each(|(done, need)| *done |= need.intersects(goals));
        }
        Ok(())
    }

    /// Runs one image exit by exit and answers at the first whose confidence reaches its threshold.
    ///
    /// # Errors
    /// As [`Runtime::begin`]; [`RunError::PolicyExits`] when the policy is for another number of exits;
    /// [`RunError::Batch`] for a plan that takes several images at once; [`RunError::Logits`] when no exit that was
    /// evaluated gave finite logits: one that does not is passed over.
    pub fn run(&mut self, image: &[f32], policy: &ExitPolicy) -> Result<Outcome, RunError> {
        // Only a stage that may not start keeps an answer back, and all may.
        self.walk(image, policy, |_, _, _| Ok(true))?
            .ok_or(RunError::NoSuchExit { exit: 0, exits: self.plan.exits.len() })
    }

    /// Evaluates exit by exit until the policy leaves or `may_start` says no; none when that was before the first exit.
    fn walk(
        &mut self,
        image: &[f32],
        policy: &ExitPolicy,
        may_start: impl FnMut(&mut Self, usize, &mut StageTimes) -> Result<bool, RunError>,
    ) -> Result<Option<Outcome>, RunError> {
        walk::check(&self.plan, policy)?;
        self.begin(image)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let walked = self.walk_exits(Walk::new(policy, &mut scratch), walk::exits(policy), may_start);
        self.scratch = scratch;
        walked
    }

    fn walk_exits(
        &mut self,
        mut walk: Walk<'_>,
        exits: impl Iterator<Item = usize>,
        mut may_start: impl FnMut(&mut Self, usize, &mut StageTimes) -> Result<bool, RunError>,
    ) -> Result<Option<Outcome>, RunError> {
        for exit in exits {
            if !may_start(self, exit, &mut walk.stages)? {
                break;
            }
            let began = Instant::now();
            let goes_on = walk.observe(exit, self.advance(exit)?);
            walk.stages.push(StageTime { exit, time: began.elapsed() });
            if !goes_on.map_err(|unreadable| walk::error(&self.plan, unreadable))? {
                break;
            }
        }
        walk.outcome(self.calibration.as_ref()).map_err(|unreadable| walk::error(&self.plan, unreadable))
    }

    /// Times every operator of `frames` whole frames of `image`, in the order in which they run.
    ///
    /// # Errors
    /// As [`Runtime::begin`].
    pub fn operator_times(&mut self, image: &[f32], frames: usize) -> Result<Vec<OperatorTime>, RunError> {
        self.begin(image)?;
        // What is left in the arena is whole, but this image's stages count as not run.
        let (executor, input) = (&self.plan.executor, self.plan.input);
        executor.profile(&mut self.arena, &mut self.pool, input, image, frames).map_err(RunError::tract)
    }

    /// Runs a whole frame of `image`; `see` is given each kernel's name and its inputs before it runs.
    pub(crate) fn observe(&mut self, image: &[f32], see: &mut Watcher<'_>) -> Result<(), RunError> {
        self.begin(image)?;
        let (executor, input) = (&self.plan.executor, self.plan.input);
        executor.observe(&mut self.arena, &mut self.pool, (input, image), see).map_err(RunError::tract)
    }

    /// Logits of every exit for one image or batch: for each exit, (batch, classes) row by row.
    ///
    /// # Errors
    /// As [`Runtime::begin`].
    pub fn all_logits(&mut self, image: &[f32]) -> Result<Vec<Vec<f32>>, RunError> {
        self.begin(image)?;
        let exits = 0..self.plan.exits.len();
        self.advance_through(ExitSet::of(exits.clone()))?;
        exits.map(|exit| self.logits(exit).map(<[f32]>::to_vec)).collect()
    }
}
