//! Archives in the kernel's initramfs format: cpio, "newc".

use std::io::{self, Write};

/// Writes an archive, entry by entry. All files belong to root and have the time 0, so that equal contents give equal
/// archives.
pub(crate) struct Archive<W> {
    writer: W,
    entries: u32,
}

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

impl<W: Write> Archive<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { writer, entries: 0 }
    }

    /// A folder; those above it come first.
    pub(crate) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, FOLDER | 0o755, &[])
    }

    pub(crate) fn file(&mut self, path: &str, executable: bool, contents: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | if executable { 0o755 } else { 0o644 }, contents)
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, LINK | 0o777, target.as_bytes())
    }

    /// Ends the archive and gives the writer back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.writer)
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(contents.len()).map_err(|_| io::Error::other(format!("{path}: 4 GiB or more")))?;
        let name = path.trim_start_matches('/');
        // inode, mode, uid, gid, links, time, size, device major and minor, same of a device file, name size, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        let mut header = String::from("070701");
        for field in fields {
            header += &format!("{field:08X}");
        }
        self.writer.write_all(header.as_bytes())?;
        self.padded(&[name.as_bytes(), b"\0"].concat(), header.len())?;
        self.padded(contents, 0)
    }

    /// Writes `bytes` and fills up to a multiple of four, `before` of which have been written already.
    fn padded(&mut self, bytes: &[u8], before: usize) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        let rest = (before + bytes.len()).next_multiple_of(4) - (before + bytes.len());
        self.writer.write_all(&[0; 3][..rest])
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn entries_are_aligned_and_carry_their_sizes() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("bin").unwrap();
        archive.file("bin/a", true, b"hello").unwrap();
        archive.link("bin/b", "a").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("000081ED") && text.contains("000041ED") && text.contains("0000A1FF"));
    }

    #[test]
    fn cpio_reads_it_back() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("etc").unwrap();
        archive.file("etc/name", false, b"board\n").unwrap();
        let bytes = archive.finish().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("cpio").args(["-i", "--quiet"]).current_dir(&folder).stdin(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            eprintln!("cpio is not installed: its reading was not compared");
            return;
        };
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(std::fs::read(folder.path().join("etc/name")).unwrap(), b"board\n");
    }
}
