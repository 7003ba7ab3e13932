//! Who is in sync: how nodes join and leave the set of those that may be promoted.
//!
//! A primary tends the set while it serves, one change at a time. To leave is quick, for commits hang
//! and the lease ends: the record first, then whose grant is needed and for whom commits wait. To join
//! is the other way round: commits wait for the node, it confirms all before, its grant is needed, and
//! only then the record says so.

use ::core::time::Duration;

use super::{
    Action, Arbiter, NodeSet, Notice, Order, Phase, Record, Role, Rule, Ruling,
    core::{Core, Sink},
};
use crate::{
    units::{Instant, NodeId, Term},
    wire::probe,
};

/// How long a standby may be seen not to receive: its connection is made anew after a hiccup.
const RECONNECT: Duration = Duration::from_secs(2);
/// When an arbiter that gave no answer, or a database that could not do as it was told, is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// Who joins or leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Membership {
    /// The record that is being asked for, or written.
    proposed: Option<Proposed>,
    /// Who joins.
    joining: Option<Joining>,
    /// Whom the database was told to wait for, and has not said yet that it does.
    ordered: Option<NodeSet>,
    /// When what failed is tried again.
    again_at: Option<Instant>,
    /// That the arbiter does not let this node go on was told.
    told: bool,
    /// Since when members of the set have not received the log.
    broken_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Proposed {
    record: Record,
    stage: Stage,
}

/// How far a change of the set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// The arbiter is asked.
    Asked,
    /// It has granted it, or need not be asked: the record is being written.
    Granted,
    /// It is on disk.
    Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Joining {
    node: NodeId,
    /// Since when the kernel counts its grant. What the others had granted before may still be the
    /// lease, for as long as a lease is.
    counted_since: Option<Instant>,
}

impl Membership {
    /// Nothing is under way any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_ordering(&self) -> bool {
        self.ordered.is_some()
    }

    pub(super) fn is_proposed(&self, term: Term) -> bool {
        self.proposed.is_some_and(|proposed| proposed.record.term == term)
    }
}

impl Core {
    /// When [`Core::tend_members`] is due. What it waits for is mostly a matter of fractions of a
    /// lease.
    pub(super) fn membership_timer(&self) -> Option<Instant> {
        let Phase::Serving(_) = self.phase else { return None };
        let record = self.record?;
        let lease = self.config.lease;
        let again = self.membership.again_at;
        let broken = self.membership.broken_since.map(|since| since + RECONNECT);
        let others = record.others();
        let lost = others.iter().filter_map(|node| {
            let view = self.view(node)?;
            view.lost.then_some(view.seen + lease / 2)
        });
        let granted =
            self.config.grants().then(|| others.iter().map(|node| self.unpromised_at(node)).min());
        let inherited = self.inherited.then_some(self.listening_since);
        let waiting = lost.chain(granted.flatten()).chain(broken).chain(inherited).min();
        // What was due and did not happen waits for the next word, or for `again_at`.
        match (self.membership.proposed, again) {
            (Some(_), again) => again,
            (None, Some(again)) => Some(again),
            (None, None) => waiting,
        }
    }

    /// Whose grants the lease needs: all other nodes that may be promoted, and who is about to be one.
    pub(super) fn wanted_granters(&self, record: &Record, joining: Option<NodeId>) -> NodeSet {
        if !self.config.grants() {
            return NodeSet::EMPTY;
        }
        joining.into_iter().fold(record.others(), NodeSet::with)
    }

    /// One step towards the set as it should be.
    pub(super) fn tend_members(&mut self, now: Instant, sink: Sink<'_>) {
        let (Phase::Serving(_), Some(record), true) =
            (self.phase, self.record, self.config.database)
        else {
            return;
        };
        if self.membership.again_at.is_some_and(|at| now < at) {
            return;
        }
        let asked_before = self.membership.again_at.take().is_some();
        if let Some(Proposed { record, stage }) = self.membership.proposed {
            if asked_before && stage == Stage::Asked {
                sink(Action::Propose(record));
            }
            return;
        }
        let staying = record.in_sync.filter(|node| !self.is_gone(node));
        if staying != record.in_sync || self.inherited {
            self.membership.joining = None;
            return self.propose_members(staying, sink);
        }
        self.choose_joining(now, &record);
        self.wait_for_members(&record, sink);
        self.count_members(now, &record, sink);
    }

    /// Whether a member of the set can't do what a member must. Who was silent is judged by the last look:
    /// after a stall its word may be waiting, and it may be about to take over.
    fn is_gone(&self, node: NodeId) -> bool {
        if node == self.config.node {
            return false;
        }
        let now = self.looked_at;
        // Who was not heard yet since this agent has taken the gate up gets the time of a lease.
        let Some(view) = self.view(node) else {
            return now.since(self.listening_since) >= self.config.lease;
        };
        let lost = view.lost && now.since(view.seen) >= self.config.lease / 2;
        let without_database = self.speaks(now, view)
            && view
                .status
                .is_some_and(|status| status.term == self.term() && status.role != Role::Standby);
        let broken = !self.database.streaming.contains(node)
            && self.membership.broken_since.is_some_and(|since| now.since(since) >= RECONNECT);
        let unpromised = self.config.grants() && now >= self.unpromised_at(node);
        lost || without_database || broken || unpromised
    }

