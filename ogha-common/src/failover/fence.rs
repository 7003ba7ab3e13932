//! Fencing: close the gate, have the kernel confirm it, then say so.

use super::{
    Action, Cause, GateOrder, Notice, Outcome, Record, Role, Sign, Step,
    core::{Core, Phase, Sink},
};
use crate::{
    election,
    units::{Instant, NodeId},
    wire::probe,
};

impl Core {
    /// Rule 6: the database died, the host lives.
    pub(super) fn database_died(&mut self, now: Instant, at: Instant, sign: Sign, sink: Sink<'_>) {
        self.database = super::Database::default();
        if self.config.database && self.holds_addresses() {
            self.fence(now, at, Cause::DatabaseDied(sign), sink);
        }
    }

    /// Closes the gate. What is said about it waits for the kernel's word (rule 5).
    pub(super) fn fence(&mut self, now: Instant, at: Instant, cause: Cause, sink: Sink<'_>) {
        if !matches!(self.phase, Phase::Serving(_)) {
            sink(Action::End(Outcome::Fenced));
        }
        self.phase = Phase::Closing { cause };
        self.set_gate(now, GateOrder::Close, sink);
        sink(Action::Begin { cause, at });
    }

    /// The lease ended before it was renewed: a peer may be about to serve. Close for good, and
    /// listen as after a start.
    pub(super) fn lapsed(&mut self, now: Instant, sink: Sink<'_>) {
        if self.holds_addresses() {
            self.fence(now, now, Cause::LeaseLapsed, sink);
        }
    }

    /// The kernel has the closed gate.
    pub(super) fn closed(&mut self, now: Instant, cause: Cause, sink: Sink<'_>) {
        let outcome = match cause {
            Cause::Outranked => Outcome::Standby,
            Cause::LeaseLapsed => Outcome::Listening,
            _ => Outcome::Fenced,
        };
        self.phase = match outcome {
            Outcome::Standby => Phase::Standby,
            Outcome::Listening => Phase::Listening { until: now + self.listening_time() },
            _ => Phase::Fenced { cause, since: now },
        };
        sink(Action::Step(Step::GateClosed));
        sink(Action::Publish);
        self.drive_election(now, election::Input::Release, sink);
        sink(Action::Step(Step::FencedReported));
        sink(Action::DropAddresses);
        self.addresses_held = false;
        if let Cause::DatabaseDied(_) | Cause::HigherTerm(_) | Cause::SplitBrain(_) = cause {
            sink(Action::StopDatabase);
        }
        sink(Action::End(outcome));
    }

    /// Rule 4: adopt the record of the higher term; whoever served, fences.
    pub(super) fn higher_term(
        &mut self,
        now: Instant,
        node: NodeId,
        status: probe::Status,
        sink: Sink<'_>,
    ) {
        let primary = status.primary.unwrap_or(node);
        let record = Record { term: status.term, primary, in_sync: self.all_nodes() };
        let deposed = self.record.is_some_and(|old| old.primary == self.config.node);
        let before = self.phase;
        self.member |= deposed;
        self.record = Some(record);
        sink(Action::Persist(record));
        let cause = Cause::HigherTerm(status.term);
        match before {
            Phase::Claiming | Phase::Promoting { .. } | Phase::Opening | Phase::Serving(_) => {
                self.fence(now, now, cause, sink);
            }
            Phase::Persisting { .. } | Phase::Waiting { .. } => {
                self.phase = Phase::Standby;
                sink(Action::End(Outcome::Standby));
            }
            Phase::Fenced { since, .. } => self.phase = Phase::Fenced { cause, since },
            Phase::Listening { .. } | Phase::Standby if deposed => {
                self.phase = Phase::Fenced { cause, since: now };
                sink(Action::Publish);
            }
            Phase::Initial | Phase::Listening { .. } | Phase::Standby | Phase::Closing { .. } => {}
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
        if !self.config.database || !matches!(self.phase, Phase::Serving(_)) {
            return;
        }
        let mine = (self.config.priority, self.config.node);
        if mine < (status.priority, node) {
            self.fence(now, now, Cause::SplitBrain(node), sink);
        } else {
            sink(Action::Notice(Notice::SplitBrain(node)));
        }
    }

    /// A serving node's database was looked at. One that does not answer is not known to be
    /// dead; one that is gone or has become a standby must not be served.
    pub(super) fn check_serving(&mut self, now: Instant, sink: Sink<'_>) {
        if !self.database.alive {
            self.database_died(now, now, Sign::Observed, sink);
        } else if self.database.role == Role::Standby {
            self.fence(now, now, Cause::NotWritable, sink);
        }
    }

    /// A backup's database was looked at. A second primary beside the one that serves is
    /// stopped; one that nobody has replaced may serve.
    pub(super) fn check_standby(&mut self, now: Instant, sink: Sink<'_>) {
        let named = self.record.is_none_or(|record| record.primary == self.config.node);
        if named {
            self.bootstrap(now, sink);
        } else if self.member && self.database.role == Role::Primary && self.anyone_active(now) {
            let cause = Cause::HigherTerm(self.term());
            self.phase = Phase::Fenced { cause, since: now };
            sink(Action::Publish);
            self.check_fenced(now, cause, now, sink);
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
        let named = self.record.is_some_and(|record| record.primary == self.config.node);
        let waited = now.since(since);
        match (self.database.role, cause) {
            (Role::Unknown, _) => {}
            (Role::Standby, Cause::PromotionFailed) if waited < self.config.promotion_timeout => {}
            (Role::Standby, _) => {
                self.phase = Phase::Standby;
                sink(Action::Publish);
            }
            // Restarted in place, or promoted after all. A peer that could take over has by now.
            (
                Role::Primary,
                Cause::DatabaseDied(_) | Cause::PromotionFailed | Cause::DiskFailed,
            ) if named => {
                if waited >= self.config.agent_timeout {
                    self.bootstrap(now, sink);
                }
            }
            (Role::Primary, _) => {
                sink(Action::Notice(Notice::Stopping));
                sink(Action::StopDatabase);
            }
        }
    }
}
