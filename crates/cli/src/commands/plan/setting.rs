//! A plan's setting: what board, decoding, gate and network come to, each figure from what was measured, else from what is known.

use dyn_perceiver::exit::{Mix, OperatingPoint};
use dyn_perceiver::sensors::profile::{Profile, Variant};
use dyn_perceiver_host::Board;

use super::facts::{Draw, Facts};
use super::gate::Gate;
use super::measures::{Clocked, Mission, Setting, Way};
use super::{Asked, Network};
use crate::args::boards;
use crate::args::policy::Points;
use crate::args::watts::PUBLISHED;
use crate::args::work;
use crate::output::failure::{Failure, wrong};

/// Seconds of the gate as a share of those of decoding a frame.
const GATE_SHARE: f64 = 0.1;

/// The plan's setting on a board; `facts` notes every figure.
pub(super) fn on(
    asked: Asked<'_>,
    board: &Board,
    network: &Network<'_>,
    mission: Mission,
    facts: &mut Facts,
) -> Result<Setting, Failure> {
    let mut draw = Draw::of(board, &boards::find(PUBLISHED)?, asked.radio, facts)?;
    let speed = board.cpu.as_ref().and_then(|cpu| cpu.macs_per_second.as_ref());
    let speed = match speed {
        Some(figure) => facts.note("speed of a core", "MAC/s", figure),
        None => {
            facts.assumed("speed of a core", "MAC/s", work::MACS_PER_SECOND, "a round figure for boards of this kind")
        }
    };
    let (width, height) = asked.wish.camera_size;
    let decode = work::decode_macs(width, height) / speed;
    let decode = facts.computed("decoding a frame", "s", decode, work::DECODE_SOURCE);
    let stages: Vec<f64> = match network.measured {
        Some(measured) => {
            let seconds: f64 = measured.seconds.iter().sum();
            // A detector's boxes are measured one level after another, behind its exits.
            let (expected, actual) = (network.plan.outcomes(), measured.seconds.len());
            if expected != actual {
                return wrong(format!(
                    "the profile is of another network: it has {actual} stages, this one {expected}"
                ));
            }
            if seconds <= 0.0 {
                return wrong("the profile's stages take no time: measure them with `profile`");
            }
            draw.core = measured.joules / seconds;
            draw.idle = measured.idle_watts;
            draw.tuned = draw.tuned.map(|tuned| tuned.min(draw.idle));
            facts.computed("a busy network adds", "W", draw.core, &measured.method);
            measured.seconds.clone()
        }
        None => work::stages(network.plan).map(|macs| macs / speed).collect(),
    };
    facts.computed(
        "the whole network",
        "s",
        stages.iter().sum(),
        match network.measured {
            Some(_) if asked.by_loop => "as this run counts it",
            Some(_) => "by the profile",
            None => "multiply-accumulates and nodes over the speed of a core",
        },
    );
    let accuracy = f64::from(network.points.best);
    let error = network.points.samples.map_or(0.0, |n| (accuracy * (1.0 - accuracy) / f64::from(n.max(1))).sqrt());
    facts.computed(
        "expected accuracy",
        "",
        accuracy,
        "the policy's most accurate point, which the whole network is taken to reach",
    );
    if let Some(samples) = network.points.samples {
        let source = format!("of the expected accuracy, by the {samples} images calibrated on");
        facts.computed("standard error", "", error, &source);
    }
    let whole = Way { seconds: stages.iter().sum(), accuracy };
    let (gate, gate_loss) = match network.gate {
        Some(found) => {
            let source =
                format!("of held answers at most, with {:.0} % confidence (--gate-report)", 100.0 * found.confidence);
            let loss = facts.given("lost by the gate", "", found.max_loss, &source);
            (Gate::Latent(stages[0] / whole.seconds.max(f64::MIN_POSITIVE)), loss)
        }
        None => {
            let why = "of decoding a frame: taken for an eighth of the size, luminance only";
            (Gate::Pixels(facts.assumed("gate, as a share", "", GATE_SHARE, why) * decode), 0.0)
        }
    };
    Ok(Setting {
        draw,
        mission,
        decode,
        gate,
        gate_loss,
        early: early(network.points, accuracy - error, &stages)?,
        whole,
        clocked: network.profile.and_then(|profile| clocked(profile, facts)),
    })
}

/// The way with early exits: what --budget or --accuracy asks for, else the cheapest point that is as accurate as `good`.
fn early(points: &Points, good: f64, stages: &[f64]) -> Result<Way, Failure> {
    let of = |point: &OperatingPoint| Way { seconds: point_seconds(point, stages), accuracy: point.accuracy.into() };
    let all = points.frontier.points();
    if let Some(mixer) = &points.mixer {
        let Mix { low, high, share_of_high, .. } = points.frontier.mix(mixer.budget());
        if let (Some(low), Some(high)) = (all.get(low).map(of), all.get(high).map(of)) {
            let mixed = |low: f64, high: f64| low + f64::from(share_of_high) * (high - low);
            return Ok(Way { seconds: mixed(low.seconds, high.seconds), accuracy: mixed(low.accuracy, high.accuracy) });
        }
    }
    match all.iter().find(|point| f64::from(point.accuracy) >= good).or(all.last()) {
        Some(point) => Ok(of(point)),
        None => wrong("the policy has no operating points"),
    }
}

/// The variants that cost least, beside idling and with it.
fn clocked(profile: &Profile, facts: &mut Facts) -> Option<Clocked> {
    let mut least = |idle: f64, threads: &'static str, clock: &'static str| {
        let known = profile.variants.iter().filter_map(|variant| Some((variant, variant.joules?)));
        let cost = |(variant, joules): &(&Variant, f64)| joules + idle * variant.seconds;
        let (variant, joules) = known.min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        facts.computed(threads, "", variant.threads as f64, &profile.method);
        if let Some(megahertz) = variant.megahertz {
            facts.computed(clock, "MHz", megahertz, &profile.method);
        }
        Some((variant.seconds, joules))
    };
    let always_on = least(0.0, "threads that cost least", "clock that costs least")?;
    let bursts = least(profile.idle_watts, "threads in bursts", "clock in bursts")?;
    Some(Clocked { always_on, bursts })
}

/// Seconds that a frame takes on average at an operating point.
fn point_seconds(point: &OperatingPoint, stages: &[f64]) -> f64 {
    let until = |exit: usize| stages.iter().take(exit + 1).sum::<f64>();
    point.shares.iter().enumerate().map(|(exit, share)| f64::from(*share) * until(exit)).sum()
}
