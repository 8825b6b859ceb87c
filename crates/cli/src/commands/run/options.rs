//! What can be asked of `run`, and what options mean together.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::battery::GaugeArgs;
use super::detector::DetectorArgs;
use super::events::EventArgs;
use super::gate::GateArgs;
use super::mission::{MissionArgs, Mode};
use super::source::SourceArgs;
use super::state::StateArgs;
use super::video::VideoArgs;
use super::view::OutputArgs;
use crate::args::battery::BatteryArgs;
use crate::args::model::ModelArgs;
use crate::args::policy::PolicyArgs;
use crate::args::threads::ThreadsArgs;
use crate::args::watts::{SuspendArgs, WattsArgs};
use crate::output::failure::{Failure, wrong};

/// Classify frame after frame, from a camera, from files or as a demonstration
///
/// Without options this is a demonstration: the built-in model on the built-in test images, operating points that follow
/// the state of charge of a simulated battery, in modelled time, so that it comes out the same on every machine. With a
/// camera or frames of your own, the board is taken to run on mains unless a battery is named.
///
/// In a mission a governor gives every frame its share of what the battery holds above a reserve; each decision has a
/// reason: start, hold, step, budget, plenty, cannot-last, floor-cannot-last, rate-limited, stale-hold,
/// gauge-failed, reserve, brown-out, mission-over or external-power. Joules are modelled: watts of the board times latency
/// measured here; or from a profile.
///
/// Exit code 1 when frames were skipped or a camera never came. JSON lines: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Read options from this settings file, whose keys are options without their dashes; what stands on the command line
    /// comes first
    #[arg(long, value_name = "FILE", help_heading = "State and output")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten, next_help_heading = "Model")]
    pub(super) threads: ThreadsArgs,
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    #[command(flatten)]
    pub(super) detector: DetectorArgs,
    #[command(flatten)]
    pub(super) video: VideoArgs,
    #[command(flatten)]
    pub(super) gate: GateArgs,
    #[command(flatten)]
    pub(super) events: EventArgs,
    #[command(flatten)]
    pub(super) mission: MissionArgs,
    #[command(flatten, next_help_heading = "Battery and power")]
    pub(super) battery: BatteryArgs,
    #[command(flatten)]
    pub(super) gauge: GaugeArgs,
    #[command(flatten)]
    pub(super) watts: WattsArgs,
    /// Suspend the board to memory between frames, which have to be 5 s apart at least, and let the alarm of its clock wake it:
    /// Jetsons can. Meanwhile the page and the broker hear nothing of it
    #[arg(long, help_heading = "Battery and power")]
    pub(super) suspend: bool,
    #[command(flatten)]
    pub(super) suspended: SuspendArgs,
    /// Take the joules of each stage from this file, as `profile` writes it, in place of watts and latency
    #[arg(long, value_name = "FILE", help_heading = "Battery and power")]
    pub(super) profile: Option<PathBuf>,
    /// Switch off while running what a camera loop does not need: HDMI outputs and LEDs, and let USB devices and radios sleep
    /// that nobody uses. All is put back at the end, also after Ctrl-C; needs the right to write below /sys
    #[arg(long, help_heading = "Battery and power")]
    pub(super) save_power: bool,
    /// Switch off all radios while running, Wi-Fi and Bluetooth, through /sys/class/rfkill: whoever is connected by them is cut
    /// off. What was on before is on again at the end, also after Ctrl-C
    #[arg(long, help_heading = "Battery and power")]
    pub(super) radio_off: bool,
    /// Count what the board's radio adds while it is connected (`loads.radio_watts` of its board.toml), although nothing here
    /// sends; with --mqtt or a page for other machines it is counted anyway
    #[arg(long, conflicts_with = "radio_off", help_heading = "Battery and power")]
    pub(super) radio: bool,
    /// Hold the processor at the clock at which a frame costs least, by a profile that `profile --sweep` wrote; put back at the
    /// end. Needs the right to write below /sys
    #[arg(long, requires = "profile", help_heading = "Battery and power")]
    pub(super) set_clock: bool,
    #[command(flatten)]
    pub(super) state: StateArgs,
    /// Do not run the full network beside each frame to compare
    #[arg(long, help_heading = "State and output")]
    pub(super) no_compare: bool,
    /// Stop at the first file that cannot be read or classified, in place of skipping it; frames of a camera are skipped
    /// all the same
    #[arg(long, help_heading = "State and output")]
    pub(super) strict: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[cfg(feature = "http")]
    #[command(flatten)]
    pub(super) http: crate::http::HttpArgs,
    #[cfg(feature = "mqtt")]
    #[command(flatten)]
    pub(super) mqtt: crate::mqtt::MqttArgs,
}

impl Args {
    /// Whether there is a broker to publish to.
    pub(super) fn has_broker(&self) -> bool {
        #[cfg(feature = "mqtt")]
        return self.mqtt.is_named();
        #[cfg(not(feature = "mqtt"))]
        false
    }

    /// Whether the radio is in use: because this program sends, or because somebody says so.
    pub(super) fn sends(&self) -> bool {
        #[cfg(feature = "http")]
        let serves = self.http.is_for_others();
        #[cfg(not(feature = "http"))]
        let serves = false;
        !self.radio_off && (self.radio || serves || self.has_broker())
    }

    /// Whether nothing is real: made-up or built-in frames at no pace of their own, no mission, no measured joules.
    pub(super) fn is_demonstration(&self) -> bool {
        let paced = self.source.fps.is_some() || self.mission.is_mission();
        !self.source.is_named() && !paced && self.profile.is_none()
    }
}

/// Checks what options mean together, and says whether a battery is simulated.
pub(super) fn check(args: &Args) -> Result<bool, Failure> {
    let gauge = args.gauge.is_named();
    let simulated = args.battery.is_simulated(gauge, args.source.is_named())?;
    if args.mission.is_mission() && gauge && args.battery.capacity.milliwatt_hours().is_none() {
        return wrong("a mission on a gauge needs --battery-wh: a state of charge is no energy");
    }
    if args.suspended.is_given() && !args.suspend {
        return wrong(
            "--suspend-watts: the board is not suspended between frames without --suspend, so its battery would seem to last \
             longer than it does",
        );
    }
    if args.mission.steps.is_some() && args.mission.mode != Mode::Steps {
        return wrong("--steps is for mode steps");
    }
    if args.mission.mode == Mode::Companion && !args.gauge.is_companion() {
        return wrong("mode companion needs --gauge companion:DEVICE");
    }
    Ok(simulated)
}
