//! Fencing: close the gate, have the kernel confirm it, then say so.

use super::{
    Action, Arbiter, Cause, GateOrder, NodeSet, Notice, Order, Outcome, Phase, Record, Role, Rule,
    Sign, Step,
    core::{Core, Sink},
};
use crate::{
    election,
    units::{Instant, NodeId, Term},
    wire::probe,
};

impl Core {
    /// Rule 6: the database died, the host lives.
    pub(super) fn database_died(&mut self, now: Instant, at: Instant, sign: Sign, sink: Sink<'_>) {
        self.database = super::Database::default();
        if !self.config.database || !self.holds_addresses() {
            return;
        }
        if self.is_starting_in_place() {
            // That was the end that the start follows; what becomes of this one is told by its outcome.
            return;
        }
        let serves = matches!(self.phase, Phase::Serving(_)) && self.switchover.is_none();
        if serves && self.restarts < self.config.restart_attempts && !self.is_paused() {
            self.restart_in_place(now, at, sign, sink);
        } else {
            self.fence(now, at, Cause::DatabaseDied(sign), sink);
        }
    }

    /// The database is started again where it died. The peers hear that this node is at it.
    fn restart_in_place(&mut self, now: Instant, at: Instant, sign: Sign, sink: Sink<'_>) {
        self.restarts += 1;
        sink(Action::Begin { cause: Cause::DatabaseDied(sign), at });
        self.start_in_place(now, sink);
    }

    /// Clients are refused at once while the database starts.
    pub(super) fn start_in_place(&mut self, now: Instant, sink: Sink<'_>) {
        self.synchronized = None;
        self.promoted = false;
        // What was asked of the arbiter may be granted yet.
        self.inherited |= self.membership_changes() && self.has_register();
        self.membership.forget();
        let lease = self.set_gate(now, GateOrder::Claim, sink);
        self.phase = Phase::Promoting { give_up_at: now + self.config.promotion_timeout, lease };
        self.returning.begin(now);
        sink(Action::Database(Order::Start));
        sink(Action::Publish);
        sink(Action::Step(Step::Restarting));
    }

    fn is_starting_in_place(&self) -> bool {
        matches!(self.phase, Phase::Promoting { .. }) && !self.promoted && self.returning.is_busy()
    }

    /// The database that was started in place is up, or will not be.
    pub(super) fn restarted(&mut self, now: Instant, ok: bool, sink: Sink<'_>) {
        self.returning.end(now, ok);
        if !ok && matches!(self.phase, Phase::Promoting { .. }) && !self.promoted {
            self.fence(now, now, Cause::DatabaseDied(Sign::Observed), sink);
        }
    }

    /// The database answers nothing, but its process is there: it could still acknowledge a write
    /// when it wakes. It is stopped before anybody hears that it is fenced.
    pub(super) fn database_hung(&mut self, now: Instant, at: Instant, sink: Sink<'_>) {
        let serves = matches!(self.phase, Phase::Serving(_));
        if serves && self.config.database && !self.is_paused() {
            self.fence(now, at, Cause::DatabaseHung, sink);
        }
    }

    /// Closes the gate. What is said about it waits for the kernel's word (rule 5).
    pub(super) fn fence(&mut self, now: Instant, at: Instant, cause: Cause, sink: Sink<'_>) {
        if !matches!(self.phase, Phase::Serving(_)) {
            sink(Action::End(Outcome::Fenced));
        }
        self.membership.forget();
        if !matches!(cause, Cause::Switchover(_)) {
            self.switchover = None;
        }
        if let Cause::SplitBrain(_) = cause {
            self.returning.note_split();
        }
        self.phase = Phase::Closing { cause };
        self.set_gate(now, GateOrder::Close, sink);
        sink(Action::Begin { cause, at });
    }

