//! Full network, each exit alone, and adaptive inference: who takes how long for one frame.

use super::contest::{
    Answer, Contest, Entrant, OURS, answer_name, device_name, is_our_series, series_name, shares_name, threads_name,
};
use super::document::{Document, Figure, Table};
use super::environment::reason;
use super::plot::{Axis, Bar, Bars, Chart, Line, Mark, Panel, Stroke};
use super::styles::Styles;
use super::units::{ratio, ratio_spread, seconds, seconds_spread};
use crate::result::{Device, How, Task};
use crate::runs::Measured;

/// What stands where a runtime did not take part: never a number.
const NONE: &str = "—";

/// Every runtime's full network, one frame at a time.
pub(super) fn full(
    document: &mut Document,
    measured: &Measured,
    contests: &[Contest<'_>],
    styles: &Styles,
) -> anyhow::Result<()> {
    document.heading(4, "Full network");
    document.text(
        "One frame at a time through the whole network: median of the rounds, and quartiles. Ratios are to the fastest peer, the \
         fastest runtime that is not dyn-perceiver in any form, round against round; below 1 is faster than any peer.",
    );
    let mut plots = vec![];
    for &model in &measured.models() {
        let full = |device| at_once(contests, model, device).filter(|contest| contest.goal.answer == Answer::Full);
        let mut cpu: Vec<&Contest<'_>> = full(Device::Cpu).collect();
        cpu.sort_by_key(|contest| contest.goal.threads);
        let cuda: Vec<&Contest<'_>> = full(Device::Cuda).collect();
        if cpu.is_empty() && cuda.is_empty() {
            continue;
        }
        document.heading(5, model);
        document.table(full_table(measured, model, &cpu, &cuda));
        let all: Vec<(String, &Contest<'_>)> = (cpu.iter().map(|c| (threads_name(c.goal.threads), *c)))
            .chain(cuda.iter().map(|c| ("CUDA".to_string(), *c)))
            .collect();
        let bars = bars(format!("{model}: full network, one frame"), &all, styles);
        plots.push(Figure::new(
            format!("full-{model}"),
            format!("{model}, full network: whiskers are quartiles."),
            bars.svg()?,
        ));
    }
    document.figures(plots);
    Ok(())
}

/// Contests of single frames.
fn at_once<'a, 'b>(contests: &'a [Contest<'b>], model: &str, device: Device) -> impl Iterator<Item = &'a Contest<'b>> {
    contests.iter().filter(move |c| c.goal.model == model && c.goal.device == device && c.goal.batch == 1)
}

fn full_table(measured: &Measured, model: &str, cpu: &[&Contest<'_>], cuda: &[&Contest<'_>]) -> Table {
    let mut table = Table::new(format!("{model}, full network"), &["runtime"]);
    for contest in cpu {
        table.column(format!("{}, time", threads_name(contest.goal.threads)), true);
        table.column("to the fastest peer", true);
    }
    table.column("CUDA", false);
    let mut runtimes: Vec<&str> = vec![];
    let entered =
        cpu.iter().chain(cuda).flat_map(|contest| &contest.entrants).map(|entrant| entrant.time.runtime.as_str());
    let missing =
        measured.absent.iter().filter(|a| a.model.as_deref().is_none_or(|only| only == model)).map(|a| &*a.runtime);
    for runtime in entered.chain(missing) {
        if !runtimes.contains(&runtime) {
            runtimes.push(runtime);
        }
    }
    for runtime in runtimes {
        let mut row = vec![runtime.to_string()];
        for contest in cpu {
            match of(contest, runtime) {
                Some(entrant) => row.extend([
                    seconds_spread(entrant.frame_s),
                    entrant.ratio.map_or("not in turns".into(), ratio_spread),
                ]),
                None => {
                    let absent = reason(measured, runtime, model, Device::Cpu).is_some();
                    row.extend([if absent { "absent" } else { NONE }.into(), NONE.into()]);
                }
            }
        }
        row.push(match cuda.iter().find_map(|contest| of(contest, runtime)) {
            Some(entrant) => time_and_ratio(&entrant),
            None => match (reason(measured, runtime, model, Device::Cuda), &measured.run.machine.gpu) {
                (Some(reason), _) => reason.into(),
                (None, _) if reason(measured, runtime, model, Device::Cpu).is_some() => "absent".into(),
                (None, None) => "not measured: no NVIDIA GPU was found".into(),
                (None, Some(_)) => "not measured".into(),
            },
        });
        table.rows.push(row);
    }
    table.mark(is_our_series);
    table
}

fn of<'a>(contest: &Contest<'a>, runtime: &str) -> Option<Entrant<'a>> {
    contest.entrants.iter().find(|entrant| entrant.time.runtime == runtime).copied()
}

