//! Operating points by the level of the battery: which they are, and what is to be expected of each.

use dyn_perceiver::energy::governor::{MAX_STEPS, point_joules};
use dyn_perceiver::energy::{Battery, JOULES_PER_MWH, Ladder, PowerModel, SocStep, SocSteps};
use dyn_perceiver::exit::{ExitPolicy, ExitRule, Frontier, OperatingPoint};

use crate::args::policy::accuracy_point;
use crate::args::share::Share;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::records::ExpectedStep;
use crate::output::table;

/// By how much the charge must rise above a bound before the step above it is taken again.
const HYSTERESIS: f32 = 0.02;
/// Steps of a table that nobody spelled out.
const DEFAULT_STEPS: usize = 6;

/// What to run below a level of the battery.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    Best,
    Cheapest,
    /// The cheapest point that is expected to be so accurate.
    Accuracy(Share),
}

/// A table as it is written on the command line: `80:0.93,50:0.91,20:cheapest`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StepsArg(Vec<(f32, Want)>);

/// Reads a table. Above the first level the most accurate point runs, below each what stands beside it.
pub(super) fn parse(text: &str) -> Result<StepsArg, String> {
    const EXPECTED: &str =
        "expected levels in percent with what to run below each, such as 80:0.93,50:0.91,20:cheapest";
    let mut above = 100.0;
    let mut steps = Vec::new();
    for step in text.split(',') {
        let (level, want) = step.split_once(':').ok_or(EXPECTED)?;
        let level: f32 = level.trim().trim_end_matches('%').trim_end().parse().map_err(|_| EXPECTED)?;
        if !(level > 0.0 && level < above) {
            return Err("expected falling levels between 100 and 0 percent".to_owned());
        }
        above = level;
        let want = match want.trim() {
            "best" => Want::Best,
            "cheapest" => Want::Cheapest,
            accuracy => Want::Accuracy(accuracy.parse()?),
        };
        steps.push((level / 100.0, want));
    }
    match steps.len() {
        count if count < MAX_STEPS => Ok(StepsArg(steps)),
        count => Err(format!("{count} levels, at most {} are supported", MAX_STEPS - 1)),
    }
}

impl StepsArg {
    /// The table over a calibrated frontier.
    pub(super) fn over(&self, frontier: &Frontier) -> Result<SocSteps, Failure> {
        let best = frontier.points().len().saturating_sub(1);
        let point = |want| match want {
            Want::Best => Ok(best),
            Want::Cheapest => Ok(0),
            Want::Accuracy(accuracy) => accuracy_point(frontier, accuracy),
        };
        // What runs below a level holds from the next level upwards.
        let bounds = self.0.iter().map(|&(level, _)| level).chain([0.0]);
        let points = [Ok(best)].into_iter().chain(self.0.iter().map(|&(_, want)| point(want)));
        let rows: Vec<SocStep> =
            bounds.zip(points).map(|(from, point)| Ok(SocStep::new(from, point?))).collect::<Result<_, Failure>>()?;
        SocSteps::new(&rows, HYSTERESIS).or_input()
    }
}

/// The table that is used if none was spelled out: points of the concave hull of accuracy over joules, which are the ones
/// worth running, about equally far apart in joules.
pub(super) fn calibrated(frontier: &Frontier, power: &PowerModel) -> Result<SocSteps, Failure> {
    let ladder = Ladder::new(frontier, power).or_input()?;
    let rungs = ladder.rungs();
    let (least, most) = (ladder.joules_at(0.0), ladder.joules_at(ladder.top() as f32));
    let mut points: Vec<usize> = (0..DEFAULT_STEPS)
        .filter_map(|step| {
            let wanted = least + (most - least) * step as f32 / (DEFAULT_STEPS - 1) as f32;
            let far = |joules: f32| (joules - wanted).abs();
            rungs.iter().min_by(|a, b| far(a.joules).total_cmp(&far(b.joules))).map(|rung| rung.point)
        })
        .collect();
    points.dedup();
    let count = points.len();
    let rows: Vec<SocStep> =
        (0..count).rev().map(|step| SocStep::new(step as f32 / count as f32, points[step])).collect();
    SocSteps::new(&rows, HYSTERESIS).or_input()
}

/// What the table is to be worked out for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub power: &'a PowerModel,
    /// Images that the accuracies come from.
    pub samples: Option<u32>,
    pub battery: Option<&'a Battery>,
    /// Seconds from frame to frame; 0 for a loop without a pause.
    pub period: f32,
    /// Seconds of each stage.
    pub seconds: &'a [f32],
}

/// The steps with accuracy, cost and hours.
pub(super) fn expected(steps: &SocSteps, frontier: &Frontier, setting: Setting<'_>) -> Vec<ExpectedStep> {
    let mut above = 1.0;
    let row = |step: &SocStep| {
        let point = frontier.points().get(step.point)?;
        let joules = point_joules(point, setting.power);
        let seconds = frame_seconds(point, setting.seconds).max(setting.period).max(f32::MIN_POSITIVE);
        let watts = setting.power.resting_watts() + joules / seconds;
        let share = std::mem::replace(&mut above, step.from) - step.from;
        let held = setting.battery.map(|battery| share * battery.capacity_mwh() * JOULES_PER_MWH);
        Some(ExpectedStep {
            from: step.from,
            point: step.point,
            thresholds: thresholds(&point.policy),
            accuracy: point.accuracy,
            accuracy_error: setting.samples.map(|samples| point.accuracy_error(samples)),
            joules,
            watts,
            hours: held.map(|held| held / watts / 3600.0),
        })
    };
    steps.rows().iter().filter_map(row).collect()
}

