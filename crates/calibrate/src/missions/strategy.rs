//! Who decides in a mission: baselines, SoC steps, the governor, and an oracle that knows the future.

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Strategy {
    /// The whole network for every frame.
    Full,
    /// The first exit for every frame.
    First,
    /// A table of three SoC steps (most accurate, middle, cheapest point; where the period is free they may change that,
    /// too), tuned once for all missions, to last as often as the governor: what can be shipped.
    Steps,
    /// The same with a table for every mission, tuned on that mission itself to end at the reserve: better than any table
    /// that could be written beforehand.
    StepsInHindsight,
    /// The budget governor.
    Governor,
    /// One mix of two neighbouring points for the whole mission, chosen in hindsight to end at the reserve: what knowing
    /// the future would give.
    Oracle,
}

impl Strategy {
    /// Every strategy, in the order of tables.
    pub const ALL: [Strategy; 6] = [
        Strategy::Full,
        Strategy::First,
        Strategy::Steps,
        Strategy::StepsInHindsight,
        Strategy::Governor,
        Strategy::Oracle,
    ];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Full => "always full",
            Strategy::First => "always first exit",
            Strategy::Steps => "SoC steps",
            Strategy::StepsInHindsight => "SoC steps in hindsight",
            Strategy::Governor => "governor",
            Strategy::Oracle => "oracle",
        }
    }
}
