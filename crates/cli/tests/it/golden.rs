//! What the program says, word by word: every command's help, and whole messages to wrong input. Renewed with
//! `INSTA_UPDATE=always cargo test -p dyn-perceiver-cli --test it golden`.

use std::process::{Command, Output};

use crate::cli::Folder;
use crate::graphs::Graph;
use crate::models::three_exits;

const COMMANDS: [&[&str]; 25] = [
    &[],
    &["run"],
    &["classify"],
    &["inspect"],
    &["compile"],
    &["quantize"],
    &["profile"],
    &["meter"],
    &["plan"],
    &["simulate"],
    &["calibrate"],
    &["evaluate"],
    &["gate"],
    &["doctor"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["config", "schema"],
    &["records", "collect"],
    &["records", "merge"],
    &["learn"],
    &["train"],
    &["models"],
    &["models", "build"],
    &["import"],
];

fn dyn_perceiver(folder: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dyn-perceiver")).current_dir(folder).args(args).output().unwrap()
}

#[test]
fn golden_help_of_every_command() {
    let folder = Folder::new();
    for command in COMMANDS {
        let output = dyn_perceiver(&folder.path(""), &[command, &["--help"]].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{command:?}");
        let name = ["help"].iter().chain(command).copied().collect::<Vec<_>>().join("_");
        insta::assert_snapshot!(name, String::from_utf8(output.stdout).unwrap());
    }
}

#[test]
fn golden_messages_to_wrong_input() {
    let folder = Folder::new();
    folder.file("model.onnx", &three_exits(&["exit1", "exit2", "exit3"]).bytes());
    folder.file("empty.onnx", b"");
    folder.file("page.onnx", b"<!DOCTYPE html><html></html>");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3762371\n";
    folder.file("pointer.onnx", pointer.as_bytes());
    let mut no_exit = Graph::new(&[0, 3, 8, 8], 1);
    no_exit.conv("features", "image", 3, 4);
    no_exit.output("features");
    folder.file("features.onnx", &no_exit.bytes());
    folder.file("text.png", b"hello");
    folder.file("policy.json", b"{");
    let cases: &[&[&str]] = &[
        &["inspect", "nowhere.onnx"],
        &["inspect", "empty.onnx"],
        &["inspect", "page.onnx"],
        &["inspect", "pointer.onnx"],
        &["inspect", "features.onnx"],
        &["inspect", "model.onnx", "--exits", "exit9"],
        &["classify", "text.png"],
        &["classify", "nowhere.png"],
        &["classify", "text.png", "--model", "model.onnx", "--exit", "late"],
        &["classify", "text.png", "--model", "model.onnx", "--thresholds", "0.5"],
        &["classify", "text.png", "--model", "model.onnx", "--policy", "policy.json"],
        &["classify", "text.png", "--model", "model.onnx", "--accuracy", "0.9"],
        &["classify", "text.png", "--accuracy", "92"],
        &["run", "--frames", "nowhere"],
        &["run", "--camera", "/dev/video-none"],
        &["run", "--synthetic", "3", "--fps", "0"],
        &["run", "--synthetic", "3", "--reserve", "10"],
        &["run", "--synthetic", "3", "--gauge", "max99999:/dev/i2c-1"],
        &["run", "--synthetic", "3", "--board", "toaster"],
        &["run", "--synthetic", "3", "--log", "no/such/folder/log.jsonl"],
        &["run", "--synthetic", "3", "--state", "no/such/folder/state.json"],
        &["run", "--synthetic", "3", "--mode", "mission"],
        &["compile", "model.onnx", "-o", "model.onnx"],
        &["calibrate", "model.onnx", "--data", "nowhere"],
        &["evaluate", "model.onnx", "--data", "nowhere"],
        &["profile", "model.onnx", "--monitor", "volts"],
        &["simulate", "--floor", "85"],
        &["import", "nowhere.pth", "-o", "out.onnx"],
    ];
    let mut all = String::new();
    for case in cases {
        let output = dyn_perceiver(&folder.path(""), case);
        assert!(output.stdout.is_empty(), "{case:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code().unwrap_or(-1);
        all += &format!("$ dyn-perceiver {}\n{message}[{code}]\n\n", case.join(" "));
    }
    insta::assert_snapshot!("messages", all);
}
