//! SoC steps: a table from state of charge to operating point, with one number to tune.

use dyn_perceiver_core::energy::governor::{FrameDemand, Governor, SocStep, SocSteps};

use super::decide::tune;
use super::engine::{Engine, MissionOutcome, Running};
use super::trace::Trace;

/// What the rows of a table change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableKind {
    /// The operating point; the number to tune is how low the charge may fall before the next row holds.
    Points,
    /// The operating point at bounds of two and one thirds; the number to tune is the period, where it is free.
    PointsAtOnePeriod,
    /// Operating point and period: shortest, middle (geometric) and longest; the number to tune is that of `Points`.
    PointsAndPeriods,
}

/// A table of three rows: most accurate, middle and cheapest point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) kind: TableKind,
    /// The number to tune, in [0, 1]: the larger, the more is saved.
    pub(super) saving: f32,
}

/// The kinds of table there are for this mission.
pub(super) fn table_kinds(engine: &Engine) -> &'static [TableKind] {
    match engine.scenario.mission.frames {
        FrameDemand::Between(..) => &[TableKind::PointsAtOnePeriod, TableKind::PointsAndPeriods],
        _ => &[TableKind::Points],
    }
}

/// The policies that tables run.
pub(super) fn table_policies(engine: &Engine) -> [usize; 3] {
    let top = engine.ladder.top();
    [top, top / 2, 0].map(|rung| engine.ladder.rung(rung).point)
}

pub(super) fn run_table(
    engine: &Engine,
    table: Table,
    trace: &Trace,
    seed: u64,
    sample_every: usize,
) -> MissionOutcome {
    let (longest, saving) = (engine.longest_pace(), table.saving);
    let (bound, paces) = match table.kind {
        TableKind::Points => (saving, [1.0; 3]),
        TableKind::PointsAtOnePeriod => (2.0 / 3.0, [1.0 - saving * (1.0 - longest); 3]),
        TableKind::PointsAndPeriods => (saving, [1.0, longest.sqrt(), longest]),
    };
    let [full, middle, cheapest] = table_policies(engine);
    // Full down to `bound`, the middle down to half of it; all or nothing at the ends.
    let rows = match bound {
        bound if bound <= 0.0 => &[SocStep::new(0.0, 0)][..],
        bound if bound >= 1.0 => &[SocStep::new(0.0, 2)],
        bound => &[SocStep::new(bound, 0), SocStep::new(bound / 2.0, 1), SocStep::new(0.0, 2)],
    };
    let Ok(mut steps) = SocSteps::new(rows, 0.02) else { return MissionOutcome::default() };
    let mut watch = engine.watch(trace, seed);
    engine.replay(trace, sample_every, |moment, cell| {
        let input = moment.input(&mut watch, cell, engine.settings_charge());
        let choice = steps.choose(&input);
        let (policy, pace) = match choice.point {
            0 => (full, paces[0]),
            1 => (middle, paces[1]),
            _ => (cheapest, paces[2]),
        };
        Running { reason: Some(choice.reason), pace, ..Running::only(policy) }
    })
}

/// The table of this kind that spends most while `lasts`; the saving one where none lasts.
pub(super) fn tune_table(kind: TableKind, lasts: impl Fn(Table) -> bool) -> Table {
    let saving = tune(|saving| lasts(Table { kind, saving }), true);
    Table { kind, saving }
}
