//! What was observed: the own database, the peers, the node that serves.
//!
//! A fact is known, unknown or stale: each carries the time from which it is, and what could not be
//! observed leaves the last fact as it was ([`Database::Unknown`]).

use ::core::time::Duration;

use super::{Config, Database, MAX_NODES, hangs::Hangs, record::Record};
use crate::{
    profile::Danger,
    units::{Instant, NodeId, Term},
    wire::probe::{self, Role},
};

/// What was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    /// The database here, as it was last observed.
    pub database: Database,
    /// That was before this agent did not run for a lease: it may be another one by now.
    pub stale: bool,
    /// Nothing enforces the gate here: the interface is gone, or the programs on it.
    pub unguarded: bool,
    pub peers: [Option<PeerFacts>; MAX_NODES],
    /// The node that serves, or did.
    pub active: Option<ActiveNode>,
    /// When the last advert was read.
    pub advert_at: Instant,
    /// Up to when all that the kernel had heard of the peers was handed in.
    pub polled_at: Instant,
    /// Since when this node listens for others, to tell what it heard since.
    pub listening_since: Instant,
    /// In what the peers contradict this node dangerously.
    pub danger: Option<Danger>,
    /// How often the database was started again in place since this agent began, or since it last served
    /// for a long time.
    pub restarts: u8,
    /// Databases that hang, or did.
    pub hangs: Hangs,
}

/// What is known of the node that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ActiveNode {
    pub node: NodeId,
    /// The last status of its agent, or the last answer of its kernel.
    pub at: Instant,
    /// The last time at which its agent was alive: its gate lapses `agent_timeout` later.
    pub agent: Instant,
    /// Its kernel has said last that its gate is open or claimed.
    pub holds: bool,
    /// Its adverts have stopped.
    pub silent: bool,
    /// Its kernel does not answer.
    pub lost: bool,
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerFacts {
    pub node: NodeId,
    /// When its agent last lived; what it said is `status`.
    pub at: Instant,
    /// The same, and what this agent missed while it did not run is not made up for: that somebody was
    /// heard since cannot be had by waiting.
    pub heard: Instant,
    pub status: Option<probe::Status>,
    /// The last sign of its host: a status, or an answer of its kernel.
    pub seen: Instant,
    /// Its kernel does not answer.
    pub lost: bool,
    /// In which term it granted a lease, and till when.
    pub granted: (Term, Instant),
}

impl PeerFacts {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            at: Instant::default(),
            heard: Instant::default(),
            status: None,
            seen: Instant::default(),
            lost: false,
            granted: (Term::ZERO, Instant::default()),
        }
    }

    /// Whether its agent has spoken lately.
    pub fn speaks(&self, now: Instant, config: &Config) -> bool {
        now.since(self.at) < config.agent_timeout
    }

    /// Whether it has, and its kernel answers.
    pub fn is_there(&self, now: Instant, config: &Config) -> bool {
        !self.lost && self.speaks(now, config)
    }

    pub fn role(&self) -> Role {
        self.status.map_or(Role::Unknown, |status| status.role)
    }

    pub fn is_active(&self) -> bool {
        self.status.is_some_and(|status| status.phase.serves_or_takes_over())
    }
}

impl Facts {
    pub fn peer(&self, node: NodeId) -> Option<&PeerFacts> {
        self.known_peers().find(|peer| peer.node == node)
    }

    pub fn known_peers(&self) -> impl Iterator<Item = &PeerFacts> {
        self.peers.iter().flatten()
    }

    /// The place of that configured peer; `None` for a stranger.
    pub fn peer_mut(&mut self, config: &Config, node: NodeId) -> Option<&mut PeerFacts> {
        if node == config.node || !config.nodes.contains(node) {
            return None;
        }
        let known = |slot: &Option<PeerFacts>| slot.is_none_or(|peer| peer.node == node);
        let slot = self.peers.iter_mut().find(|slot| known(slot))?;
        Some(slot.get_or_insert(PeerFacts::new(node)))
    }

    /// Notes a sign of life of the node that serves.
    pub fn hear(&mut self, now: Instant, node: NodeId) {
        self.active = Some(ActiveNode {
            node,
            at: now,
            agent: now,
            holds: false,
            silent: false,
            lost: false,
        });
    }

    /// What that node granted last: in which term, till when.
    pub fn grant_of(&self, node: NodeId) -> (Term, Instant) {
        self.peer(node).map_or((Term::ZERO, Instant::default()), |peer| peer.granted)
    }

    pub fn granted(&mut self, config: &Config, node: NodeId, term: Term, until: Instant) {
        if let Some(peer) = self.peer_mut(config, node)
            && until > peer.granted.1
        {
            peer.granted = (term, until);
        }
    }

    /// A late local timer is no miss: every wait for a peer's sign is longer by so much. Our own
    /// lease is not: the others' clocks went on.
    pub fn postpone(&mut self, now: Instant, time: Duration) {
        if let Some(active) = &mut self.active {
            active.at = now.min(active.at + time);
            active.agent = now.min(active.agent + time);
        }
        for peer in self.peers.iter_mut().flatten() {
            peer.at = now.min(peer.at + time);
            peer.seen = now.min(peer.seen + time);
        }
    }

    /// By how many bytes the WAL here was behind that of the record's primary, when that was last heard.
    pub fn behind(&self, record: Option<Record>) -> u64 {
        let primary = record.and_then(|record| self.peer(record.primary));
        let heard = primary.and_then(|peer| peer.status);
        heard.map_or(0, |status| self.database.lsn().behind(status.lsn))
    }
}
