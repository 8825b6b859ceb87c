//! Tables and figures for people.

use dyn_perceiver::exit::CostUnit;

/// Rows of cells in columns as wide as they need to be; the first column is left-aligned, the others right-aligned.
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (column, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            match column {
                0 => text += &format!("{cell:<width$}"),
                _ => text += &format!("  {cell:>width$}"),
            }
        }
        format!("{}\n", text.trim_end())
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

/// A count with a unit prefix: 1.65 M.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} "),
        1_000..1_000_000 => format!("{:.1} k", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.3} G", n as f64 / 1e9),
    }
}

/// Bytes with a unit.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_024 => format!("{n} B"),
        1_024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.2} MiB", n as f64 / 1_048_576.0),
    }
}

/// A cost with its unit.
pub(crate) fn cost(cost: f64, unit: CostUnit) -> String {
    match unit {
        CostUnit::Macs => format!("{}MAC", count(cost.round() as u64)),
        CostUnit::Seconds => format!("{:.3} ms", 1e3 * cost),
        CostUnit::Joules => format!("{:.3} mJ", 1e3 * cost),
    }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
