//! The comparison itself, with runtimes that are known to be slow or wrong.

mod program;

use serde_json::Value;

/// Lines of a short comparison with more runtimes, each of which is ours with options. The model is the shipped one, under
/// another name so that no accuracy is measured.
fn compare(peers: &[(&str, &str)]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let (results, cache) = (folder.path().join("results.jsonl"), folder.path().join("cache"));
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/pretrained/fashion-mnist/model.onnx");
    let model = folder.path().join("tiny.onnx");
    std::fs::copy(shipped, &model).unwrap();
    let program = env!("CARGO_BIN_EXE_compare");
    let named = peers.iter().map(|(name, options)| format!("{name}={program} worker dyn-perceiver {options}"));
    let named: Vec<String> = named.flat_map(|peer| ["--peer".to_owned(), peer]).collect();
    let (results_arg, cache_arg) = (results.display().to_string(), cache.display().to_string());
    let names: Vec<&str> = std::iter::once("dyn-perceiver").chain(peers.iter().map(|(name, _)| *name)).collect();
    let runtimes = names.join(",");
    let mut arguments = vec![
        "run",
        "--quick",
        "--no-python",
        "--threads",
        "1",
        "--models",
        program::name(&model),
        "--runtimes",
        &runtimes,
        "--output",
        &results_arg,
        "--cache",
        &cache_arg,
    ];
    arguments.extend(named.iter().map(String::as_str));
    program::prints(&arguments, 0);
    std::fs::read_to_string(results).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(lines: &'a [Value], kind: &str, runtime: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind && line["runtime"] == runtime).collect()
}

/// The median over rounds of one runtime's time over the other's, for the full network beside each other.
fn ratio(lines: &[Value], slow: &str, fast: &str) -> f64 {
    let rounds = |runtime: &str| -> Vec<f64> {
        let times = of(lines, "time", runtime);
        let full = times.iter().find(|line| line["group"] == "full, 1 threads").expect("a timed full network");
        full["rounds_s"].as_array().unwrap().iter().map(|round| round.as_f64().unwrap()).collect()
    };
    let mut ratios: Vec<f64> = rounds(slow).iter().zip(rounds(fast)).map(|(slow, fast)| slow / fast).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

#[test]
fn a_runtime_that_computes_everything_twice_is_twice_as_slow() {
    // By a clock that counts what is computed: that of the wall knows what else the machine does.
    let lines = compare(&[("once", "--counted"), ("twice", "--counted --repeat 2")]);
    assert!((ratio(&lines, "twice", "once") - 2.0).abs() < 1e-9);
}

#[test]
fn a_runtime_with_wrong_outputs_is_refused_before_any_timing() {
    let lines = compare(&[("wrong", "--wrong-by 0.01")]);
    let checks = of(&lines, "check", "wrong");
    assert!(
        !checks.is_empty() && checks.iter().all(|check| check["difference"].as_f64() > check["tolerance"].as_f64())
    );
    assert!(of(&lines, "time", "wrong").is_empty());
    assert!(!of(&lines, "time", "dyn-perceiver").is_empty());
}
