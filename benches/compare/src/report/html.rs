//! A document as one HTML page that loads nothing.

use super::document::{Block, Document, Figure, Table, slug};
use super::plot::{INK, PAPER};

const STYLE: &str = include_str!("style.css");
/// Besides being self-contained the page says so: a browser then refuses whatever a file slipped in.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole page.
pub(super) fn render(document: &Document) -> String {
    let mut body = String::new();
    let mut contents = String::new();
    let mut in_figures = false;
    for (index, block) in document.blocks.iter().enumerate() {
        let is_figure = matches!(block, Block::Figure(_));
        if is_figure != in_figures {
            body += if is_figure { "<div class=\"figures\">\n" } else { "</div>\n" };
            in_figures = is_figure;
        }
        match block {
            Block::Heading(level, text) => {
                let (id, text) = (format!("{}-{index}", slug(text)), escape(text));
                body += &format!("<h{level} id=\"{id}\">{text}</h{level}>\n");
                if (2..=4).contains(level) {
                    contents += &format!("<li class=\"level{level}\"><a href=\"#{id}\">{text}</a></li>\n");
                }
            }
            Block::Text(text) => body += &format!("<p>{}</p>\n", escape(text)),
            Block::Table(table) => body += &self::table(table),
            Block::Figure(figure) => body += &self::figure(figure),
        }
        if index == 0 {
            body += "<!-- contents -->";
        }
    }
    if in_figures {
        body += "</div>\n";
    }
    let title = document.blocks.iter().find_map(|block| match block {
        Block::Heading(_, text) => Some(escape(text)),
        _ => None,
    });
    let contents = format!("<details><summary>Contents</summary><ul>\n{contents}</ul></details>\n");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        title.unwrap_or_default(),
        body.replacen("<!-- contents -->", &contents, 1),
    )
}

fn table(table: &Table) -> String {
    let class = |figures: bool, marked: bool| match (figures, marked) {
        (true, true) => " class=\"figure ours\"",
        (true, false) => " class=\"figure\"",
        (false, true) => " class=\"ours\"",
        (false, false) => "",
    };
    let mut html =
        format!("<div class=\"table\" role=\"region\" tabindex=\"0\" aria-label=\"{}\">\n", escape(&table.caption));
    html += &format!("<table>\n<caption>{}</caption>\n<thead><tr>", escape(&table.caption));
    for column in &table.columns {
        html += &format!("<th scope=\"col\"{}>{}</th>", class(column.figures, column.marked), escape(&column.name));
    }
    html += "</tr></thead>\n<tbody>\n";
    for (number, row) in table.rows.iter().enumerate() {
        html += "<tr>";
        for (index, (cell, column)) in row.iter().zip(&table.columns).enumerate() {
            let marked = table.is_marked(number, index);
            html += &match index {
                0 => format!("<th scope=\"row\"{}>{}</th>", class(false, marked), escape(cell)),
                _ => format!("<td{}>{}</td>", class(column.figures, marked), escape(cell)),
            };
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table>\n</div>\n"
}

/// The drawing takes the page's colours and width: what was ink is the colour of text, and there is no paper.
fn figure(figure: &Figure) -> String {
    let caption = escape(&figure.caption);
    let (_, rest) = figure.svg.split_once("viewBox").unwrap_or_default();
    let svg = format!("<svg role=\"img\" aria-label=\"{caption}\" viewBox{rest}");
    let svg = svg.replace(&hex(INK), "\"currentColor\"").replace(&hex(PAPER), "\"none\"");
    format!("<figure>\n{}\n<figcaption>{caption}</figcaption>\n</figure>\n", svg.trim_end())
}

/// A colour as the SVG backend writes it, with the quotes of its attribute.
fn hex(colour: plotters::style::RGBColor) -> String {
    format!("\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2)
}

/// Text that stays text, between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
