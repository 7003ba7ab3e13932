//! Another upstream for a standby that runs.

use std::time::Duration;

use anyhow::Context as _;
use ogha_common::units::Lsn;
use tokio::time::{Instant, sleep};

use super::{
    super::{Observation, Peer, Role, conninfo::Conninfo},
    Postgresql, observe,
    synchronize::literal,
};

/// How long a running standby may take to stream from its new upstream.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a stream must last to be one. A receiver that fails is started again after
/// `wal_retrieve_retry_interval`.
const LASTS: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

impl Postgresql {
    /// PostgreSQL 13 and later take a new `primary_conninfo` by a reload.
    pub(super) async fn follow(&self, node: &str) -> anyhow::Result<()> {
        let peer = self.nodes.peer(node)?;
        let rows = self
            .order("select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('primary_conninfo')")
            .await
            .context("cannot ask the standby for its primary_conninfo")?;
        anyhow::ensure!(
            observe::cell(&rows, 0) == Some("t"),
            "the database is no standby, so it cannot follow {node}; let it rejoin"
        );
        let present = observe::cell(&rows, 1).unwrap_or_default();
        let conninfo = self.conninfo(present, peer)?;
        let wanted = conninfo.to_string();
        // What is set already is not set again: a reload signals every process of the server.
        if present != wanted {
            let statement = format!("alter system set primary_conninfo = {}", literal(&wanted));
            self.order(&statement).await?;
            self.order("select pg_catalog.pg_reload_conf()").await?;
        }
        let last = self.streams_within(peer, None, DEADLINE).await;
        last.map_err(|last| {
            anyhow::anyhow!(
                "the standby does not receive from {node} after {DEADLINE:?} ({}); see its log: \
                 {node} may not let it in (pg_hba.conf), or its history may have parted from \
                 {node}'s, and then it must rejoin",
                last.state
            )
        })
    }

    /// The connection to a peer, with what the present one says beside the place.
    pub(super) fn conninfo(&self, present: &str, peer: &Peer) -> anyhow::Result<Conninfo> {
        let present = Conninfo::parse(present)
            .context("primary_conninfo cannot be read; put it right with ALTER SYSTEM")?;
        let mut conninfo = present.to(peer, &self.nodes.own);
        if conninfo.get("user").is_none() {
            conninfo.set("user", &self.local.server.user);
        }
        Ok(conninfo)
    }

    /// Waits until it receives from that peer; else the last thing that was seen. An upstream that
    /// lacks the log begins to stream before it says so: what counts is a stream that has brought the
    /// log to the `goal` (timeline and position), or that lasts.
    pub(super) async fn streams_within(
        &self,
        peer: &Peer,
        goal: Option<(u32, Lsn)>,
        within: Duration,
    ) -> Result<(), Box<Observation>> {
        let deadline = Instant::now() + within;
        let mut since = None;
        loop {
            let seen = self.observe_once().await;
            let from = seen.upstream.as_ref().filter(|upstream| upstream.streaming);
            let named = from.and_then(|upstream| upstream.peer.as_deref());
            if seen.role == Role::Standby && named == Some(&*peer.name) {
                let arrived = goal.is_some_and(|(timeline, position)| {
                    seen.timeline >= Some(timeline) && seen.lsn >= Some(position)
                });
                let begun = *since.get_or_insert_with(Instant::now);
                if arrived || begun.elapsed() >= LASTS {
                    return Ok(());
                }
            } else {
                since = None;
            }
            // One that streams is given the time to show that it lasts.
            if Instant::now() >= deadline && since.is_none() {
                return Err(Box::new(seen));
            }
            sleep(POLL).await;
        }
    }
}
