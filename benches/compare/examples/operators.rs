//! Where a frame's time goes, operator by operator, on one thread or several:
//! `cargo run --release -p compare --example operators -- model.onnx [FRAMES [THREADS]]`.
//!
//! The first table has the median time of each operator of whole frames, dearest first; the second the sums by kind.

use std::collections::BTreeMap;
use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;

use dyn_perceiver::runtime::Runtime;
use dyn_perceiver::{LoadOptions, Plan};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: operators model.onnx [FRAMES [THREADS]]")?;
    let frames = arguments.next().map_or(Ok(41), |frames| frames.parse())?;
    let plan = Arc::new(Plan::load(path, &LoadOptions::default())?);
    let image = vec![0.5; plan.info().input.len()];
    let threads = arguments.next().map_or(Ok(NonZeroUsize::MIN), |threads| threads.parse())?;
    let mut times = Runtime::new(plan)?.with_threads(threads)?.operator_times(&image, frames)?;
    times.sort_by_key(|operator| std::cmp::Reverse(operator.time));

    println!("| ms | GMAC/s | operator | shapes |\n| --- | --- | --- | --- |");
    let mut kinds: BTreeMap<&str, (f64, u64, usize)> = BTreeMap::new();
    for operator in &times {
        let ms = 1e3 * operator.time.as_secs_f64();
        let rate = 1e-6 * operator.macs as f64 / ms.max(1e-9);
        println!("| {ms:.3} | {rate:.1} | {} | {:?} |", operator.operator, operator.shapes);
        let sum = kinds.entry(&operator.operator).or_default();
        *sum = (sum.0 + ms, sum.1 + operator.macs, sum.2 + 1);
    }
    println!("\n| ms | GMAC/s | operators | kind |\n| --- | --- | --- | --- |");
    for (kind, (ms, macs, count)) in kinds {
        println!("| {ms:.3} | {:.1} | {count} | {kind} |", 1e-6 * macs as f64 / ms.max(1e-9));
    }
    Ok(())
}
