//! The governor and its competitors in a world that shares neither code nor curves with it, as a table in Markdown.
//!
//! `cargo run --release -p dyn-perceiver-calibrate --example energy_world [-- MISSIONS|FROM..TO [ROWS...]]`: the seeds are
//! those from 1000 on, or the given ones, which whoever changes the governor should do; a row is played when its name
//! contains one of ROWS.

use core::ops::Range;

use dyn_perceiver_calibrate::world::{Network, WorldTable};

/// The seed of the first mission in the documentation's table.
const FIRST: u64 = 1000;

fn seeds(text: &str) -> Result<Range<u64>, core::num::ParseIntError> {
    match text.split_once("..") {
        Some((from, to)) => Ok(from.parse()?..to.parse()?),
        None => Ok(FIRST..FIRST + text.parse::<u64>()?),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seeds = seeds(arguments.next().as_deref().unwrap_or("100"))?;
    let only: Vec<String> = arguments.collect();
    print!("{}", WorldTable::play(Network::Even, seeds, &only)?);
    Ok(())
}
