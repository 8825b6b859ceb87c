//! How times change with threads and with frames per call.

use super::contest::{
    Answer, Contest, Entrant, OURS, device_name, is_our_series, series_name, shares_name, threads_name,
};
use super::document::{Document, Figure, Table};
use super::plot::{Axis, Chart, Line, Mark, Stroke};
use super::styles::Styles;
use super::times::time_and_ratio;
use crate::result::{Device, Task};
use crate::runs::Measured;

/// One chart per model over threads, and a table and a chart over frames per call.
pub(super) fn add(
    document: &mut Document,
    measured: &Measured,
    contests: &[Contest<'_>],
    styles: &Styles,
) -> anyhow::Result<()> {
    document.heading(4, "Scaling with threads and batch");
    document.text(
        "Full network and our adaptive network. Time per frame is a call's time over its frames. Ratios are to the fastest peer \
         with the same threads and batch.",
    );
    let mut any = false;
    for &model in &measured.models() {
        let of_model: Vec<&Contest<'_>> = contests.iter().filter(|contest| contest.goal.model == model).collect();
        let threads = over_threads(model, &of_model, styles);
        let batches = batches(&of_model);
        if threads.is_none() && batches.len() < 2 {
            continue;
        }
        any = true;
        document.heading(5, model);
        if let Some(chart) = threads {
            let caption = format!("{model}, full network, one frame at a time, over threads.");
            document.figure(Figure::new(format!("threads-{model}"), caption, chart.svg()?));
        }
        if batches.len() > 1 {
            let rows = rows(&of_model);
            let (chart, place) = over_batches(model, &batches, &rows, styles);
            let caption = format!("{model}, {place}, over frames per call. Dashed: adaptive. Hollow: on CUDA.");
            document.figure(Figure::new(format!("batch-{model}"), caption, chart.svg()?));
            document.table(batch_table(model, &batches, &rows));
        }
    }
    if !any {
        document.text("Only one number of threads and one batch were timed in this run.");
    }
    Ok(())
}

fn over_threads(model: &str, contests: &[&Contest<'_>], styles: &Styles) -> Option<Chart> {
    let mut found: Vec<&&Contest<'_>> = contests
        .iter()
        .filter(|c| c.goal.answer == Answer::Full && c.goal.batch == 1 && c.goal.device == Device::Cpu)
        .collect();
    found.sort_by_key(|contest| contest.goal.threads);
    if found.len() < 2 {
        return None;
    }
    let mut runtimes: Vec<&str> = found.iter().flat_map(|c| &c.entrants).map(|e| e.time.runtime.as_str()).collect();
    runtimes.sort_by_key(|runtime| (*runtime != OURS, *runtime));
    runtimes.dedup();
    let line = |runtime: &str| Line {
        name: runtime.into(),
        style: styles.of(runtime),
        stroke: Stroke::Solid,
        mark: Mark::Filled,
        points: (found.iter().enumerate())
            .filter_map(|(index, contest)| {
                let entrant = contest.entrants.iter().find(|entrant| entrant.time.runtime == runtime)?;
                Some((index as f64, 1e3 * entrant.frame_s.median))
            })
            .collect(),
    };
    Some(Chart {
        title: format!("{model}: full network over threads"),
        x: Axis::Names("threads".into(), found.iter().map(|contest| contest.goal.threads.to_string()).collect()),
        y: "ms per frame".into(),
        from_zero: true,
        lines: runtimes.into_iter().map(line).collect(),
    })
}

fn batches(contests: &[&Contest<'_>]) -> Vec<usize> {
    let scaled = contests.iter().filter(|contest| !matches!(contest.goal.answer, Answer::Exit(_)));
    let mut batches: Vec<usize> = scaled.map(|contest| contest.goal.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    batches
}

/// One runtime's task on one device with so many threads, over batches.
struct Row<'a> {
    entrants: Vec<Entrant<'a>>,
}

impl Row<'_> {
    fn name(&self) -> String {
        match &self.entrants[0].time.task {
            Task::Adaptive { shares } => format!("{}, adaptive {}", self.entrants[0].time.runtime, shares_name(shares)),
            _ => series_name(self.entrants[0].time),
        }
    }

    fn place(&self) -> (Device, usize) {
        (self.entrants[0].time.device, self.entrants[0].time.threads)
    }

    fn at(&self, batch: usize) -> Option<&Entrant<'_>> {
        self.entrants.iter().find(|entrant| entrant.time.batch == batch)
    }
}

fn rows<'a>(contests: &[&Contest<'a>]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = vec![];
    for contest in contests.iter().filter(|contest| !matches!(contest.goal.answer, Answer::Exit(_))) {
        for entrant in &contest.entrants {
            // A peer's full network also enters adaptive contests, where it is compared with ours.
            let instead = entrant.time.task == Task::Full && contest.goal.answer != Answer::Full;
            if instead {
                continue;
            }
            let same = |row: &Row<'_>| {
                let other = row.entrants[0].time;
                let (a, b) = (other, entrant.time);
                (&a.runtime, &a.task, a.device, a.threads) == (&b.runtime, &b.task, b.device, b.threads)
            };
            match rows.iter().position(same) {
                Some(index) => rows[index].entrants.push(*entrant),
                None => rows.push(Row { entrants: vec![*entrant] }),
            }
        }
    }
    rows.retain(|row| row.entrants.len() > 1);
    rows.sort_by_key(|row| {
        let time = row.entrants[0].time;
        (time.device, time.threads, time.runtime != OURS, time.runtime.clone(), time.task.clone())
    });
    rows
}

