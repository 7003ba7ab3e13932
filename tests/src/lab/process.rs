//! Processes: start, signal, wait; and finding all that run in a namespace.
//!
//! Signals go through pidfds, so that none ever reaches a stranger who got the number later.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{fs::MetadataExt as _, process::ExitStatusExt as _},
    },
    process::{Child, ExitStatus},
    str::FromStr,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

/// A process that this lab started. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: i32,
    fd: OwnedFd,
    exit: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
}

impl Process {
    /// Takes over a child. A thread waits for it, so that it is never a zombie: a zombie still
    /// has a process id, and looks alive to who asks by that.
    pub(super) fn new(name: &str, mut child: Child) -> Result<Self> {
        let pid = child.id() as i32;
        let fd = open(pid).with_context(|| format!("cannot watch {name}"))?;
        let exit = Arc::new((Mutex::new(None), Condvar::new()));
        let told = Arc::clone(&exit);
        thread::spawn(move || {
            let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0));
            *told.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            told.1.notify_all();
        });
        Ok(Self { name: name.into(), pid, fd, exit })
    }

    /// Its process id, also after its end.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// False once it has ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.wait(Duration::ZERO).is_none()
    }

    /// Sends a signal; to a process that has ended, nothing happens.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(&self.fd, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Errors
    /// If it has not ended ten seconds later.
    pub fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10))
            .with_context(|| format!("{} (process {}) does not end", self.name, self.pid))
    }

    /// Waits for its end; `None` if it has not come in time.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> Option<ExitStatus> {
        let exit = self.exit.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (exit, _) = self
            .exit
            .1
            .wait_timeout_while(exit, at_most, |exit| exit.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *exit
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal(Signal::SIGKILL);
    }
}

/// When the process started, in clock ticks after boot (proc(5), `stat` field 22); `None` if it
/// has ended. With the process id it names a process for ever.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    stat(pid, 22)
}

/// The process that started it, or that took it over; `None` if it has ended.
pub(super) fn parent(pid: i32) -> Option<i32> {
    stat(pid, 4)
}

/// A field of proc(5) `stat`, counted from 1 as there; only those behind the second.
fn stat<T: FromStr>(pid: i32, field: usize) -> Option<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses, and may hold spaces and parentheses.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if *fields.first()? == "Z" { None } else { fields.get(field - 3)?.parse().ok() }
}

/// The processes in the network namespace of that inode, this one excepted.
#[must_use]
pub fn all_in(inode: u64) -> Vec<i32> {
    let own = std::process::id() as i32;
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && is_in(*pid, inode))
        .collect()
}

/// Sends a signal to every process in the namespace of that inode.
///
/// # Errors
/// If the kernel refuses.
pub fn signal_all_in(inode: u64, signal: Signal) -> Result<()> {
    for pid in all_in(inode) {
        signal_one_in(inode, pid, signal)?;
    }
    Ok(())
}

/// Sends a signal to the process `pid` if it is in the namespace of that inode; false if not.
///
/// # Errors
/// If the kernel refuses.
pub fn signal_one_in(inode: u64, pid: i32, signal: Signal) -> Result<bool> {
    let Ok(fd) = open(pid) else { return Ok(false) };
    // Only now that the pidfd holds the process: later the number may be another's.
    if !is_in(pid, inode) {
        return Ok(false);
    }
    send(&fd, signal).with_context(|| format!("cannot signal process {pid}"))?;
    Ok(true)
}

/// Kills every process in the namespace of that inode and waits until none is left.
///
/// # Errors
/// If some have not ended ten seconds later.
pub fn kill_all_in(inode: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        signal_all_in(inode, Signal::SIGKILL)?;
        let left = all_in(inode);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("the processes {left:?} do not end");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A process that has ended has no namespace, even before it is waited for.
fn is_in(pid: i32, inode: u64) -> bool {
    fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|file| file.ino() == inode)
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn send(fd: &OwnedFd, signal: Signal) -> io::Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo is allowed and means "as kill(2) does"; nothing else is memory.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal as i32, none, 0)
    };
    match io::Error::last_os_error() {
        error if sent < 0 && error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}
