//! Kernel modules with all they depend on, in the order in which they are loaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The files of `names` and of every module they need, dependencies first. Names that have no file are built into the
/// kernel and left out where something depends on them; of those asked for by name, one must exist.
pub(crate) fn resolve(folder: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = HashMap::new();
    collect(folder, &mut files)?;
    let mut order = Vec::new();
    for name in names {
        anyhow::ensure!(files.contains_key(&normal(name)), "no module {name} below {}", folder.display());
        visit(&normal(name), &files, &mut order)?;
    }
    Ok(order)
}

/// Those of `names` that have a file; the others are built into the kernel, or not made for it.
pub(crate) fn present<'a>(folder: &Path, names: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut files = HashMap::new();
    collect(folder, &mut files)?;
    Ok(names.iter().copied().filter(|name| files.contains_key(&normal(name))).collect())
}

fn visit(name: &str, files: &HashMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Result<()> {
    let Some(file) = files.get(name).filter(|file| !order.contains(file)) else { return Ok(()) };
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    for needed in dependencies(&bytes) {
        visit(&needed, files, order)?;
    }
    order.push(file.clone());
    Ok(())
}

/// What the module's information section lists after `depends=`.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let text = module[start + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    text.split(',').filter(|name| !name.is_empty()).map(normal).collect()
}

/// The kernel takes - and _ for the same in names of modules.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn collect(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".ko"))
        {
            files.insert(normal(name), path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, depends: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("ELF\0license=GPL\0depends={depends}\0name=x\0")).unwrap();
        };
        write("a/top.ko", "left,right-one,builtin");
        write("b/left.ko", "base");
        write("b/right_one.ko", "base");
        write("base.ko", "");
        let order = resolve(folder.path(), &["top", "base"]).unwrap();
        let names: Vec<_> = order.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["base.ko", "left.ko", "right_one.ko", "top.ko"]);
        assert_eq!(present(folder.path(), &["none", "right-one"]).unwrap(), ["right-one"]);
        assert!(resolve(folder.path(), &["none"]).unwrap_err().to_string().contains("none"));
    }
}
