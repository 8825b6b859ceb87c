//! Every crate that is published can be packaged, and its package holds what it needs and no data beside.

use anyhow::{Context as _, Result, ensure};

use crate::metadata;

/// A package above this is refused by crates.io.
const MAX_MIB: u64 = 10;

/// Packages every crate that is published and looks at what is in it.
pub(super) fn check() -> Result<()> {
    let metadata = metadata(&["--no-deps"])?;
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    // An empty list of registries is `publish = false`.
    let published = packages.iter().filter(|package| package["publish"].as_array().is_none_or(|list| !list.is_empty()));
    let names: Vec<&str> = published.filter_map(|package| package["name"].as_str()).collect();
    ensure!(!names.is_empty(), "no crate of the workspace is published");
    // Together, since they depend on each other and none may be on crates.io yet.
    let mut command = super::tool(["package", "--no-verify", "--allow-dirty"]);
    for name in &names {
        command.args(["--package", name]);
    }
    crate::run(&mut command)?;
    for name in &names {
        let version = packages.iter().find(|package| package["name"] == **name).and_then(|p| p["version"].as_str());
        let version = version.context("a package without a version")?;
        let path = crate::target_folder().join("package").join(format!("{name}-{version}.crate"));
        let size = path.metadata().with_context(|| path.display().to_string())?.len();
        println!("{name}: {} KiB", size >> 10);
        ensure!(size <= MAX_MIB << 20, "{name}: {size} bytes, crates.io takes {MAX_MIB} MiB");
    }
    Ok(())
}
