//! Who is in sync: how nodes join and leave the set of those that may be promoted (rules 3 and 9).
//!
//! A primary tends the set while it serves, one change at a time. To leave is quick, for commits hang
//! and the lease ends: the record first, then whose grant is needed and for whom commits wait. To join
//! is the other way round: commits wait for the node, it confirms all before, its grant is needed, and
//! only then the record says so.

use ::core::time::Duration;

use super::{
    Serving,
    change::{Proposed, Stage},
};
use crate::{
    failover::{
        Action, Database, NodeSet, Record, cluster::Known, context::Context, facts::PeerFacts,
        grants::Granters, phase::Phase,
    },
    retry::Retry,
    units::{Instant, NodeId, Term},
    wire::probe::{self, Role},
};

/// How long a standby may be observed not to receive: its connection is made anew after a hiccup.
const RECONNECT: Duration = Duration::from_secs(2);
/// How long commits may be observed not to wait for a member, in spite of the order to.
const NOT_AWAITED: Duration = Duration::from_secs(1);

/// Who joins or leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Membership {
    /// The record that is being asked for, or written.
    pub(super) proposed: Option<Proposed>,
    /// Who joins.
    pub(super) joining: Option<Joining>,
    /// When the arbiter is asked again.
    pub(super) retry: Retry,
    /// That the arbiter refused was reported.
    pub(super) reported: bool,
    /// Since when members of the set have not received the WAL, while the database here takes commits.
    broken_since: Option<Instant>,
    /// Since when commits do not wait for members of the set.
    unawaited_since: Option<Instant>,
    /// They were observed to, since this node serves.
    verified: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Joining {
    node: NodeId,
    /// Since when the kernel counts its grant. What the others had granted before may still be the
    /// lease, for as long as a lease is.
    counted_since: Option<Instant>,
}

impl Membership {
    pub fn is_proposed(&self, term: Term) -> bool {
        self.proposed.is_some_and(|proposed| proposed.record.term == term)
    }

    /// Who would be in sync beside this node by the record that is proposed.
    pub fn proposed_others(&self, own: NodeId) -> NodeSet {
        self.proposed.map(|proposed| proposed.record.in_sync.without(own)).unwrap_or_default()
    }

    /// Whether a change of the set is under way.
    pub const fn changes(&self) -> bool {
        self.proposed.is_some()
    }

    /// The record is on disk. It counts when the peers have been polled: one of them may have taken over
    /// while this agent hung.
    pub fn persisted(&mut self, term: Term) {
        if let Some(Proposed { record, stage: stage @ Stage::Granted }) = &mut self.proposed
            && record.term == term
        {
            *stage = Stage::Written;
        }
    }
}

impl Serving {
    /// When [`Serving::tend`] is due. What it waits for is mostly a matter of fractions of a lease.
    pub fn membership_timer(&self, known: &Known) -> Option<Instant> {
        let lease = known.config.lease;
        let others = known.others();
        let lost = others.iter().filter_map(|node| {
            let peer = known.facts.peer(node)?;
            peer.lost.then_some(peer.seen + lease / 2)
        });
        let grants = known.config.grants();
        let granted = grants.then(|| others.iter().map(|node| ungranted_at(known, node)).min());
        let membership = &self.membership;
        let broken = membership.broken_since.map(|since| since + RECONNECT);
        let unawaited = membership.unawaited_since.map(|since| since + NOT_AWAITED);
        let inherited = self.granters.inherited.then_some(known.facts.listening_since);
        let waiting = lost.chain(granted.flatten()).chain(broken).chain(unawaited).chain(inherited);
        // What was due and did not happen waits for the next status, or for the next try.
        match (membership.proposed, membership.retry.at()) {
            (Some(_), again) => again,
            (None, Some(again)) => Some(again),
            (None, None) => waiting.min(),
        }
    }

    /// One step towards the set as it should be.
    pub fn tend(mut self, cx: &mut Context<'_>) -> Phase {
        let Some(record) = cx.known.record() else { return Phase::Serving(self) };
        let asked_before = self.membership.retry.at().is_some();
        if !self.membership.retry.is_due(cx.now) {
            return Phase::Serving(self);
        }
        self.membership.retry.begin();
        if let Some(Proposed { record: next, stage }) = self.membership.proposed {
            if asked_before && stage == Stage::Asked {
                cx.act(Action::Propose(next));
            }
            // An arbiter that does not answer is no reason to leave what was changed by hand. What the
            // agent before has asked for is not known: what it had ordered stays.
            if !self.granters.inherited {
                cx.have_commits_wait(next.others().iter().fold(record.others(), NodeSet::with));
            }
            return Phase::Serving(self);
        }
        let staying = record.in_sync.filter(|node| !self.is_gone(cx.known, node));
        if staying != record.in_sync || self.granters.inherited {
            self.membership.joining = None;
            self.propose_members(cx, staying);
            return Phase::Serving(self);
        }
        self.choose_joining(cx, &record);
        let joining = self.membership.joining.map(|joining| joining.node);
        cx.have_commits_wait(joining.into_iter().fold(record.others(), NodeSet::with));
        self.count_members(cx, &record);
        Phase::Serving(self)
    }

