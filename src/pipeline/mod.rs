//! The loop: frame, network, governor, and an account of what came out.
//!
//! [`Pipeline::step`] takes one frame through the stage plans under the operating point in force, and the battery and
//! governor; [`Summary`] adds up the steps. Frames are captured and preprocessed in threads of their own while the network
//! runs on an earlier one; each holds one item, so a slow network never has old frames before it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::camera::{CameraRate, Frame, FrameSource, StopToken};
use crate::detector::Finder;
use crate::energy::estimator::{GaugeMonitor, GaugeTrouble, MonitorSettings};
use crate::energy::{Battery, Choice, GaugeReading, GaugeState, Governor, GovernorInput};
use crate::exit::ExitPolicy;
use crate::gate::LatentGate;
use crate::plan::Plan;
use crate::preparation::Preparation;
use crate::runtime::StageTimes;
use crate::sensors::open::{AnyGauge, AnySensorError};

mod config;
mod error;
mod gate;
mod latencies;
mod network;
mod prepare;
mod step;
mod summary;
mod video;

pub use config::PipelineConfig;
pub use error::PipelineError;
use gate::{FrameClock, FrameGate, GateWord};
pub use gate::{GateConfig, GateSignal, HeldBy};
use network::{Answered, Network};
use prepare::{Pace, PreparedFrames};
pub use step::Step;
pub use summary::{ExitSummary, Summary};
pub use video::{ResetReason, VideoAnswer};

/// The loop over one source of frames.
pub struct Pipeline<G> {
    frames: PreparedFrames,
    /// What tells a camera how many frames the loop takes, where it can follow.
    rate: Option<CameraRate>,
    governor: G,
    network: Network,
    config: PipelineConfig,
    full: ExitPolicy,
    /// The first exit alone: what a frame costs that a gate holds back there.
    first: ExitPolicy,
    clock: Duration,
    /// When the loop's clock was started, and what it showed.
    started: Option<(Instant, Duration)>,
    /// Time spent on comparisons, which the loop's clock leaves out.
    comparing: Duration,
    choice: Option<Choice>,
    since_choice: (u32, f32),
    /// Time that the last frame took for preprocessing and network.
    busy: Duration,
    gauge: Option<Gauge>,
    /// The gate behind the first exit, of a loop that has one.
    latent: Option<LatentGate<Vec<f32>>>,
    /// The last answer, of a loop with a gate.
    answer: Option<Answered>,
    /// Frames that could have no answer but one that there is not.
    unanswered: u64,
}

/// Whether the configured battery has the capacity of the one that a gauge reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatteryCapacity {
    /// It has: a gauge that never moves while charge is used is noticed.
    Known,
    /// It has not: nothing says how far the gauge should move.
    Unknown,
}

/// A sensor in place of the modelled battery.
struct Gauge {
    watch: GaugeMonitor<AnyGauge>,
    /// Whether the modelled battery has the real one's capacity, so that a reading which never moves is noticed.
    modelled: bool,
    /// The last state, when it was read, and the modelled state of charge then.
    last: Option<(GaugeState, Instant, f32)>,
}

/// Gauges average over seconds; reading them more often only costs time on the bus.
const GAUGE_PERIOD: Duration = Duration::from_secs(1);

impl<G: fmt::Debug> fmt::Debug for Pipeline<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pipeline { governor, network, config, choice, .. } = self;
        f.debug_struct("Pipeline")
            .field("governor", governor)
            .field("network", network)
            .field("config", config)
            .field("choice", choice)
            .finish_non_exhaustive()
    }
}

