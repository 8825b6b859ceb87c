//! Loading, the first result, memory and bytes on disk.

use super::contest::is_our_series;
use super::document::{Document, Figure, Table};
use super::plot::{Bar, Bars, Panel, Style};
use super::units::{bytes, seconds};
use crate::result::Load;
use crate::runs::Measured;

const MIB: f64 = 1_048_576.0;

/// A table and a plot per model.
pub(super) fn add(document: &mut Document, measured: &Measured) -> anyhow::Result<()> {
    document.heading(4, "Loading, memory and size");
    if measured.loads.is_empty() {
        document.text("Loading was not measured in this run.");
        return Ok(());
    }
    document.text(
        "Each in processes of its own. The first result is counted from opening the file. Memory is the most the process held; of \
         it, what it held before it loaded anything is the runtime's own: program, interpreter, libraries.",
    );
    let mut plots = vec![];
    for &model in &measured.models() {
        let loads: Vec<&Load> = measured.loads.iter().filter(|load| load.model == model).collect();
        if loads.is_empty() {
            continue;
        }
        let columns = [
            "runtime",
            "format",
            "#threads",
            "#load",
            "#first result",
            "#peak memory",
            "#before loading",
            "#model on disk",
            "#program on disk",
        ];
        let mut table = Table::new(format!("{model}, loading, memory and size"), &columns);
        for load in &loads {
            table.rows.push(vec![
                load.runtime.clone(),
                load.format.clone(),
                load.threads.to_string(),
                seconds(load.load_s),
                seconds(load.first_result_s),
                bytes(load.peak_rss_bytes),
                bytes(load.base_rss_bytes),
                bytes(load.model_bytes),
                load.program_bytes.map_or("unknown".into(), bytes),
            ]);
        }
        document.heading(5, model);
        let caption = format!("{model}: what loading costs. Bars in two parts end at the sum of both.");
        plots.push(Figure::new(format!("load-{model}"), caption, plot(model, &loads).svg()?));
        table.mark(is_our_series);
        document.table(table);
    }
    document.figures(plots);
    Ok(())
}

fn plot(model: &str, loads: &[&Load]) -> Bars {
    let (first, second) = (Style::of(1), Style::of(4));
    let several_threads = loads.iter().any(|load| load.threads != loads[0].threads);
    let panel = |title: &str, axis: &str, parts: fn(&Load) -> (f64, f64), value: fn(&Load) -> String| Panel {
        title: title.into(),
        axis: axis.into(),
        end: None,
        bars: (loads.iter())
            .map(|load| {
                let (one, two) = parts(load);
                let name = format!("{} ({})", load.runtime, load.format);
                Bar {
                    name: if several_threads { format!("{name}, {}", load.threads) } else { name },
                    parts: vec![(one, first), (two.max(0.0), second)],
                    whiskers: None,
                    value: value(load),
                    inside: |_| None,
                }
            })
            .collect(),
    };
    Bars {
        title: format!("{model}: loading, memory and size"),
        legend: vec![("loading; before loading; model".into(), first), ("first frame; since; program".into(), second)],
        panels: vec![
            panel(
                "from file to first result: loading and first frame",
                "ms",
                |load| (1e3 * load.load_s, 1e3 * (load.first_result_s - load.load_s)),
                |load| seconds(load.first_result_s.max(load.load_s)),
            ),
            panel(
                "most memory: before loading and since",
                "MiB",
                |load| {
                    (
                        load.base_rss_bytes as f64 / MIB,
                        load.peak_rss_bytes.saturating_sub(load.base_rss_bytes) as f64 / MIB,
                    )
                },
                |load| bytes(load.peak_rss_bytes.max(load.base_rss_bytes)),
            ),
            panel(
                "on disk: model and program",
                "MiB",
                |load| (load.model_bytes as f64 / MIB, load.program_bytes.unwrap_or(0) as f64 / MIB),
                |load| match load.program_bytes {
                    Some(program) => bytes(load.model_bytes + program),
                    None => format!("{}, program unknown", bytes(load.model_bytes)),
                },
            ),
        ],
    }
}