    /// Whether a member of the set can't do what a member must. Who was silent is judged by the last
    /// polling: after a stall its status may be waiting, and it may be about to take over.
    fn is_gone(&self, known: &Known, node: NodeId) -> bool {
        if node == known.config.node {
            return false;
        }
        let (now, lease) = (known.facts.polled_at, known.config.lease);
        // Who was not heard yet since this agent has taken the gate up gets the time of a lease.
        let Some(peer) = known.facts.peer(node) else {
            return now.since(known.facts.listening_since) >= lease;
        };
        let lost = peer.lost && now.since(peer.seen) >= lease / 2;
        let without_database = peer.speaks(now, &known.config)
            && peer
                .status
                .is_some_and(|status| status.term == known.term() && status.role != Role::Standby);
        let for_long =
            |since: Option<Instant>, limit| since.is_some_and(|since| now.since(since) >= limit);
        let receives = primary(known).is_none_or(|primary| primary.streaming.contains(node));
        let broken = !receives && for_long(self.membership.broken_since, RECONNECT);
        let awaited = primary(known).is_none_or(|primary| primary.awaited.contains(node));
        // What was so, was changed, and could not be set right at once is not waited for.
        let refused = self.membership.verified && known.commits.failures() > 0;
        let limit = if refused { Duration::ZERO } else { NOT_AWAITED };
        let unawaited = !awaited && for_long(self.membership.unawaited_since, limit);
        let ungranted = known.config.grants() && now >= ungranted_at(known, node);
        lost || without_database || broken || unawaited || ungranted
    }

    /// Notes since when members of the set are not observed to receive the WAL, and since when commits
    /// do not wait for them. While the own database takes no commits nobody leaves for that: it
    /// recovers, and its standbys connect again after it has.
    pub fn note_standbys(&mut self, cx: &mut Context<'_>) {
        let (now, others) = (cx.now, cx.known.others());
        let Some(primary) = cx.known.facts.database.writable().copied() else {
            self.membership.broken_since = None;
            self.membership.unawaited_since = None;
            return;
        };
        cx.verify_commits(primary.awaited);
        let since = |bad: bool, since: Option<Instant>| bad.then(|| since.unwrap_or(now));
        let broken = !primary.streaming.includes(&others);
        self.membership.broken_since = since(broken, self.membership.broken_since);
        let unawaited = !primary.awaited.includes(&others);
        self.membership.unawaited_since = since(unawaited, self.membership.unawaited_since);
        self.membership.verified |= !unawaited;
    }

    fn choose_joining(&mut self, cx: &Context<'_>, record: &Record) {
        let known = &cx.known;
        let streaming = primary(known).map(|primary| primary.streaming).unwrap_or_default();
        let follows = |status: probe::Status| {
            status.primary == Some(record.primary) && status.role == Role::Standby
        };
        let may = |node: NodeId| {
            let there = |peer: &&PeerFacts| peer.is_there(cx.now, &known.config);
            let peer = known.facts.peer(node).filter(there);
            streaming.contains(node) && peer.and_then(|peer| peer.status).is_some_and(follows)
        };
        let still = self.membership.joining.filter(|joining| may(joining.node));
        let outside = |node: &NodeId| !record.in_sync.contains(*node) && may(*node);
        // A set that is about to become smaller does not grow.
        let next = streaming.iter().find(outside).filter(|_| self.switchover.is_none());
        self.membership.joining = still.or(next.map(|node| Joining { node, counted_since: None }));
    }

    /// Who joins has confirmed everything: its grant is needed from now on, and once it covers the
    /// lease as it was, the record may say that the node is in sync.
    fn count_members(&mut self, cx: &mut Context<'_>, record: &Record) {
        let config = cx.known.config;
        let Some(joining) = self.membership.joining else {
            return self.set_granters(cx, Granters::wanted(&config, record, None));
        };
        let node = joining.node;
        let confirmed = cx.known.commits.wait_for(node)
            && primary(cx.known).is_some_and(|primary| primary.confirmed.contains(node));
        if !confirmed {
            return self.set_granters(cx, Granters::wanted(&config, record, None));
        }
        let set = record.in_sync.with(node);
        if !config.grants() {
            return self.propose_members(cx, set);
        }
        let (term, until) = cx.known.facts.grant_of(node);
        match joining.counted_since {
            // One that does not grant yet would end the lease.
            None if term == cx.known.term() && until >= cx.now + config.lease / 2 => {
                // Ordered again where it was ordered before, for the kernel's answer is what counts.
                self.granters.set = Granters::wanted(&config, record, Some(node));
                cx.order_granters(self.granters.set);
            }
            Some(since) if until >= since + config.lease || cx.now >= since + config.lease => {
                self.propose_members(cx, set);
            }
            _ => {}
        }
    }

    fn set_granters(&mut self, cx: &mut Context<'_>, granters: NodeSet) {
        if self.granters.set != granters {
            self.granters.set = granters;
            cx.order_granters(granters);
        }
    }

    /// The kernel counts the grants of these. Where it counted nobody's, this node's own lease is cut
    /// to what was granted; where it counts nobody's any more, the node renews it by itself again.
    pub fn granters_set(mut self, cx: &mut Context<'_>, granters: NodeSet) -> Phase {
        if self.granters.set != granters {
            return Phase::Serving(self);
        }
        if let Some(joining) = &mut self.membership.joining
            && granters.contains(joining.node)
        {
            joining.counted_since.get_or_insert(cx.now);
        }
        self.reset_lease(cx).tend(cx)
    }
}

/// The primary here, whose standbys it sees.
fn primary(known: &Known) -> Option<&crate::failover::Primary> {
    match &known.facts.database {
        Database::Primary(primary) => Some(primary),
        _ => None,
    }
}

/// When a node that grants nothing must leave, lest the lease end. One that is there and grants
/// nothing is about to take over: where no consensus store chooses one of the two, it is let.
fn ungranted_at(known: &Known, node: NodeId) -> Instant {
    let config = &known.config;
    // What it had granted before this agent took the gate up may not have been heard.
    let counts = known.facts.grant_of(node).1.max(known.facts.listening_since + config.lease);
    let end = counts - config.lease / 3;
    let there = known.facts.peer(node).filter(|peer| !peer.lost && !config.has_store());
    there.map_or(end, |peer| end.max(peer.at + config.agent_timeout))
}
