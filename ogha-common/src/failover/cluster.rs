//! The cluster as this node knows it: the current record, and what follows from it and the facts.

use super::{
    Config, NodeSet, Record,
    command::Operator,
    commits::Commits,
    facts::{ActiveNode, Facts, PeerFacts},
};
use crate::{
    units::{Instant, NodeId, Term},
    wire::probe::{self, Role},
};

/// The current record, and how it was learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Cluster {
    /// The record that this node goes by.
    pub record: Option<Record>,
    /// The consensus store has answered since the start.
    pub consulted: bool,
    /// This node has been part of the cluster: a database here that comes up as a second primary
    /// is stopped. (A pair that was never a pair is left alone.)
    pub member: bool,
}

/// All that a phase may ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub config: Config,
    pub facts: Facts,
    pub cluster: Cluster,
    pub operator: Operator,
    pub commits: Commits,
}

impl Known {
    /// The term of the record; zero without one.
    pub fn term(&self) -> Term {
        self.cluster.record.map_or(Term::ZERO, |record| record.term)
    }

    pub fn record(&self) -> Option<Record> {
        self.cluster.record
    }

    /// The others that may be promoted.
    pub fn others(&self) -> NodeSet {
        self.record().map(|record| record.others()).unwrap_or_default()
    }

    /// This node is the designated primary.
    pub fn is_designated(&self) -> bool {
        self.record().is_some_and(|record| record.primary == self.config.node)
    }

    /// No record names another node as primary.
    pub fn is_unreplaced(&self) -> bool {
        self.record().is_none_or(|record| record.primary == self.config.node)
    }

    pub fn is_in_sync(&self) -> bool {
        self.record().is_some_and(|record| record.in_sync.contains(self.config.node))
    }

    /// The peers whose agents speak.
    pub fn speaking(&self, now: Instant) -> impl Iterator<Item = &PeerFacts> {
        self.facts.known_peers().filter(move |peer| peer.speaks(now, &self.config))
    }

    /// Whether a peer serves or takes over, or has a primary of its own where no consensus store tells
    /// which of them counts.
    pub fn anyone_active(&self, now: Instant) -> bool {
        let heard = self.facts.active.is_some_and(|active| {
            // The kernel of one that has said that it does not serve answers too.
            let said = self.facts.peer(active.node).and_then(|peer| peer.status);
            now.since(active.at) < self.config.agent_timeout
                && said.is_none_or(|status| status.phase.serves_or_takes_over())
        });
        let rival = |peer: &PeerFacts| peer.role() == Role::Primary && !self.config.has_store();
        heard || self.speaking(now).any(|peer| peer.is_active() || rival(peer))
    }

    /// Whether a peer stands in the way of one that would serve. Where a consensus store gives each term
    /// to one node, one that only tries to take over does not.
    pub fn is_forestalled(&self, now: Instant) -> bool {
        let serves = |peer: &PeerFacts| {
            peer.status.is_some_and(|status| status.phase == probe::Phase::Serving)
        };
        if self.config.has_store() {
            self.serving_primary(now).is_some() || self.speaking(now).any(serves)
        } else {
            self.anyone_active(now)
        }
    }

    /// A peer that serves or takes over, and answers.
    pub fn active_peer(&self, now: Instant) -> Option<NodeId> {
        let mut there = self.facts.known_peers().filter(|peer| peer.is_there(now, &self.config));
        there.find(|peer| peer.is_active()).map(|peer| peer.node)
    }

    /// The other node that the record names, if it serves.
    pub fn serving_primary(&self, now: Instant) -> Option<NodeId> {
        let record = self.record().filter(|record| record.primary != self.config.node)?;
        let peer = self.facts.peer(record.primary)?;
        let serves = peer.status.is_some_and(|status| {
            status.phase == probe::Phase::Serving && status.term == record.term
        });
        (peer.speaks(now, &self.config) && serves).then_some(record.primary)
    }

