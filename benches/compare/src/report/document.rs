//! A report's content, whatever it is written as. Texts are plain: each writer escapes them its own way.

use std::collections::BTreeSet;

/// One piece of a page.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    /// A heading: 1 is the page's title.
    Heading(usize, String),
    /// A paragraph.
    Text(String),
    /// Rows and columns.
    Table(Table),
    /// A plot.
    Figure(Figure),
}

/// Rows and columns.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// What it shows, for those who do not see it; also said above it.
    pub caption: String,
    /// Names of the columns.
    pub columns: Vec<Column>,
    /// One cell per column.
    pub rows: Vec<Vec<String>>,
    /// Rows that stand out, by index.
    pub marked: BTreeSet<usize>,
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Its name.
    pub name: String,
    /// Figures, set right.
    pub figures: bool,
    /// It stands out.
    pub marked: bool,
}

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Part of the file's name.
    pub name: String,
    /// What it shows, in a sentence.
    pub caption: String,
    /// The drawing.
    pub svg: String,
}

impl Figure {
    /// A plot with its name and caption.
    pub(crate) fn new(name: impl Into<String>, caption: impl Into<String>, svg: String) -> Self {
        Self { name: name.into(), caption: caption.into(), svg }
    }
}

impl Table {
    /// Without rows. Columns whose name begins with `#` hold figures.
    pub(crate) fn new(caption: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|name| match name.strip_prefix('#') {
            Some(name) => Column { name: name.into(), figures: true, marked: false },
            None => Column { name: (*name).into(), figures: false, marked: false },
        });
        Self { caption: caption.into(), columns: columns.collect(), rows: vec![], marked: BTreeSet::new() }
    }

    /// One more column.
    pub(crate) fn column(&mut self, name: impl Into<String>, figures: bool) {
        self.columns.push(Column { name: name.into(), figures, marked: false });
    }

    /// Marks the rows whose first cell, and the columns whose name, belong to what is looked for.
    pub(crate) fn mark(&mut self, is_wanted: impl Fn(&str) -> bool) {
        let first = |row: &Vec<String>| row.first().is_some_and(|cell| is_wanted(cell));
        self.marked = (0..).zip(&self.rows).filter(|(_, row)| first(row)).map(|(index, _)| index).collect();
        for column in &mut self.columns {
            column.marked = is_wanted(&column.name);
        }
    }

    /// Whether a cell stands out.
    pub(crate) fn is_marked(&self, row: usize, column: usize) -> bool {
        self.marked.contains(&row) || self.columns.get(column).is_some_and(|column| column.marked)
    }
}

/// A page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// From top to bottom.
    pub blocks: Vec<Block>,
}

impl Document {
    /// A heading.
    pub(crate) fn heading(&mut self, level: usize, text: impl Into<String>) {
        self.blocks.push(Block::Heading(level, text.into()));
    }

    /// A paragraph.
    pub(crate) fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Text(text.into()));
    }

    /// A table, unless it has no rows.
    pub(crate) fn table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.blocks.push(Block::Table(table));
        }
    }

    /// A plot.
    pub(crate) fn figure(&mut self, figure: Figure) {
        self.blocks.push(Block::Figure(figure));
    }

    /// Plots one after another: a wide page sets them side by side.
    pub(crate) fn figures(&mut self, figures: Vec<Figure>) {
        self.blocks.extend(figures.into_iter().map(Block::Figure));
    }

    /// The plots, each with the name of its file: numbered, since names come from result files and need not differ.
    pub(crate) fn numbered_figures(&self) -> impl Iterator<Item = (String, &Figure)> {
        let figures = self.blocks.iter().filter_map(|block| match block {
            Block::Figure(figure) => Some(figure),
            _ => None,
        });
        figures.enumerate().map(|(index, figure)| (format!("{:02}-{}.svg", index + 1, slug(&figure.name)), figure))
    }
}

/// Letters, digits and single hyphens.
pub(crate) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').into()
}
