//! Whom commits wait for.
//!
//! `ALTER SYSTEM` writes `postgresql.auto.conf`, which wins over `postgresql.conf`; it works on a
//! standby too. Nothing here waits for a standby itself, for no statement writes to the WAL.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::{
    super::{Observation, Role, replication, sql},
    Postgresql, observe,
};

/// How long the setting may take to be in force. A checkpoint that flushes its files holds it up.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
/// How long sessions may take to see settings that were reloaded.
const RELOAD: Duration = Duration::from_millis(50);

impl Postgresql {
    /// Writes the setting, and anew if a standby's name has changed meanwhile; `Ok` when it was
    /// seen to be in force, twice, and to name the peers as they are called.
    pub(super) async fn synchronize(&self, wanted: &[String]) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut written = None;
        let mut settled = 0;
        let mut set_right = false;
        loop {
            let seen = self.observe_once().await;
            let value = self.value(wanted, &seen)?;
            if !wanted.is_empty() && !set_right && self.awaiting.releases_all() {
                set_right = true;
                self.have_commits_wait().await?;
                sleep(RELOAD).await;
                continue;
            }
            if written.as_ref() != Some(&value) {
                self.write(&value).await?;
                written = Some(value);
                settled = 0;
                continue;
            }
            let missing = match self.in_force(&value).await? {
                Some(missing) => {
                    settled = 0;
                    Some(missing)
                }
                None => {
                    settled += 1;
                    self.missing(wanted, &seen)?
                }
            };
            let Some(missing) = missing else {
                if settled > 1 {
                    return Ok(());
                }
                continue;
            };
            anyhow::ensure!(
                Instant::now() < deadline,
                "synchronous_standby_names = {value:?} was written and is not in force after \
                 {DEADLINE:?}: {missing}. A long checkpoint, or a setting on the server's command \
                 line, may be the reason"
            );
            sleep(POLL).await;
        }
    }

    /// The setting that names these as they are called now.
    fn value(&self, wanted: &[String], seen: &Observation) -> anyhow::Result<String> {
        let names = match seen.role {
            Role::Unknown => anyhow::bail!(
                "the database does not answer: {} ({})",
                seen.state,
                seen.error.as_deref().unwrap_or("no reason is known")
            ),
            Role::Standby | Role::Primary => self.awaiting.names(wanted, &self.nodes)?,
        };
        Ok(replication::demand(&names))
    }

    async fn write(&self, value: &str) -> anyhow::Result<()> {
        let statement = format!("alter system set synchronous_standby_names = {}", literal(value));
        self.order(&statement).await.context("cannot write synchronous_standby_names")?;
        self.order("select pg_catalog.pg_reload_conf()")
            .await
            .context("cannot reload the settings")?;
        Ok(())
    }

    /// Somebody has turned synchronous commits off for the whole server.
    async fn have_commits_wait(&self) -> anyhow::Result<()> {
        self.order("alter system set synchronous_commit = 'on'")
            .await
            .context("cannot write synchronous_commit")?;
        self.order("select pg_catalog.pg_reload_conf()")
            .await
            .context("cannot reload the settings")?;
        Ok(())
    }

    /// Why that value is not in force for all sessions, as far as can be told.
    async fn in_force(&self, value: &str) -> anyhow::Result<Option<String>> {
        let asked = format!(
            "select pg_catalog.current_setting('synchronous_standby_names'), {}",
            observe::CHECKPOINTER
        );
        let rows = self.order(&asked).await?;
        let now = observe::cell(&rows, 0).unwrap_or_default();
        if now != value {
            return Ok(Some(format!("the server says {now:?}")));
        }
        let checkpointer = observe::cell(&rows, 1);
        let busy = format!("its checkpointer is at {}", checkpointer.unwrap_or("work"));
        Ok((!observe::settled(checkpointer)).then_some(busy))
    }

    /// Whom commits do not wait for although they should. An error if they will not.
    fn missing(&self, wanted: &[String], seen: &Observation) -> anyhow::Result<Option<String>> {
        if seen.role != Role::Primary {
            return Ok(None);
        }
        let is_missing =
            |peer: &&replication::Replication| !peer.awaited && wanted.contains(&peer.peer);
        let Some(peer) = seen.replication.iter().find(is_missing) else { return Ok(None) };
        if let Some(refusal) = self.awaiting.refusal() {
            anyhow::bail!(
                "commits of some sessions wait for no standby: {refusal}. Set it on, or reset it"
            );
        }
        Ok(Some(format!("{} is {}", peer.peer, peer.state)))
    }

    /// Asks on the connection for orders, which no observation waits for.
    pub(super) async fn order(&self, statement: &str) -> Result<Vec<sql::Row>, sql::Error> {
        self.orders.query(statement, sql::DEADLINE).await
    }
}

/// A string in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
