//! Every row of the table: many missions under all who decide.

use core::fmt;
use core::ops::Range;

use dyn_perceiver_core::energy::governor::{Ladder, LadderError, MissionError};
use dyn_perceiver_core::energy::{JoulesSource, PowerModel, PowerModelError};
use dyn_perceiver_core::exit::{ExitPolicy, Frontier, PolicyError};
use thiserror::Error;

use super::drawn::Drawn;
use super::network::Network;
use super::play::{Played, Stage};
use super::program::Knows;
use super::rivals::RESERVE;
use super::scene::Scene;
use super::situation::Situation;
use crate::evaluate::ReplayError;
use crate::parallel::on_all_cores;
use crate::records::{CostError, Records};
use crate::solver::{EnsembleKind, SolveError, SolveOptions, solve};

/// Why a table could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorldError {
    /// The records could not be drawn.
    #[error(transparent)]
    Costs(#[from] CostError),
    /// No frontier was found.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A policy could not be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// No policy for so many exits.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The power model is unsound.
    #[error(transparent)]
    Power(#[from] PowerModelError),
    /// Frontier and power model do not fit together.
    #[error(transparent)]
    Ladder(#[from] LadderError),
    /// The governor refuses a mission.
    #[error(transparent)]
    Mission(#[from] MissionError),
}

/// One who decides, over the missions of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// Right answers over those of the fixed plan.
    pub right: f64,
    /// Mean state of charge at the end.
    pub soc: f64,
    /// Share of missions that end within 2 points of the reserve, of those that can be kept.
    pub within: f64,
    /// Share of missions that end more than 2 points below it, or in which the board goes down, of those that can be kept.
    pub below: f64,
    /// Share of missions in which the board goes down.
    pub died: f64,
    /// Mean change of the period's logarithm from hour to hour.
    pub swing: f64,
}

/// One row: a situation, and the scores of all who decide.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WorldRow {
    /// The situation.
    pub name: &'static str,
    /// Whether nothing is wrong with gauge, power model and supply.
    pub fair: bool,
    /// Share of missions that nobody keeps: the cheapest point at the longest period ends low all the same.
    pub lost: f64,
    /// Where the gauge reads too little throughout: by how much, and right answers of the fixed plan that leaves so much more charge
    /// over those of the fixed plan. Whoever believes such a gauge can do no better.
    pub believed: Option<(f64, f64)>,
    /// Scores by who decides, in the order of the table's columns.
    pub scores: Vec<(&'static str, Score)>,
}

/// The table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorldTable {
    /// The rows.
    pub rows: Vec<WorldRow>,
    /// Missions of a row.
    pub missions: usize,
}

/// What a row is played with.
struct Cast {
    scene: Scene,
    ladder: Ladder,
    power: PowerModel,
}

impl Cast {
    /// A synthetic network on the situation's board: calibrated on one half of its records, judged on the other.
    fn new(situation: &Situation, records: &Records, frontier: &Frontier, rows: &[u32]) -> Result<Self, WorldError> {
        let exits = frontier.exits();
        // Stages are nested: exit k alone costs what all stages up to it cost.
        let cost = |exit| ExitPolicy::only(exit, exits).map(|policy| records.costs().of_policy(&policy, exit));
        let costs = (0..exits).map(cost).collect::<Result<Vec<f64>, _>>()?;
        let full = costs.last().copied().unwrap_or(1.0);
        let before = [0.0].into_iter().chain(costs.iter().copied());
        let share =
            |(at, before): (&f64, f64)| ((at - before) / full * situation.full_joules * situation.told.1) as f32;
        let stages: Vec<f32> = costs.iter().zip(before).map(share).collect();
        let power = PowerModel::new((situation.idle_watts * situation.told.0) as f32, &stages, JoulesSource::Modelled)?;
        let ladder = Ladder::new(frontier, &power)?;
        let scene = Scene::new(records, rows, frontier, &power, &ladder)?;
        Ok(Cast { scene, ladder, power })
    }
}

impl WorldTable {
    /// Plays the rows whose name contains one of `only` (all where there is none) with the missions of `seeds`.
    ///
    /// # Errors
    /// [`WorldError`] when network, policies or missions cannot be set up.
    pub fn play(network: Network, seeds: Range<u64>, only: &[String]) -> Result<Self, WorldError> {
        WorldTable::play_on(&network.records(6000, 11)?, seeds, only)
    }

    fn play_on(records: &Records, seeds: Range<u64>, only: &[String]) -> Result<Self, WorldError> {
        let (calibration, judged) = crate::split(&records.rows(), 0.5, 1);
        let options = SolveOptions::default().with_ensembles([EnsembleKind::Own]);
        let frontier = solve(records, &calibration, &options)?.frontier;
        let (mut rows, mut known) = (Vec::new(), Vec::<(Situation, Vec<Blind>)>::new());
        let missions = seeds.clone().count();
        for situation in Situation::all() {
            if !only.is_empty() && !only.iter().any(|part| situation.name.contains(part.as_str())) {
                continue;
            }
            let cast = Cast::new(&situation, records, &frontier, &judged)?;
            let stage = Stage { situation: &situation, scene: &cast.scene };
            let blind = match known.iter().find(|(other, _)| other.is_same_world(&situation)) {
                Some((_, blind)) => blind.clone(),
                None => play_blind(&stage, seeds.clone()),
            };
            rows.push(play_row(&stage, &cast, seeds.clone(), &blind)?);
            known.push((situation, blind));
        }
        Ok(WorldTable { rows, missions })
    }
}

/// The mission under those who look at no gauge: the fixed plan, the two programs, and whoever saves all that can be saved.
type Blind = [Played; 4];

fn play_blind(stage: &Stage<'_>, seeds: Range<u64>) -> Vec<Blind> {
    on_all_cores(&seeds.collect::<Vec<u64>>(), |seed| {
        let drawn = Drawn::draw(stage.situation, *seed);
        [
            stage.fixed(&drawn),
            stage.program(&drawn, Knows::Weather),
            stage.program(&drawn, Knows::Spells),
            stage.thriftiest(&drawn),
        ]
    })
}

/// The mission under PI controller and governor.
type Seeing = [Played; 2];

fn play_row(stage: &Stage<'_>, cast: &Cast, seeds: Range<u64>, blind: &[Blind]) -> Result<WorldRow, WorldError> {
    let situation = stage.situation;
    let seeds: Vec<u64> = seeds.collect();
    let played = on_all_cores(&seeds, |seed| -> Result<Seeing, MissionError> {
        let drawn = Drawn::draw(situation, *seed);
        Ok([stage.proportional(&drawn), stage.governed(&drawn, &cast.ladder, &cast.power)?])
    });
    let played: Vec<Seeing> = played.into_iter().collect::<Result<_, _>>()?;
    let column = |index: usize| -> Vec<Played> { played.iter().map(|mission| mission[index]).collect() };
    let unseeing = |index: usize| -> Vec<Played> { blind.iter().map(|mission| mission[index]).collect() };
    let (fixed, governor) = (unseeing(0), column(1));
    // One table for all missions, tuned in hindsight to end low no more often than the governor does.
    let kept: Vec<bool> = unseeing(3).iter().map(|one| !is_low(one)).collect();
    let low = |missions: &[Played]| missions.iter().filter(|one| is_low(one)).count();
    let steps = |saving: f64| -> Vec<Played> {
        on_all_cores(&seeds, |seed| stage.steps(&Drawn::draw(situation, *seed), saving))
    };
    let (mut wasteful, mut saving) = (0.0, 1.0);
    for _ in 0..7 {
        let middle = (wasteful + saving) / 2.0;
        if low(&steps(middle)) <= low(&governor) { saving = middle } else { wasteful = middle }
    }
    let of = |missions: &[Played]| score(missions, &fixed, &kept);
    let scores = vec![
        ("fixed", of(&fixed)),
        ("steps", of(&steps(saving))),
        ("PI", of(&column(0))),
        ("governor", of(&governor)),
        ("program", of(&unseeing(1))),
        ("program, knows spells", of(&unseeing(2))),
    ];
    let lost = kept.iter().filter(|kept| !**kept).count() as f64 / kept.len().max(1) as f64;
    let believed = situation.gauge_is_low_by().map(|by| {
        let frugal = on_all_cores(&seeds, |seed| stage.fixed_leaving(&Drawn::draw(situation, *seed), RESERVE + by));
        (by, score(&frugal, &fixed, &kept).right)
    });
    Ok(WorldRow { name: situation.name, fair: situation.is_fair(), lost, believed, scores })
}

fn is_low(played: &Played) -> bool {
    played.died || played.soc < RESERVE - 0.02
}

fn score(missions: &[Played], fixed: &[Played], kept: &[bool]) -> Score {
    let n = missions.len().max(1) as f64;
    let sum = |of: &dyn Fn(&Played) -> f64| missions.iter().map(of).sum::<f64>();
    let share = |of: &dyn Fn(&Played) -> bool| missions.iter().filter(|one| of(one)).count() as f64 / n;
    // Of missions that somebody keeps.
    let of_kept = |of: &dyn Fn(&Played) -> bool| {
        let count = missions.iter().zip(kept).filter(|(one, kept)| **kept && of(one)).count();
        count as f64 / kept.iter().filter(|kept| **kept).count().max(1) as f64
    };
    Score {
        right: sum(&|one| one.right) / fixed.iter().map(|one| one.right).sum::<f64>().max(1.0),
        soc: sum(&|one| one.soc) / n,
        within: of_kept(&|one| !one.died && (one.soc - RESERVE).abs() <= 0.02),
        below: of_kept(&is_low),
        died: share(&|one| one.died),
        swing: sum(&|one| one.swing) / n,
    }
}

impl fmt::Display for WorldTable {
    /// A table in Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = self.rows.first().map_or(&[][..], |row| &row.scores);
        write!(f, "| situation | kept by nobody |")?;
        heads.iter().try_for_each(|(name, _)| write!(f, " {name} |"))?;
        writeln!(f, "\n| --- |{}", " --- |".repeat(heads.len() + 1))?;
        for row in &self.rows {
            write!(f, "| {} | {:.0} |", row.name, 100.0 * row.lost)?;
            for (_, score) in &row.scores {
                let percent = |share: f64| format!("{:.0}", 100.0 * share);
                write!(
                    f,
                    " {:.1} % ({:.1}; {} / {}) |",
                    100.0 * score.right,
                    100.0 * score.soc,
                    percent(score.within),
                    percent(score.below)
                )?;
            }
            writeln!(f)?;
        }
        for (by, right) in self.rows.iter().filter_map(|row| row.believed) {
            let (points, right) = (100.0 * by, 100.0 * right);
            writeln!(
                f,
                "\nThe fixed plan that leaves {points:.0} points more, as whoever believes a gauge that reads {points:.0} points \
                 low must, gives {right:.1} %."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn world_ranks_the_governor_between_a_fixed_plan_and_a_program_that_knows_the_future() {
        let records = Network::Even.records(1000, 11).unwrap();
        let table = WorldTable::play_on(&records, 3..5, &["24 h, 115 Wh".to_owned()]).unwrap();
        let [row] = &table.rows[..] else { panic!("{} rows", table.rows.len()) };
        let of = |name: &str| row.scores.iter().find(|(who, _)| *who == name).unwrap().1;
        assert!(row.fair && row.lost == 0.0 && of("fixed").below == 0.0);
        assert!(of("program").right > 1.0 && of("program, knows spells").right > of("program").right);
        let governor = of("governor");
        assert!(governor.right > 0.9 && governor.died == 0.0 && governor.right < of("program, knows spells").right);
        assert!((governor.soc - 0.1).abs() < 0.04, "{governor:?}");
        assert_eq!(table.to_string().lines().count(), 3);
    }
}
