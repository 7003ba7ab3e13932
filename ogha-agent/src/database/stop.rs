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
use ogha_common::detector::vitals::TaskState;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    local::Local,
    pidfile::{self, Life},
};
use crate::guest::{
    process::{self, Servers},
    task::task,
};

/// How long a server may take to obey.
const GRACE: Duration = Duration::from_millis(1000);
/// The same where a standby waits for the fence.
const FENCE_GRACE: Duration = Duration::from_millis(300);
/// How long killed processes may take to end before a fence is content that they never run again.
const DYING: Duration = Duration::from_millis(200);
/// How long the kernel may take to end killed processes, which may have much memory to give back.
const REAP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
const RESCAN: Duration = Duration::from_millis(10);

/// Stops the server; `Ok` when no process of it is left.
///
/// # Errors
/// When the agent may not signal it, or processes remain that cannot be killed.
pub async fn immediate(local: &Local) -> anyhow::Result<()> {
    quit(local, GRACE).await?;
    kill(local, |_| false).await
}

/// Stops the server so that another node may be promoted; `Ok` when no process of it runs any more, or
/// ever will: one that was killed while it waits for a disk is not gone before the disk answers, but it
/// acknowledges nothing then.
///
/// # Errors
/// When the agent may not signal it, or processes remain that were not killed.
pub async fn fence(local: &Local) -> anyhow::Result<()> {
    quit(local, FENCE_GRACE).await?;
    let begun = Instant::now();
    kill(local, |pid| begun.elapsed() >= DYING && process::is_doomed(pid)).await
}

/// Tells the main process, unless it cannot obey, and waits for its end.
async fn quit(local: &Local, grace: Duration) -> anyhow::Result<()> {
    let server = &local.server.data_dir;
    match local.main_pid() {
        Ok(Some(main)) => {
            process::signal(main, local.login.uid().as_raw(), server, Signal::SIGQUIT)?;
            let held = matches!(
                task(main).state,
                TaskState::Stopped | TaskState::Frozen | TaskState::Traced
            );
            gone_within(if held { Duration::ZERO } else { grace }, main, server).await;
        }
        Ok(None) => {}
        // A fence waits for no file: the processes themselves are killed.
        Err(error) => tracing::warn!("{error:#}; the server's processes are killed"),
    }
    Ok(())
}

/// Kills what is left of the server. The main process ends last: what is still there does not obey, or lost
/// it long ago. `counts_as_gone`: a process that need not be waited for.
async fn kill(local: &Local, counts_as_gone: impl Fn(u32) -> bool) -> anyhow::Result<()> {
    let dir = local.server.data_dir.clone();
    let uid = local.login.uid().as_raw();
    let deadline = Instant::now() + REAP;
    loop {
        let found = processes(dir.clone(), uid).await?;
        let (gone, left): (Vec<_>, Vec<_>) =
            found.ours.iter().copied().partition(|pid| counts_as_gone(*pid));
        if left.is_empty() {
            if !gone.is_empty() {
                tracing::warn!(
                    "processes {gone:?} of the server in {} were killed, and end when the kernel lets them, which may \
                     wait for a disk or a frozen control group; they run no more",
                    dir.display()
                );
            }
            return found.verified().map(drop);
        }
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
