//! A document as Markdown.

use super::document::{Block, Document, Table};

/// The whole document; plots are linked in the folder `plots`.
pub(crate) fn render(document: &Document, plots: &str) -> String {
    let mut text = String::new();
    let mut files = document.numbered_figures();
    for block in &document.blocks {
        match block {
            Block::Heading(level, heading) => text += &format!("{} {}\n\n", "#".repeat(*level), escape(heading)),
            Block::Text(paragraph) => text += &format!("{}\n\n", escape(paragraph)),
            Block::Table(table) => text += &format!("{}\n", self::table(table)),
            Block::Figure(figure) => {
                let file = files.next().map(|(file, _)| file).unwrap_or_default();
                text += &format!("![{}]({plots}/{file})\n\n", escape(&figure.caption));
            }
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// A table under its caption.
pub(crate) fn table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = if table.caption.is_empty() { String::new() } else { format!("{}\n\n", escape(&table.caption)) };
    // Bold, where there is something to be bold.
    let cell = |text: &str, marked: bool| match escape(text) {
        text if marked && !text.is_empty() => format!("**{text}**"),
        text => text,
    };
    text += &line(table.columns.iter().map(|column| cell(&column.name, column.marked)).collect());
    text += &line(table.columns.iter().map(|column| if column.figures { "---:" } else { "---" }.into()).collect());
    for (index, row) in table.rows.iter().enumerate() {
        let cells = row.iter().enumerate().map(|(column, text)| cell(text, table.is_marked(index, column)));
        text += &line(cells.collect());
    }
    text
}

/// Text that stays text: it may come from a file that somebody sent.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '!' | '#' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_files_stays_text() {
        let mut page = Document::default();
        page.heading(1, "# <b>");
        let mut sheet = Table::new("", &["a|b", "#n"]);
        sheet.rows.push(vec!["x\ny [l](javascript:1) `c`".into(), "1".into()]);
        page.table(sheet);
        let expected =
            concat!("# \\# \\<b\\>\n\n", "| a\\|b | n |\n| --- | ---: |\n| x y \\[l\\](javascript:1) \\`c\\` | 1 |\n",);
        assert_eq!(render(&page, "plots"), expected);
    }
}