fn batch_table(model: &str, batches: &[usize], rows: &[Row<'_>]) -> Table {
    let mut table =
        Table::new(format!("{model}, time per frame over frames per call"), &["series", "device", "#threads"]);
    for batch in batches {
        table.column(format!("batch {batch}"), true);
    }
    for row in rows {
        let (device, threads) = row.place();
        let cells = batches.iter().map(|&batch| row.at(batch).map_or("—".into(), time_and_ratio));
        let head = [row.name(), device_name(device).into(), threads.to_string()];
        table.rows.push(head.into_iter().chain(cells).collect());
    }
    table.mark(is_our_series);
    table
}

/// The chart has the processor with most threads, and CUDA; the table has all.
fn over_batches(model: &str, batches: &[usize], rows: &[Row<'_>], styles: &Styles) -> (Chart, String) {
    let most = rows.iter().map(Row::place).filter(|(device, _)| *device == Device::Cpu).max().unwrap_or_default().1;
    let shown = rows.iter().filter(|row| row.place() == (Device::Cpu, most) || row.place().0 == Device::Cuda);
    let cuda = rows.iter().any(|row| row.place().0 == Device::Cuda);
    let line = |row: &Row<'_>| Line {
        name: if row.place().0 == Device::Cuda { format!("{}, CUDA", row.name()) } else { row.name() },
        style: styles.of(&row.entrants[0].time.runtime),
        stroke: if row.entrants[0].time.task == Task::Full { Stroke::Solid } else { Stroke::Dashed },
        mark: if row.place().0 == Device::Cuda { Mark::Hollow } else { Mark::Filled },
        points: (batches.iter().enumerate())
            .filter_map(|(index, &batch)| Some((index as f64, 1e3 * row.at(batch)?.frame_s.median)))
            .collect(),
    };
    let place = match (most, cuda) {
        (0, _) => "CUDA".to_string(),
        (_, true) => format!("CPU with {}, and CUDA", threads_name(most)),
        (_, false) => threads_name(most),
    };
    let chart = Chart {
        title: format!("{model}: time per frame over batch, {place}"),
        x: Axis::Names("frames per call".into(), batches.iter().map(ToString::to_string).collect()),
        y: "ms per frame".into(),
        from_zero: true,
        lines: shown.map(line).collect(),
    };
    (chart, place)
}
