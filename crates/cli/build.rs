#![allow(clippy::disallowed_macros, reason = "a build script speaks to cargo on stdout")]
//! Tells the program which target it is built for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DYN_PERCEIVER_COMMIT");
    println!("cargo::rustc-env=DYN_PERCEIVER_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