    /// A node that does not serve, but whose database is a primary as well as the one here.
    pub fn rival(&self, now: Instant) -> Option<NodeId> {
        if self.config.has_store() || self.facts.database.role() != Role::Primary {
            return None;
        }
        let rival = |peer: &&PeerFacts| peer.role() == Role::Primary && !peer.is_active();
        self.speaking(now).find(rival).map(|peer| peer.node)
    }

    /// Who served, as far as this node knows: it was heard, or the consensus store names it.
    pub fn last_active(&self) -> Option<ActiveNode> {
        self.facts.active.or_else(|| self.designated_by_the_store())
    }

    fn designated_by_the_store(&self) -> Option<ActiveNode> {
        if !self.config.has_store() || !self.cluster.consulted {
            return None;
        }
        let node = self.record()?.primary;
        let lost = self.facts.peer(node)?.lost;
        let since = self.facts.listening_since;
        Some(ActiveNode { node, at: since, agent: since, holds: false, silent: true, lost })
    }

    /// Whether this agent did not run for a lease, whatever tells it so first: it polls at least with
    /// each of its probes.
    pub fn has_not_run(&self, now: Instant) -> bool {
        let polled = self.facts.polled_at;
        polled != Instant::default() && now.since(polled) >= self.config.lease
    }

    /// Whether this node can know that none of those that might have been promoted was: it has
    /// heard them since it listens, or the consensus store has said so.
    pub fn knows_the_others(&self, now: Instant) -> bool {
        if self.config.has_store() {
            return self.cluster.consulted;
        }
        self.unheard(now).is_empty()
    }

    /// The others that may be promoted, and were not heard lately, or not since this node listens.
    pub fn unheard(&self, now: Instant) -> NodeSet {
        let since = self.facts.listening_since.max(now - self.config.agent_timeout);
        self.others().filter(|node| self.facts.peer(node).is_none_or(|peer| peer.heard < since))
    }

    /// Whether a node that is in sync and alive should take over first: it has more of the WAL, or the
    /// higher priority.
    pub fn is_outranked(&self, now: Instant) -> bool {
        let mine = (self.facts.database.lsn(), self.config.priority, self.config.node);
        self.others_there(now).any(|peer| {
            peer.status.is_some_and(|status| {
                status.role == Role::Standby
                    && status.phase != probe::Phase::Fenced
                    && (status.lsn, status.priority, peer.node) > mine
            })
        })
    }

    fn others_there(&self, now: Instant) -> impl Iterator<Item = &PeerFacts> {
        let others = self.others();
        let candidate = move |peer: &&PeerFacts| others.contains(peer.node);
        self.facts.known_peers().filter(candidate).filter(move |p| p.is_there(now, &self.config))
    }

    /// An operator has paused failovers, here or at a peer.
    pub fn is_paused(&self) -> bool {
        let paused = |peer: &PeerFacts| peer.status.is_some_and(|status| status.paused);
        self.operator.marks.paused || self.facts.known_peers().any(paused)
    }

    /// The next record with this node as primary, and alone in the in-sync set: the others join as
    /// soon as they have everything. Where no consensus store gives each term to one node, the old
    /// primary may just be writing the next one, with a change of the set: this one is above it.
    pub fn next_record(&self) -> Record {
        let next = self.term().next();
        let leaves_one_out = !self.config.has_store() && !self.is_unreplaced();
        Record {
            term: if leaves_one_out { next.next() } else { next },
            primary: self.config.node,
            in_sync: NodeSet::of(self.config.node),
        }
    }

    /// The record by which a peer goes.
    pub fn record_of(&self, node: NodeId, status: &probe::Status) -> Record {
        let primary = status.primary.unwrap_or(node);
        // Of nodes that are not configured here nothing is known but that they are not this one.
        let in_sync = self.config.nodes.subset(status.in_sync);
        let in_sync = in_sync.unwrap_or_else(|| NodeSet::of(primary));
        Record { term: status.term, primary, in_sync }
    }
}
