//! A document for a terminal: columns as wide as they need to be. Plots are left out.

use super::document::{Block, Document, Table};

/// The whole document.
pub(crate) fn render(document: &Document) -> String {
    let mut text = String::new();
    for block in &document.blocks {
        match block {
            Block::Heading(_, heading) => text += &format!("{heading}\n\n"),
            Block::Text(paragraph) => text += &format!("{paragraph}\n\n"),
            Block::Table(table) => text += &format!("{}\n", self::table(table)),
            Block::Figure(_) => {}
        }
    }
    text.truncate(text.trim_end().len());
    // Names come from files: what they hold is printed, not obeyed by the terminal.
    let visible = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.chars().map(visible).chain(['\n']).collect()
}

fn table(table: &Table) -> String {
    let header: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let rows = || table.rows.iter().map(|row| row.iter().map(String::as_str).collect::<Vec<_>>());
    let mut widths: Vec<usize> = header.iter().map(|name| name.chars().count()).collect();
    for row in rows() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = format!("{}:\n", table.caption);
    for cells in [header].into_iter().chain(rows()) {
        let padded =
            cells.iter().zip(&widths).zip(&table.columns).map(|((cell, &width), column)| match column.figures {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
        text += &format!("  {}\n", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}
