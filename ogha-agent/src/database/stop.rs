//! Stopping a server at once, and making sure of it.
//!
//! Both servers shut down without a checkpoint on SIGQUIT; that is all that `pg_ctl stop -m
//! immediate` and `gs_ctl stop -m immediate` send. It is sent directly here: the tools look for the
//! outcome ten times or once a second, and a fence is worth its milliseconds. A server that cannot
//! obey (it is stopped, or hangs in the kernel) is killed with all its processes: a backend without
//! its main process could still acknowledge a write.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    local::Local,
    pidfile::{self, Life},
};
use crate::guest::process::{self, Servers};

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
    let dir = local.server.data_dir.clone();
    let uid = local.login.uid().as_raw();
    match local.main_pid() {
        Ok(Some(main)) => {
            process::signal(main, uid, &dir, Signal::SIGQUIT)?;
            gone_within(GRACE, main, &dir).await;
        }
        Ok(None) => {}
        // A fence waits for no file: the processes themselves are killed.
        Err(error) => tracing::warn!("{error:#}; the server's processes are killed"),
    }
    // The main process ends last. What is still there does not obey, or lost it long ago.
    let deadline = Instant::now() + REAP;
    loop {
        let found = processes(dir.clone(), uid).await?;
        if found.ours.is_empty() {
            return found.verified().map(drop);
        }
        let left = found.ours;
        anyhow::ensure!(
            Instant::now() < deadline,
            "processes {left:?} of the server in {} do not die; they may hang in the kernel",
            dir.display()
        );
        for pid in left {
            process::signal(pid, uid, &dir, Signal::SIGKILL)?;
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
    let dir = local.server.data_dir.clone();
    let Some(main) = local.main_pid()? else { return Ok(()) };
    process::signal(main, local.login.uid().as_raw(), &dir, Signal::SIGINT)?;
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

/// The server's processes.
///
/// # Errors
/// When `/proc` cannot be read.
pub(super) async fn processes(data_dir: PathBuf, uid: u32) -> anyhow::Result<Servers> {
    // A host may have many thousands of processes; the loop need not wait for the list.
    let search = spawn_blocking(move || Servers::find(&data_dir, uid));
    search.await.context("the search of /proc panicked")?
}
