//! Making a server a standby again: by starting it as one, else by `gs_ctl build`.
//!
//! A standby finds the primary among its `replconninfo` by itself. One whose log has parted from the
//! primary's says so (`need repair`) and stays as it is, so trying is safe; `build` then takes back
//! what it has alone, or copies everything. `build` on a server that runs as primary is refused, and
//! without a primary it leaves the server stopped.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ogha_common::units::Lsn;
use tokio::time::{Instant, sleep};

use super::{
    super::{Lost, Role, files, local::Call, lost, stop},
    Opengauss,
};

/// How long a server that runs may take to shut down in order.
const STOP: Duration = Duration::from_secs(30);
const START: Duration = Duration::from_secs(600);
/// How long the verdict on a started standby may take. It says `disconnected` for its first two
/// seconds.
const VERDICT: Duration = Duration::from_secs(20);
/// How long a state must last to be one.
const LASTS: Duration = Duration::from_secs(3);
const CHECK_DEADLINE: Duration = Duration::from_secs(120);
const BUILD_DEADLINE: Duration = Duration::from_secs(24 * 3600);
const POLL: Duration = Duration::from_millis(50);
/// Bytes of a segment of the log; openGauss knows no others.
const SEGMENT: u64 = 16 << 20;
/// There while a build is under way, beside the data directory: it empties that.
const BUILDING: &str = "rejoin";

/// What became of a server that was started as a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Following {
    Receives,
    NeedsRepair,
    /// The primary was not reached.
    Alone,
}

/// Whether a build was begun and not ended.
pub(super) fn is_half_done(data_dir: &Path) -> bool {
    files::exists(&mark(data_dir))
}

fn mark(data_dir: &Path) -> PathBuf {
    lost::beside(data_dir, BUILDING)
}

impl Opengauss {
    pub(super) async fn rejoin(&self, node: &str) -> anyhow::Result<()> {
        let _guard = self.local.exclusive()?;
        self.nodes.peer(node)?;
        let running = self.progress.begin();
        let half_done = is_half_done(&self.local.server.data_dir);
        if half_done || !self.receives_from(node).await {
            self.progress.phase("stopping");
            if let Err(error) = stop::fast(&self.local, STOP).await {
                tracing::warn!("{error:#}; an immediate shutdown follows");
            }
            stop::immediate(&self.local).await?;
            if half_done || !self.follows(node).await? {
                self.build(node).await?;
            }
        }
        // So that it waits for nobody when it is promoted one day; a build brings the primary's.
        if let Err(error) = self.synchronize(&[]).await {
            tracing::warn!("the standby would wait for others once promoted: {error:#}");
        }
        running.done();
        Ok(())
    }

    async fn receives_from(&self, node: &str) -> bool {
        let seen = self.observe_once().await;
        let from = seen.upstream.and_then(|upstream| upstream.peer);
        seen.role == Role::Standby
            && matches!(seen.state.as_str(), "normal" | "catchup")
            && from.is_none_or(|from| from == node)
    }

    /// Starts it as a standby; true if that was all it needed.
    async fn follows(&self, node: &str) -> anyhow::Result<bool> {
        self.progress.phase("starting");
        self.launch("standby", START).await?;
        match self.verdict(node).await {
            Following::Receives => Ok(true),
            Following::NeedsRepair => Ok(false),
            Following::Alone => {
                // "Disconnected" is said of a primary that refuses, too. The check asks it.
                self.progress.phase("comparing histories");
                let text = self.check().await?;
                anyhow::ensure!(
                    text.contains("Build check result"),
                    "the standby does not reach a primary, and neither does gs_ctl build: {}",
                    super::super::process::last_words(&text)
                );
                Ok(false)
            }
        }
    }

    async fn verdict(&self, node: &str) -> Following {
        let deadline = Instant::now() + VERDICT;
        let (mut last, mut since) = (Following::Alone, Instant::now());
        loop {
            let state = self.observe_once().await.state;
            let now = if self.receives_from(node).await {
                Following::Receives
            } else {
                match state.strip_prefix("need repair: ") {
                    None | Some("disconnected" | "connecting...") => Following::Alone,
                    Some(_) => Following::NeedsRepair,
                }
            };
            if now != last {
                (last, since) = (now, Instant::now());
            }
            let lasts = now != Following::Alone && since.elapsed() >= LASTS;
            if lasts || Instant::now() >= deadline {
                return now;
            }
            sleep(POLL).await;
        }
    }