impl<G: Governor> Pipeline<G> {
    /// A loop over the frames of `source`, which is read ahead in a thread of its own from now on.
    ///
    /// # Errors
    /// [`PipelineError`] without operating points, or when the model's plans or the thread cannot be set up.
    pub fn new(
        source: impl FrameSource + 'static,
        governor: G,
        plan: Arc<Plan>,
        config: PipelineConfig,
    ) -> Result<Self, PipelineError> {
        if config.points.is_empty() {
            return Err(PipelineError::NoPoints);
        }
        let outcomes = plan.outcomes();
        let full = ExitPolicy::only(outcomes.saturating_sub(1), outcomes)?;
        let first = ExitPolicy::only(0, outcomes)?;
        let input = &plan.info().input;
        let preparation = match plan.info().boxes.is_some() {
            true => Preparation::with(Finder::preprocess(&plan), input)?,
            false => Preparation::new(input)?,
        };
        let choice = config.threads.choose(&plan).map_err(PipelineError::Setup)?;
        let network = Network::new(plan, choice.threads, &config, source.is_live())?;
        let rate = source.rate();
        // A file has no time of its own but the pace at which it is taken.
        let period = Some(config.period).filter(|period| !source.is_live() && !period.is_zero());
        let latent = config.gate.as_ref().and_then(|gate| gate.behind_first_exit(network.plan()));
        let gate = (FrameClock::new(period), config.gate.clone().map(FrameGate::new));
        Ok(Pipeline {
            rate,
            frames: PreparedFrames::new(source, preparation, gate)?,
            governor,
            network,
            config,
            full,
            first,
            clock: Duration::ZERO,
            started: None,
            comparing: Duration::ZERO,
            choice: None,
            since_choice: (0, 0.0),
            busy: Duration::ZERO,
            gauge: None,
            latent,
            answer: None,
            unanswered: 0,
        })
    }

    /// The same loop, governed by what `gauge` reads instead of the modelled battery.
    #[must_use]
    pub fn with_gauge(mut self, gauge: AnyGauge, capacity: BatteryCapacity) -> Self {
        let modelled = capacity == BatteryCapacity::Known;
        self.gauge = Some(Gauge { watch: GaugeMonitor::new(gauge, MonitorSettings::default()), modelled, last: None });
        self
    }

    /// The same loop, whose [`step`](Self::step) returns `None` within a tenth of a second after `stop` was set, however
    /// long a camera lets it wait.
    #[must_use]
    pub fn with_stop(mut self, stop: StopToken) -> Self {
        self.frames.stop_on(stop);
        self
    }

    /// The same loop, going on `elapsed` after the mission began.
    #[must_use]
    pub fn resumed_at(mut self, elapsed: Duration) -> Self {
        self.clock = elapsed;
        self
    }

    /// Time since the mission began: at least what the frames took, also where nobody waits between them.
    pub fn elapsed(&self) -> Duration {
        self.clock
    }

    /// Counts time that the board was asleep since the last frame: the process's own clock did not go on meanwhile.
    pub fn slept(&mut self, time: Duration) {
        if let Some((_, shown)) = &mut self.started {
            *shown = shown.saturating_add(time);
        }
    }

    /// The last decision.
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// The governor.
    pub fn governor(&self) -> &G {
        &self.governor
    }

    /// The governor, to be told what only the loop's owner knows.
    pub fn governor_mut(&mut self) -> &mut G {
        &mut self.governor
    }

    /// Time from one frame to the next: the governor's, where it chooses one.
    pub fn period(&self) -> Duration {
        self.choice.and_then(|choice| choice.period).unwrap_or(self.config.period)
    }

    /// The modelled battery as it stands, if there is one.
    pub fn battery(&self) -> Option<&Battery> {
        self.config.battery.as_ref()
    }

    /// What the gauge said last, if there is one and it was asked.
    pub fn gauge_state(&self) -> Option<&GaugeState> {
        self.gauge.as_ref()?.last.as_ref().map(|(state, ..)| state)
    }

    /// Why the gauge is not believed: once at the beginning of a spell of faults, and again when the fault changes.
    pub fn take_gauge_trouble(&mut self) -> Option<GaugeTrouble<AnySensorError>> {
        self.gauge.as_mut()?.watch.take_trouble()
    }

