//! `postmaster.pid`: the main process of a PostgreSQL or openGauss server, as it wrote itself down.
//!
//! The file outlives a killed server, and its process id may belong to another program by then;
//! so the process must live *and* have the data directory as its working directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{errno::Errno, sys::signal, unistd::Pid};

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
    /// Reads the file's text; `None` if its first line is no process id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let pid = lines.next()?.parse().ok().filter(|pid| *pid != 0)?;
        let port = lines.nth(2).and_then(|line| line.parse().ok());
        let socket_dir = lines.next().filter(|line| line.starts_with('/')).map(PathBuf::from);
        Some(Self { pid, port, socket_dir })
    }

    /// Reads `postmaster.pid` of a data directory. `None` if there is none, or none that is whole.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(data_dir.join("postmaster.pid")) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The living main process of the server in a data directory.
///
/// # Errors
/// When `postmaster.pid` is there and cannot be read.
pub fn main_pid(data_dir: &Path) -> io::Result<Option<u32>> {
    let pid = PidFile::read(data_dir)?.map(|file| file.pid);
    Ok(pid.filter(|pid| serves(*pid, data_dir)))
}

/// Whether the process lives and works in the data directory. A zombie does not live.
/// Where `/proc` keeps the working directory secret, the name of a server is enough.
#[must_use]
pub fn serves(pid: u32, data_dir: &Path) -> bool {
    let Ok(raw) = i32::try_from(pid) else { return false };
    if signal::kill(Pid::from_raw(raw), None) == Err(Errno::ESRCH) {
        return false;
    }
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(cwd) => fs::canonicalize(data_dir).is_ok_and(|data_dir| cwd == data_dir),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied && is_named_server(pid),
    }
}

/// Waits until the process in `postmaster.pid` has left its number, if it is dead: a server that
/// starts next takes a zombie for a living server, and whoever started the dead one may be slow to
/// wait for it. Gives up after ten seconds, and leaves the answer to the server.
pub async fn buried(data_dir: &Path) {
    const POLLS: u32 = 2000;
    let Ok(Some(file)) = PidFile::read(data_dir) else { return };
    for _ in 0..POLLS {
        let status = fs::read_to_string(format!("/proc/{}/stat", file.pid)).unwrap_or_default();
        if !status.contains(") Z ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the process has the name of one of the two servers' programs.
#[must_use]
pub fn is_named_server(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    matches!(name.trim_end(), "postgres" | "postmaster" | "gaussdb")
}

#[cfg(test)]
mod tests {
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
        for text in ["", "\n", "-12\n/data\n", "0\n", "x\n/data\n", "99999999999\n"] {
            assert_eq!(PidFile::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_recycled_process_id_is_not_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let me = std::process::id();
        fs::write(dir.path().join("postmaster.pid"), format!("{me}\n/data\n1\n")).unwrap();
        assert_eq!(main_pid(dir.path()).unwrap(), None, "this test does not work there");
        let here = std::env::current_dir().unwrap();
        assert!(serves(me, &here));
        assert!(!serves(u32::MAX, &here));
        assert!(!serves(1, &here), "init's directory may be secret");
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
            !serves(child.id(), dir.path())
        });
        child.wait().unwrap();
        assert!(gone);
    }
}
