//! The program as tests run it.
#![allow(dead_code, reason = "not every test that has this module uses all of it")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_compare")).args(args).output().unwrap()
}

/// What the program printed, where it ends with this exit code.
pub(crate) fn prints(args: &[&str], code: i32) -> String {
    let output = program(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the program printed, which must be one JSON value.
pub(crate) fn json(args: &[&str], code: i32) -> Value {
    serde_json::from_str(&prints(args, code)).unwrap()
}

/// Exit code 2, a message on stderr that holds all of `parts`, nothing on stdout, no panic.
pub(crate) fn refuses(args: &[&str], parts: &[&str]) {
    let output = program(args);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{args:?} should mention {parts:?}, says: {message}");
    assert!(!message.contains("panicked"), "{message}");
    assert!(output.stdout.is_empty(), "{args:?} printed {}", String::from_utf8_lossy(&output.stdout));
}

pub(crate) fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}
