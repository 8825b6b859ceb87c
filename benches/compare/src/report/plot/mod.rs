//! Plots as SVG. Narrow, so that their text stays readable on a phone, where the page shrinks them to its width.

mod bars;
mod lines;

use anyhow::anyhow;
pub(super) use bars::{Bar, Bars, Panel};
pub(super) use lines::{Axis, Chart, Line, Stroke};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width in pixels.
const WIDTH: u32 = 480;
const MARGIN: i32 = 8;
const ROW: i32 = 19;
/// Text and axes. On a page this becomes the page's colour of text, so no data is drawn in it.
pub(super) const INK: RGBColor = RGBColor(26, 26, 26);
/// Behind everything; on a page it is left out.
pub(super) const PAPER: RGBColor = WHITE;
/// plotters divides sizes by 1.24 when it writes SVG: this is 13 pixels.
const SIZE: f64 = 16.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Colours that people with any colour vision can tell apart (Okabe and Ito, 2008), less yellow, which white paper swallows, and
/// black, which dark pages do; grey and brown stand in. Shapes repeat after another number than colours, so that pairs do so late.
const COLOURS: [RGBColor; 8] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(128, 128, 128),
    RGBColor(140, 86, 42),
];
const SHAPES: [Shape; 6] = [Shape::Circle, Shape::Square, Shape::Up, Shape::Diamond, Shape::Down, Shape::Cross];

/// Colour and shape of a series, the same in every plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Style {
    colour: RGBColor,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Circle,
    Square,
    Up,
    Diamond,
    Down,
    Cross,
}

impl Style {
    /// Of the series with this number. The first is ours, whose colour no other has however many there are.
    pub(super) fn of(index: usize) -> Self {
        let colour = index.checked_sub(1).map_or(0, |other| 1 + other % (COLOURS.len() - 1));
        Self { colour: COLOURS[colour], shape: SHAPES[index % SHAPES.len()] }
    }

    /// Text on the colour: what is easier to read. Not quite white, which a page takes for paper.
    fn on(self) -> RGBColor {
        let RGBColor(red, green, blue) = self.colour;
        let luminance = 0.2126 * f64::from(red) + 0.7152 * f64::from(green) + 0.0722 * f64::from(blue);
        if luminance < 105.0 { RGBColor(254, 254, 254) } else { BLACK }
    }
}

/// How a shape is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mark {
    /// Full.
    Filled,
    /// Its outline.
    Hollow,
    /// Full, with a ring around.
    Ringed,
}

/// Draws on an area of this height.
fn paint(height: i32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> anyhow::Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
    let drawn = root.fill(&PAPER).map_err(Into::into).and_then(|()| draw(&root)).and_then(|()| Ok(root.present()?));
    drop(root);
    drawn.map_err(|error: Box<dyn std::error::Error>| anyhow!("drawing: {error}"))?;
    Ok(svg)
}

/// Text at a point.
fn text(area: &Area<'_>, content: &str, at: (i32, i32), pos: Pos, colour: RGBColor) -> Drawn {
    let style = ("sans-serif", SIZE).into_font().color(&colour).pos(pos);
    Ok(area.draw(&Text::new(plain(content), at, style))?)
}

/// A plot's name at its upper edge, over as many lines as it takes; gives the height taken.
fn title_height(title: &str) -> i32 {
    MARGIN + ROW * wrapped(title).len() as i32
}

fn draw_title(area: &Area<'_>, title: &str) -> Drawn {
    for (row, line) in (0..).zip(wrapped(title)) {
        let style = ("sans-serif", SIZE, FontStyle::Bold).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
        area.draw(&Text::new(plain(&line), (MARGIN, MARGIN + row * ROW), style))?;
    }
    Ok(())
}

/// Lines that fit the width in bold.
fn wrapped(title: &str) -> Vec<String> {
    let most = ((WIDTH as i32 - 2 * MARGIN) as f64 / 8.0) as usize;
    let mut lines = vec![String::new()];
    for word in title.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > most {
            lines.push(shortened(word, most));
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last] += &shortened(word, most);
        }
    }
    lines
}

