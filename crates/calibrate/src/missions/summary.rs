//! Many missions in one row.

use core::time::Duration;
use std::collections::BTreeMap;

use super::engine::MissionOutcome;

/// One strategy over many missions.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct MissionSummary {
    /// Missions.
    pub missions: usize,
    /// Mean frames of a mission.
    pub frames: f64,
    /// Right answers over frames.
    pub accuracy: f64,
    /// Mean right answers of a mission.
    pub right: f64,
    /// Right answers for each watt-hour the board took.
    pub right_per_watt_hour: f64,
    /// Mean lifetime over the mission's duration.
    pub lifetime: f64,
    /// Mean state of charge at the end.
    pub soc_mean: f64,
    /// Lowest state of charge at the end.
    pub soc_lowest: f64,
    /// Share of missions that end within 2 points of the reserve.
    pub within_2_points: f64,
    /// Share of missions that end more than 2 points below the reserve.
    pub below_2_points: f64,
    /// Missions in which the board browned out.
    pub brown_outs: usize,
    /// Mean changes of the operating point.
    pub switches: f64,
    /// Reasons given, with the share of decisions.
    pub reasons: BTreeMap<&'static str, f64>,
}

/// Whether a mission ended more than 2 points below the reserve.
pub(crate) fn ends_below(outcome: &MissionOutcome, reserve: f32) -> bool {
    outcome.soc < reserve - 0.02
}

impl MissionSummary {
    /// Summarises missions of a planned `duration` with a `reserve` of charge, a share.
    pub fn of(outcomes: &[MissionOutcome], duration: Duration, reserve: f32) -> Self {
        let n = outcomes.len().max(1) as f64;
        let sum = |of: &dyn Fn(&MissionOutcome) -> f64| outcomes.iter().map(of).sum::<f64>();
        let share = |of: &dyn Fn(&MissionOutcome) -> bool| outcomes.iter().filter(|o| of(o)).count() as f64 / n;
        let (frames, right) = (sum(&|o| o.frames), sum(&|o| o.right));
        let mut reasons = BTreeMap::new();
        let decisions = sum(&|o| o.reasons.values().copied().map(f64::from).sum());
        for (&name, &count) in outcomes.iter().flat_map(|o| &o.reasons) {
            *reasons.entry(name).or_insert(0.0) += f64::from(count) / decisions;
        }
        MissionSummary {
            missions: outcomes.len(),
            frames: frames / n,
            accuracy: right / frames.max(1.0),
            right: right / n,
            right_per_watt_hour: right / sum(&|o| o.watt_hours).max(f64::MIN_POSITIVE),
            lifetime: sum(&|o| f64::from(o.seconds)) / (n * duration.as_secs_f64()),
            soc_mean: sum(&|o| f64::from(o.soc)) / n,
            soc_lowest: outcomes.iter().map(|o| f64::from(o.soc)).fold(1.0, f64::min),
            within_2_points: share(&|o| (o.soc - reserve).abs() <= 0.02),
            below_2_points: share(&|o| ends_below(o, reserve)),
            brown_outs: outcomes.iter().filter(|o| o.brown_out).count(),
            switches: sum(&|o| f64::from(o.switches)) / n,
            reasons,
        }
    }
}
