//! `postmaster.pid`: the main process of a PostgreSQL or openGauss server, as it wrote itself down.
//!
//! The file outlives a killed server, and its process id may belong to another program by then;
//! so the process must live *and* have the data directory as its working directory. What cannot be
//! read is an error or [`Life::Unknown`], never "no server".

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use super::process::{Life, is_named_server, life, serves};
use super::{Owner, as_owner, files};

/// More than any server writes.
const LONGEST: u64 = 4096;

/// What the file says. Both servers write a line each: process id, data directory, time of start,
/// port, directory of the Unix socket, first address it listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidFile {
    /// The main process. Negative in single-user mode; such a file is refused.
    pub pid: u32,
    /// The port that clients use; absent while the server starts.
    pub port: Option<u16>,
    /// Where the Unix socket is; absent while the server starts, or without a socket.
    pub socket_dir: Option<PathBuf>,
}

impl PidFile {
    /// Reads the file's text; `None` if its first line is no process id, or is not whole.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, rest) = text.split_once('\n')?;
        let pid = first.trim().parse().ok().filter(|pid| *pid != 0)?;
        let mut lines = rest.lines().map(str::trim);
        let port = lines.nth(2).and_then(|line| line.parse().ok());
        let socket_dir = lines.next().filter(|line| line.starts_with('/')).map(PathBuf::from);
        Some(Self { pid, port, socket_dir })
    }

    /// Reads `postmaster.pid` of a data directory as its `owner`; `None` if there is none. Never
    /// waits: what is no regular file is refused.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or does not name a process.
    pub fn read(data_dir: &Path, owner: Option<&Owner>) -> io::Result<Option<Self>> {
        let path = data_dir.join("postmaster.pid");
        let Some(bytes) = as_owner(owner, || files::begin(&path, LONGEST))?? else {
            return Ok(None);
        };
        let parsed = Self::parse(&String::from_utf8_lossy(&bytes));
        parsed.map(Some).ok_or_else(|| io::Error::other("its first line is no process id"))
    }
}

/// Waits until the process in `postmaster.pid` has left its number, if it is dead: a server that
/// starts next takes a zombie for a living server, and whoever started the dead one may be slow to
/// wait for it. Gives up after ten seconds, and leaves the answer to the server.
pub async fn buried(data_dir: &Path, owner: Option<&Owner>) {
    const POLLS: u32 = 2000;
    let Ok(Some(file)) = PidFile::read(data_dir, owner) else { return };
    for _ in 0..POLLS {
        if !super::process::is_zombie(file.pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const RUNNING: &str =
        "1127\n/gauss/data/db1\n1790000000\n26000\n/gauss/tmp\n*\n 26000001    98304\nready\n";

    #[test]
    fn a_running_server() {
        let file = PidFile::parse(RUNNING).unwrap();
        assert_eq!(file.pid, 1127);
        assert_eq!(file.port, Some(26000));
        assert_eq!(file.socket_dir.as_deref(), Some(Path::new("/gauss/tmp")));
    }

    #[test]
    fn a_server_that_just_starts_has_written_only_its_first_lines() {
        let file = PidFile::parse("77\n/data\n1790000000\n").unwrap();
        assert_eq!(file, PidFile { pid: 77, port: None, socket_dir: None });
        let no_socket = PidFile::parse("77\n/data\n1790000000\n5432\n\nlocalhost\n").unwrap();
        assert_eq!((no_socket.port, no_socket.socket_dir), (Some(5432), None));
    }

    #[test]
    fn what_is_no_process_is_refused() {
        let texts = ["", "\n", "-12\n/data\n", "0\n", "x\n/data\n", "99999999999\n", "112"];
        for text in texts {
            assert_eq!(PidFile::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_recycled_process_id_is_not_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let me = std::process::id();
        fs::write(dir.path().join("postmaster.pid"), format!("{me}\n/data\n1\n")).unwrap();
        assert_eq!(life(me, dir.path()), Life::Gone, "this test does not work there");
        let here = std::env::current_dir().unwrap();
        assert_eq!(life(me, &here), Life::Serves);
        assert_eq!(life(u32::MAX, &here), Life::Gone);
        assert_eq!(life(0, &here), Life::Gone);
        assert!(!serves(1, &here), "init's directory may be secret");
        assert_eq!(life(me, Path::new("/no/such/directory")), Life::Unknown);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postmaster.pid");
        assert_eq!(PidFile::read(dir.path(), None).unwrap(), None);
        for text in ["", "11", "garbage\n", "\u{0}\u{0}\n"] {
            fs::write(&path, text).unwrap();
            assert!(PidFile::read(dir.path(), None).is_err(), "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(PidFile::read(dir.path(), None).is_err(), "a FIFO");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(PidFile::read(dir.path(), None).is_err(), "a directory");
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(PidFile::read(dir.path(), None).is_err(), "a link");
        fs::remove_file(&path).unwrap();
        fs::write(&path, RUNNING).unwrap();
        assert_eq!(PidFile::read(dir.path(), None).unwrap().unwrap().pid, 1127);
    }

    #[test]
    fn a_zombie_does_not_serve() {
        let dir = tempfile::tempdir().unwrap();
        let mut child =
            std::process::Command::new("sleep").arg("60").current_dir(&dir).spawn().unwrap();
        assert!(serves(child.id(), dir.path()));
        child.kill().unwrap();
        let gone = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            life(child.id(), dir.path()) == Life::Gone
        });
        child.wait().unwrap();
        assert!(gone);
    }
}