/// Names of series, in rows from left to right.
struct Legend {
    /// Left upper corner of each entry, from the legend's own.
    places: Vec<(i32, i32)>,
    height: i32,
}

/// Width of a legend's sample of a line.
const SAMPLE: i32 = 26;

impl Legend {
    fn lay_out(names: &[String]) -> Self {
        let (mut x, mut y) = (0, 0);
        let mut places = vec![];
        for name in names {
            let width = SAMPLE + 6 + width(&shortened(name, 52)) + 14;
            if x > 0 && x + width > WIDTH as i32 - 2 * MARGIN {
                (x, y) = (0, y + ROW);
            }
            places.push((x, y));
            x += width;
        }
        Self { places, height: if names.is_empty() { 0 } else { y + ROW + 4 } }
    }

    /// Draws the names; `sample` draws the sign before each, given its middle.
    fn draw(&self, area: &Area<'_>, top: i32, names: &[String], sample: impl Fn(usize, (i32, i32)) -> Drawn) -> Drawn {
        for (index, (name, &(x, y))) in names.iter().zip(&self.places).enumerate() {
            let middle = (MARGIN + x + SAMPLE / 2, top + y + ROW / 2);
            sample(index, middle)?;
            let at = (MARGIN + x + SAMPLE + 6, middle.1);
            text(area, &shortened(name, 52), at, Pos::new(HPos::Left, VPos::Center), INK)?;
        }
        Ok(())
    }
}

/// A shape around a point.
fn draw_mark(area: &Area<'_>, (x, y): (i32, i32), Style { colour, shape }: Style, mark: Mark) -> Drawn {
    let line = colour.stroke_width(2);
    if mark == Mark::Ringed {
        area.draw(&Circle::new((x, y), 10, line))?;
    }
    let corners = match shape {
        Shape::Circle => {
            let style = if mark == Mark::Hollow { line } else { colour.filled() };
            return Ok(area.draw(&Circle::new((x, y), 5, style))?);
        }
        Shape::Cross => vec![
            (x - 6, y - 2),
            (x - 2, y - 2),
            (x - 2, y - 6),
            (x + 2, y - 6),
            (x + 2, y - 2),
            (x + 6, y - 2),
            (x + 6, y + 2),
            (x + 2, y + 2),
            (x + 2, y + 6),
            (x - 2, y + 6),
            (x - 2, y + 2),
            (x - 6, y + 2),
        ],
        Shape::Square => vec![(x - 5, y - 5), (x + 5, y - 5), (x + 5, y + 5), (x - 5, y + 5)],
        Shape::Up => vec![(x - 6, y + 5), (x, y - 6), (x + 6, y + 5)],
        Shape::Down => vec![(x - 6, y - 5), (x, y + 6), (x + 6, y - 5)],
        Shape::Diamond => vec![(x - 6, y), (x, y - 6), (x + 6, y), (x, y + 6)],
    };
    if mark == Mark::Hollow {
        let closed: Vec<(i32, i32)> = corners.iter().chain(&corners[..2]).copied().collect();
        Ok(area.draw(&PathElement::new(closed, line))?)
    } else {
        Ok(area.draw(&Polygon::new(corners, colour))?)
    }
}

/// About how wide a text is: the SVG's reader chooses the font.
fn width(text: &str) -> i32 {
    (7.0 * text.chars().count() as f64).ceil() as i32
}

/// At most so many characters; what is longer loses its middle, since names differ at their ends.
fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.into();
    }
    let (head, tail) = (most / 2, most - most / 2 - 1);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(count - tail)).collect()
}

/// Control characters are no text in XML.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The largest of some values, and a little more; 1 where there are none.
fn span(values: impl Iterator<Item = f64>) -> f64 {
    let largest = values.fold(0.0, f64::max);
    if largest > 0.0 { 1.04 * largest } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_colour_is_no_other_runtimes() {
        assert!((1..40).all(|index| Style::of(index).colour != Style::of(0).colour));
        // As many as the comparison has differ from each other.
        for index in 0..COLOURS.len() {
            assert!((0..index).all(|other| Style::of(other).colour != Style::of(index).colour));
        }
    }
}
