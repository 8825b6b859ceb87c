//! The gate before the network: which frames it sees, and which get the last answer again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::frame::Frame;
use crate::gate::{Gate, GateSettings, Luma, Scene, Verdict};

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
}

impl GateConfig {
    /// Frames are compared by their luminance.
    pub fn pixels(settings: GateSettings) -> Self {
        GateConfig { settings, pixels: true, signal: None }
    }

    /// A sensor alone decides.
    pub fn signal(signal: GateSignal, refresh: Duration) -> Self {
        let settings = GateSettings::new(GateSettings::THRESHOLD, refresh);
        GateConfig { settings, pixels: false, signal: Some(signal) }
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

/// The gate of one source of frames.
#[derive(Debug)]
pub(super) struct FrameGate {
    config: GateConfig,
    gate: Gate,
    /// Time from frame to frame, of a source that has no time of its own.
    period: Option<Duration>,
    began: Option<Instant>,
    forget: Arc<AtomicBool>,
}

impl FrameGate {
    /// `period` is the time from frame to frame of a source that is not live.
    pub(super) fn new(config: GateConfig, period: Option<Duration>) -> Self {
        let gate = Gate::new(config.settings);
        FrameGate { config, gate, period, began: None, forget: Arc::new(AtomicBool::new(false)) }
    }

    /// Setting this makes the next frame go through the network.
    pub(super) fn forget(&self) -> Arc<AtomicBool> {
        self.forget.clone()
    }

    /// Whether the network is to see a frame.
    pub(super) fn wants(&mut self, frame: &Frame, luma: Option<Luma<'_>>) -> bool {
        if self.forget.swap(false, Ordering::Relaxed) {
            self.gate.forget();
        }
        let time = match self.period {
            Some(period) => period.saturating_mul(u32::try_from(frame.sequence).unwrap_or(u32::MAX)),
            None => frame.captured.saturating_duration_since(*self.began.get_or_insert(frame.captured)),
        };
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
