//! Who receives a primary's WAL, and whom its commits wait for.
//!
//! Used by both drivers: the rows come from `pg_stat_replication`, the rest from the settings. A
//! peer is *awaited* if no commit returns without its confirmation, and that is verified anew at
//! each observation: nothing that was set is believed to be in force still.

use std::net::IpAddr;

use ogha_common::units::Lsn;

pub(super) use super::standby_names::demand;
use super::{Nodes, Peer};

/// A peer, as a primary sees it receive WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// The peer's name.
    pub peer: String,
    /// It receives WAL as it is written.
    pub streaming: bool,
    /// No commit returns without its confirmation: verified by this observation. A peer without a
    /// connection is awaited if the setting in force demands the name that it had.
    pub awaited: bool,
    /// `awaited`, and it has confirmed all that was acknowledged before that was so: its position on
    /// disk has passed the end of WAL at a moment when it was awaited already.
    pub confirmed: bool,
    /// Bytes of WAL that it has not on disk yet; `None` if it has no connection.
    pub lag: Option<u64>,
    /// A word for people: `streaming`, `catchup`, `absent`, and why commits do not wait for it
    /// although they wait for somebody.
    pub state: String,
}

/// A row of `pg_stat_replication`, its words in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// The connection.
    pub pid: String,
    /// What the standby calls itself.
    pub application_name: String,
    /// Where it comes from; `None` through a Unix socket.
    pub client: Option<IpAddr>,
    /// `streaming`, `catchup`, `startup`, `backup`, `stopping`.
    pub state: String,
    /// `async`, `potential`, `sync`, `quorum`.
    pub sync: String,
    /// What it has on disk.
    pub flush: Option<Lsn>,
    /// It replays what it receives. What only keeps WAL (`pg_receivewal`, a base backup) is no
    /// standby.
    pub replays: bool,
    /// When the connection began, in microseconds of the server's clock.
    pub began: Option<i64>,
    /// When its far end last spoke, as the server shows it; not all servers do.
    pub replied: Option<String>,
}

impl Row {
    /// The peer from whose address it comes. What a standby calls itself proves nothing; it tells
    /// apart peers behind one address. Only a peer without an address, which no configuration
    /// allows, is known by its name.
    pub fn peer<'a>(&self, nodes: &'a Nodes) -> Option<&'a Peer> {
        let client = self.client.map(|client| client.to_canonical());
        let at = |peer: &&Peer| peer.addresses.iter().any(|own| Some(own.to_canonical()) == client);
        let named = |peer: &&Peer| self.called(&peer.name);
        let mut there = nodes.peers.iter().filter(at);
        let nowhere = || nodes.peers.iter().filter(|peer| peer.addresses.is_empty()).find(named);
        there.clone().find(named).or_else(|| there.next()).or_else(nowhere)
    }

    /// Whether that is its name, as the server compares names.
    pub fn called(&self, name: &str) -> bool {
        self.application_name.eq_ignore_ascii_case(name)
    }

    /// It may be, or become, one whose confirmation counts.
    pub fn may_count(&self) -> bool {
        self.state != "backup"
    }

    /// The server counts its confirmation.
    pub fn counts(&self) -> bool {
        matches!(self.sync.as_str(), "sync" | "quorum")
    }

    /// Where it comes from, for people.
    pub fn place(&self) -> String {
        self.client.map_or_else(|| "this host".to_owned(), |client| client.to_string())
    }
}

#[cfg(test)]
#[path = "replication_tests.rs"]
mod tests;
