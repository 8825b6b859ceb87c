//! Where a frame's time goes, for any model:
//! `MODEL=model.onnx cargo test --release --lib executor::profile -- --ignored --nocapture`.
//!
//! The first table has the time of each step of whole frames on one thread, the median of 41, dearest first; the second
//! the sums by kind of operator.

use std::collections::BTreeMap;
use std::time::Instant;

use super::*;
use crate::model::Model;
use crate::plan::Plan;
use dyn_perceiver_kernels::oracle::values;

const FRAMES: usize = 41;

fn describe(executor: &Executor, step: &Step) -> (String, String, f64) {
    let shapes: Vec<&[usize]> = step.inputs.iter().map(|input| input.shape.as_slice()).collect();
    let kernel = match &step.action {
        Action::Kernel(kernel) => kernel,
        Action::Tract { state } => {
            let op = executor.plans[*state].model().nodes().last().map(|node| node.op.name().into_owned());
            return ("tract".into(), format!("{shapes:?} {} {}", op.unwrap_or_default(), step.name), 0.0);
        }
    };
    let details = format!("{:?} {}", &shapes[..shapes.len().min(2)], kernel.details().join(" "));
    (kernel.name().into(), details, kernel.macs(&shapes).unwrap_or(0) as f64)
}

#[test]
#[ignore = "a measurement, to be run in release on a model"]
fn table() -> TractResult<()> {
    let plan = Plan::new(Model::load(std::env::var("MODEL").context("MODEL names an ONNX file")?)?)?;
    let executor = &plan.executor;
    let (mut memory, mut team) = (Arena::new(executor)?, Team::alone());
    let steps: Vec<&Step> = executor.segments.iter().flatten().collect();
    let mut times = vec![vec![]; steps.len()];
    let image = values(1, plan.info().input.len());
    for _ in 0..FRAMES {
        memory.set(executor, plan.input, &image)?;
        for (step, times) in steps.iter().zip(&mut times) {
            let start = Instant::now();
            memory.run(executor, step, &mut team)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[FRAMES / 2]
    };
    let mut rows: Vec<_> =
        steps.iter().zip(&mut times).map(|(step, times)| (median(times), describe(executor, step))).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("| ms | GFLOP/s | operator | sizes |\n| --- | --- | --- | --- |");
    let mut kinds: BTreeMap<&str, (f64, f64, usize)> = BTreeMap::new();
    for (ms, (kind, details, macs)) in &rows {
        println!("| {ms:.3} | {:.1} | {kind} | {details} |", 2e-6 * macs / ms);
        let sum = kinds.entry(kind).or_default();
        *sum = (sum.0 + ms, sum.1 + macs, sum.2 + 1);
    }
    println!("\n| ms | GFLOP/s | steps | operator |\n| --- | --- | --- | --- |");
    for (kind, (ms, macs, steps)) in kinds {
        println!("| {ms:.3} | {:.1} | {steps} | {kind} |", 2e-6 * macs / ms);
    }
    println!("all: {:.2} ms", rows.iter().map(|row| row.0).sum::<f64>());
    Ok(())
}
