//! Stopping in order, starting, and making sure that a start is harmless.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::{
    super::{Process, Role, Unit, control::Control, files, local::Call, pidfile, unit},
    Postgresql,
    options::{last_options, shell_words},
    rejoin::journal,
};

/// What is in a `standby.signal` that ogha wrote to fence. The server asks only whether the file
/// is there, so it can say whose it is: one file, which is there or not.
pub const FENCE: &str = "# ogha fenced this server: another node is primary, or may be.\n\
    # With this file here it starts as a standby. ogha removes it when the server is to be\n\
    # primary again.\n";
const FENCE_BEGIN: &str = "# ogha fenced";
/// What makes PostgreSQL 12 and later start as a standby.
pub const STANDBY: &str = "standby.signal";
/// What the server prints before its own log is there; in the data directory.
const START_LOG: &str = "ogha-start.log";

const CONTROL_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// How long systemd may take from an order to the server's guard.
const PERMIT: Duration = Duration::from_secs(10);

impl Postgresql {
    pub(super) async fn demote(&self, within: Duration) -> anyhow::Result<()> {
        let _guard = self.local.exclusive()?;
        unit::fast(&self.local, within).await?;
        let state = self.control().await?.state;
        anyhow::ensure!(
            state == "shut down",
            "the database has stopped, but was not shut down cleanly: pg_controldata says \
             {state:?}, so its standbys may not have all of its WAL"
        );
        Ok(())
    }

    /// A server that is down, or that runs and will not for long, becomes a standby at its next
    /// start, and refuses writes whoever starts it.
    pub(super) async fn disarm(&self) -> anyhow::Result<()> {
        let path = self.data_dir().join(STANDBY);
        self.local
            .act(move || {
                // One that is there belongs to a standby, which it is to stay. The server asks only
                // whether it is there; a link may lead nowhere, and nobody looks where.
                if !files::exists(&path) || files::is_link(&path) {
                    files::replace(&path, FENCE.as_bytes())?;
                }
                Ok(())
            })
            .await
    }

    pub(super) async fn start(&self, within: Duration) -> anyhow::Result<()> {
        let _guard = self.local.exclusive()?;
        anyhow::ensure!(
            !self.local.as_owner(|| journal::is_half_done(&self.local.server.data_dir))?,
            "a rejoin of the database in {} was interrupted, so its files cannot be used; let it \
             rejoin again",
            self.data_dir().display()
        );
        let path = self.data_dir().join(STANDBY);
        self.local.act(move || lift_fence(&path)).await?;
        if self.local.server.unit.is_none() {
            return self.launch(within).await;
        }
        // The unit's guard would take it for somebody else's start.
        self.permit(PERMIT.min(within)).await?;
        let launched = self.launch(within).await;
        self.forbid().await;
        launched
    }

    /// Starts the server: by its unit if it has one, so that it lives there; else with the options of
    /// its last start, in a session of its own.
    pub(super) async fn launch(&self, within: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        let log = self.data_dir().join(START_LOG);
        let said = self.local.as_owner(|| files::length(&log))?;
        if self.local.main_pid()?.is_none() {
            pidfile::buried(self.data_dir(), self.local.login.owner()).await;
            match &self.local.server.unit {
                Some(unit) => return self.start_unit(unit, within).await,
                None => self.pg_ctl_start(within, &log, said).await?,
            }
        }
        // "Started" is said of a standby that lets nobody in yet as well.
        while self.observe_once().await.role == Role::Unknown {
            anyhow::ensure!(
                begun.elapsed() < within,
                "the database runs and does not answer SQL after {within:?}; its log says: {}",
                self.last_log(said)
            );
            sleep(POLL).await;
        }
        Ok(())
    }

    /// What counts is the server that answers, not systemd's command, which may return much later.
    async fn start_unit(&self, unit: &Unit, within: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut starting = Box::pin(unit.start(within));
        let mut started = false;
        loop {
            tokio::select! {
                biased;
                outcome = &mut starting, if !started => {
                    outcome.with_context(|| format!("see `journalctl -u {unit}`"))?;
                    started = true;
                }
                () = sleep(POLL) => {}
            }
            let seen = self.observe_once().await;
            if seen.role != Role::Unknown {
                return Ok(());
            }
            anyhow::ensure!(
                !(started && seen.process == Process::Gone),
                "systemd has started {unit}, and no server runs in {}; see `journalctl -u {unit}` and \
                 the server's log",
                self.data_dir().display()
            );
            anyhow::ensure!(
                begun.elapsed() < within,
                "{unit} was started and its database does not answer SQL after {within:?} ({}); see \
                 `journalctl -u {unit}` and the server's log",
                seen.state
            );
        }
    }

    async fn pg_ctl_start(&self, within: Duration, log: &Path, said: u64) -> anyhow::Result<()> {
        let options = shell_words(&last_options(&self.local));
        let seconds = within.as_secs().max(1).to_string();
        let call = Call::new("pg_ctl", within + Duration::from_secs(5))
            .args(["start", "-w", "-t", &seconds, "-D"])
            .arg(self.data_dir())
            .arg("-l")
            .arg(log)
            .args(["-o", &options]);
        let outcome = self.local.call(call).await?;
        outcome
            .success("pg_ctl start")
            .with_context(|| format!("the server's log says: {}", self.last_log(said)))
    }

    /// The end of what the server printed after that many bytes.
    pub(super) fn last_log(&self, after: u64) -> String {
        let read = || -> std::io::Result<String> {
            let path = self.data_dir().join(START_LOG);
            let bytes = self.local.as_owner(|| files::end(&path, after, 8192))??;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        super::super::process::last_words(&read().unwrap_or_default())
    }

    /// The control file, which is right only of a server that does not run.
    pub(super) async fn control(&self) -> anyhow::Result<Control> {
        let call = Call::new("pg_controldata", CONTROL_DEADLINE).arg("-D").arg(self.data_dir());
        let outcome = self.local.call(call).await?;
        outcome.success("pg_controldata")?;
        Control::parse(&outcome.text())
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.local.server.data_dir
    }
}

/// Removes the file if ogha wrote it to fence.
fn lift_fence(path: &Path) -> anyhow::Result<()> {
    let text = files::read(path)?;
    if text.is_some_and(|text| text.starts_with(FENCE_BEGIN.as_bytes())) {
        files::remove(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_oghas_own_fence_is_lifted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(STANDBY);
        lift_fence(&path).unwrap();
        for (text, stays) in [(FENCE, false), ("", true), ("somebody's\n", true)] {
            fs::write(&path, text).unwrap();
            lift_fence(&path).unwrap();
            assert_eq!(path.exists(), stays, "{text:?}");
        }
    }
}
