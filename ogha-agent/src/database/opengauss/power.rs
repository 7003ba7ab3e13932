//! Stopping in order, starting, and making sure that a start is harmless.
//!
//! A server that is started without `-M` comes up writable, and the mode is not remembered from
//! start to start; there is no file that makes it a standby. What keeps it from starting at all are
//! its directory's permissions: the server refuses one that its group may write.

use std::{ffi::OsStr, time::Duration};

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::{
    super::{Role, control::Control, files, local::Call, pidfile, stop},
    Opengauss,
    state_file::StateFile,
};

/// The group may write and not enter, which gives it nothing.
const LOCKED: u32 = 0o720;
const USABLE: u32 = 0o700;
/// Says why the server does not start.
const NOTE: &str = "ogha.fenced";
const TEXT: &str = "ogha fenced this server: another node is primary, or may be. The permissions of \
    this\ndirectory (0720) keep it from starting. ogha sets them back to 0700 when the server is to \
    be\nused again. To take over by hand: gs_ctl query on the other nodes first, then chmod 0700\n\
    here, and start it with -M standby unless no other primary is left.\n";
const START_LOG: &str = "ogha-start.log";

const CONTROL_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

impl Opengauss {
    pub(super) async fn demote(&self, within: Duration) -> anyhow::Result<()> {
        let _guard = self.local.exclusive()?;
        stop::fast(&self.local, within).await?;
        let call = Call::new("pg_controldata", CONTROL_DEADLINE).arg(&self.local.server.data_dir);
        let outcome = self.local.call(call).await?;
        outcome.success("pg_controldata")?;
        let state = Control::state(&outcome.text())?;
        anyhow::ensure!(
            state == "shut down",
            "the database has stopped, but was not shut down cleanly: pg_controldata says \
             {state:?}, so its standbys may not have all of its WAL"
        );
        Ok(())
    }

    pub(super) async fn disarm(&self) -> anyhow::Result<()> {
        let dir = self.local.server.data_dir.clone();
        self.local
            .act(move || {
                files::set_mode(&dir, LOCKED)?;
                files::replace(&dir.join(NOTE), TEXT.as_bytes())
            })
            .await
    }

    pub(super) async fn rearm(&self) -> anyhow::Result<()> {
        let dir = self.local.server.data_dir.clone();
        self.local
            .act(move || {
                files::remove(&dir.join(NOTE))?;
                if files::mode(&dir)? == LOCKED { files::set_mode(&dir, USABLE) } else { Ok(()) }
            })
            .await
    }

    pub(super) async fn start(&self, within: Duration) -> anyhow::Result<()> {
        let _guard = self.local.exclusive()?;
        let dir = &self.local.server.data_dir;
        anyhow::ensure!(
            !super::rejoin::is_half_done(dir),
            "a build of the database in {} was interrupted, so its files cannot be used; let it \
             rejoin again",
            dir.display()
        );
        let read = |name: &str| self.local.read(name);
        let mode = last_mode(&read).with_context(|| {
            format!(
                "neither postmaster.opts nor gaussdb.state in {} says whether the server was \
                 primary or standby; start it by gs_ctl start -M",
                dir.display()
            )
        })?;
        self.launch(mode, within).await
    }

    /// Starts the server in that mode, never without one.
    pub(super) async fn launch(&self, mode: &str, within: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        let dir = &self.local.server.data_dir;
        if self.local.main_pid()?.is_none() {
            pidfile::buried(dir, self.local.login.owner()).await;
            self.rearm().await?;
            let seconds = within.as_secs().max(1).to_string();
            let call = Call::new("gs_ctl", within + Duration::from_secs(5))
                .arg("start")
                .arg("-D")
                .arg(dir)
                .args(["-M", mode, "-t", &seconds, "-l"])
                .arg(dir.join(START_LOG));
            self.local.call(call).await?.success(format!("gs_ctl start -M {mode}"))?;
        }
        // Its exit code says little.
        loop {
            let seen = self.observe_once().await;
            if seen.role != Role::Unknown {
                return Ok(());
            }
            anyhow::ensure!(
                begun.elapsed() < within,
                "the database was started with -M {mode} and does not answer SQL after {within:?} \
                 ({}); see its log",
                seen.state
            );
            sleep(POLL).await;
        }
    }
}

/// What it was: `-M` of its last start, which a promotion rewrites; else what the state file says.
fn last_mode(read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<&'static str> {
    let options = read("postmaster.opts").unwrap_or_default();
    let options = String::from_utf8_lossy(&options).into_owned();
    let mode = options.split_once("\"-M\" \"").and_then(|(_, rest)| rest.split('"').next());
    match mode.map(OsStr::new).and_then(OsStr::to_str) {
        Some("primary" | "normal") => return Some("primary"),
        Some("standby") => return Some("standby"),
        _ => {}
    }
    let state = StateFile::parse(&read("gaussdb.state")?)?;
    match state.role {
        Role::Primary => Some("primary"),
        Role::Standby => Some("standby"),
        Role::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_mode_of_the_last_start_else_of_the_state_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_mode(&|name| fs::read(dir.path().join(name)).ok()), None);
        let mut state = [0; 72];
        state[0] = 3;
        fs::write(dir.path().join("gaussdb.state"), state).unwrap();
        assert_eq!(last_mode(&|name| fs::read(dir.path().join(name)).ok()), Some("standby"));
        let opts = dir.path().join("postmaster.opts");
        fs::write(&opts, "/app/bin/gaussdb \"-D\" \"/data\"\n").unwrap();
        assert_eq!(last_mode(&|name| fs::read(dir.path().join(name)).ok()), Some("standby"));
        fs::write(&opts, "/app/bin/gaussdb \"-D\" \"/data\" \"-M\" \"primary\"\n").unwrap();
        assert_eq!(last_mode(&|name| fs::read(dir.path().join(name)).ok()), Some("primary"));
    }
}