    /// The lease ended before it was renewed: a peer may be about to serve. Close for good, and
    /// listen as after a start.
    pub(super) fn lapsed(&mut self, now: Instant, sink: Sink<'_>) {
        if self.holds_addresses() && self.keeps(Rule::LapsedStaysLapsed) {
            self.fence(now, now, Cause::LeaseLapsed, sink);
        }
    }

    /// The kernel has the closed gate. Some databases are stopped before that is told.
    pub(super) fn closed(&mut self, now: Instant, cause: Cause, sink: Sink<'_>) {
        match cause {
            Cause::DatabaseHung if self.keeps(Rule::StopBeforeReported) => {
                sink(Action::Step(Step::GateClosed));
                sink(Action::Database(Order::Stop));
            }
            Cause::Switchover(_) => {
                sink(Action::Step(Step::GateClosed));
                sink(Action::Database(Order::Demote));
            }
            _ => {
                sink(Action::Step(Step::GateClosed));
                self.report_closed(now, cause, sink);
            }
        }
    }

    /// A database was stopped at once, or what can be done to that end is done.
    pub(super) fn stopped(&mut self, now: Instant, sink: Sink<'_>) {
        if let Phase::Closing { cause: cause @ Cause::DatabaseHung } = self.phase {
            sink(Action::Step(Step::DatabaseStopped));
            self.report_closed(now, cause, sink);
        }
    }

    pub(super) fn report_closed(&mut self, now: Instant, cause: Cause, sink: Sink<'_>) {
        let outcome = match cause {
            Cause::Outranked => Outcome::Standby,
            Cause::LeaseLapsed => Outcome::Listening,
            _ => Outcome::Fenced,
        };
        self.phase = match outcome {
            Outcome::Standby => Phase::Standby,
            Outcome::Listening => {
                self.listening_since = now;
                Phase::Listening { until: now + self.listening_time() }
            }
            _ => Phase::Fenced { cause, since: now },
        };
        self.synchronized = None;
        self.granters = NodeSet::EMPTY;
        sink(Action::SetGranters(NodeSet::EMPTY));
        sink(Action::Publish);
        self.drive_election(now, election::Input::Release, sink);
        sink(Action::Step(Step::FencedReported));
        sink(Action::DropAddresses);
        self.addresses_held = false;
        if let Cause::DatabaseDied(_) | Cause::HigherTerm(_) | Cause::SplitBrain(_) = cause {
            sink(Action::Database(Order::Stop));
        }
        sink(Action::End(outcome));
    }

    /// Who still serves by an older record is about to find that out. If that record is without this
    /// node, it has gone on alone, and written.
    pub(super) fn lower_term(
        &mut self,
        now: Instant,
        node: NodeId,
        status: probe::Status,
        sink: Sink<'_>,
    ) {
        let theirs = self.record_of(node, &status);
        let serves = status.phase == probe::Phase::Serving && theirs.primary == node;
        if !serves || !matches!(self.phase, Phase::Serving(_)) {
            return;
        }
        if !theirs.in_sync.contains(self.config.node) && !self.has_register() {
            sink(Action::Notice(Notice::SplitBrain(node)));
        }
        self.announce_again(now, sink);
    }

    /// The record by which a peer goes.
    pub(super) fn record_of(&self, node: NodeId, status: &probe::Status) -> Record {
        let primary = status.primary.unwrap_or(node);
        // Of nodes that are not configured here nothing is known but that they are not this one.
        let in_sync = self.config.nodes.subset(status.in_sync);
        let in_sync = in_sync.unwrap_or_else(|| NodeSet::of(primary));
        Record { term: status.term, primary, in_sync }
    }

