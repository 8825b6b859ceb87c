//! Points, joined or not, over a figure or over names.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    Drawn, INK, Legend, MARGIN, Mark, SAMPLE, SIZE, Style, draw_mark, draw_title, paint, plain, shortened, text,
    title_height,
};

/// Height of the chart with its axes.
const HEIGHT: i32 = 300;
const LEFT: i32 = 62;
const BENEATH: i32 = 46;

/// A plot of points.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Name of the plot.
    pub title: String,
    /// Left to right.
    pub x: Axis,
    /// Name and unit of the axis upwards.
    pub y: String,
    /// Whether the axis upwards begins at 0.
    pub from_zero: bool,
    /// The series.
    pub lines: Vec<Line>,
}

/// The axis to the right.
#[derive(Clone, Debug)]
pub(crate) enum Axis {
    /// Name and unit.
    Figures(String),
    /// Name, and the names of the places 0, 1, 2, …
    Names(String, Vec<String>),
}

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// In the legend.
    pub name: String,
    /// Colour and shape.
    pub style: Style,
    /// How points are joined.
    pub stroke: Stroke,
    /// How shapes are drawn.
    pub mark: Mark,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// How points are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stroke {
    /// By a line.
    Solid,
    /// By dashes.
    Dashed,
    /// Not.
    None,
}

impl Chart {
    /// As SVG.
    ///
    /// # Errors
    /// When plotters cannot draw, which has not been seen.
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        let names: Vec<String> = self.lines.iter().map(|line| line.name.clone()).collect();
        let legend = Legend::lay_out(&names);
        let top = title_height(&self.title) + legend.height;
        paint(top + HEIGHT, |area| {
            draw_title(area, &self.title)?;
            legend.draw(area, title_height(&self.title), &names, |index, (x, y)| {
                let line = &self.lines[index];
                line.path(area, &[(x - SAMPLE / 2, y), (x + SAMPLE / 2, y)])?;
                draw_mark(area, (x, y), line.style, line.mark)
            })?;
            self.draw(area, top)
        })
    }

    fn draw(&self, area: &super::Area<'_>, top: i32) -> Drawn {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (xs, x_name) = match &self.x {
            Axis::Figures(name) => (bounds(points().map(|p| p.0), false), name),
            Axis::Names(name, places) => (-0.5..places.len() as f64 - 0.5, name),
        };
        let ys = bounds(points().map(|p| p.1), self.from_zero);
        let mut chart = ChartBuilder::on(area)
            .margin_top(top + 8)
            .margin_left(MARGIN)
            .margin_right(MARGIN + 8)
            .margin_bottom(2)
            .x_label_area_size(BENEATH)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(xs, ys)?;
        let round = |value: &f64| format!("{}", (value * 1e6).round() / 1e6);
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(plain(x_name))
            .y_desc(plain(&self.y))
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&round)
            .y_label_formatter(&round)
            .axis_style(INK)
            .axis_desc_style(("sans-serif", SIZE, &INK))
            .label_style(("sans-serif", SIZE, &INK))
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15));
        if matches!(self.x, Axis::Names(..)) {
            mesh.disable_x_mesh().x_labels(0);
        }
        mesh.draw()?;
        let pixel = |&(x, y): &(f64, f64)| chart.backend_coord(&(x, y));
        if let Axis::Names(_, places) = &self.x {
            let floor = chart.plotting_area().get_y_range().start;
            let most = (380 / places.len().max(1) / 7).max(3);
            for (index, place) in places.iter().enumerate() {
                let (x, y) = pixel(&(index as f64, floor));
                area.draw(&PathElement::new([(x, y), (x, y + 4)], INK.stroke_width(1)))?;
                text(area, &shortened(place, most), (x, y + 6), Pos::new(HPos::Center, VPos::Top), INK)?;
            }
        }
        for line in &self.lines {
            let path: Vec<(i32, i32)> = line.points.iter().map(pixel).collect();
            line.path(area, &path)?;
            path.iter().try_for_each(|&at| draw_mark(area, at, line.style, line.mark))?;
        }
        Ok(())
    }
}

impl Line {
    fn path(&self, area: &super::Area<'_>, path: &[(i32, i32)]) -> Drawn {
        let style = self.style.colour.stroke_width(2);
        match self.stroke {
            Stroke::Solid => area.draw(&PathElement::new(path.to_vec(), style))?,
            Stroke::Dashed => area.draw(&DashedPathElement::new(path.iter().copied(), 5, 4, style))?,
            Stroke::None => {}
        }
        Ok(())
    }
}

/// From the least to the most, with some room.
fn bounds(values: impl Iterator<Item = f64>, from_zero: bool) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    if from_zero {
        return 0.0..1.06 * high;
    }
    let room = if high > low { 0.08 * (high - low) } else { 0.1 * high.abs().max(1e-3) };
    low - room..high + room
}
