#![allow(clippy::disallowed_macros, reason = "a build script speaks to cargo on stdout")]
//! Tells the program what it is built for, and by what.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DYN_PERCEIVER_COMMIT");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let rustc = Command::new(variable("RUSTC")).arg("--version").output().map(|output| output.stdout);
    let rustc = String::from_utf8_lossy(&rustc.unwrap_or_default()).trim().replace("rustc ", "");
    println!("cargo::rustc-env=DYN_PERCEIVER_RUSTC={}", if rustc.is_empty() { "unknown" } else { &rustc });
    println!("cargo::rustc-env=DYN_PERCEIVER_PROFILE={}", variable("PROFILE"));
    println!("cargo::rustc-env=DYN_PERCEIVER_TARGET={}", variable("TARGET"));
}
