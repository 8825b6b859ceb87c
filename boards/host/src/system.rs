//! The files of a Linux system below a root folder.

use std::path::{Path, PathBuf};

/// A running Linux system, or a folder with files like its.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self::at("/")
    }
}

impl System {
    /// The system whose files lie below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Whether this is the system the program runs on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The path below the root of an absolute path on the system.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The contents of a small text file, without trailing white space and zero bytes; `None` where it cannot be read.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&std::fs::read(self.path(path)).ok()?).into_owned();
        Some(text.trim_end_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned())
    }

    /// The number in a small text file.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<f64> {
        self.read(path)?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// Names in a folder, sorted; none where it cannot be read.
    #[must_use]
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// Files in `/dev` that begin with `prefix` and go on with a number, in the order of the number.
    #[must_use]
    pub fn devices(&self, prefix: &str) -> Vec<String> {
        let numbered = |name: &String| {
            name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()))
        };
        self.names("/dev").into_iter().filter(numbered).map(|name| format!("/dev/{name}")).collect()
    }

    /// The board's name in the device tree.
    #[must_use]
    pub fn model(&self) -> Option<String> {
        self.read("/proc/device-tree/model").filter(|model| !model.is_empty())
    }

    /// The names in the device tree's `compatible`, most specific first.
    #[must_use]
    pub fn compatible(&self) -> Vec<String> {
        let text = self.read("/proc/device-tree/compatible").unwrap_or_default();
        text.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Memory in bytes, all and available.
    #[must_use]
    pub fn memory(&self) -> Option<(u64, u64)> {
        let text = self.read("/proc/meminfo")?;
        let bytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        Some((bytes("MemTotal:")?, bytes("MemAvailable:")?))
    }
}

#[cfg(test)]
mod tests {
    use board_tree::tree;

    use super::*;

    #[test]
    fn files_are_read_below_the_root() {
        let folder = tree(&[
            ("/proc/device-tree/model", b"Some Board Rev 1.2\0"),
            ("/proc/device-tree/compatible", b"maker,board\0maker,soc\0"),
            ("/proc/meminfo", b"MemTotal:        1024 kB\nMemFree: 1 kB\nMemAvailable:     512 kB\n"),
            ("/dev/video10", b""),
            ("/dev/video2", b""),
            ("/dev/video-x", b""),
            ("/dev/video", b""),
            ("/dev/i2c-1", b""),
        ]);
        let system = System::at(folder.path());
        assert!(!system.is_running());
        assert_eq!(system.model().as_deref(), Some("Some Board Rev 1.2"));
        assert_eq!(system.compatible(), ["maker,board", "maker,soc"]);
        assert_eq!(system.memory(), Some((1 << 20, 1 << 19)));
        assert_eq!(system.devices("video"), ["/dev/video2", "/dev/video10"]);
        assert_eq!(system.devices("i2c-"), ["/dev/i2c-1"]);
        assert_eq!(System::at("/nonexistent").model(), None);
    }
}