/// Median time, and median ratio where there is one.
pub(super) fn time_and_ratio(entrant: &Entrant<'_>) -> String {
    let time = seconds(entrant.frame_s.median);
    entrant.ratio.map_or(time.clone(), |r| format!("{time}, {}", ratio(r.median)))
}

fn bars(title: String, panels: &[(String, &Contest<'_>)], styles: &Styles) -> Bars {
    let longest = |contest: &Contest<'_>| contest.entrants.iter().map(|e| 1e3 * e.frame_s.q3).fold(0.0, f64::max);
    let end = panels.iter().map(|(_, contest)| longest(contest)).fold(0.0, f64::max);
    let bar = |entrant: &Entrant<'_>, adaptive: bool| Bar {
        name: match &entrant.time.task {
            Task::Full if adaptive => format!("{}, full", entrant.time.runtime),
            _ => series_name(entrant.time),
        },
        parts: vec![(1e3 * entrant.frame_s.median, styles.of(&entrant.time.runtime))],
        whiskers: Some((1e3 * entrant.frame_s.q1, 1e3 * entrant.frame_s.q3)),
        value: time_and_ratio(entrant),
        inside: |_| None,
    };
    let panel = |(title, contest): &(String, &Contest<'_>)| {
        let adaptive = matches!(contest.goal.answer, Answer::Adaptive(_));
        Panel {
            title: title.clone(),
            axis: "ms per frame".into(),
            end: Some(1.04 * end),
            bars: contest.entrants.iter().map(|entrant| bar(entrant, adaptive)).collect(),
        }
    };
    Bars { title, legend: vec![], panels: panels.iter().map(panel).collect() }
}

/// Each exit alone: ours in stages; peers with a model cut at the exit, and with the whole model and one output fetched.
pub(super) fn exits(
    document: &mut Document,
    measured: &Measured,
    contests: &[Contest<'_>],
    styles: &Styles,
) -> anyhow::Result<()> {
    document.heading(4, "Each exit alone");
    document.text(
        "Staged: the runtime stops after the exit. Cut: a second model file that ends at the exit. Fetched: the whole model, of \
         which one output is asked for, as people try first. Median time, and ratio to the fastest peer at that exit.",
    );
    let mut plots = vec![];
    for (model, device, threads) in places(measured, contests, |answer| matches!(answer, Answer::Exit(_))) {
        let mut found: Vec<&Contest<'_>> = at_once(contests, model, device)
            .filter(|c| c.goal.threads == threads && matches!(c.goal.answer, Answer::Exit(_)))
            .collect();
        // Cheapest first, by our own staged time where there is one.
        let cost = |c: &Contest<'_>| c.ours().or(c.entrants.first()).map_or(0.0, |entrant| entrant.frame_s.median);
        found.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        let place = format!("{}, {}", device_name(device), threads_name(threads));
        document.heading(5, format!("{model}, {place}"));
        document.table(matrix(format!("{model}, each exit alone, {place}"), "exit", &found, |answer| match answer {
            Answer::Exit(exit) => exit.clone(),
            other => answer_name(other),
        }));
        let chart = exits_chart(format!("{model}: each exit alone, {place}"), &found, styles);
        let caption = format!("{model}, each exit alone, {place}. Dashed: the whole model with one output fetched.");
        plots.push(Figure::new(format!("exits-{model}-{threads}"), caption, chart.svg()?));
    }
    if plots.is_empty() {
        document.text("No exit was timed alone in this run.");
    }
    document.figures(plots);
    Ok(())
}

/// Model, device and threads under which such answers were timed, frame by frame.
fn places<'a>(
    measured: &'a Measured,
    contests: &[Contest<'_>],
    wanted: fn(&Answer) -> bool,
) -> Vec<(&'a str, Device, usize)> {
    let mut places = vec![];
    for model in measured.models() {
        for goal in contests.iter().map(|c| &c.goal).filter(|g| g.model == model && g.batch == 1 && wanted(&g.answer)) {
            if !places.contains(&(model, goal.device, goal.threads)) {
                places.push((model, goal.device, goal.threads));
            }
        }
    }
    places
}

/// One row per contest, one column per series: ours first.
fn matrix(caption: String, what: &str, contests: &[&Contest<'_>], row_name: fn(&Answer) -> String) -> Table {
    let series = series(contests);
    let mut table = Table::new(caption, &[what]);
    for (name, ..) in &series {
        table.column(name.clone(), true);
    }
    for contest in contests {
        let cell = |(name, ..): &(String, _, _)| {
            let entrant = contest.entrants.iter().find(|entrant| column_name(contest, entrant) == *name);
            entrant.map_or(NONE.into(), time_and_ratio)
        };
        table.rows.push([row_name(&contest.goal.answer)].into_iter().chain(series.iter().map(cell)).collect());
    }
    table.mark(is_our_series);
    table
}

fn column_name(contest: &Contest<'_>, entrant: &Entrant<'_>) -> String {
    match (&contest.goal.answer, &entrant.time.task) {
        (Answer::Adaptive(_), Task::Full) => format!("{}, full network", entrant.time.runtime),
        _ => series_name(entrant.time),
    }
}

/// Every series of some contests once: name, runtime, and whether one output of the whole model is fetched.
fn series(contests: &[&Contest<'_>]) -> Vec<(String, String, bool)> {
    let mut series: Vec<(String, String, bool)> = vec![];
    for contest in contests {
        for entrant in &contest.entrants {
            let name = column_name(contest, entrant);
            if !series.iter().any(|(other, ..)| *other == name) {
                let fetched = matches!(&entrant.time.task, Task::Exit { how: How::Fetch, .. });
                series.push((name, entrant.time.runtime.clone(), fetched));
            }
        }
    }
    series.sort_by_key(|(name, runtime, _)| (runtime != OURS, name.clone()));
    series
}

fn exits_chart(title: String, contests: &[&Contest<'_>], styles: &Styles) -> Chart {
    let line = |(name, runtime, fetched): &(String, String, bool)| Line {
        name: name.clone(),
        style: styles.of(runtime),
        stroke: if *fetched { Stroke::Dashed } else { Stroke::Solid },
        mark: if *fetched { Mark::Hollow } else { Mark::Filled },
        points: (contests.iter().enumerate())
            .filter_map(|(index, contest)| {
                let entrant = contest.entrants.iter().find(|entrant| column_name(contest, entrant) == *name)?;
                Some((index as f64, 1e3 * entrant.frame_s.median))
            })
            .collect(),
    };
    let names = contests.iter().map(|contest| match &contest.goal.answer {
        Answer::Exit(exit) => exit.clone(),
        other => answer_name(other),
    });
    Chart {
        title,
        x: Axis::Names("exit, cheapest first".into(), names.collect()),
        y: "ms per frame".into(),
        from_zero: true,
        lines: series(contests).iter().map(line).collect(),
    }
}

/// Frames that leave at fixed shares, beside what peers do with the same frames.
pub(super) fn adaptive(
    document: &mut Document,
    measured: &Measured,
    contests: &[Contest<'_>],
    styles: &Styles,
) -> anyhow::Result<()> {
    document.heading(4, "Adaptive, at fixed shares");
    document.text(
        "Frames leave at the exits in these shares, cheapest exit first. A runtime without early exits runs its full network for \
         every frame instead. Mean time per frame, and ratio to the fastest peer.",
    );
    let mut plots = vec![];
    for (model, device, threads) in places(measured, contests, |answer| matches!(answer, Answer::Adaptive(_))) {
        let found: Vec<&Contest<'_>> = at_once(contests, model, device)
            .filter(|c| c.goal.threads == threads && matches!(c.goal.answer, Answer::Adaptive(_)))
            .collect();
        let place = format!("{}, {}", device_name(device), threads_name(threads));
        let shares = |answer: &Answer| match answer {
            Answer::Adaptive(shares) => shares_name(shares),
            other => answer_name(other),
        };
        document.heading(5, format!("{model}, {place}"));
        document.table(matrix(format!("{model}, adaptive, {place}"), "shares", &found, shares));
        let panels: Vec<(String, &Contest<'_>)> =
            found.iter().map(|contest| (format!("leaving at {}", shares(&contest.goal.answer)), *contest)).collect();
        let bars = bars(format!("{model}: adaptive, {place}"), &panels, styles);
        let caption = format!("{model}, adaptive at fixed shares, {place}: whiskers are quartiles.");
        plots.push(Figure::new(format!("adaptive-{model}-{threads}"), caption, bars.svg()?));
    }
    if plots.is_empty() {
        document.text("Nothing was timed adaptively in this run.");
    }
    document.figures(plots);
    Ok(())
}