    /// What a build would do, and the positions on which it decides. Stops the server.
    async fn check(&self) -> anyhow::Result<String> {
        let call = Call::new("gs_ctl", CHECK_DEADLINE)
            .args(["build", "-b", "check", "-D"])
            .arg(&self.local.server.data_dir);
        Ok(self.local.call(call).await?.text())
    }

    async fn build(&self, node: &str) -> anyhow::Result<()> {
        stop::immediate(&self.local).await?;
        self.rearm().await?;
        let dir = self.local.server.data_dir.clone();
        if !is_half_done(&dir) {
            self.progress.phase("comparing histories");
            let text = self.check().await?;
            if let Some(lost) = read_check(&text, lost::beside_now(&dir, "lost")) {
                tracing::warn!(
                    "this node has writes that {node} does not have; they are discarded: {lost}"
                );
                self.progress.lost(lost.clone());
                let log = ["pg_xlog", "pg_wal"].map(|name| dir.join(name));
                let log = log
                    .into_iter()
                    .find(|log| {
                        self.local
                            .as_owner(|| files::leads_to_directory(log))
                            .is_ok_and(|is_one| is_one)
                    })
                    .unwrap_or_default();
                self.local.act(move || lost::keep(&lost, &log, SEGMENT)).await?;
            }
            let mark = mark(&dir);
            self.local.act(move || files::replace(&mark, b"gs_ctl build\n")).await?;
        }
        self.progress.phase("building");
        let call = Call::new("gs_ctl", BUILD_DEADLINE)
            .args(["build", "-b", "auto", "-D"])
            .arg(&dir)
            .heard_by(self.progress.listener());
        self.local.call(call).await?.success("gs_ctl build")?;
        self.progress.phase("waiting for the log");
        let verdict = self.verdict(node).await;
        anyhow::ensure!(
            verdict == Following::Receives,
            "gs_ctl build has ended well, and the standby does not receive from {node} ({}); see \
             gs_ctl query there and here",
            self.observe_once().await.state
        );
        self.local.act(move || files::remove(&mark(&dir))).await
    }
}

/// What is lost, by the log of the check: from the last checkpoint that both have to the last that
/// this node has. `None` if the log does not tell, or there is nothing between.
fn read_check(text: &str, kept: PathBuf) -> Option<Lost> {
    let after = |words: &str| {
        let rest = text.rsplit_once(words)?.1;
        Lsn::parse(rest.split([')', ' ', '\n']).find(|word| !word.is_empty())?)
    };
    let (from, to) = (after("find common checkpoint ")?, after("find max lsn rec (")?);
    (from < to).then(|| Lost::new(1, from, to, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_tells_what_is_lost() {
        let text = "[t][1][dn_6002][gs_rewind]: find max lsn success, find max lsn rec (0/401DBC8) success.\n\
            [t][1][dn_6001][gs_rewind]: request lsn is 0/401DBC8 and its crc(source, target):[1, 2]\n\
            [t][1][dn_6001][gs_rewind]: find common checkpoint 0/40180A0\n\
            [t][1][dn_6001][gs_rewind]: Build check result : incremental build\n";
        let lost = read_check(text, PathBuf::new()).unwrap();
        assert_eq!((lost.from.as_str(), lost.to.as_str()), ("0/40180A0", "0/401DBC8"));
        assert_eq!(lost.bytes, 0x5b28);
        assert_eq!(read_check("could not connect to server.\n", PathBuf::new()), None);
        let same = text.replace("0/401DBC8) success", "0/40180A0) success");
        assert_eq!(read_check(&same, PathBuf::new()), None);
    }

    #[test]
    fn a_build_leaves_a_mark_beside_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        assert!(!is_half_done(&data));
        std::fs::write(mark(&data), "").unwrap();
        assert!(is_half_done(&data));
    }
}
