//! The program as tests run it.
#![allow(dead_code, reason = "not every test that has this module uses all of it")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dyn-perceiver")).args(args).output().unwrap()
}

/// What the program printed, which must be one JSON value.
pub(crate) fn json(args: &[&str]) -> Value {
    let output = program(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
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
