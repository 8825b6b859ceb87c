//! Where a plan's time goes, and what rewriting gains, for any model:
//! `MODEL=model.onnx cargo test --release --lib plan::rewrite::profile -- --ignored --nocapture`.
//!
//! The table has the time of each kind of operator (the fastest of five evaluations of each node), before and after
//! rewriting; then whole frames, plain and rewritten in turns, with the median and the least of 41.

use std::collections::BTreeMap;
use std::time::Instant;

use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;
use tract_onnx::prelude::InferenceModelExt;

use super::testing::tensor;

/// Milliseconds and number of nodes of each kind of operator.
fn by_operator(model: &TypedModel, input: &Tensor) -> TractResult<BTreeMap<String, (f64, usize)>> {
    let mut made: HashMap<OutletId, TValue> = HashMap::new();
    let mut table = BTreeMap::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        if node.op_is::<TypedSource>() {
            made.insert(id.into(), input.clone().into_tvalue());
            continue;
        }
        let (mut best, mut outputs) = (f64::INFINITY, tvec!());
        for _ in 0..5 {
            let inputs = node.inputs.iter().map(|i| made[i].clone()).collect();
            let start = Instant::now();
            outputs = node.op.eval(&EvalContext::out_of_plan(), inputs)?;
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
        made.extend(outputs.into_iter().enumerate().map(|(slot, value)| (OutletId::new(id, slot), value)));
        if !node.op_is::<Const>() {
            let entry: &mut (f64, usize) = table.entry(node.op.name().into_owned()).or_default();
            entry.0 += best;
            entry.1 += 1;
        }
    }
    Ok(table)
}

fn print(table: BTreeMap<String, (f64, usize)>) {
    let mut rows: Vec<_> = table.into_iter().collect();
    rows.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    println!("| operator | nodes | ms |\n| --- | --- | --- |");
    for (name, (ms, nodes)) in rows {
        println!("| {name} | {nodes} | {ms:.3} |");
    }
}

#[test]
#[ignore = "a measurement, to be run in release on a model"]
fn table() -> TractResult<()> {
    let path = std::env::var("MODEL").context("MODEL names an ONNX file")?;
    let graph = tract_onnx::onnx().model_for_path(path)?.into_typed()?.into_decluttered()?;
    let rewritten = super::rewrite(graph.clone())?.into_optimized()?;
    let plain = graph.into_optimized()?;
    let input = tensor(1, plain.input_fact(0)?.shape.as_concrete().context("a concrete input shape")?);
    for model in [&plain, &rewritten] {
        print(by_operator(model, &input)?);
    }
    let plans = [plain.into_runnable()?, rewritten.into_runnable()?];
    let mut times = [vec![], vec![]];
    for _ in 0..41 {
        for (plan, times) in plans.iter().zip(&mut times) {
            let start = Instant::now();
            plan.run(tvec!(input.clone().into_tvalue()))?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (name, times) in ["plain", "rewritten"].iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("{name}: median {:.2} ms, least {:.2} ms", times[times.len() / 2], times[0]);
    }
    Ok(())
}
