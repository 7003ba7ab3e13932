//! The end of a stopped server's log, found by replaying it.
//!
//! The server runs for that as a standby without an upstream, closed to the network: it replays all
//! that is on its disk, writes nothing of its own, and is shut down in order, as `pg_rewind` wants
//! it. `pg_rewind` itself would let a killed primary recover as a primary.

use std::time::Duration;

use ogha_common::units::Lsn;
use tokio::time::{Instant, sleep};

use super::super::{
    super::{local::Call, pidfile, stop},
    Postgresql, observe, options,
};

/// A killed primary may have hours of log since its last checkpoint.
const DEADLINE: Duration = Duration::from_secs(6 * 3600);
const STOP: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);

/// How far it has replayed, and what the process that does it waits for.
const LOOK: &str = "select pg_catalog.pg_last_wal_replay_lsn(), \
    (select wait_event from pg_catalog.pg_stat_activity where backend_type = 'startup')";

/// Settings of this one run, over all files. The log stays whole, for what is lost is in it; and the
/// timeline stays, even if an earlier try has brought the history of another one.
const SETTINGS: [&str; 6] = [
    "listen_addresses=",
    "primary_conninfo=",
    "restore_command=",
    "hot_standby=on",
    "wal_keep_size=1TB",
    "recovery_target_timeline=current",
];

impl Postgresql {
    /// Replays the log and returns its end. There must be a `standby.signal`.
    pub(super) async fn replay(&self) -> anyhow::Result<Lsn> {
        pidfile::buried(self.data_dir(), self.local.login.owner()).await;
        let words = options::last_options(&self.local);
        let call = Call::new("postgres", DEADLINE)
            .arg("-D")
            .arg(self.data_dir())
            .args(options::as_arguments(&words))
            .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let mut server = Box::pin(self.local.call(call));
        let end = tokio::select! {
            ended = &mut server => {
                let outcome = ended?;
                outcome.success("postgres, to replay the log,")?;
                anyhow::bail!("the server that was to replay the WAL has ended");
            }
            end = self.end_of_log() => end,
        };
        // Also if it failed: a server that runs would be in the way.
        let stopped = tokio::select! {
            _ = &mut server => Ok(()),
            stopped = stop::fast(&self.local, STOP) => stopped,
        };
        stopped.and(end)
    }

    async fn end_of_log(&self) -> anyhow::Result<Lsn> {
        let begun = Instant::now();
        let mut last = None;
        loop {
            let rows = self.order(LOOK).await.unwrap_or_default();
            let now = observe::cell(&rows, 0).and_then(Lsn::parse);
            match observe::cell(&rows, 1) {
                Some("RecoveryRetrieveRetryInterval" | "RecoveryWalStream") if now.is_some() => {
                    // Twice: it may have been between two segments.
                    if let Some(end) = now.filter(|_| last == now) {
                        return Ok(end);
                    }
                    last = now;
                }
                Some("RecoveryPause") => anyhow::bail!(
                    "the replay of the WAL has paused: a setting such as max_connections is lower \
                     here than it was on the primary"
                ),
                _ => last = None,
            }
            anyhow::ensure!(
                begun.elapsed() < DEADLINE,
                "the WAL is not replayed after {DEADLINE:?}"
            );
            sleep(POLL).await;
        }
    }
}
