//! The journal's own protocol: a datagram of fields a line, so that `journalctl -p err` finds errors and
//! `journalctl OGHA_INSTANCE=VI_1` the lines of an instance.

use std::{
    env, io,
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
    path::PathBuf,
};

use nix::sys::{
    socket::{UnixAddr, getpeername},
    stat::fstat,
};
use tracing::Level;

use super::record::Record;

/// Where the journal's sockets are, unless standard error is connected to another one.
const DIRECTORY: &str = "/run/systemd/journal";

/// The journal that standard error is connected to.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// `None` where standard error goes elsewhere: `JOURNAL_STREAM` is inherited by whoever is started
    /// from a service, and says with its device and inode what it is about.
    pub fn connected() -> Option<Self> {
        let stream = env::var("JOURNAL_STREAM").ok()?;
        let stderr = io::stderr();
        let found = fstat(&stderr).ok()?;
        if stream != format!("{}:{}", found.st_dev, found.st_ino) {
            return None;
        }
        // A journal of another namespace has its sockets side by side too.
        let peer = getpeername::<UnixAddr>(stderr.as_raw_fd()).ok();
        let directory = peer.as_ref().and_then(UnixAddr::path).and_then(|path| path.parent());
        let directory =
            directory.filter(|path| path.is_absolute()).map_or(DIRECTORY.into(), PathBuf::from);
        Some(Self { socket: UnixDatagram::unbound().ok()?, path: directory.join("socket") })
    }

    /// Sends a line. May wait for a journal that is stuck.
    pub fn send(&self, record: &Record) -> io::Result<()> {
        self.socket.send_to(&datagram(record), &self.path).map(drop)
    }
}

/// As syslog counts.
pub fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// No value has a newline, so that each field is `NAME=value`.
fn datagram(record: &Record) -> Vec<u8> {
    let mut lines = format!(
        "PRIORITY={}\nSYSLOG_IDENTIFIER=ogha-agent\nOGHA_MODULE={}\nMESSAGE={}\n",
        priority(record.level),
        record.target,
        record.text()
    );
    for (name, value) in &record.fields {
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        // The quotes are for people.
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        lines.push_str(&format!("OGHA_{name}={}\n", bare.unwrap_or(value)));
    }
    lines.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram_of_fields() {
        let mut record = Record::new(Level::WARN, "ogha_agent::run", "two\nlines");
        record.fields = vec![("instance", "\"VI_1\"".to_owned()), ("log-age", "3".to_owned())];
        assert_eq!(
            String::from_utf8(datagram(&record)).unwrap(),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=ogha-agent\nOGHA_MODULE=ogha_agent::run\n\
             MESSAGE=two\\nlines instance=\"VI_1\" log-age=3\nOGHA_INSTANCE=VI_1\nOGHA_LOG_AGE=3\n"
        );
        assert_eq!([Level::ERROR, Level::INFO, Level::TRACE].map(priority), [3, 6, 7]);
    }
}