    /// Rule 4: goes by that record from now on, if it is newer, or if it stands at the arbiter; whoever
    /// served, fences.
    pub(super) fn adopt(&mut self, now: Instant, record: Record, sink: Sink<'_>) {
        if self.record == Some(record) || record.term < self.term() {
            return;
        }
        if record.primary == self.config.node {
            return self.adopt_own(now, record, sink);
        }
        if !self.keeps(Rule::HigherTermFences) {
            return;
        }
        let deposed = self.is_named();
        // Who could not be promoted by the record of one that serves has written another history.
        let split = !self.has_register()
            && self.record.is_some_and(|ours| !ours.in_sync.contains(record.primary));
        let before = self.phase;
        self.member |= deposed;
        self.record = Some(record);
        sink(Action::Persist(record));
        let cause = Cause::HigherTerm(record.term);
        match before {
            Phase::Serving(_) if split => {
                self.fence(now, now, Cause::SplitBrain(record.primary), sink);
            }
            Phase::Claiming
            | Phase::Promoting { .. }
            | Phase::Opening { .. }
            | Phase::Serving(_) => {
                self.fence(now, now, cause, sink);
            }
            // What was proposed can't be granted any more.
            Phase::Withdrawing { .. }
            | Phase::Waiting { .. }
            | Phase::Proposing { .. }
            | Phase::Persisting { .. } => {
                self.phase = Phase::Standby;
                sink(Action::End(Outcome::Standby));
                sink(Action::Publish);
            }
            // That two histories were written stays true.
            Phase::Fenced { cause: Cause::SplitBrain(_), .. } => {}
            Phase::Fenced { since, .. } => self.phase = Phase::Fenced { cause, since },
            Phase::Closing { cause: Cause::Switchover(_) | Cause::DatabaseHung } => {}
            Phase::Closing { .. } => self.phase = Phase::Closing { cause },
            Phase::Listening { .. } | Phase::Standby if deposed => {
                self.phase = Phase::Fenced { cause, since: now };
                sink(Action::Publish);
            }
            Phase::Initial | Phase::Listening { .. } | Phase::Standby => {}
        }
    }

    /// A record that names this node, which it did not know: it was granted, and the answer was lost.
    fn adopt_own(&mut self, now: Instant, record: Record, sink: Sink<'_>) {
        self.record = Some(record);
        self.heard = None;
        sink(Action::Persist(record));
        if let Phase::Serving(_) = self.phase {
            // It was the last that this node had asked for, so that nothing can be granted any more
            // that the last agent had asked for.
            self.inherited = false;
            self.granters = self.wanted_granters(&record, None);
            self.reset_lease(now, sink);
            sink(Action::SetGranters(self.granters));
            self.tend_members(now, sink);
        }
    }

    /// Rule 5: two primaries of one term. The lower priority fences, both say so.
    pub(super) fn same_term(
        &mut self,
        now: Instant,
        node: NodeId,
        status: probe::Status,
        sink: Sink<'_>,
    ) {
        // Of another record in our term nothing but a split can come; what names this node is the record
        // that we know.
        let ours = self.record.map(|record| record.primary);
        if !self.config.database
            || status.primary == ours
            || status.primary == Some(self.config.node)
        {
            return;
        }
        let mine = (self.config.priority, self.config.node);
        match self.phase {
            Phase::Serving(_) if mine > (status.priority, node) => {
                sink(Action::Notice(Notice::SplitBrain(node)));
            }
            Phase::Serving(_)
            | Phase::Claiming
            | Phase::Promoting { .. }
            | Phase::Opening { .. } => {
                self.fence(now, now, Cause::SplitBrain(node), sink);
            }
            Phase::Closing { .. } => {}
            // Who does not serve has nothing to insist on.
            _ if status.primary.is_some() => self.adopt(now, self.record_of(node, &status), sink),
            _ => {}
        }
    }

    /// Another takes over in the very term in which this node does: each thought itself the better one. The
    /// lower priority gives way, before its gate opens.
    pub(super) fn rival_takes_over(
        &mut self,
        now: Instant,
        node: NodeId,
        status: probe::Status,
        sink: Sink<'_>,
    ) {
        let takes_over =
            matches!(self.phase, Phase::Claiming | Phase::Promoting { .. } | Phase::Opening { .. });
        let mine = (self.config.priority, self.config.node);
        if takes_over && status.primary == Some(node) && mine < (status.priority, node) {
            self.adopt(now, self.record_of(node, &status), sink);
        }
    }

