//! The agent as a service of systemd: it says when it has started, and that its loop goes on.
//!
//! The protocol of sd_notify(3): a datagram of `KEY=value` lines to `$NOTIFY_SOCKET`. Nothing here
//! waits, and a systemd that does not listen changes nothing.

use std::{
    env,
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use ogha_common::units::Instant;

use crate::clock;

/// Who started this process, if that is systemd or behaves as it does.
#[derive(Debug)]
pub struct Service {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often systemd is told that the loop goes on.
    every: Option<Duration>,
    next: Instant,
}

impl Service {
    /// As the environment says.
    #[must_use]
    pub fn of_environment() -> Self {
        let to = env::var_os("NOTIFY_SOCKET").and_then(|path| open(&path));
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let limit = number("WATCHDOG_USEC").filter(|_| ours && to.is_some());
        // Half of it is what systemd advises; the loop may be late.
        let every = limit.map(|limit| Duration::from_micros((limit / 3).max(1000)));
        Self { to, every, next: clock::now() }
    }

    /// The agent has started: its heartbeat is in the kernel.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The agent is about to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// When the watchdog is to be fed.
    #[must_use]
    pub fn next_feed(&self) -> Option<Instant> {
        self.every.map(|_| self.next)
    }

    /// The loop goes on.
    pub fn feed(&mut self, now: Instant) {
        if let Some(every) = self.every
            && now >= self.next
        {
            self.next = now + every;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, text: &str) {
        if let Some((socket, to)) = &self.to
            && let Err(error) = socket.send_to_addr(text.as_bytes(), to)
        {
            tracing::debug!("cannot notify systemd: {error}");
        }
    }
}

/// `@` begins the name of a socket that is in no file system.
fn open(path: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(path),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &SocketAddr) -> UnixDatagram {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn both_kinds_of_sockets_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("ogha-test-{}", std::process::id());
        let addresses = [
            (SocketAddr::from_pathname(&path).unwrap(), path.display().to_string()),
            (SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}")),
        ];
        for (address, word) in addresses {
            let socket = listen(&address);
            let service = Service { to: open(OsStr::new(&word)), every: None, next: clock::now() };
            service.ready("2 instances");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=2 instances");
        }
    }

    #[test]
    fn the_watchdog_is_fed_in_time_and_not_always() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = listen(&SocketAddr::from_pathname(&path).unwrap());
        let now = clock::now();
        let second = Duration::from_secs(1);
        let mut service = Service { to: open(path.as_os_str()), every: Some(second), next: now };
        service.feed(now);
        service.feed(now + second / 2);
        assert_eq!(service.next_feed(), Some(now + second));
        service.feed(now + second);
        assert_eq!((heard(&socket), heard(&socket)), ("WATCHDOG=1".into(), "WATCHDOG=1".into()));
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 8]).is_err(), "fed too often");
    }

    #[test]
    fn without_systemd_nothing_happens() {
        let mut service = Service { to: None, every: None, next: clock::now() };
        service.ready("");
        service.feed(clock::now());
        assert_eq!(service.next_feed(), None);
        assert!(
            open(OsStr::new("")).is_none_or(|(socket, to)| socket.send_to_addr(b"x", &to).is_err())
        );
    }
}
