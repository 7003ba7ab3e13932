//! The upstream, asked by `psql` over the connection that will receive the log: it knows all of
//! libpq's ways to log in.

use std::time::Duration;

use anyhow::Context as _;
use ogha_common::units::Lsn;

use super::{
    super::{super::conninfo::Conninfo, super::local::Call, Postgresql, history::History},
    Rejoin,
};

const DEADLINE: Duration = Duration::from_secs(15);

/// What the upstream said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The cluster's identity.
    pub system: u64,
    /// The timeline that it writes, or receives.
    pub timeline: u32,
    /// The end of its log.
    pub position: Lsn,
    /// Its timelines.
    pub history: History,
}

impl Rejoin<'_> {
    /// Asks it who it is, by the replication protocol.
    pub(super) async fn source(&self) -> anyhow::Result<Source> {
        let peer = &self.peer.name;
        let context = || {
            format!(
                "cannot ask {peer} for its history; primary_conninfo must let this node's \
                 database user in there, with the right to replicate (pg_hba.conf of {peer})"
            )
        };
        let identity = self.replication("IDENTIFY_SYSTEM").await.with_context(context)?;
        let fields: Vec<_> = identity.trim().split('|').collect();
        let [system, timeline, position, ..] = fields[..] else {
            anyhow::bail!("{peer} answered IDENTIFY_SYSTEM with {identity:?}");
        };
        let timeline: u32 = timeline.parse().context("a timeline is a number")?;
        let text = if timeline == 1 {
            String::new()
        } else {
            // The file's name, a separator, its text.
            let command = format!("TIMELINE_HISTORY {timeline}");
            let text = self.replication(&command).await.with_context(context)?;
            text.split_once('|').map_or(String::new(), |(_, text)| text.to_owned())
        };
        Ok(Source {
            system: system.parse().context("a system identifier is a number")?,
            timeline,
            position: Lsn::parse(position).context("the upstream's position is none")?,
            history: History::parse(timeline, &text),
        })
    }

    async fn replication(&self, command: &str) -> anyhow::Result<String> {
        let mut conninfo = self.conninfo.clone();
        // As the server's own receiver does, for the lines of a password file.
        conninfo.set("dbname", "replication");
        conninfo.set("replication", "true");
        psql(self.driver, conninfo, command).await
    }

    /// Asks it in SQL, for which the user may lack the right.
    pub(super) async fn sql(&self, statement: &str) -> anyhow::Result<String> {
        psql(self.driver, self.database(), statement).await
    }

    /// The connection to the database of administration.
    pub(super) fn database(&self) -> Conninfo {
        let mut conninfo = self.conninfo.clone();
        conninfo.set("dbname", &self.driver.local.server.dbname);
        conninfo
    }
}

async fn psql(driver: &Postgresql, mut conninfo: Conninfo, text: &str) -> anyhow::Result<String> {
    if conninfo.get("connect_timeout").is_none() {
        conninfo.set("connect_timeout", "5");
    }
    let secrets = conninfo.take_secrets();
    let call = Call::new("psql", DEADLINE)
        .args(["-XAtqw", "-c", text, "-d", &conninfo.to_string()])
        .secrets(secrets);
    let outcome = driver.local.call(call).await?;
    outcome.success("psql")?;
    Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
}