    /// A serving node's database was looked at. One that does not answer is not known to be
    /// dead; one that is gone or has become a standby must not be served.
    pub(super) fn check_serving(&mut self, now: Instant, before: Role, sink: Sink<'_>) {
        if !self.database.alive {
            self.database_died(now, now, Sign::Observed, sink);
        } else if self.database.role == Role::Standby && before == Role::Standby {
            // Seen twice: one look may have begun before the promotion ended.
            self.fence(now, now, Cause::NotWritable, sink);
        } else {
            self.tend_members(now, sink);
        }
    }

    /// A backup's database was looked at. A second primary beside the one that serves is
    /// stopped; one that nobody has replaced may serve.
    pub(super) fn check_standby(&mut self, now: Instant, sink: Sink<'_>) {
        if self.is_unreplaced() {
            self.bootstrap(now, sink);
            self.start_database(now, sink);
        } else if self.member && self.database.role == Role::Primary && self.anyone_active(now) {
            let cause = Cause::HigherTerm(self.term());
            self.phase = Phase::Fenced { cause, since: now };
            sink(Action::Publish);
            self.check_fenced(now, cause, now, sink);
        }
        if let (Phase::Standby, Role::Standby) = (self.phase, self.database.role) {
            self.release_commits(sink);
        }
    }

    /// A standby that will be promoted must not wait for those that are gone then.
    fn release_commits(&mut self, sink: Sink<'_>) {
        if self.synchronized.is_none() && !self.membership.is_ordering() {
            self.order_commits(NodeSet::EMPTY, sink);
        }
    }

    /// A fenced node's database was looked at.
    pub(super) fn check_fenced(
        &mut self,
        now: Instant,
        cause: Cause,
        since: Instant,
        sink: Sink<'_>,
    ) {
        let waited = now.since(since);
        match (self.database.role, cause) {
            (Role::Unknown, _) => {
                // One that was stopped to hand over is started by the end of the handover alone.
                if !matches!(cause, Cause::Switchover(_)) {
                    self.start_database(now, sink);
                }
                self.come_back(now, sink);
            }
            (Role::Standby, Cause::PromotionFailed) if waited < self.config.promotion_timeout => {}
            // Only a person can tell which of two histories is worth more.
            (Role::Standby, Cause::SplitBrain(_)) if self.is_named() => {}
            (Role::Standby, _) => {
                self.phase = Phase::Standby;
                sink(Action::Publish);
                self.release_commits(sink);
            }
            // Restarted in place, or promoted after all. A peer that could take over has by now.
            (Role::Primary, cause)
                if self.is_unreplaced() && !matches!(cause, Cause::SplitBrain(_)) =>
            {
                if waited >= self.config.agent_timeout {
                    self.listening_since = since;
                    self.bootstrap(now, sink);
                }
            }
            // Nobody else serves either: a person must be able to choose this one.
            (Role::Primary, Cause::SplitBrain(_))
                if self.is_named() && !self.anyone_active(now) => {}
            (Role::Primary, _) => {
                sink(Action::Notice(Notice::Stopping));
                sink(Action::Database(Order::Stop));
            }
        }
    }

    /// The record could not be written. With a register that is a pity; without one, this node
    /// cannot keep its word.
    pub(super) fn persist_failed(&mut self, now: Instant, term: Term, sink: Sink<'_>) {
        if self.config.arbiter == Arbiter::Etcd {
            sink(Action::Notice(Notice::NotOnDisk));
            return self.persisted(now, term, sink);
        }
        let takes_over = matches!(self.phase, Phase::Persisting { record } if record.term == term);
        if takes_over || self.membership.is_proposed(term) {
            self.fence(now, now, Cause::DiskFailed, sink);
        }
    }
}
