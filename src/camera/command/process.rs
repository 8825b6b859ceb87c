//! The command that writes frames, as a child process with all that it starts.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::camera::{SLICE, StopToken, after};

/// Time for a command to end by itself when it is asked to, and for the system to end it when it does not.
const GRACE: Duration = Duration::from_millis(500);
/// A command that must be ended, and its group, take less than a thread is waited for.
const _: () = assert!(SLICE.as_millis() + 2 * GRACE.as_millis() < 1500);
/// How often a child is asked whether it has ended.
const GLANCE: Duration = Duration::from_millis(5);

/// A command in a shell, in a process group of its own: an interrupt from the terminal does not reach it, and it is ended
/// with everything it started, however it forks.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    output: ChildStdout,
    /// How the shell ended, once its status has been taken.
    reaped: Option<(String, Option<i32>)>,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readout {
    /// With so many bytes, at least one.
    Bytes(usize),
    /// Nobody can write any more.
    Closed,
    /// Nothing came in time.
    Timeout,
    /// It was told to stop.
    Stopped,
}

impl Process {
    pub(super) fn spawn(command: &str) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut child = shell.spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, output, reaped: None })
    }

    /// Reads what there is into `bytes`, and waits until `until` where there is nothing.
    pub(super) fn read(&mut self, bytes: &mut [u8], until: Instant, stop: &StopToken) -> io::Result<Readout> {
        loop {
            if stop.is_stopped() {
                return Ok(Readout::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            if self.is_readable(left.min(SLICE))? {
                return match self.output.read(bytes) {
                    Ok(0) => Ok(Readout::Closed),
                    Ok(count) => Ok(Readout::Bytes(count)),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
            }
            if left.is_zero() {
                return Ok(Readout::Timeout);
            }
        }
    }

    /// Waits until a read returns at once.
    #[cfg(unix)]
    fn is_readable(&self, limit: Duration) -> io::Result<bool> {
        use std::os::fd::AsFd as _;

        use nix::errno::Errno;
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

        let mut pipe = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        match poll(&mut pipe, PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Elsewhere a read waits as long as the command does.
    #[cfg(not(unix))]
    fn is_readable(&self, _limit: Duration) -> io::Result<bool> {
        Ok(true)
    }

    /// Exit status in words and exit code of a command that has closed its output, as far as it ends soon.
    pub(super) fn status(&mut self) -> (String, Option<i32>) {
        match self.ended_within(GRACE) {
            Some(ended) => ended,
            None => ("its output is closed, and it goes on".into(), None),
        }
    }

    /// Waits for the end of the shell without taking its status away: its number stays its own until it is reaped, and so
    /// does that of its group.
    #[cfg(target_os = "linux")]
    fn ended_within(&mut self, limit: Duration) -> Option<(String, Option<i32>)> {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        within(limit, || match waitid(Id::Pid(self.pid()), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some((format!("exit status: {code}"), Some(code))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some((format!("ended by {signal}"), None)),
            Ok(_) => None,
            Err(error) => Some((error.to_string(), None)),
        })
    }

    /// Elsewhere a status cannot be looked at without taking it away, and a group whose leader was reaped may be anyone's:
    /// so the group is ended before.
    #[cfg(any(not(target_os = "linux"), test))]
    fn reaped_within(&mut self, limit: Duration) -> Option<(String, Option<i32>)> {
        if self.reaped.is_none() {
            std::thread::sleep(limit);
            self.kill_group();
            self.reaped = within(GRACE, || match self.child.try_wait() {
                Ok(status) => status.map(|status| (status.to_string(), status.code())),
                Err(error) => Some((error.to_string(), None)),
            });
        }
        self.reaped.clone()
    }

    #[cfg(not(target_os = "linux"))]
    fn ended_within(&mut self, limit: Duration) -> Option<(String, Option<i32>)> {
        self.reaped_within(limit)
    }

    #[cfg(unix)]
    fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().cast_signed())
    }

    /// Ends the group, unless its leader was reaped: then its number may be another group's.
    #[cfg(unix)]
    fn kill_group(&self) {
        use nix::sys::signal::{Signal, killpg};

        if self.reaped.is_none() {
            // An error means that nobody is left.
            let _ = killpg(self.pid(), Signal::SIGKILL);
        }
    }

    #[cfg(not(unix))]
    fn kill_group(&mut self) {
        let _ = self.child.kill();
    }

    /// Asks the group to end, then ends it.
    fn end(&mut self) {
        if self.reaped.is_some() {
            return;
        }
        #[cfg(unix)]
        let _ = nix::sys::signal::killpg(self.pid(), nix::sys::signal::Signal::SIGTERM);
        self.ended_within(GRACE);
        self.kill_group();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        // One that the kernel cannot end stays behind; nobody waits for it.
        let _ = within(GRACE, || self.child.try_wait().transpose());
    }
}

/// What `look` finds, asked again and again for some time.
fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = after(limit);
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= until {
            return found;
        }
        std::thread::sleep(GLANCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_whose_leader_was_reaped_is_ended_before_and_never_after() {
        let mut process = Process::spawn("exit 3").unwrap();
        let ended = process.reaped_within(Duration::from_millis(200));
        assert!(matches!(&ended, Some((status, Some(3))) if status == "exit status: 3"), "{ended:?}");
        assert_eq!(process.reaped, ended);
        // A group that is left over ends with it.
        let mut process = Process::spawn("sleep 1000 & echo; exit 0").unwrap();
        process.reaped_within(Duration::from_millis(200));
        let mut bytes = [0; 16];
        let mut read = || process.read(&mut bytes, after(Duration::from_secs(60)), &StopToken::default()).unwrap();
        while matches!(read(), Readout::Bytes(_)) {}
        assert_eq!(read(), Readout::Closed);
    }
}