    /// When a node that grants nothing must leave, lest the lease end. One that is there and grants
    /// nothing is about to take over: where no register chooses one of the two, it is let.
    fn unpromised_at(&self, node: NodeId) -> Instant {
        let end = self.counts_on(node) - self.config.lease / 3;
        let there = self.view(node).filter(|view| !view.lost && !self.has_register());
        there.map_or(end, |view| end.max(view.at + self.config.agent_timeout))
    }

    /// Till when that node's grant lasts, as far as this agent can know: what it had granted before this
    /// agent took the gate up may not have been heard.
    fn counts_on(&self, node: NodeId) -> Instant {
        self.grant_of(node).1.max(self.listening_since + self.config.lease)
    }

    /// Notes since when members of the set are not seen to receive the log.
    pub(super) fn note_streaming(&mut self, now: Instant) {
        let others = self.record.map(|record| record.others()).unwrap_or_default();
        let broken = !self.database.streaming.includes(&others) && self.is_named();
        self.membership.broken_since = broken.then(|| self.membership.broken_since.unwrap_or(now));
    }

    fn choose_joining(&mut self, now: Instant, record: &Record) {
        let may = |node: NodeId| {
            let follows = |status: &probe::Status| {
                status.primary == Some(record.primary) && status.role == Role::Standby
            };
            let view = self.view(node).filter(|view| self.is_there(now, view));
            self.database.streaming.contains(node)
                && view.and_then(|view| view.status).is_some_and(|status| follows(&status))
        };
        let still = self.membership.joining.filter(|joining| may(joining.node));
        let outside = |node: &NodeId| !record.in_sync.contains(*node) && may(*node);
        // A set that is about to become smaller does not grow.
        let next = self.database.streaming.iter().find(outside);
        let next = next.filter(|_| self.switchover.is_none());
        self.membership.joining = still.or(next.map(|node| Joining { node, counted_since: None }));
    }

    /// Commits wait for all of the set, and for who joins.
    fn wait_for_members(&mut self, record: &Record, sink: Sink<'_>) {
        let joining = self.membership.joining.map(|joining| joining.node);
        let wanted = joining.into_iter().fold(record.others(), NodeSet::with);
        if self.membership.ordered.is_some() || self.synchronized == Some(wanted) {
            return;
        }
        self.order_commits(wanted, sink);
    }

    /// Commits are to wait for these. Till that is done it is sure only of those that are in both sets, the
    /// one before and this one, that commits wait for them.
    pub(super) fn order_commits(&mut self, set: NodeSet, sink: Sink<'_>) {
        self.membership.ordered = Some(set);
        self.synchronized = self.synchronized.map(|before| before.filter(|n| set.contains(n)));
        sink(Action::Database(Order::Synchronize(set)));
    }

    /// The database waits for these, or could not be told so.
    pub(super) fn synchronized(&mut self, now: Instant, set: NodeSet, ok: bool, sink: Sink<'_>) {
        if self.membership.ordered == Some(set) {
            self.membership.ordered = None;
        }
        self.synchronized = ok.then_some(set);
        if ok {
            self.open_if_ready(now, sink);
        } else {
            self.membership.again_at = Some(now + AGAIN);
        }
        self.tend_members(now, sink);
    }

    /// Whether commits wait for all others that may be promoted; else the database is told to.
    pub(super) fn commits_wait(&mut self, sink: Sink<'_>) -> bool {
        let Some(record) = self.record.filter(|_| self.config.database) else { return true };
        let others = record.others();
        if others.is_empty() || self.synchronized.is_some_and(|set| set.includes(&others)) {
            return true;
        }
        if self.membership.ordered.is_none() {
            self.order_commits(others, sink);
        }
        false
    }

    /// Who joins has confirmed everything: its grant is needed from now on, and once it covers the
    /// lease as it was, the record may say that the node is in sync.
    fn count_members(&mut self, now: Instant, record: &Record, sink: Sink<'_>) {
        let Some(joining) = self.membership.joining else {
            return self.set_granters(self.wanted_granters(record, None), sink);
        };
        let waits = self.synchronized.is_some_and(|set| set.contains(joining.node));
        let confirmed = waits && self.database.confirmed.contains(joining.node);
        if !confirmed && self.keeps(Rule::ConfirmBeforeRecord) {
            return self.set_granters(self.wanted_granters(record, None), sink);
        }
        let set = record.in_sync.with(joining.node);
        if !self.config.grants() || !self.keeps(Rule::WidenBeforeRecord) {
            return self.propose_members(set, sink);
        }
        let (term, until) = self.grant_of(joining.node);
        let lease = self.config.lease;
        match joining.counted_since {
            // One that does not grant yet would end the lease.
            None if term == self.term() && until >= now + lease / 2 => {
                // Said again where it was said before, for the kernel's word is what counts.
                self.granters = self.wanted_granters(record, Some(joining.node));
                sink(Action::SetGranters(self.granters));
            }
            Some(since) if until >= since + lease || now >= since + lease => {
                self.propose_members(set, sink);
            }
            _ => {}
        }
    }

