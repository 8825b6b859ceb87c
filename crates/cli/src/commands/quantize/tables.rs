//! The layers and exits of a quantised model as tables.

use dyn_perceiver::quantise::{Chosen, Layer, Verdict};

use crate::output::{table, text};

pub(super) fn layers_table(layers: &[Layer], verdicts: &[Verdict]) -> String {
    let row = |(layer, verdict): (&Layer, &Verdict)| {
        let decibels = -10.0 * layer.error.max(1e-12).log10();
        vec![
            text::name(&layer.name).into_owned(),
            format!("{}x{}x{}", layer.rows, layer.reduction, layer.columns),
            layer.range.map_or("-".to_owned(), |range| range.method.to_string()),
            format!("{decibels:.1} dB"),
            format!("{:.1} us", 1e6 * layer.float_time.as_secs_f64()),
            format!("{:.1} us", 1e6 * layer.int8_time.as_secs_f64()),
            verdict.name().to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = layers.iter().zip(verdicts).map(row).collect();
    table::render(&["layer", "size", "range", "signal to error", "float", "int8", "verdict"], &rows)
}

pub(super) fn exits_table(exits: &[String], chosen: &Chosen) -> String {
    let share = |share: Option<f64>| share.map_or("-".to_owned(), table::percent);
    let rows: Vec<Vec<String>> = exits
        .iter()
        .zip(&chosen.exits)
        .map(|(exit, check)| {
            let name = text::name(exit).into_owned();
            vec![name, share(check.float), share(check.int8), table::percent(check.changed)]
        })
        .collect();
    table::render(&["exit", "right in float", "in int8", "answers changed"], &rows)
}
