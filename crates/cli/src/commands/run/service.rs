//! Telling a service manager that the loop has started and is alive: systemd's notification protocol.

use std::os::unix::net::UnixDatagram;

/// Where to send notices, if somebody wants them.
pub(super) struct Service(Option<UnixDatagram>);

impl Service {
    /// The manager that started this program, from `NOTIFY_SOCKET`; none for a program started by hand.
    pub(super) fn from_env() -> Self {
        Self(std::env::var_os("NOTIFY_SOCKET").and_then(|name| connect(&name).ok()))
    }

    /// The loop has begun.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// The loop goes on; without this for the watchdog's time the manager starts it anew.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The loop is ending on request.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, notice: &str) {
        if let Some(socket) = &self.0 {
            // A manager that does not listen is no reason to stop.
            let _ = socket.send(notice.as_bytes());
        }
    }
}

fn connect(name: &std::ffi::OsStr) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::ffi::OsStrExt as _;
        // A leading @ stands for Linux's abstract names.
        if let [b'@', rest @ ..] = name.as_bytes() {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(rest)?;
            socket.connect_addr(&address)?;
            return Ok(socket);
        }
    }
    socket.connect(name)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_reach_the_manager() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let service = Service(Some(connect(path.as_os_str()).unwrap()));
        service.ready();
        service.alive();
        let mut buffer = [0; 32];
        for expected in ["READY=1", "WATCHDOG=1"] {
            let count = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], expected.as_bytes());
        }
        Service(None).stopping();
    }
}
