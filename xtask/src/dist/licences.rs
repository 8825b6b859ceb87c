//! Licence texts of a package: this project's own, and those of the crates that are linked into the program.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::package::File;
use crate::{cargo, metadata, root};

const FOLDER: &str = "usr/share/doc/dyn-perceiver";
/// Beginnings of the names of files that hold licences.
const TEXTS: [&str; 5] = ["licen", "copying", "copyright", "notice", "unlicense"];

/// A crate that is linked into the program.
struct Crate {
    name: String,
    version: String,
    licence: String,
    repository: String,
    folder: PathBuf,
}

/// `copyright`, the list of other crates, and their texts.
pub(super) fn files(target: &str) -> Result<Vec<File>> {
    let crates = linked(target)?;
    let file = |name: &str, contents: Vec<u8>| File { path: format!("{FOLDER}/{name}"), mode: 0o644, contents };
    let mut texts = GzEncoder::new(Vec::new(), Compression::best());
    texts.write_all(third_party_texts(&crates)?.as_bytes())?;
    Ok(vec![
        file("copyright", own()?.into_bytes()),
        file("third-party.txt", list(&crates).into_bytes()),
        file("third-party-licences.txt.gz", texts.finish()?),
    ])
}

fn text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The project's own licences and what the shipped model's data ask to be said.
fn own() -> Result<String> {
    let [mit, apache, notice] = ["LICENSE-MIT", "LICENSE-APACHE", "models/NOTICE"].map(|name| text(&root().join(name)));
    Ok(format!(
        "dyn-perceiver may be used under the MIT License or the Apache License 2.0, at your choice. The crates linked into\n\
         the program are listed in third-party.txt, their licences are in third-party-licences.txt.gz.\n\n{}\n\n{}\n\n{}",
        mit?, apache?, notice?
    ))
}

/// One line for each crate: name, version, licence, where it is from.
fn list(crates: &[Crate]) -> String {
    let line = |c: &Crate| format!("{} {}  {}  {}\n", c.name, c.version, c.licence, c.repository);
    crates.iter().map(line).collect()
}

/// Every text once, below the crates that it belongs to.
fn third_party_texts(crates: &[Crate]) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for c in crates {
        let entries = std::fs::read_dir(&c.folder).with_context(|| c.folder.display().to_string())?.flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| holds_licence(path)).collect();
        paths.sort();
        for path in paths {
            texts.entry(text(&path)?).or_default().push(format!("{} {}", c.name, c.version));
        }
    }
    let mut sections: Vec<_> = texts.into_iter().map(|(text, names)| (names.join(", "), text)).collect();
    sections.sort();
    Ok(sections.into_iter().map(|(names, text)| format!("{names}\n\n{}\n\n----\n\n", text.trim_end())).collect())
}

fn holds_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    path.is_file() && TEXTS.iter().any(|start| name.starts_with(start))
}

/// The crates of other projects in the program for `target`, by name and version.
fn linked(target: &str) -> Result<Vec<Crate>> {
    let mut tree = Command::new(cargo());
    tree.current_dir(root()).args(["tree", "--locked", "--package", "dyn-perceiver-cli", "--edges", "normal"]);
    tree.args([
        "--features",
        super::FEATURES,
        "--target",
        target,
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}",
    ]);
    let output = tree.stderr(Stdio::inherit()).output().with_context(|| format!("{tree:?}"))?;
    ensure!(output.status.success(), "{tree:?}: {}", output.status);
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let metadata =
        metadata(&["--features", &format!("dyn-perceiver-cli/{}", super::FEATURES), "--filter-platform", target])?;
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    let mut crates: Vec<Crate> = Vec::new();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let field = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, version) = (field("name"), field("version"));
        let shown = format!("{name} v{version}");
        if !tree.lines().any(|line| line == shown || line.starts_with(&format!("{shown} "))) {
            continue;
        }
        let folder = PathBuf::from(field("manifest_path")).parent().unwrap_or(Path::new(".")).to_owned();
        crates.push(Crate { name, version, licence: field("license"), repository: field("repository"), folder });
    }
    ensure!(!crates.is_empty(), "no crate is linked into the program for {target}");
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_crates_share_are_given_once() {
        let folder = tempfile::tempdir().unwrap();
        let crates: Vec<Crate> = ["a", "b"]
            .map(|name| {
                let at = folder.path().join(name);
                std::fs::create_dir(&at).unwrap();
                std::fs::write(at.join("LICENSE-MIT"), "the text\n").unwrap();
                std::fs::write(at.join("README.md"), "not a licence").unwrap();
                let (version, licence, repository) = ("1.0.0".into(), "MIT".into(), "https://a.example".into());
                Crate { name: name.into(), version, licence, repository, folder: at }
            })
            .into();
        assert_eq!(third_party_texts(&crates).unwrap(), "a 1.0.0, b 1.0.0\n\nthe text\n\n----\n\n");
        assert_eq!(list(&crates[..1]), "a 1.0.0  MIT  https://a.example\n");
    }
}
