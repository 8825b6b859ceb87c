//! A machine under QEMU, driven over its serial console.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A running guest whose console is a shell.
pub(crate) struct Guest {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// All the console said, in ASCII: a serial port can begin with noise, and characters come in pieces.
    log: String,
    /// How much of it has been looked at.
    seen: usize,
}

impl Guest {
    /// Starts QEMU, whose first serial port must be its standard input and output.
    pub(crate) fn start(mut qemu: Command) -> Result<Self> {
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = qemu.spawn().with_context(|| format!("{qemu:?}"))?;
        let input = child.stdin.take().context("no standard input")?;
        let mut console = child.stdout.take().context("no standard output")?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = console.read(&mut buffer) {
                if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, input, output, log: String::new(), seen: 0 })
    }

    /// All the console has said so far.
    pub(crate) fn log(&self) -> String {
        self.log.replace('\r', "")
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.log.extend(bytes.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '?' }));
    }

    /// Waits until `found` finds something in what the console said since the last find, and returns it.
    fn wait<T>(&mut self, what: &str, limit: Duration, found: impl Fn(&str) -> Option<(T, usize)>) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            let fresh = &self.log[self.seen..];
            if let Some((value, used)) = found(fresh) {
                self.seen += used;
                return Ok(value);
            }
            if fresh.contains("Kernel panic") {
                bail!("{what}: the kernel panicked");
            }
            match self.output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.take_in(&bytes),
                Err(RecvTimeoutError::Timeout) => bail!("{what}: not within {limit:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{what}: the machine ended"),
            }
        }
    }

    /// Waits until the console says `text`.
    pub(crate) fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.wait(text, limit, |fresh| fresh.find(text).map(|at| ((), at + text.len())))
    }

    /// Runs a command in the guest's shell and returns what it wrote and its exit status.
    pub(crate) fn run(&mut self, command: &str, limit: Duration) -> Result<(String, i32)> {
        // The quotes keep the echo of this line from looking like the end of the output.
        writeln!(self.input, "{command}\necho '@''@'$?'@''@'").with_context(|| command.to_owned())?;
        self.input.flush()?;
        self.wait(command, limit, |fresh| {
            let start = fresh.find("@@")?;
            let (status, _) = fresh[start + 2..].split_once("@@")?;
            let output = fresh[..start].replace('\r', "");
            Some(((output, status.parse().unwrap_or(-1)), start + 4 + status.len()))
        })
    }

    /// Runs a command that must succeed and returns what it wrote, without white space around it.
    pub(crate) fn check(&mut self, command: &str) -> Result<String> {
        let (output, status) = self.run(command, Duration::from_secs(120))?;
        if status != 0 {
            bail!("`{command}` in the guest: exit status {status}: {}", output.trim());
        }
        Ok(output.trim().to_owned())
    }

    /// Runs a command again and again until it succeeds, and returns what it wrote.
    pub(crate) fn until(&mut self, what: &str, command: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            let (output, status) = self.run(command, Duration::from_secs(120))?;
            if status == 0 {
                return Ok(output.trim().to_owned());
            }
            if Instant::now() > end {
                bail!("{what}: not within {limit:?}; `{command}` says: {}", output.trim());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The line that the console says next.
    pub(crate) fn line(&mut self, limit: Duration) -> Result<String> {
        self.wait("a line", limit, |fresh| {
            let end = fresh.find('\n')?;
            Some((fresh[..end].trim().to_owned(), end + 1))
        })
    }

    /// Sends a command that ends the machine, and waits for QEMU's exit.
    pub(crate) fn power_off(&mut self, command: &str, limit: Duration) -> Result<()> {
        writeln!(self.input, "{command}")?;
        self.ended(limit).with_context(|| command.to_owned())
    }

    /// Waits for QEMU's exit.
    pub(crate) fn ended(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            while let Ok(bytes) = self.output.try_recv() {
                self.take_in(&bytes);
            }
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "QEMU: {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the machine still runs after {limit:?}")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It has ended by itself where both fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