    /// A flag for whoever wants to see frames: while it is set, [`frame`](Self::frame) has the one that was classified last.
    /// Nothing is copied for it; frames already prepared when it is set are not kept.
    pub fn keep_frames(&self) -> &Arc<AtomicBool> {
        self.frames.keep()
    }

    /// The frame of the last [`step`](Self::step), as the camera sent it, where it was [kept](Self::keep_frames).
    pub fn frame(&self) -> Option<&Frame> {
        self.frames.kept()
    }

    /// Frames the source made before the last one that was classified, but that never reached the loop.
    pub fn dropped(&self) -> u64 {
        self.frames.dropped() + self.unanswered
    }

    /// Frames so far that came damaged or could not be decoded, of those that [`dropped`](Self::dropped) counts.
    pub fn damaged(&self) -> u64 {
        self.frames.damaged()
    }

    /// Takes one frame through the loop; `None` when the source has ended, the battery is empty, the governor stops or the
    /// loop was told to.
    ///
    /// # Errors
    /// [`PipelineError`] when the source fails or the frame cannot be classified; [`PipelineError::is_temporary`] and
    /// [`PipelineError::is_of_one_frame`] tell whether to go on.
    pub fn step(&mut self) -> Result<Option<Step>, PipelineError> {
        if self.gauge.is_none() && self.battery().is_some_and(Battery::is_empty) {
            return Ok(None);
        }
        self.wait();
        let state = self.charge();
        let (frames, joules) = std::mem::take(&mut self.since_choice);
        let input = GovernorInput::new(self.clock, state).with_frames(frames, joules);
        let choice = self.governor.choose(&input);
        self.choice = Some(choice);
        if choice.stops() {
            return Ok(None);
        }
        let period = choice.period.unwrap_or(self.config.period);
        if let Some(rate) = &self.rate {
            rate.follow(period);
        }
        // A loop that pauses prepares each frame when its time has come; one that does not prepares it meanwhile.
        let pace = if period > self.busy { Pace::Paused } else { Pace::Busy };
        let frame = loop {
            match self.frames.next(pace)? {
                None => return Ok(None),
                // Prepared before it was known that there is no answer which could hold.
                Some(frame) if frame.reused && self.answer.is_none() => self.unanswered += 1,
                Some(_) => break self.frames.last(),
            }
        };
        let point = choice.point.min(self.config.points.len() - 1);
        let (sequence, preprocessing, reused) = (frame.sequence, frame.preprocessing, frame.reused);
        // Until the network has run there is none to what gates compare later frames with.
        let last = self.answer.take();
        let policy = &self.config.points[point];
        let ran = match last {
            Some(last) if reused => Ok((last.held(StageTimes::default()), Some(HeldBy::Frame))),
            last => self.network.run(frame, policy, self.latent.as_mut(), last),
        };
        let in_frame = |source| PipelineError::Run { sequence, source };
        let (answered, held_by) = match ran {
            Ok(ran) => ran,
            Err(error) => {
                self.forget_answer();
                return Err(in_frame(error));
            }
        };
        let age = frame.captured.elapsed();
        let comparing = Instant::now();
        let full = match self.config.compare_full && held_by.is_none() {
            true => match self.network.compare(frame, &self.full) {
                Ok(full) => full,
                Err(error) => {
                    self.forget_answer();
                    return Err(in_frame(error));
                }
            },
            false => None,
        };
        self.comparing += comparing.elapsed();
        if self.config.gate.is_some() {
            self.answer = Some(answered.clone());
        }
        if held_by == Some(HeldBy::Code)
            && let (Some(gate), Some(at)) = (self.frames.gate(), self.latent.as_ref().and_then(LatentGate::answered))
        {
            gate.answered_at(at);
        }
        let macs = match held_by {
            None => self.network.macs(&answered, policy),
            Some(HeldBy::Code) => self.network.plan().macs(&self.first, 0),
            Some(HeldBy::Frame) => 0,
        };
        let Answered { outcome, found, video } = answered;
        let power = &self.config.power;
        let preparing = self.config.preparing_watts * preprocessing.as_secs_f32();
        // The model counts the network alone, as much of it as runs.
        let (policy, left_at) = match held_by {
            Some(HeldBy::Code) => (&self.first, 0),
            _ => (policy, outcome.exit),
        };
        let joules = preparing + if reused { 0.0 } else { power.policy_joules(policy, left_at) };
        let joules_full = preparing + power.policy_joules(&self.full, self.full.last_exit());
        self.busy = preprocessing + outcome.latency();
        // The two overlap: the slower one sets the pace.
        let passed = match &self.config.stage_seconds {
            Some(_) if reused => period,
            Some(seconds) => period.max(modelled_time(policy, left_at, seconds)),
            None => period.max(preprocessing).max(outcome.latency()),
        };
        self.config.drain(joules);
        self.config.rest(passed);
        self.clock = self.clock.saturating_add(passed);
        self.since_choice = (1, joules);
        Ok(Some(Step {
            sequence,
            truth: frame.label.filter(|_| self.network.classifies()).map(|label| label as usize),
            outcome,
            found,
            video,
            held_by,
            full,
            soc: match &self.gauge {
                Some(_) => state.reading().map(|reading| reading.soc),
                None => self.battery().map(Battery::soc),
            },
            choice: choice.with_point(point),
            macs,
            joules,
            joules_full,
            preprocessing,
            age,
        }))
    }

