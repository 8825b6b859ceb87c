//! The plan in words and tables.

use std::io::Write as _;

use serde::Serialize;

use super::{Advice, Fact, Row};
use crate::output::failure::Failure;
use crate::output::out::Out;
use crate::output::table;

/// All that a plan says.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    pub board: &'a str,
    pub name: &'a str,
    pub model: &'a str,
    pub battery_wh: f32,
    pub solar_wp: f32,
    pub days: f64,
    pub advice: &'a Advice,
    /// Whether threads and clocks of this board were measured.
    pub clocks_measured: bool,
    pub rows: &'a [Row],
    /// Measures without a row, and why.
    pub left_out: &'a [String],
    /// Share of held answers that are not the network's at most, where a gate was measured; null where it was not.
    pub gate_loss: Option<f64>,
    pub facts: &'a [Fact],
}

impl Report<'_> {
    pub(super) fn print(&self, out: &mut Out) -> Result<(), Failure> {
        writeln!(out, "board    {}", self.name)?;
        writeln!(out, "model    {}", self.model)?;
        let sun = if self.solar_wp > 0.0 { format!(" and {} Wp of sun", self.solar_wp) } else { String::new() };
        writeln!(
            out,
            "supply   {} Wh{sun}: {:.3} W on average for {:.1} days\n",
            self.battery_wh, self.advice.allowed_watts, self.days
        )?;
        let cells = |row: &Row| {
            vec![
                row.measure.to_owned(),
                row.period_s.map_or("bursts".to_owned(), seconds),
                format!("{:.3} W", row.watts),
                row.hours.map_or("for ever".to_owned(), hours),
                format!("{:.0}", row.frames_per_day),
                format!("{:.0}", row.right_per_day),
                format!("{:.0}", row.right),
                if row.lasts { "yes" } else { "no" }.to_owned(),
            ]
        };
        let header = [
            "measure",
            "a frame every",
            "board",
            "lasts",
            "frames a day",
            "right a day",
            "right in all",
            "reaches the wish",
        ];
        write!(out, "{}", table::render(&header, &self.rows.iter().map(cells).collect::<Vec<_>>()))?;
        writeln!(out)?;
        for line in self.advice.lines() {
            writeln!(out, "{line}")?;
        }
        for line in self.left_out {
            writeln!(out, "{line}")?;
        }
        if !self.clocks_measured {
            writeln!(
                out,
                "threads and clocks: not measured on this board; `profile --sweep` measures them for --profile"
            )?;
        }
        match self.gate_loss {
            Some(loss) => writeln!(out, "answers that the gate holds count as wrong in {:.1} % more", 100.0 * loss)?,
            None => writeln!(
                out,
                "a frame that the gate holds back counts with the answer of the one before: how often that is wrong, \
                 `gate --json` finds for --gate-report"
            )?,
        }
        writeln!(out)?;
        for Fact { name, value, unit, basis, source } in self.facts {
            writeln!(out, "{name:<20} {:>8} {unit:<5}  {basis}: {source}", figure(*value))?;
        }
        Ok(())
    }
}

impl Advice {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.period_s {
            Some(period) => format!("always on, all measures taken: a frame every {}", seconds(period)),
            None => "always on it does not last, whatever the period".to_owned(),
        }];
        if let Some(events) = self.events_per_day {
            lines.push(match events {
                0.0 => "switched off between bursts it does not last either".to_owned(),
                _ => format!("switched off between bursts: up to {events:.0} events a day"),
            });
        }
        if let Some(pays) = self.off_pays_from_s {
            lines.push(format!("being switched off pays from {} between frames on", seconds(pays)));
        }
        if self.period_s.is_none() {
            lines.push(format!(
                "to be always on it takes a battery of {} Wh, or a panel of {} Wp",
                figure(self.battery_wh),
                figure(self.solar_wp)
            ));
        }
        lines.extend(self.boards.iter().map(|board| {
            let period = board
                .period_s
                .map_or("does not last always on".to_owned(), |p| format!("a frame every {}", seconds(p)));
            let events =
                board.events_per_day.map_or(String::new(), |events| format!(", up to {events:.0} events a day"));
            format!("on a {}: {period} ({:.2} W at least){events}", board.name, board.watts)
        }));
        lines
    }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.995 => format!("{:.0} ms", 1e3 * seconds),
        ..120.0 => format!("{seconds:.1} s"),
        _ => format!("{:.1} min", seconds / 60.0),
    }
}

fn hours(hours: f64) -> String {
    if hours < 72.0 { format!("{hours:.1} h") } else { format!("{:.1} days", hours / 24.0) }
}

/// A number with three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..1e-3 | 1e6.. => format!("{value:.2e}"),
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
