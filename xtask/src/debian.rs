//! Packages of Debian's arm64 archive, fetched by the system's apt but into a state of their own: nothing is installed,
//! and what apt knows about this machine stays as it was. apt checks the archive's signatures.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run;

/// A private apt state for arm64.
pub(crate) struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Opens the state in `folder`, and fetches the lists of packages where it has none yet.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let archive = Self { folder: folder.to_path_buf() };
        for name in ["lists/partial", "cache/partial", "deb", "sources"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        archive.sources()?;
        let lists = std::fs::read_dir(folder.join("lists"))?;
        if lists.flatten().all(|entry| entry.path().is_dir()) {
            eprintln!("fetching Debian's lists of arm64 packages");
            run(archive.apt("apt-get").args(["update", "-qq"]))
                .context("needs apt, and Debian's sources in /etc/apt")?;
        }
        Ok(archive)
    }

    /// The system's own sources, with the section that has firmware.
    fn sources(&self) -> Result<()> {
        let system = Path::new("/etc/apt/sources.list.d/debian.sources");
        let Ok(text) = std::fs::read_to_string(system) else {
            bail!("{}: not there; packages are fetched from Debian's archive on a Debian system", system.display());
        };
        let with_firmware = |line: &str| match line.strip_prefix("Components:") {
            Some(sections) if !sections.contains("non-free-firmware") => format!("{line} non-free-firmware\n"),
            _ => format!("{line}\n"),
        };
        let path = self.folder.join("sources/debian.sources");
        let text: String = text.lines().map(with_firmware).collect();
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.folder.join(name).display().to_string();
        for option in [
            "Dir::Etc::sourcelist=/dev/null".into(),
            format!("Dir::Etc::sourceparts={}", at("sources")),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Cache::archives={}", at("cache")),
            "Dir::Cache::pkgcache=".into(),
            "Dir::Cache::srcpkgcache=".into(),
            "APT::Architectures::=arm64".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::Retries=3".into(),
            "APT::Sandbox::User=root".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    /// The first package that `package` depends on: what a metapackage stands for.
    pub(crate) fn depends(&self, package: &str) -> Result<String> {
        let output = self.apt("apt-cache").args(["show", "--no-all-versions", &format!("{package}:arm64")]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        let name = line.and_then(|line| line.split([' ', ',']).next()).filter(|name| !name.is_empty());
        name.map(str::to_owned).with_context(|| format!("{package}: not in Debian's archive for arm64"))
    }

    /// Fetches an arm64 package and unpacks it; returns the folder of its files. What is there already is not fetched
    /// again.
    pub(crate) fn unpack(&self, package: &str) -> Result<PathBuf> {
        self.unpack_named(package, &format!("{package}:arm64"))
    }

    /// The same for a package that is made for all machines.
    pub(crate) fn unpack_any(&self, package: &str) -> Result<PathBuf> {
        self.unpack_named(package, package)
    }

    fn unpack_named(&self, package: &str, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(package);
        if folder.is_dir() {
            return Ok(folder);
        }
        eprintln!("fetching {package}");
        let deb = self.folder.join("deb");
        run(self.apt("apt-get").args(["download", "-qq", name]).current_dir(&deb))?;
        let prefix = format!("{package}_");
        let file =
            std::fs::read_dir(&deb)?.flatten().find(|file| file.file_name().to_string_lossy().starts_with(&prefix));
        let Some(file) = file else { bail!("{package}: apt-get download left no file in {}", deb.display()) };
        // Beside, then renamed: a folder that is there is whole.
        let partial = self.folder.join(format!("{package}.partial"));
        let _ = std::fs::remove_dir_all(&partial);
        run(Command::new("dpkg-deb").arg("--extract").arg(file.path()).arg(&partial))?;
        std::fs::rename(&partial, &folder).with_context(|| folder.display().to_string())?;
        std::fs::remove_file(file.path())?;
        Ok(folder)
    }
}

/// Debian's kernel for arm64.
pub(crate) struct Kernel {
    /// The kernel's own image.
    pub image: PathBuf,
    /// Folder of its modules.
    pub modules: PathBuf,
    /// Folder of its device trees.
    pub device_trees: PathBuf,
}

impl Kernel {
    /// Fetches the kernel that Debian's `linux-image-arm64` stands for.
    pub(crate) fn fetch(archive: &Archive) -> Result<Self> {
        let package = archive.depends("linux-image-arm64")?;
        let folder = archive.unpack(&package)?;
        let version = package.strip_prefix("linux-image-").unwrap_or(&package);
        let kernel = Self {
            image: folder.join(format!("boot/vmlinuz-{version}")),
            modules: folder.join(format!("lib/modules/{version}/kernel")),
            device_trees: folder.join(format!("usr/lib/{package}")),
        };
        for path in [&kernel.image, &kernel.modules] {
            path.metadata().with_context(|| format!("{package} has no {}", path.display()))?;
        }
        Ok(kernel)
    }
}
