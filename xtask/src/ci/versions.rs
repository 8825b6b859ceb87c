//! `rust-version` of the workspace is a version that the checks were built with, and no dependency asks for a newer one.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::metadata;

/// A release of Rust: major, minor, patch.
type Version = [u32; 3];

/// Compares the workspace's version with the compiler's and with what the dependencies ask for.
pub(super) fn check() -> Result<()> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let compiler = field("release: ").and_then(parse).with_context(|| format!("rustc -vV says {text:?}"))?;
    let host = field("host: ").with_context(|| format!("rustc -vV says {text:?}"))?;
    // What other systems need is not fetched for this.
    let metadata = metadata(&["--filter-platform", host])?;
    let told = compare(&metadata, compiler)?;
    println!("{told}");
    Ok(())
}

/// One line about the versions; an error if the workspace promises what it cannot keep.
fn compare(metadata: &Value, compiler: Version) -> Result<String> {
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    let asked = |package: &Value| package["rust_version"].as_str().and_then(parse);
    let (ours, others): (Vec<&Value>, Vec<&Value>) = packages.iter().partition(|package| package["source"].is_null());
    let promised = ours.iter().filter_map(|package| asked(package)).max().context("no rust-version in Cargo.toml")?;
    for package in ours {
        ensure!(asked(package) == Some(promised), "{}: another rust-version than the workspace's", package["name"]);
    }
    for package in others {
        let needs = asked(package).unwrap_or_default();
        let name = format!(
            "{} {}",
            package["name"].as_str().unwrap_or_default(),
            package["version"].as_str().unwrap_or_default()
        );
        ensure!(needs <= promised, "{name} needs Rust {}, rust-version is {}", show(needs), show(promised));
    }
    ensure!(compiler[..2] >= promised[..2], "built with Rust {}, rust-version is {}", show(compiler), show(promised));
    let same = compiler[..2] == promised[..2];
    let built = if same { "these checks are built with it" } else { "these checks are built with a newer one" };
    Ok(format!("rust-version {}, {built} ({}), and no dependency asks for more", show(promised), show(compiler)))
}

/// Reads `1.95`, `1.95.0` or `1.96.0-nightly`.
fn parse(text: &str) -> Option<Version> {
    let mut parts = text.split('-').next()?.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?])
}

fn show([major, minor, patch]: Version) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(dependency: &str) -> Value {
        json!({ "packages": [
            { "name": "ours", "version": "0.1.0", "source": null, "rust_version": "1.95" },
            { "name": "theirs", "version": "2.0.0", "source": "registry", "rust_version": dependency },
            { "name": "silent", "version": "1.0.0", "source": "registry", "rust_version": null },
        ] })
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("1.95"), Some([1, 95, 0]));
        assert_eq!(parse("1.96.1-nightly"), Some([1, 96, 1]));
        assert_eq!(parse("stable"), None);
    }

    #[test]
    fn a_dependency_that_needs_a_newer_rust_is_named() {
        let error = compare(&metadata("1.96"), [1, 97, 0]).unwrap_err().to_string();
        assert_eq!(error, "theirs 2.0.0 needs Rust 1.96.0, rust-version is 1.95.0");
        assert!(compare(&metadata("1.95"), [1, 94, 0]).is_err());
    }

    #[test]
    fn it_is_told_whether_the_promised_version_is_the_one_that_builds() {
        assert!(compare(&metadata("1.80"), [1, 95, 1]).unwrap().contains("built with it"));
        assert!(compare(&metadata("1.80"), [1, 97, 0]).unwrap().contains("a newer one"));
    }
}
