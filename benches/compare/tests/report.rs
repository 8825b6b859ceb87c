//! `compare report` from results to what is read. Golden files: `INSTA_UPDATE=always cargo test -p compare` renews them.

mod program;
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};

use program::{json, name, prints, refuses};
use synthetic::result::{Device, End, Machine, Record, Task};
use synthetic::{DAY, Group, OURS};
use tempfile::TempDir;

/// A folder with the records in `results.jsonl`.
fn results(records: &[Record]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.jsonl");
    synthetic::write(&path, records);
    (folder, path)
}

fn report(records: &[Record]) -> (String, String) {
    let (folder, path) = results(records);
    let output = folder.path().join("report");
    prints(&["report", name(&path), "-o", name(&output)], 0);
    let read = |file: &str| fs::read_to_string(output.join(file)).unwrap();
    (read("report.md"), read("report.html"))
}

fn workstation() -> Machine {
    synthetic::machine("made-up workstation", "x86_64", false)
}

#[test]
fn markdown_is_as_golden() {
    let (markdown, _) = report(&synthetic::several_machines());
    insta::assert_snapshot!("report", markdown);
}

#[test]
fn every_plot_is_a_file_and_inline() {
    let (folder, path) = results(&synthetic::several_machines());
    let output = folder.path().join("report");
    let summary = json(&["report", name(&path), "-o", name(&output), "--json"], 0);
    let written: Vec<&str> = summary["written"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    let plots: Vec<&&str> = written.iter().filter(|path| path.ends_with(".svg")).collect();
    let (markdown, html) = (
        fs::read_to_string(output.join("report.md")).unwrap(),
        fs::read_to_string(output.join("report.html")).unwrap(),
    );
    // Per machine and model: full, 2 of exits, 2 of adaptive (2 numbers of threads), threads, batch, load, 3 frontiers, shares.
    assert_eq!(plots.len(), 2 * 2 * 12);
    assert_eq!(html.matches("<svg ").count(), plots.len());
    for plot in plots {
        let file = Path::new(plot).file_name().unwrap().to_str().unwrap();
        assert!(markdown.contains(&format!("(plots/{file})")), "{file}");
        let svg = fs::read_to_string(plot).unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{file}");
    }
}

#[test]
fn the_page_loads_nothing() {
    let (_, html) = report(&synthetic::several_machines());
    let foreign = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for part in ["http:", "https:", "//", "<script", "src=", "url(", "@import", "<link"] {
        assert!(!foreign.contains(part), "the page holds {part:?}");
    }
    assert!(html.contains("name=\"viewport\"") && html.contains("default-src 'none'"));
}

#[test]
fn names_from_files_stay_text() {
    let hostile = "<img src=x onerror=alert(1)>\"'&|](http://x)`\u{1b}[31m";
    let mut records = vec![Record::Run(synthetic::run("a", synthetic::machine(hostile, hostile, false), DAY))];
    let group =
        Group { run: "a", model: hostile, name: hostile, device: Device::Cpu, threads: 1, batch: 1, noise: 0.01 };
    let random = &mut fastrand::Rng::with_seed(1);
    records.extend(group.times(random, &[(OURS, Task::Full, 0.002), (hostile, Task::Full, 0.001)]));
    let (markdown, html) = report(&records);
    assert!(!html.contains("<img") && !html.contains('\u{1b}') && html.contains("&lt;img"));
    assert!(!markdown.contains("<img src") || markdown.contains("\\<img"), "{markdown}");
    for line in markdown.lines().filter(|line| line.contains("img")) {
        assert!(!line.replace("\\<", "").contains('<') && !line.replace("\\]", "").contains("](http"), "{line}");
    }
}

/// Half as fast shows as twice the time, also where the whole machine wavers.
#[test]
fn a_peer_of_half_the_speed_shows_as_two() {
    let mut records = vec![Record::Run(synthetic::run("a", workstation(), DAY))];
    let group = Group { run: "a", model: "m", name: "full", device: Device::Cpu, threads: 1, batch: 1, noise: 0.05 };
    let series = [(OURS, Task::Full, 0.02), ("onnxruntime", Task::Full, 0.01), ("tract", Task::Full, 0.04)];
    records.extend(group.times(&mut fastrand::Rng::with_seed(1), &series));
    let (folder, path) = results(&records);
    let output = folder.path().join("report");
    let summary = json(&["report", name(&path), "-o", name(&output), "--json"], 0);
    let task = &summary["runs"][0]["tasks"][0];
    assert_eq!(task["fastest_peer"], "onnxruntime");
    let ratio = |index: usize| task["series"][index]["ratio"]["median"].as_f64().unwrap();
    assert_eq!(ratio(0), 1.0);
    assert!((ratio(1) - 2.0).abs() < 0.1 && (ratio(2) - 4.0).abs() < 0.2, "{task}");
    let losses = summary["runs"][0]["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert_eq!(losses[0]["runtime"], "onnxruntime");
}

/// Series that did not take turns have no ratio, and a loss says so.
#[test]
fn only_rounds_side_by_side_are_compared() {
    let mut records = vec![Record::Run(synthetic::run("a", workstation(), DAY))];
    for (name, runtime, seconds) in [("one", OURS, 0.02), ("two", "tract", 0.01)] {
        let group = Group { run: "a", model: "m", name, device: Device::Cpu, threads: 1, batch: 1, noise: 0.01 };
        records.extend(group.times(&mut fastrand::Rng::with_seed(1), &[(runtime, Task::Full, seconds)]));
    }
    let (markdown, _) = report(&records);
    assert!(markdown.contains("not in turns"), "{markdown}");
    let (_folder, path) = results(&records);
    let output = path.with_file_name("report");
    let summary = json(&["report", name(&path), "-o", name(&output), "--json"], 0);
    let ours = &summary["runs"][0]["tasks"][0]["series"][1];
    assert_eq!((&ours["runtime"], ours["ratio"].is_null()), (&OURS.into(), true));
    assert_eq!(summary["runs"][0]["losses"][0]["in_turns"], false);
}

#[test]
fn wrong_outputs_are_refused() {
    let (markdown, html) = report(&synthetic::whole_run("a", workstation(), DAY, 1.0, 0.01, 1));
    assert!(markdown.contains("Left out: results of mnn for tiny on CPU (lines: 1)"), "{markdown}");
    assert!(markdown.lines().all(|line| !line.contains("mnn") || !line.contains(" ms")), "{markdown}");
    assert!(html.contains("refused: wrong outputs"));
}

#[test]
fn machines_are_kept_apart() {
    let (markdown, _) = report(&synthetic::several_machines());
    assert!(markdown.contains("These results are of 4 machines"), "{markdown}");
    assert!(markdown.contains("neither averaged nor compared"), "{markdown}");
    let sections = |name: &str| markdown.matches(&format!("\n## {name}\n")).count();
    assert_eq!((sections("made-up workstation"), sections("made-up board")), (1, 1));
    let (alone, _) = report(&synthetic::whole_run("a", workstation(), DAY, 1.0, 0.01, 1));
    assert!(!alone.contains("machines:"), "{alone}");
}

#[test]
fn emulated_machines_have_instructions_and_no_times() {
    let mut records = synthetic::emulated_run("e", "cortex-a72", DAY, 1.0);
    records.push(Record::End(End { run: "e".into(), took_s: 60.0, others: Some(0.63), throttled: None }));
    let (markdown, html) = report(&records);
    assert!(!markdown.contains("busy machine"), "{markdown}");
    assert!(markdown.contains("This run was emulated.") && markdown.contains("cortex-a72"), "{markdown}");
    assert!(!markdown.contains(" ms") && !markdown.contains("7.77") && !html.contains("<svg"), "{markdown}");
    assert!(markdown.contains("| tiny | early1 alone, staged | dyn-perceiver | qemu |"), "{markdown}");
}

#[test]
fn a_run_on_a_busy_machine_says_so_on_top_and_others_do_not() {
    let mut records = synthetic::whole_run("a", workstation(), DAY, 1.0, 0.01, 1);
    let end = |others| Record::End(End { run: "a".into(), took_s: 60.0, others, throttled: None });
    let row = |markdown: &str| markdown.lines().find(|line| line.starts_with("| other programs |")).map(str::to_owned);
    let (markdown, _) = report(&records);
    assert!(!markdown.contains("busy machine") && row(&markdown).unwrap().contains("not recorded"), "{markdown}");
    records.push(end(Some(0.01)));
    let (markdown, _) = report(&records);
    assert!(!markdown.contains("busy machine"), "{markdown}");
    assert_eq!(row(&markdown).unwrap(), "| other programs | took 1.0 % of the cores' time |");
    records.push(end(Some(0.63)));
    let (markdown, html) = report(&records);
    let line = markdown.lines().position(|line| line.starts_with("Measured on a busy machine:")).unwrap();
    assert!(line < markdown.lines().position(|line| line.starts_with("## ")).unwrap(), "{markdown}");
    assert!(markdown.contains("took 63.0 % of the cores' time. Its times are longer") && html.contains("busy machine"));
}

#[test]
fn our_rows_and_columns_are_marked() {
    let (markdown, html) = report(&synthetic::whole_run("a", workstation(), DAY, 1.0, 0.01, 1));
    assert!(markdown.lines().any(|line| line.starts_with("| **dyn-perceiver** | **")), "{markdown}");
    assert!(markdown.lines().any(|line| line.starts_with("| exit | **dyn-perceiver, staged** |")), "{markdown}");
    assert!(!markdown.contains("**tract") && html.contains("<th scope=\"row\" class=\"ours\">dyn-perceiver</th>"));
}

#[test]
fn a_run_that_measured_nothing_is_explained() {
    let (markdown, _) = report(&[Record::Run(synthetic::run("a", workstation(), DAY))]);
    assert!(markdown.contains("Nothing was timed in this run."), "{markdown}");
}

#[test]
fn what_is_no_result_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let report = |text: &str, parts: &[&str]| {
        fs::write(&path, text).unwrap();
        refuses(&["report", name(&path), "-o", name(&folder.path().join("out"))], parts);
    };
    let line = |record: Record| serde_json::to_string(&record).unwrap();
    let first = line(Record::Run(synthetic::run("a", workstation(), DAY)));
    let group = Group { run: "a", model: "m", name: "full", device: Device::Cpu, threads: 1, batch: 1, noise: 0.0 };
    let time = line(group.times(&mut fastrand::Rng::with_seed(1), &[(OURS, Task::Full, 1.0)]).remove(0));
    report("", &["r.jsonl", "no results in it"]);
    report("\n\n", &["r.jsonl", "no results in it"]);
    report(&format!("{first}\n\nabc\n"), &["r.jsonl, line 3", "no result"]);
    report("{\"kind\":\"time\"}", &["r.jsonl, line 1", "missing field"]);
    report(&first.replace("\"schema\":1", "\"schema\":99"), &["line 1", "version 99"]);
    report(&format!("\n{time}\n"), &["r.jsonl, line 2", "\"a\"", "no line of these files begins"]);
    report(&format!("{first}\n{first}\n"), &["line 2", "line 1", "begins again"]);
    report(&format!("{first}\n{}\n", time.replace("[1.0,", "[-1.0,")), &["line 2", "rounds_s", "-1"]);
    report(&format!("{first}\n{}\n", time.replace("\"batch\":1", "\"batch\":0")), &["line 2", "batch"]);
    refuses(&["report", name(&folder.path().join("none.jsonl"))], &["none.jsonl", "cannot read"]);
    refuses(&["report"], &["RESULTS.jsonl"]);
    assert!(!folder.path().join("out").exists());
}

#[test]
fn files_may_be_given_in_parts() {
    let records = synthetic::several_machines();
    let folder = tempfile::tempdir().unwrap();
    let parts = [folder.path().join("a.jsonl"), folder.path().join("b.jsonl")];
    synthetic::write(&parts[0], &records[..20]);
    synthetic::write(&parts[1], &records[20..]);
    let output = folder.path().join("report");
    prints(&["report", name(&parts[1]), name(&parts[0]), "-o", name(&output)], 0);
    assert!(fs::read_to_string(output.join("report.md")).unwrap().contains("made-up board"));
}
