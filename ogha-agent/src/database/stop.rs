//! Stopping a server at once, and making sure of it.
//!
//! Both servers shut down without a checkpoint on SIGQUIT; that is all that `pg_ctl stop -m
//! immediate` and `gs_ctl stop -m immediate` send. It is sent directly here: the tools look for the
//! outcome ten times or once a second, and a fence is worth its milliseconds. A server that cannot
//! obey (it is stopped, or hangs in the kernel) is killed with all its processes: a backend without
//! its main process could still acknowledge a write.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    local::Local,
    pidfile::{self, Life},
};

/// How long a server may take to obey.
const GRACE: Duration = Duration::from_millis(1000);
/// How long the kernel may take to end killed processes, which may have much memory to give back.
const REAP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
const RESCAN: Duration = Duration::from_millis(10);

/// Stops the server; `Ok` when no process of it is left.
///
/// # Errors
/// When the agent may not signal it, or processes remain that cannot be killed.
pub async fn immediate(local: &Local) -> anyhow::Result<()> {
    let dir = fs::canonicalize(&local.server.data_dir)
        .with_context(|| format!("cannot open {}", local.server.data_dir.display()))?;
    match local.main_pid() {
        Ok(Some(main)) => {
            signal(main, Signal::SIGQUIT)?;
            gone_within(GRACE, main, &dir).await;
        }
        Ok(None) => {}
        // A fence waits for no file: the processes themselves are killed.
        Err(error) => tracing::warn!("{error:#}; the server's processes are killed"),
    }
    // The main process ends last. What is still there does not obey, or lost it long ago.
    let uid = local.login.uid().as_raw();
    let deadline = Instant::now() + REAP;
    loop {
        let left = processes(dir.clone(), uid).await?;
        if left.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "processes {left:?} of the server in {} do not die; they may hang in the kernel",
            dir.display()
        );
        for pid in left {
            signal(pid, Signal::SIGKILL)?;
        }
        sleep(RESCAN).await;
    }
}

/// Shuts the server down in order: sessions end, standbys receive all of the log, a checkpoint is
/// written (SIGINT, "fast" in both servers). `Ok` when its main process has gone; the others ended
/// before it.
///
/// # Errors
/// When the agent may not signal it, or it has not ended `within` that time. Neither server can be
/// ordered to stay after all, so an immediate shutdown follows then, and can be started again where it was.
pub async fn fast(local: &Local, within: Duration) -> anyhow::Result<()> {
    let dir = fs::canonicalize(&local.server.data_dir)
        .with_context(|| format!("cannot open {}", local.server.data_dir.display()))?;
    let Some(main) = local.main_pid()? else { return Ok(()) };
    signal(main, Signal::SIGINT)?;
    if gone_within(within, main, &dir).await {
        return Ok(());
    }
    immediate(local).await?;
    anyhow::bail!(
        "the server in {} had not shut down within {within:?}: it may have waited for a standby that \
         does not answer, or for its checkpoint; it was stopped by an immediate shutdown",
        dir.display()
    )
}

/// Whether the process has gone in time.
async fn gone_within(time: Duration, pid: u32, data_dir: &Path) -> bool {
    let deadline = Instant::now() + time;
    while pidfile::life(pid, data_dir) != Life::Gone {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL).await;
    }
    true
}

/// To a process that has ended meanwhile, a signal is no error.
fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let raw = i32::try_from(pid).context("not a process id")?;
    match kill(Pid::from_raw(raw), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send {signal} to process {pid}")),
    }
}

/// The server's processes: of its user, working in its data directory, and with the name of a
/// server, so that an operator's shell that stands in the directory is spared.
///
/// # Errors
/// When `/proc` cannot be read.
pub(super) async fn processes(data_dir: PathBuf, uid: u32) -> anyhow::Result<Vec<u32>> {
    let scan = move || {
        let entries = fs::read_dir("/proc").context("cannot list the processes in /proc")?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let servers = pids.filter(|pid| is_server(*pid, uid));
        Ok(servers.filter(|pid| pidfile::serves(*pid, &data_dir)).collect())
    };
    // A host may have many thousands of processes; the loop need not wait for the list.
    spawn_blocking(scan).await.context("the scan of /proc panicked")?
}

fn is_server(pid: u32, uid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let owner = fs::metadata(format!("/proc/{pid}")).map(|meta| meta.uid());
    owner.is_ok_and(|owner| owner == uid) && pidfile::is_named_server(pid)
}
