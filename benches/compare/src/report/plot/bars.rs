//! Horizontal bars: one beneath the other, in parts where they have any.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    Drawn, INK, Legend, MARGIN, ROW, SAMPLE, Style, WIDTH, draw_title, paint, plain, shortened, span, text,
    title_height, width,
};

/// Pixels from bar to bar.
const PITCH: i32 = 25;
const THICK: i32 = 17;
/// Beneath a panel: figures and the axis' name.
const AXIS: i32 = 44;

/// A plot of bars.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// Name of the plot.
    pub title: String,
    /// Names of the parts, where bars have several.
    pub legend: Vec<(String, Style)>,
    /// One above the other.
    pub panels: Vec<Panel>,
}

/// Bars on one axis.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// What is the same for all of its bars.
    pub title: String,
    /// Name and unit of the axis.
    pub axis: String,
    /// End of the axis; where the longest bar ends if none.
    pub end: Option<f64>,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Before the bar.
    pub name: String,
    /// Its parts.
    pub parts: Vec<(f64, Style)>,
    /// Quartiles, drawn as whiskers.
    pub whiskers: Option<(f64, f64)>,
    /// Behind the bar.
    pub value: String,
    /// Written into parts that are wide enough.
    pub inside: fn(f64) -> Option<String>,
}

impl Bar {
    fn end(&self) -> f64 {
        let parts: f64 = self.parts.iter().map(|(value, _)| value).sum();
        self.whiskers.map_or(parts, |(_, high)| parts.max(high))
    }
}

impl Bars {
    /// As SVG.
    ///
    /// # Errors
    /// When plotters cannot draw, which has not been seen.
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        let names: Vec<String> = self.legend.iter().map(|(name, _)| name.clone()).collect();
        let legend = Legend::lay_out(&names);
        let top = title_height(&self.title) + legend.height;
        let heights: Vec<i32> = self.panels.iter().map(Panel::height).collect();
        paint(top + heights.iter().sum::<i32>() + MARGIN, |area| {
            draw_title(area, &self.title)?;
            legend.draw(area, title_height(&self.title), &names, |index, (x, y)| {
                let fill = self.legend[index].1.colour.filled();
                Ok(area.draw(&Rectangle::new([(x - SAMPLE / 2 + 6, y - 6), (x + SAMPLE / 2, y + 6)], fill))?)
            })?;
            let longest = |of: fn(&Bar) -> &str| {
                let bars = self.panels.iter().flat_map(|panel| &panel.bars);
                bars.map(|bar| width(&shortened(of(bar), 24))).max().unwrap_or(0)
            };
            let (left, right) = (longest(|bar| &bar.name) + 12, longest(|bar| &bar.value) + 10);
            let mut y = top;
            for (panel, height) in self.panels.iter().zip(heights) {
                let shape = (area.clone()).shrink((0, y), (WIDTH, height as u32));
                panel.draw(&shape, left.max(40), right)?;
                y += height;
            }
            Ok(())
        })
    }
}

impl Panel {
    fn title_height(&self) -> i32 {
        if self.title.is_empty() { 4 } else { ROW + 6 }
    }

    fn height(&self) -> i32 {
        self.title_height() + PITCH * self.bars.len() as i32 + AXIS
    }

    fn draw(&self, area: &super::Area<'_>, left: i32, right: i32) -> Drawn {
        if !self.title.is_empty() {
            text(area, &self.title, (left, 4), Pos::new(HPos::Left, VPos::Top), INK)?;
        }
        let end = self.end.unwrap_or_else(|| span(self.bars.iter().map(Bar::end)));
        let mut chart = ChartBuilder::on(area)
            .margin_top(self.title_height())
            .margin_right(right)
            .margin_bottom(2)
            .x_label_area_size(AXIS - 2)
            .y_label_area_size(left)
            .build_cartesian_2d(0.0..end, 0.0..self.bars.len() as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_labels(5)
            .x_label_formatter(&|value| format!("{}", (value * 1e6).round() / 1e6))
            .x_desc(plain(&self.axis))
            .axis_style(INK)
            .axis_desc_style(("sans-serif", super::SIZE, &INK))
            .label_style(("sans-serif", super::SIZE, &INK))
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .draw()?;
        for (index, bar) in self.bars.iter().enumerate() {
            let pixel = |value: f64| area_x(&chart, area, value, self.bars.len() as f64 - 0.5 - index as f64);
            let mut from = 0.0;
            for &(value, style) in &bar.parts {
                let ((x0, y), (x1, _)) = (pixel(from), pixel(from + value));
                let corners = [(x0, y - THICK / 2), (x1, y + THICK / 2)];
                area.draw(&Rectangle::new(corners, style.colour.filled()))?;
                let inside = (bar.inside)(value).filter(|inside| x1 - x0 > width(inside) + 4);
                if let Some(inside) = inside {
                    text(area, &inside, ((x0 + x1) / 2, y), Pos::new(HPos::Center, VPos::Center), style.on())?;
                }
                from += value;
            }
            let (mut x, y) = pixel(from);
            if let Some((low, high)) = bar.whiskers {
                let (low, high) = (pixel(low).0, pixel(high).0);
                x = x.max(high);
                for path in [[(low, y), (high, y)], [(low, y - 4), (low, y + 4)], [(high, y - 4), (high, y + 4)]] {
                    area.draw(&PathElement::new(path, INK.stroke_width(1)))?;
                }
            }
            text(area, &bar.value, (x + 6, y), Pos::new(HPos::Left, VPos::Center), INK)?;
            text(area, &shortened(&bar.name, 24), (left - 6, y), Pos::new(HPos::Right, VPos::Center), INK)?;
        }
        Ok(())
    }
}

type Grid<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// Where a value lies on an area: the chart knows its place on the whole drawing only.
fn area_x(chart: &Grid<'_, '_>, area: &super::Area<'_>, x: f64, y: f64) -> (i32, i32) {
    let (x, y) = chart.backend_coord(&(x, y));
    let (left, top) = area.get_base_pixel();
    (x - left, y - top)
}
