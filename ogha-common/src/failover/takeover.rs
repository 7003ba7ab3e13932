//! Taking over: persist the term, claim the addresses, promote, open the gate.

use super::{
    Action, Cause, Database, GateOrder, Hindrance, Notice, Outcome, Role, Step,
    core::{Core, Heard, Lease, Phase, Renewal, Sink},
};
use crate::{
    election,
    units::{Instant, NodeId, Term},
    wire::probe,
};

impl Renewal {
    pub(super) fn new(now: Instant, lease: ::core::time::Duration) -> Self {
        Self { lease: Lease::new(now, lease), opened: now, announced: 0 }
    }
}

impl Core {
    /// The adverts of the active node have stopped for VRRP's Active_Down_Interval.
    pub(super) fn active_down(&mut self, now: Instant, sink: Sink<'_>) {
        if let Some(heard) = &mut self.heard {
            heard.silent = true;
        }
        self.consider(now, sink);
    }

    /// Whether to take over from an active node whose adverts have stopped.
    ///
    /// A host that answers no probe is dead: what it was promised is waited out. One that answers
    /// has a gate that its kernel closes `agent_timeout` after its agent's last sign of life; an
    /// agent that is merely slow is no failure (rule 7).
    pub(super) fn consider(&mut self, now: Instant, sink: Sink<'_>) {
        if self.phase != Phase::Standby {
            return;
        }
        let heard = match self.heard {
            Some(heard) if heard.silent && (heard.lost || self.is_agent_dead(heard)) => heard,
            Some(_) => return,
            None => return self.cannot_take_over(now, Hindrance::NeverHeardPrimary, sink),
        };
        if let Some(hindrance) = self.hindrance() {
            // The next adverts that stay away are the next occasion.
            self.heard = Some(Heard { silent: false, ..heard });
            self.cannot_take_over(now, hindrance, sink);
        } else if heard.lost {
            let until = heard.at + self.config.lease + self.config.margin();
            let cause = Cause::HostLost(heard.node);
            self.take_over(heard.at, cause, (now < until).then_some(until), sink);
        } else {
            self.take_over(heard.agent, Cause::AgentDead(heard.node), None, sink);
        }
    }

    /// Says so once, unless this node may serve without taking anything over.
    fn cannot_take_over(&mut self, now: Instant, hindrance: Hindrance, sink: Sink<'_>) {
        self.bootstrap(now, sink);
        if self.phase == Phase::Standby && self.config.database && self.told != Some(hindrance) {
            self.told = Some(hindrance);
            sink(Action::Notice(Notice::CannotTakeOver(hindrance)));
        }
    }

    /// Whether the last answer of an active node's kernel shows that its gate has lapsed. Where no
    /// answer comes that is not known: it may be this node that is cut off.
    fn is_agent_dead(&self, heard: Heard) -> bool {
        heard.at.since(heard.agent) >= self.config.agent_timeout + self.config.margin()
    }

    /// The primary says that its kernel has the closed gate: nothing to wait for (rule 6).
    pub(super) fn peer_fenced(
        &mut self,
        now: Instant,
        node: NodeId,
        status: probe::Status,
        sink: Sink<'_>,
    ) {
        let waits = matches!(self.phase, Phase::Standby | Phase::Waiting { .. });
        let its_term = self.record.is_some_and(|r| r.primary == node && r.term == status.term);
        if !waits || !its_term || !self.config.database || self.hindrance().is_some() {
            return;
        }
        if let Phase::Waiting { .. } = self.phase {
            self.persist_takeover(sink);
        } else {
            self.take_over(now, Cause::PeerFenced(node), None, sink);
        }
    }

    /// Rule 2, as far as this node alone can tell.
    fn hindrance(&self) -> Option<Hindrance> {
        if let Phase::Fenced { .. } | Phase::Closing { .. } = self.phase {
            return Some(Hindrance::Fenced);
        }
        if self.heard.is_none() {
            return Some(Hindrance::NeverHeardPrimary);
        }
        if !self.config.database {
            return None;
        }
        if !self.record.is_some_and(|record| record.in_sync.contains(self.config.node)) {
            return Some(Hindrance::NotInSync);
        }
        (self.database.role != Role::Standby).then_some(Hindrance::NoStandby)
    }

    /// Begins to take over; first waits for the end of a promise, where one was given.
    pub(super) fn take_over(
        &mut self,
        first_sign: Instant,
        cause: Cause,
        promise: Option<Instant>,
        sink: Sink<'_>,
    ) {
        sink(Action::Begin { cause, at: first_sign });
        match promise {
            Some(until) => self.phase = Phase::Waiting { until },
            None => self.persist_takeover(sink),
        }
    }

