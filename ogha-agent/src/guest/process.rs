//! Processes of the database's user: whether one is the server, and signals to those that are.
//!
//! A number may be given to another process at any moment, and a process may bear any name. So a
//! descriptor of the process is opened first, then its user and its working directory are
//! verified, then the signal goes to the descriptor. What cannot be verified is never signalled.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::{Owner, as_owner};

/// Whether a process is the server of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It lives and works in the data directory.
    Serves,
    /// It does not exist, is a zombie, or works elsewhere.
    Gone,
    /// `/proc` or the data directory could not be read.
    Unknown,
}

/// Whether the process lives and works in the data directory. Needs no descriptor.
#[must_use]
pub fn life(pid: u32, data_dir: &Path) -> Life {
    let Some(raw) = number(pid) else { return Life::Gone };
    let gone = || signal::kill(raw, None) == Err(Errno::ESRCH);
    if gone() {
        return Life::Gone;
    }
    match working_directory(pid) {
        // By number: a container may see it by another name.
        Ok(there) => match fs::metadata(data_dir) {
            Ok(here) if (here.dev(), here.ino()) == there => Life::Serves,
            Ok(_) => Life::Gone,
            Err(_) => Life::Unknown,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A zombie is listed and works nowhere. What lives and is not listed is hidden, or
            // `/proc` is not what it should be.
            let zombie = fs::metadata(format!("/proc/{pid}")).is_ok();
            if zombie || gone() { Life::Gone } else { Life::Unknown }
        }
        Err(_) => Life::Unknown,
    }
}

/// Whether the process is known to live and to work in the data directory.
#[must_use]
pub fn serves(pid: u32, data_dir: &Path) -> bool {
    life(pid, data_dir) == Life::Serves
}

/// Device and number of the directory that a process works in. The kernel tells it to root only with
/// `CAP_SYS_PTRACE`, which containers lack, and to the process's own user always; so that user
/// asks.
fn working_directory(pid: u32) -> io::Result<(u64, u64)> {
    let link = format!("/proc/{pid}/cwd");
    let number = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match fs::metadata(&link) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let process = fs::metadata(format!("/proc/{pid}"))?;
            let (uid, gid) = (process.uid().into(), process.gid().into());
            let owner = Owner { uid, gid, groups: vec![gid] };
            as_owner(Some(&owner), || fs::metadata(&link))?.map(number)
        }
        found => found.map(number),
    }
}

/// Numbers that name one process of another program: neither init nor a group, nor the agent.
fn number(pid: u32) -> Option<Pid> {
    let raw = i32::try_from(pid).ok().filter(|raw| *raw > 1)?;
    Some(Pid::from_raw(raw))
}

/// Whether the process has the name of one of the two servers' programs.
#[must_use]
pub fn is_named_server(pid: u32) -> bool {
    name(pid).is_some_and(|name| matches!(name.as_str(), "postgres" | "postmaster" | "gaussdb"))
}

fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

fn owned(pid: u32, uid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == uid)
}

/// Whether the process has ended and was not waited for.
#[must_use]
pub fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|status| status.contains(") Z "))
}

/// Whether the process was killed, and waits in the kernel for something that cannot be interrupted: it
/// executes nothing of its program any more (proc(5), `status`).
#[must_use]
pub fn is_doomed(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = |name: &str| {
        let set = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(set.trim(), 16).ok()
    };
    let killed = 1 << (libc::SIGKILL - 1);
    ["SigPnd:", "ShdPnd:"].into_iter().filter_map(pending).any(|set| set & killed != 0)
}

/// The server's processes: of its user, with the name of a server, so that an operator's shell that
/// stands in the directory is spared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// They work in the data directory.
    pub ours: Vec<u32>,
    /// The kernel does not tell where these work.
    pub unverified: Vec<u32>,
}

impl Servers {
    /// Searches `/proc`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn find(data_dir: &Path, uid: u32) -> anyhow::Result<Self> {
        let mut found = Self::default();
        for pid in all()?.filter(|pid| owned(*pid, uid) && is_named_server(*pid)) {
            match life(pid, data_dir) {
                Life::Serves => found.ours.push(pid),
                Life::Unknown => found.unverified.push(pid),
                Life::Gone => {}
            }
        }
        Ok(found)
    }

    /// All that may be the server's.
    ///
    /// # Errors
    /// When there are some of which it is not known.
    pub fn verified(self) -> anyhow::Result<Vec<u32>> {
        anyhow::ensure!(
            self.unverified.is_empty(),
            "cannot tell where the processes {:?} work, so they were left alone; give the agent \
             CAP_SYS_PTRACE, or let it see /proc (hidepid)",
            self.unverified
        );
        Ok(self.ours)
    }
}

fn all() -> anyhow::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc").context("cannot list the processes in /proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Signals a process of the server in the data directory. One that has ended meanwhile, or whose
/// number is another's now, is no error, and is not signalled.
///
/// # Errors
/// When it cannot be verified, or may not be signalled.
pub fn signal(pid: u32, uid: u32, data_dir: &Path, signal: Signal) -> anyhow::Result<()> {
    deliver(pid, signal, || {
        anyhow::ensure!(
            owned(pid, uid) || number(pid).is_none() || life(pid, data_dir) == Life::Gone,
            "process {pid} in {} is not of user {uid}; it was left alone",
            data_dir.display()
        );
        match life(pid, data_dir) {
            Life::Serves => Ok(true),
            Life::Gone => Ok(false),
            Life::Unknown => anyhow::bail!(
                "cannot tell whether process {pid} is the server in {}, so it was left alone; give \
                 the agent CAP_SYS_PTRACE, or let it see /proc (hidepid)",
                data_dir.display()
            ),
        }
    })
}

/// Kills this user's processes with one of these names that have one of these words among their
/// arguments.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn end_tools(uid: u32, names: &[&str], works_on: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    for pid in all()? {
        let is_tool = || {
            let named = name(pid).is_some_and(|name| names.contains(&name.as_str()));
            named && owned(pid, uid) && arguments(pid).split('\0').any(works_on)
        };
        if is_tool() {
            tracing::warn!("killing process {pid}, which an earlier rejoin left");
            deliver(pid, Signal::SIGKILL, || Ok(is_tool()))?;
        }
    }
    Ok(())
}

/// At most as much as the kernel lets a path be long, many times.
fn arguments(pid: u32) -> String {
    use io::Read as _;
    const MOST: u64 = 128 << 10;
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/cmdline")) {
        // What has ended has none.
        let _ = file.take(MOST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends the signal if `verify` says so of the process that the descriptor is of.
fn deliver(
    pid: u32,
    signal: Signal,
    verify: impl FnOnce() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let context = || format!("cannot send {signal} to process {pid}");
    let Some(raw) = number(pid).filter(|pid| *pid != nix::unistd::getpid()) else {
        return Ok(());
    };
    let process = match open(raw) {
        Ok(process) => process,
        Err(Errno::ESRCH) => return Ok(()),
        Err(error) => return Err(error).with_context(context),
    };
    // If the process lives after it was verified, it was this one that was.
    if !verify()? || send(&process, 0) == Err(Errno::ESRCH) {
        return Ok(());
    }
    match send(&process, signal as i32) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(context),
    }
}

fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: two integers are passed and no memory.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send(process: &OwnedFd, signal: i32) -> nix::Result<()> {
    // SAFETY: the descriptor is open, and no memory is passed: the third argument may be null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}