    /// There is no answer to the last frame that could hold.
    fn forget_answer(&mut self) {
        self.answer = None;
        self.latent.iter_mut().for_each(LatentGate::forget);
        self.frames.gate().into_iter().for_each(GateWord::forget);
    }

    /// Catches up with what passed outside of frames, as where a camera is waited for: the board idles.
    fn wait(&mut self) {
        if self.config.stage_seconds.is_some() {
            return;
        }
        let (begun, shown) = *self.started.get_or_insert((Instant::now(), self.clock));
        let now = shown.saturating_add(begun.elapsed().saturating_sub(self.comparing));
        let waited = now.saturating_sub(self.clock);
        self.config.rest(waited);
        self.clock += waited;
    }

    /// The state of charge: the gauge's, read once a second, or the modelled battery's. Without a battery there is nothing
    /// to save.
    fn charge(&mut self) -> GaugeState {
        let soc = self.battery().map_or(1.0, Battery::soc);
        let Some(gauge) = &mut self.gauge else {
            let reading = GaugeReading::new(soc);
            return match &self.config.battery {
                Some(_) => GaugeState::Good(reading),
                None => GaugeState::ExternalPower(reading),
            };
        };
        if let Some((state, at, _)) = gauge.last
            && at.elapsed() < GAUGE_PERIOD
        {
            return state;
        }
        let before = gauge.last.map_or(soc, |(.., soc)| soc);
        let state = gauge.watch.observe(self.clock, if gauge.modelled { before - soc } else { 0.0 });
        // From a reading that is believed on, the model goes on as the battery does: it may have been charged meanwhile.
        let believed = match state {
            GaugeState::Good(reading) | GaugeState::ExternalPower(reading) if gauge.modelled => reading.soc,
            _ => soc,
        };
        gauge.last = Some((state, Instant::now(), believed));
        self.config.battery = self.config.battery.map(|battery| battery.charged_to(believed));
        state
    }
}

/// Time of the stages that a frame leaving at `exit` goes through.
fn modelled_time(policy: &ExitPolicy, exit: usize, stage_seconds: &[f32]) -> Duration {
    let last = (0..=exit).rfind(|&exit| policy.evaluates(exit)).unwrap_or(exit);
    let seconds: f32 = stage_seconds.iter().take(last + 1).sum();
    Duration::try_from_secs_f32(seconds).unwrap_or_default()
}