    pub(super) fn persist_takeover(&mut self, sink: Sink<'_>) {
        let record = self.next_record();
        self.phase = Phase::Persisting { record };
        sink(Action::Persist(record));
    }

    pub(super) fn persisted(&mut self, now: Instant, term: Term, sink: Sink<'_>) {
        let Phase::Persisting { record } = self.phase else { return };
        if record.term != term {
            return;
        }
        self.record = Some(record);
        sink(Action::Step(Step::RecordWritten));
        self.phase = Phase::Claiming;
        self.set_gate(now, GateOrder::Claim, sink);
    }

    pub(super) fn persist_failed(&mut self, now: Instant, term: Term, sink: Sink<'_>) {
        if let Phase::Persisting { record } = self.phase
            && record.term == term
        {
            self.fence(now, now, Cause::DiskFailed, sink);
        }
    }

    pub(super) fn gate_set(&mut self, now: Instant, order: GateOrder, sink: Sink<'_>) {
        match (self.phase, order) {
            (Phase::Claiming, GateOrder::Claim) => self.claimed(now, sink),
            (Phase::Opening, GateOrder::Open) => self.opened(now, sink),
            (Phase::Closing { cause }, GateOrder::Close) => self.closed(now, cause, sink),
            _ => {}
        }
    }

    pub(super) fn gate_failed(&mut self, now: Instant, order: GateOrder, sink: Sink<'_>) {
        match order {
            // Its lease ends by itself; nothing is reported before (rule 5). Try again.
            GateOrder::Close => {
                if let Phase::Closing { .. } = self.phase {
                    self.set_gate(now, GateOrder::Close, sink);
                }
            }
            GateOrder::Claim | GateOrder::Open => self.promotion_failed(now, sink),
        }
    }

    /// The kernel answers for the addresses now: tell the LAN, and promote.
    fn claimed(&mut self, now: Instant, sink: Sink<'_>) {
        self.addresses_held = false;
        self.phase = Phase::Promoting {
            give_up_at: now + self.config.promotion_timeout,
            lease: Lease::new(now, self.config.agent_timeout),
        };
        let writable = self.writable();
        self.promoted = !writable;
        if self.promoted {
            sink(Action::Promote(self.term()));
        }
        sink(Action::Announce);
        self.drive_election(now, election::Input::Take, sink);
        sink(Action::HoldAddresses);
        sink(Action::Publish);
        sink(Action::Step(Step::Claimed));
        if self.promoted {
            sink(Action::Step(Step::PromotionOrdered));
        }
    }

    fn writable(&self) -> bool {
        !self.config.database || (self.database.writable && self.database.role == Role::Primary)
    }

    /// Rule 1: the record names this node, the database was seen to accept writes.
    pub(super) fn open_if_ready(&mut self, now: Instant, sink: Sink<'_>) {
        let named = self.record.is_some_and(|record| record.primary == self.config.node);
        let promoting = matches!(self.phase, Phase::Promoting { .. });
        if promoting && named && self.addresses_held && self.writable() {
            self.phase = Phase::Opening;
            self.set_gate(now, GateOrder::Open, sink);
        }
    }

    fn opened(&mut self, now: Instant, sink: Sink<'_>) {
        self.phase = Phase::Serving(Renewal::new(now, self.config.agent_timeout));
        sink(Action::Step(Step::GateOpen));
        sink(Action::Announce);
        sink(Action::Publish);
        sink(Action::Step(Step::Announced));
        sink(Action::End(Outcome::Serving));
        if self.promoted {
            sink(Action::AfterFailover);
        }
    }

    pub(super) fn promotion_failed(&mut self, now: Instant, sink: Sink<'_>) {
        if self.holds_addresses() {
            self.fence(now, now, Cause::PromotionFailed, sink);
        }
    }

    /// The database was looked at.
    pub(super) fn observed(&mut self, now: Instant, database: Database, sink: Sink<'_>) {
        self.member |= database.role == Role::Standby;
        let was_writable = ::core::mem::replace(&mut self.database, database).writable;
        match self.phase {
            Phase::Promoting { .. } => {
                if self.writable() && !was_writable {
                    sink(Action::Step(Step::Writable));
                }
                self.open_if_ready(now, sink);
            }
            Phase::Serving(_) if self.config.database => self.check_serving(now, sink),
            Phase::Standby => self.check_standby(now, sink),
            Phase::Fenced { cause, since } => self.check_fenced(now, cause, since, sink),
            _ => {}
        }
    }
}
