//! `compare gate` over whole files. Golden files: `INSTA_UPDATE=always cargo test -p compare` renews them.

mod program;
mod synthetic;

use std::path::PathBuf;

use program::{json, name, prints, refuses};
use synthetic::result::{Machine, Record, Task};
use synthetic::{DAY, OURS};
use tempfile::TempDir;

/// A folder with a baseline and results.
fn files(baseline: &[Record], results: &[Record]) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (base, now) = (folder.path().join("base.jsonl"), folder.path().join("now.jsonl"));
    synthetic::write(&base, baseline);
    synthetic::write(&now, results);
    (folder, base, now)
}

fn workstation() -> Machine {
    synthetic::machine("made-up workstation", "x86_64", false)
}

fn whole(id: &str, seed: u64) -> Vec<Record> {
    synthetic::whole_run(id, workstation(), DAY, 1.0, 0.01, seed)
}

/// Our full network of one model takes so many times as long; all else is as it was.
fn slower(mut records: Vec<Record>, factor: f64) -> Vec<Record> {
    for record in &mut records {
        if let Record::Time(time) = record
            && (time.runtime == OURS && time.task == Task::Full && time.model == "tiny" && time.threads == 1)
        {
            time.rounds_s.iter_mut().for_each(|round| *round *= factor);
        }
    }
    records
}

fn gate(baseline: &[Record], results: &[Record], code: i32) -> String {
    let (_folder, base, now) = files(baseline, results);
    prints(&["gate", "--baseline", name(&base), name(&now)], code)
}

#[test]
fn output_is_as_golden() {
    let baseline = [whole("base", 1), synthetic::emulated_run("base-e", "cortex-a72", DAY, 1.0)].concat();
    let mut results = slower(whole("now", 2), 1.1);
    // One series gone, one that is new, one without its peers.
    results.retain(|record| !matches!(record, Record::Time(time) if time.runtime == OURS && time.batch == 32));
    results.retain(|record| !matches!(record, Record::Time(time) if time.group == "early1" && time.runtime != OURS));
    for record in &mut results {
        if let Record::Time(time) = record
            && time.threads == 2
            && time.group == "adaptive"
        {
            time.threads = 3;
        }
        if let Record::Run(run) = record {
            run.versions.insert("onnxruntime".into(), "1.2.4".into());
        }
    }
    results.extend(synthetic::emulated_run("now-e", "cortex-a72", DAY, 1.025));
    insta::assert_snapshot!("gate", gate(&baseline, &results, 1));
}

#[test]
fn noise_alone_passes() {
    for seed in 10..30 {
        let printed = gate(&whole("base", seed), &whole("now", seed + 100), 0);
        assert!(printed.contains(" 0 worse, 0 better"), "seed {seed}: {printed}");
    }
}

#[test]
fn ten_per_cent_closes_the_gate() {
    let (_folder, base, now) = files(&whole("base", 1), &slower(whole("now", 2), 1.1));
    let found = json(&["gate", "--baseline", name(&base), name(&now), "--json"], 1);
    let worse: Vec<_> = found["series"].as_array().unwrap().iter().filter(|s| s["verdict"] == "worse").collect();
    // Three batches.
    assert_eq!(worse.len(), 3, "{worse:?}");
    for series in worse {
        assert_eq!(
            (&series["model"], &series["task"], &series["yardstick"]),
            (&"tiny".into(), &"full".into(), &"onnxruntime".into())
        );
        assert!((series["change"].as_f64().unwrap() - 1.1).abs() < 0.03, "{series}");
    }
    // The other way round nothing is worse.
    let found = json(&["gate", "--baseline", name(&now), name(&base), "--json"], 0);
    assert_eq!(found["series"].as_array().unwrap().iter().filter(|s| s["verdict"] == "better").count(), 3);
}

/// A machine of five times the speed changes no ratio to a peer.
#[test]
fn another_machine_may_be_the_baseline() {
    let board = synthetic::whole_run("base", synthetic::machine("made-up board", "aarch64", false), DAY, 0.2, 0.01, 1);
    let printed = gate(&board, &whole("now", 2), 0);
    assert!(
        printed.contains("made-up workstation is held against a baseline of another machine, made-up board"),
        "{printed}"
    );
    let both =
        [board, synthetic::whole_run("c", synthetic::machine("third", "x86_64", false), DAY, 1.0, 0.01, 3)].concat();
    let (_folder, base, now) = files(&both, &whole("now", 2));
    refuses(&["gate", "--baseline", name(&base), name(&now)], &["made-up workstation", "made-up board, third"]);
}

#[test]
fn without_onnxruntime_tract_serves() {
    let without = |mut records: Vec<Record>| {
        records.retain(|record| !matches!(record, Record::Time(time) if time.runtime == "onnxruntime"));
        records
    };
    let (_folder, base, now) = files(&whole("base", 1), &without(whole("now", 2)));
    let found = json(&["gate", "--baseline", name(&base), name(&now), "--json"], 0);
    assert!(found["series"].as_array().unwrap().iter().all(|series| series["yardstick"] == "tract"));
}

#[test]
fn instructions_may_grow_by_two_per_cent() {
    let counts = |id, factor| synthetic::emulated_run(id, "cortex-a72", DAY, factor);
    assert!(gate(&counts("base", 1.0), &counts("now", 1.025), 1).contains("4 worse"));
    assert!(gate(&counts("base", 1.0), &counts("now", 1.015), 0).contains("4 the same"));
    assert!(gate(&counts("base", 1.0), &counts("now", 0.97), 0).contains("4 better"));
}

/// The newest run of the results counts, whatever the order of lines.
#[test]
fn the_newest_run_counts() {
    let old = slower(whole("old", 2), 1.3);
    let new = synthetic::whole_run("new", workstation(), DAY + 60, 1.0, 0.01, 3);
    gate(&whole("base", 1), &[new, old].concat(), 0);
}

#[test]
fn a_gate_that_compares_nothing_does_not_pass() {
    let nothing = [Record::Run(synthetic::run("empty", workstation(), DAY))];
    let (folder, base, now) = files(&nothing, &whole("now", 1));
    refuses(&["gate", "--baseline", name(&base), name(&now)], &["no series of dyn-perceiver in common"]);
    let none = folder.path().join("none.jsonl");
    refuses(&["gate", "--baseline", name(&none), name(&now)], &["none.jsonl"]);
    refuses(&["gate", name(&now)], &["--baseline"]);
}
