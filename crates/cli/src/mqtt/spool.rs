//! Events that the broker has not confirmed yet, in a file of bounded size: they outlive a restart.
//!
//! The file is a log: a line of JSON is an event that was added, a line `-` says that the oldest one was confirmed. It is written
//! anew when it has grown to twice what it may hold.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use dyn_perceiver::file::atomic_write;

/// Bytes of the events that are kept; the oldest go first.
const BYTES: usize = 1 << 20;
/// What a file of our own is never longer than.
const LONGEST: u64 = 4 * BYTES as u64;
const CONFIRMED: &[u8] = b"-\n";

/// Events in the order in which they happened.
#[derive(Debug)]
pub(super) struct Spool {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    limit: usize,
    file: Option<Disk>,
    /// Events that went because there was no room.
    lost: u64,
}

#[derive(Debug)]
struct Disk {
    path: PathBuf,
    log: File,
    bytes: usize,
}

impl Spool {
    /// Events in memory, and in a file if one is named; those of an earlier run come first.
    ///
    /// # Errors
    /// As opening, reading and writing the file.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        Self::with_limit(path, BYTES)
    }

    fn with_limit(path: Option<&Path>, limit: usize) -> io::Result<Self> {
        let mut spool = Self { waiting: VecDeque::new(), bytes: 0, limit, file: None, lost: 0 };
        let Some(path) = path else { return Ok(spool) };
        let log = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut text = Vec::new();
        (&log).take(LONGEST).read_to_end(&mut text)?;
        // A last line without an end was cut by a loss of power.
        for line in text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            match line {
                CONFIRMED => drop(spool.take()),
                _ if line.starts_with(b"{") => spool.keep(line.trim_ascii_end().to_vec()),
                _ => {}
            }
        }
        spool.file = Some(Disk { path: path.to_owned(), log, bytes: text.len() });
        spool.rewrite()?;
        spool.lost = 0;
        Ok(spool)
    }

    /// Adds an event. It is kept in memory also where the file cannot be written.
    pub(super) fn push(&mut self, event: &[u8]) -> io::Result<()> {
        let line = event.trim_ascii_end();
        if line.len() > self.limit || line.contains(&b'\n') {
            self.lost += 1;
            return Ok(());
        }
        let lost = self.lost;
        self.keep(line.to_vec());
        let gone = usize::try_from(self.lost - lost).unwrap_or_default();
        self.write(&[CONFIRMED.repeat(gone).as_slice(), line, b"\n"].concat())
    }

    /// The oldest event.
    pub(super) fn first(&self) -> Option<&[u8]> {
        self.waiting.front().map(Vec::as_slice)
    }

    /// Notes that the broker has this event, unless it is the oldest no more: it went meanwhile for lack of room.
    pub(super) fn confirm(&mut self, event: &[u8]) -> io::Result<()> {
        if self.first() != Some(event) {
            return Ok(());
        }
        self.take();
        self.write(CONFIRMED)
    }

    /// Events that went because there was no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    fn keep(&mut self, event: Vec<u8>) {
        self.bytes += event.len();
        self.waiting.push_back(event);
        // The newest stays, however large it is.
        while self.bytes > self.limit && self.waiting.len() > 1 {
            self.lost += 1;
            self.take();
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let event = self.waiting.pop_front()?;
        self.bytes -= event.len();
        Some(event)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(disk) = &mut self.file else { return Ok(()) };
        disk.log.write_all(lines)?;
        disk.log.sync_data()?;
        disk.bytes += lines.len();
        if disk.bytes > 2 * self.limit { self.rewrite() } else { Ok(()) }
    }

    /// Writes what waits, and nothing else, in place of the file.
    fn rewrite(&mut self) -> io::Result<()> {
        let Some(disk) = &mut self.file else { return Ok(()) };
        let text: Vec<u8> = self.waiting.iter().flat_map(|event| event.iter().chain(b"\n")).copied().collect();
        atomic_write(&disk.path, &text)?;
        disk.log = OpenOptions::new().append(true).open(&disk.path)?;
        disk.bytes = text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Vec<u8> {
        format!("{{\"id\":{number}}}").into_bytes()
    }

    fn drain(spool: &mut Spool) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| {
            let first = spool.first()?.to_vec();
            spool.confirm(&first).unwrap();
            Some(first)
        })
        .collect()
    }

    #[test]
    fn events_outlive_a_restart_and_confirmed_ones_do_not_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let mut spool = Spool::open(Some(&path)).unwrap();
        (0..5).for_each(|number| spool.push(&event(number)).unwrap());
        spool.confirm(&event(0)).unwrap();
        spool.confirm(&event(0)).unwrap();
        spool.confirm(&event(1)).unwrap();
        // Killed, with a line half written.
        drop(spool);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":9").unwrap();
        let mut spool = Spool::open(Some(&path)).unwrap();
        spool.push(&event(5)).unwrap();
        assert_eq!(drain(&mut spool), [2, 3, 4, 5].map(event));
        drop(spool);
        assert_eq!(Spool::open(Some(&path)).unwrap().first(), None);
    }

    #[test]
    fn ten_minutes_of_five_events_a_second_are_kept_in_order_over_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        // As long as an event with names and a time is.
        let event = |number: u32| {
            let time = f64::from(number) / 5.0;
            format!("{{\"schema\":1,\"id\":{number},\"time\":{time:.1},\"label\":\"{}\"}}", "x".repeat(180))
                .into_bytes()
        };
        let mut spool = Spool::open(Some(&path)).unwrap();
        for number in 0..3000 {
            // Killed in the middle of a line, whenever that is: the event in hand is lost, and none before it.
            if number % 700 == 350 {
                drop(spool);
                let mut log = OpenOptions::new().append(true).open(&path).unwrap();
                log.write_all(&event(9999)[..100]).unwrap();
                spool = Spool::open(Some(&path)).unwrap();
            }
            spool.push(&event(number)).unwrap();
        }
        assert_eq!(spool.lost(), 0);
        assert!(std::fs::metadata(&path).unwrap().len() < LONGEST);
        drop(spool);
        assert_eq!(drain(&mut Spool::open(Some(&path)).unwrap()), (0..3000).map(event).collect::<Vec<_>>());
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room_and_the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let mut spool = Spool::with_limit(Some(&path), 50).unwrap();
        (0..1000).for_each(|number| spool.push(&event(number)).unwrap());
        assert!(std::fs::metadata(&path).unwrap().len() < 150);
        assert_eq!(spool.lost(), 995);
        drop(spool);
        let mut spool = Spool::with_limit(Some(&path), 50).unwrap();
        assert_eq!(drain(&mut spool), [995, 996, 997, 998, 999].map(event));
        spool.push(&[b'x'; 51]).unwrap();
        assert_eq!((spool.first(), spool.lost()), (None, 1));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn without_room_on_the_disk_events_are_kept_in_memory() {
        let mut spool = Spool::open(None).unwrap();
        let log = OpenOptions::new().append(true).open("/dev/full").unwrap();
        spool.file = Some(Disk { path: "/dev/full".into(), log, bytes: 0 });
        assert!(spool.push(&event(1)).is_err());
        assert_eq!(spool.first(), Some(event(1).as_slice()));
    }
}
