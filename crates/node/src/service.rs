//! What systemd is told of a `Type=notify` service (`sd_notify(3)`), by a datagram of our own.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager that waits for our word.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Finds the manager that started this process; `None` where none did.
    pub(crate) fn of_environment() -> Option<Self> {
        let path = std::env::var_os("NOTIFY_SOCKET")?;
        let for_us =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let period = std::env::var("WATCHDOG_USEC").ok().filter(|_| for_us);
        match Self::connect(&path, period.as_deref()) {
            Ok(manager) => Some(manager),
            Err(error) => {
                tracing::warn!(%error, "the service manager cannot be told of our state");
                None
            }
        }
    }

    fn connect(path: &OsString, watchdog_usec: Option<&str>) -> io::Result<Self> {
        let bytes = path.as_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        // a manager that does not read must not hold up the loop
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        let watchdog = watchdog_usec
            .and_then(|text| text.parse().ok())
            .filter(|usec| *usec > 0)
            // twice in the time, so that one that comes late is no death
            .map(|usec| Duration::from_micros(usec) / 2);
        Ok(Self { socket, watchdog })
    }

    /// How often a sign of life is due.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The interface is up and the sockets are bound.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// The loop turns.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// The interface goes down.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send(state.as_bytes()) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_of_the_service() {
        let path = std::env::temp_dir().join(format!("stadium-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        let service = ServiceManager::connect(&path.clone().into(), Some("3000000")).unwrap();
        assert_eq!(service.watchdog(), Some(Duration::from_millis(1500)));
        service.ready("a is\nup");
        service.alive();
        service.stopping();
        let mut buffer = [0; 128];
        let mut heard = || {
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!(heard(), "READY=1\nSTATUS=a is up");
        assert_eq!(heard(), "WATCHDOG=1");
        assert_eq!(heard(), "STOPPING=1");
        std::fs::remove_file(path).unwrap();
        service.alive();
    }

    #[test]
    fn abstract_names_work_and_nonsense_is_no_watchdog() {
        let name = format!("stadium-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let service = ServiceManager::connect(&format!("@{name}").into(), Some("soon")).unwrap();
        assert_eq!(service.watchdog(), None);
        service.alive();
        let mut buffer = [0; 32];
        assert_eq!(manager.recv(&mut buffer).unwrap(), 10);
    }
}
