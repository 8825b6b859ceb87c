//! Energy counters of x86 processors in powercap: Intel's running average power limit (RAPL), also on AMD.

use std::path::{Path, PathBuf};

use super::{LinuxError, folders, list, number, text};

/// An energy counter of x86 processors (Intel's running average power limit, also on AMD): joules since some moment.
#[derive(Clone, Debug)]
pub struct Rapl {
    counter: PathBuf,
    wraps_at: f64,
    last: f64,
    joules: f64,
}

impl Rapl {
    /// Where the kernel lists the counters.
    pub const ROOT: &'static str = "/sys/class/powercap";

    /// The counter of the first processor package. Usually only root may read it.
    ///
    /// # Errors
    /// [`LinuxError`] where there is none or it cannot be read.
    pub fn find(root: &Path) -> Result<Self, LinuxError> {
        let mut names = Vec::new();
        for folder in folders(root)? {
            let Ok(name) = text(&folder.join("name")) else { continue };
            if name.starts_with("package") {
                let counter = folder.join("energy_uj");
                let last = number(&counter)?;
                let wraps_at = number(&folder.join("max_energy_range_uj"))?;
                return Ok(Rapl { counter, wraps_at, last, joules: 0.0 });
            }
            names.push(name);
        }
        let what = "energy counter of a processor package".to_owned();
        Err(LinuxError::NotFound { folder: root.to_owned(), what, found: list(&names) })
    }

    /// Joules since this counter was found. To be asked at least once per wrap of the counter, some minutes under load.
    ///
    /// # Errors
    /// [`LinuxError`] when the counter cannot be read.
    pub fn joules(&mut self) -> Result<f64, LinuxError> {
        let now = number(&self.counter)?;
        let step = if now >= self.last { now - self.last } else { now + self.wraps_at - self.last };
        self.joules += step / 1e6;
        self.last = now;
        Ok(self.joules)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::tree;
    use super::*;

    #[test]
    fn rapl_counter_wraps() {
        let root = tree(&[
            ("intel-rapl:0/name", "package-0"),
            ("intel-rapl:0/energy_uj", "9000000"),
            ("intel-rapl:0/max_energy_range_uj", "10000000"),
            ("intel-rapl:0:0/name", "core"),
        ]);
        let mut rapl = Rapl::find(root.path()).unwrap();
        fs::write(root.path().join("intel-rapl:0/energy_uj"), "2000000").unwrap();
        assert_eq!(rapl.joules().unwrap(), 3.0);
        fs::write(root.path().join("intel-rapl:0/energy_uj"), "2500000").unwrap();
        assert_eq!(rapl.joules().unwrap(), 3.5);
    }
}
