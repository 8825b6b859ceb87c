//! The governor and its competitors in a world that shares neither code nor curves with it, as a table in Markdown.
//!
//! `cargo run --release -p dyn-perceiver-calibrate --example energy_world [-- MISSIONS [ROWS...]]`

use dyn_perceiver_calibrate::world::{Network, WorldTable};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let missions: u64 = arguments.next().map_or(Ok(100), |count| count.parse())?;
    let only: Vec<String> = arguments.collect();
    let network = Network::Even;
    print!("{}", WorldTable::play(network, 1000..1000 + missions, &only)?);
    Ok(())
}
