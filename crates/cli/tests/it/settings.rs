//! The settings file, as a user meets it.

use serde_json::Value;

use crate::cli::Folder;
use crate::models::three_exits;
use crate::program::{json, program, refuses, repository};

fn frames(args: &[&str]) -> Vec<Value> {
    let output = program(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_sets_options_and_the_command_line_comes_first() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2", "exit3"]).bytes());
    let text = format!("model = {model:?}\nsynthetic = 5\nexit = \"exit2\"\nno-compare = true\njson = true\n");
    let file = folder.file("config.toml", text.as_bytes());
    let lines = frames(&["run", "--config", &file]);
    assert_eq!((lines.len(), &lines[0]["exit"]), (6, &"exit2".into()));
    let lines = frames(&["run", "--config", &file, "--exit", "exit3", "--synthetic=2"]);
    assert_eq!((lines.len(), &lines[0]["exit"]), (3, &"exit3".into()));
    // Thresholds stand in place of the exit that the file names.
    let lines = frames(&["run", "--config", &file, "--thresholds", "0,0"]);
    assert_eq!(lines[0]["exit"], "exit1");
    // An option that the command line has wrong is refused as always.
    refuses(&["run", "--config", &file, "--fps", "0"], &["--fps"]);
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_line_and_column() {
    let folder = Folder::new();
    let file = folder.file("config.toml", b"# The camera\nsynthetic = 5\nfsp = 2\n");
    let place = format!("{file}:3:1: unknown key \"fsp\"; the nearest one known is \"fps\"");
    refuses(&["run", "--config", &file], &[&place]);
    refuses(&["config", "check", &file], &[&place]);
    refuses(&["config", "show", &file], &[&place]);
    refuses(&["config", "check", &folder.path("none.toml")], &["none.toml: No such file"]);
    let file = folder.file("rules.toml", b"[[on]]\nrun = [\"notify\", \"{lable}\"]\n");
    refuses(&["config", "check", &file], &["rules.toml:1:1: rule 1 of [[on]]", "{lable}"]);
}

#[test]
fn what_is_shown_is_the_same_file_again() {
    let folder = Folder::new();
    let file =
        folder.file("config.toml", b"fps = 2.50\nthresholds = [0.5, 0.9, 1.0]\nfloor = \"92%\"\nstrict = true\n");
    let shown = String::from_utf8(program(&["config", "show", &file]).stdout).unwrap();
    assert!(shown.lines().any(|line| line.starts_with("fps = 2.50 ") && line.ends_with("config.toml:1")), "{shown}");
    assert!(shown.contains("# camera =") && shown.contains("# reserve = \"10%\""), "{shown}");
    let again = folder.file("again.toml", shown.as_bytes());
    let values = |file: &str| -> Vec<(String, Value)> {
        let report = json(&["config", "show", file, "--json"]);
        let settings = report["settings"].as_array().unwrap().clone();
        settings.iter().map(|one| (one["key"].as_str().unwrap().to_owned(), one["value"].clone())).collect()
    };
    assert_eq!(values(&file), values(&again));
    let checked = json(&["config", "check", &file, "--json"]);
    assert_eq!(checked["keys"], serde_json::json!(["fps", "thresholds", "floor", "strict"]));
}

/// What the package and the card bring is taken by the program that is in them.
#[test]
fn the_shipped_file_is_sound() {
    for file in ["package/config.toml", "guest/dyn-perceiver.toml"] {
        let text = std::fs::read_to_string(repository().join("xtask").join(file)).unwrap();
        // What is only suggested there is sound, too.
        let option = |line: &str| line.contains(" = ") || line.starts_with("[[");
        let suggested: String = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| option(rest)).unwrap_or(line).to_owned() + "\n")
            .collect();
        let folder = Folder::new();
        for text in [text, suggested] {
            let output = program(&["config", "check", &folder.file("config.toml", text.as_bytes())]);
            assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