/// Seconds that a frame takes on average.
fn frame_seconds(point: &OperatingPoint, stages: &[f32]) -> f32 {
    let until = |exit: usize| stages.iter().take(exit + 1).sum::<f32>();
    point.shares.iter().enumerate().map(|(exit, share)| share * until(exit)).sum()
}

/// The thresholds of a policy, exit by exit.
fn thresholds(policy: &ExitPolicy) -> String {
    let rule = |rule: &ExitRule| match rule {
        ExitRule::Skip => "-".to_owned(),
        ExitRule::Leave(threshold) => format!("{threshold:.2}"),
        ExitRule::Ask => "asked".to_owned(),
        ExitRule::Unless { class, confidence } => format!("unless class {class} {confidence:.2}"),
    };
    policy.rules().iter().map(rule).collect::<Vec<_>>().join(" ")
}

/// The table for people.
pub(super) fn render(rows: &[ExpectedStep]) -> String {
    let cells = |row: &ExpectedStep| {
        let error = row.accuracy_error.map_or(String::new(), |error| format!(" ± {:.1}", 100.0 * error));
        vec![
            table::percent(row.from.into()),
            row.point.to_string(),
            row.thresholds.clone(),
            format!("{}{error}", table::percent(row.accuracy.into())),
            format!("{:.2} mJ", 1e3 * row.joules),
            format!("{:.2} W", row.watts),
            row.hours.map_or("-".to_owned(), time),
        ]
    };
    let header = ["steps from", "point", "thresholds", "expected accuracy", "a frame adds", "board", "lasts"];
    let mut text = table::render(&header, &rows.iter().map(cells).collect::<Vec<_>>());
    if let Some(hours) = rows.iter().map(|row| row.hours).sum::<Option<f32>>().filter(|_| !rows.is_empty()) {
        text += &format!("in all {} by the nameplate capacity\n", time(hours));
    }
    text
}

/// Hours, or seconds where they are few.
fn time(hours: f32) -> String {
    if hours < 0.1 { format!("{:.1} s", 3600.0 * hours) } else { format!("{hours:.1} h") }
}

#[cfg(test)]
mod tests {
    use dyn_perceiver::energy::JoulesSource;
    use dyn_perceiver::exit::{CostUnit, Measure};

    use super::*;

    fn frontier() -> Frontier {
        let point = |&(onwards, accuracy): &(f32, f32)| {
            let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[onwards]).unwrap();
            OperatingPoint::new(policy, accuracy, 1.0 + 9.0 * onwards, &[1.0 - onwards, onwards]).unwrap()
        };
        let points = [(0.0, 0.80), (0.25, 0.90), (0.5, 0.93), (1.0, 0.95)];
        Frontier::new(CostUnit::Macs, &points.iter().map(point).collect::<Vec<_>>()).unwrap()
    }

    fn power() -> PowerModel {
        PowerModel::new(0.5, &[1.0, 9.0], JoulesSource::Measured).unwrap()
    }

    fn rows(steps: &SocSteps) -> Vec<(f32, usize)> {
        steps.rows().iter().map(|row| (row.from, row.point)).collect()
    }

    #[test]
    fn a_table_says_what_runs_below_each_level() {
        let steps = parse("80:0.93,50%:90%, 20:cheapest").unwrap().over(&frontier()).unwrap();
        assert_eq!(rows(&steps), [(0.8, 3), (0.5, 2), (0.2, 1), (0.0, 0)]);
        let steps = parse("30:best").unwrap().over(&frontier()).unwrap();
        assert_eq!(rows(&steps), [(0.3, 3), (0.0, 3)]);
        assert!(parse("80:0.99").unwrap().over(&frontier()).is_err(), "no point is so accurate");
    }

    #[test]
    fn wrong_tables_are_refused() {
        for text in ["", "80", "80:", "50:0.9,80:best", "50:best,50:best", "0:best", "100:best", "80:93", "x:best"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let nine = (1..9).rev().map(|level| format!("{level}0:best")).collect::<Vec<_>>().join(",");
        assert!(parse(&nine).unwrap_err().contains("at most 7"));
    }

    #[test]
    fn the_table_by_default_is_of_calibrated_points() {
        let steps = calibrated(&frontier(), &power()).unwrap();
        assert_eq!(rows(&steps), [(0.75, 3), (0.5, 2), (0.25, 1), (0.0, 0)]);
    }

    #[test]
    fn what_is_expected_follows_from_power_and_period() {
        let (frontier, power) = (frontier(), power());
        let steps = parse("50:cheapest").unwrap().over(&frontier).unwrap();
        let battery = Battery::new(1000.0);
        let setting =
            Setting { power: &power, samples: Some(1900), battery: Some(&battery), period: 10.0, seconds: &[0.1, 0.9] };
        let rows = expected(&steps, &frontier, setting);
        // 0.5 W of idling and 1 or 10 J every ten seconds, out of half a watt-hour each.
        assert_eq!(rows.iter().map(|row| row.watts).collect::<Vec<_>>(), [1.5, 0.6]);
        assert!((rows[0].hours.unwrap() - 0.5 / 1.5).abs() < 1e-6 && (rows[1].hours.unwrap() - 0.5 / 0.6).abs() < 1e-6);
        assert!((rows[0].accuracy_error.unwrap() - 0.005).abs() < 1e-4);
        assert!(render(&rows).contains("in all 1.2 h"), "{}", render(&rows));
        let unknown = expected(&steps, &frontier, Setting { battery: None, period: 0.0, samples: None, ..setting });
        assert!(unknown.iter().all(|row| row.hours.is_none() && row.accuracy_error.is_none()));
        // Without a pause the next frame begins when the one before is done.
        assert_eq!(unknown.iter().map(|row| row.watts).collect::<Vec<_>>(), [10.5, 10.5]);
    }
}
