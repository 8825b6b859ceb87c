//! The gate before the network: which frames it sees, and which get the last answer again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::frame::Frame;
use crate::gate::{Gate, GateSettings, LatentGate, LatentSettings, Luma, Scene, Verdict};
use crate::plan::Plan;

/// What decides whether a frame goes through the network.
///
/// ```
/// use dyn_perceiver::gate::GateSettings;
/// use dyn_perceiver::pipeline::{GateConfig, GateSignal};
///
/// let sensor = GateSignal::new(true);
/// let gate = GateConfig::pixels(GateSettings::default()).with_signal(sensor.clone());
/// // From whatever thread reads the sensor:
/// sensor.set(false);
/// assert!(!gate.signal.is_some_and(|signal| signal.is_active()));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GateConfig {
    /// The threshold, and the longest time for which an answer holds.
    pub settings: GateSettings,
    /// Whether the luminance of frames is compared.
    pub pixels: bool,
    /// A sensor outside, such as a motion sensor: while it is not active the last answer holds.
    pub signal: Option<GateSignal>,
    /// Largest distance of codes at which the last answer holds behind the first exit, see [`LatentGate`]; none where codes
    /// are not compared.
    pub latent: Option<f32>,
}

impl GateConfig {
    /// Frames are compared by their luminance.
    pub fn pixels(settings: GateSettings) -> Self {
        GateConfig { settings, pixels: true, signal: None, latent: None }
    }

    /// A sensor alone decides.
    pub fn signal(signal: GateSignal, refresh: Duration) -> Self {
        let settings = GateSettings::new(GateSettings::THRESHOLD, refresh);
        GateConfig { settings, pixels: false, signal: Some(signal), latent: None }
    }

    /// Every frame is run to the first exit, and from there on only if its code differs by more than `threshold`.
    pub fn latent(threshold: f32, refresh: Duration) -> Self {
        let settings = GateSettings::new(GateSettings::THRESHOLD, refresh);
        GateConfig { settings, pixels: false, signal: None, latent: Some(threshold) }
    }

    /// The same with codes compared behind the first exit, of the frames that come so far.
    #[must_use]
    pub fn with_latent(self, threshold: f32) -> Self {
        GateConfig { latent: Some(threshold), ..self }
    }

    /// The gate behind the first exit of this plan, if there is one.
    pub(super) fn behind_first_exit(&self, plan: &Plan) -> Option<LatentGate<Vec<f32>>> {
        let settings = LatentSettings::new(self.latent?, self.settings.refresh);
        Some(LatentGate::new(settings, vec![0.0; plan.code_len()]))
    }

    /// The same with a sensor, which frames must pass first.
    #[must_use]
    pub fn with_signal(self, signal: GateSignal) -> Self {
        GateConfig { signal: Some(signal), ..self }
    }
}

/// What a sensor outside says, set from whatever thread reads it.
#[derive(Clone, Debug)]
pub struct GateSignal(Arc<AtomicBool>);

impl GateSignal {
    /// A sensor that is active or not.
    pub fn new(active: bool) -> Self {
        GateSignal(Arc::new(AtomicBool::new(active)))
    }

    /// Says whether there may be something to see.
    pub fn set(&self, active: bool) {
        self.0.store(active, Ordering::Relaxed);
    }

    /// Whether there may be something to see.
    pub fn is_active(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What holds an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldBy {
    /// What is known of the frame before the network sees it: its luminance, or a sensor.
    Frame,
    /// What the network made of it up to the first exit.
    Code,
}

/// When frames were taken, on a clock of their own that begins at the first.
#[derive(Debug)]
pub(super) struct FrameClock {
    /// Time from frame to frame, of a source that has no time of its own.
    period: Option<Duration>,
    began: Option<Instant>,
}

impl FrameClock {
    /// `period` is the time from frame to frame of a source that is not live.
    pub(super) fn new(period: Option<Duration>) -> Self {
        FrameClock { period, began: None }
    }

    pub(super) fn of(&mut self, frame: &Frame) -> Duration {
        match self.period {
            Some(period) => period.saturating_mul(u32::try_from(frame.sequence).unwrap_or(u32::MAX)),
            None => frame.captured.saturating_duration_since(*self.began.get_or_insert(frame.captured)),
        }
    }
}

/// What the loop has to say to the gate before it, which is in another thread.
#[derive(Clone, Debug, Default)]
pub(super) struct GateWord(Arc<Said>);

#[derive(Debug, Default)]
struct Said {
    forget: AtomicBool,
    /// Microseconds on the frames' clock and one, or 0 for nothing.
    answered: AtomicU64,
}

impl GateWord {
    /// There is no answer to the last frame: the next one goes through the network.
    pub(super) fn forget(&self) {
        self.0.forget.store(true, Ordering::Relaxed);
    }

    /// The last frame got the answer of one taken at `time`.
    pub(super) fn answered_at(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        self.0.answered.store(micros, Ordering::Relaxed);
    }
}

/// The gate of one source of frames.
#[derive(Debug)]
pub(super) struct FrameGate {
    config: GateConfig,
    gate: Gate,
    word: GateWord,
}

impl FrameGate {
    pub(super) fn new(config: GateConfig) -> Self {
        let gate = Gate::new(config.settings);
        FrameGate { config, gate, word: GateWord::default() }
    }

    /// What tells this gate something.
    pub(super) fn word(&self) -> GateWord {
        self.word.clone()
    }

    /// Whether the network is to see a frame, taken at `time`.
    pub(super) fn wants(&mut self, time: Duration, luma: Option<Luma<'_>>) -> bool {
        if self.word.0.forget.swap(false, Ordering::Relaxed) {
            self.gate.forget();
        }
        if let Some(micros) = self.word.0.answered.swap(0, Ordering::Relaxed).checked_sub(1) {
            self.gate.answered_at(Duration::from_micros(micros));
        }
        let signal = self.config.signal.as_ref().map(GateSignal::is_active);
        let scene = match luma.filter(|_| self.config.pixels) {
            Some(luma) => Scene::of(luma),
            None => Scene::default(),
        };
        self.gate.judge(time, scene.with_signal(signal)) != Verdict::Reuse
    }

    /// The network will not see the frame that it was to see.
    pub(super) fn failed(&mut self) {
        self.gate.forget();
    }
}