    fn set_granters(&mut self, granters: NodeSet, sink: Sink<'_>) {
        if self.granters != granters {
            self.granters = granters;
            sink(Action::SetGranters(granters));
        }
    }

    /// The kernel counts the grants of these. Where it counted nobody's, this node's own lease is cut
    /// to what was granted; where it counts nobody's any more, the node renews it by itself again.
    pub(super) fn granters_set(&mut self, now: Instant, granters: NodeSet, sink: Sink<'_>) {
        if self.granters != granters {
            return;
        }
        self.reset_lease(now, sink);
        if let Some(joining) = &mut self.membership.joining
            && granters.contains(joining.node)
        {
            joining.counted_since.get_or_insert(now);
        }
        self.tend_members(now, sink);
    }

    /// Whether a change of the set is under way.
    pub(super) fn membership_changes(&self) -> bool {
        self.membership.proposed.is_some()
    }

    pub(super) fn propose_members(&mut self, in_sync: NodeSet, sink: Sink<'_>) {
        let record = Record { term: self.term().next(), primary: self.config.node, in_sync };
        let asks = self.config.arbiter != Arbiter::None && self.keeps(Rule::AskArbiter);
        let stage = if asks { Stage::Asked } else { Stage::Granted };
        self.membership.proposed = Some(Proposed { record, stage });
        if !self.keeps(Rule::NarrowAfterRecord) {
            self.set_granters(self.wanted_granters(&record, None), sink);
        }
        if !self.keeps(Rule::ReleaseAfterRecord) {
            self.order_commits(record.others(), sink);
        }
        sink(if asks { Action::Propose(record) } else { Action::Persist(record) });
    }

    pub(super) fn ruled_on_members(&mut self, now: Instant, ruling: Ruling, sink: Sink<'_>) {
        let Some(Proposed { record, stage: Stage::Asked }) = self.membership.proposed else {
            return;
        };
        match ruling {
            Ruling::Granted(term) if term == record.term => {
                self.membership.proposed = Some(Proposed { record, stage: Stage::Granted });
                sink(Action::Persist(record));
            }
            Ruling::Refused { term, record: stands } if term == record.term => {
                self.membership.proposed = None;
                self.membership.again_at = Some(now + AGAIN);
                self.tell_not_let_on(sink);
                if let Some(stands) = stands {
                    self.adopt(now, stands, sink);
                }
            }
            Ruling::Unknown(term) if term == record.term => {
                self.membership.again_at = Some(now + AGAIN);
                self.tell_not_let_on(sink);
            }
            _ => {}
        }
    }

    fn tell_not_let_on(&mut self, sink: Sink<'_>) {
        if !::core::mem::replace(&mut self.membership.told, true) {
            sink(Action::Notice(Notice::NotLetOn));
        }
    }

    /// The record is on disk. It counts when the peers have been looked at: one of them may have taken over
    /// while this agent hung.
    pub(super) fn members_persisted(&mut self, term: Term) {
        if let Some(Proposed { record, stage: stage @ Stage::Granted }) =
            &mut self.membership.proposed
            && record.term == term
        {
            *stage = Stage::Written;
        }
    }

    /// All that the kernel had heard of the peers by then has been told.
    pub(super) fn looked(&mut self, now: Instant, at: Instant, sink: Sink<'_>) {
        self.looked_at = at;
        if let Some(Proposed { record, stage: Stage::Written }) = self.membership.proposed {
            self.count_on(now, record, sink);
        }
    }

    /// The record stands: the kernel gets its term, and then those who left are let go.
    fn count_on(&mut self, now: Instant, record: Record, sink: Sink<'_>) {
        let (Phase::Serving(renewal), Some(before)) = (self.phase, self.record) else { return };
        // Somebody may have taken this very term meanwhile.
        if !self.config.grants() && now >= renewal.lease.until {
            return self.lapsed(now, sink);
        }
        self.membership.proposed = None;
        self.membership.joining = None;
        self.membership.told = false;
        self.record = Some(record);
        for node in record.in_sync.iter().filter(|&node| !before.in_sync.contains(node)) {
            sink(Action::Notice(Notice::InSync(node)));
        }
        for node in before.in_sync.iter().filter(|&node| !record.in_sync.contains(node)) {
            sink(Action::Notice(Notice::OutOfSync(node)));
        }
        let granters = self.wanted_granters(&record, None);
        if self.granters == granters && !self.inherited {
            self.reset_lease(now, sink);
        } else {
            self.inherited = false;
            // The lease is what those who stay have granted; the kernel gets the term with it.
            self.granters = granters;
            self.reset_lease(now, sink);
            sink(Action::SetGranters(granters));
        }
        sink(Action::Publish);
        self.note_streaming(now);
        self.tend_members(now, sink);
    }
}
