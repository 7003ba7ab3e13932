//! Taking over: ask the arbiter, persist the term, claim the addresses, promote, open the gate.

use super::{
    Action, Arbiter, Cause, Database, GateOrder, Hindrance, Lease, NodeSet, Notice, Order, Outcome,
    Phase, Record, Renewal, Role, Rule, Ruling, Step,
    core::{Core, Sink},
    hearing::Heard,
};
use crate::{
    election,
    units::{Instant, NodeId, Term},
    wire::probe,
};

impl Core {
    /// The adverts of the active node have stopped for VRRP's Active_Down_Interval.
    pub(super) fn active_down(&mut self, now: Instant, sink: Sink<'_>) {
        if let Some(heard) = &mut self.heard {
            heard.silent = true;
        }
        self.consider(now, sink);
    }

    /// Whether to take over from an active node that has fallen silent.
    ///
    /// A host that answers no probe is dead: what it was promised is waited out, from its last word
    /// on, adverts among them. One that answers has a gate that its kernel closes: `agent_timeout`
    /// after its agent's last sign of life, or as soon as nobody grants it a lease; an agent that is
    /// merely slow is no failure (rule 7).
    pub(super) fn consider(&mut self, now: Instant, sink: Sink<'_>) {
        if self.phase != Phase::Standby {
            return;
        }
        let heard = match self.heard.or_else(|| self.named_by_the_register()) {
            Some(heard) if heard.lost || heard.silent && self.is_agent_dead(heard) => heard,
            Some(_) => return,
            None => return self.cannot_take_over(now, Hindrance::NeverHeardPrimary, sink),
        };
        if let Some(hindrance) = self.hindrance() {
            // The next adverts that stay away are the next occasion.
            if let Some(heard) = &mut self.heard {
                heard.silent = false;
            }
            return self.cannot_take_over(now, hindrance, sink);
        }
        // A word that is on its way still, an advert, or a probe of its agent, may be about to come.
        let doubtful = heard.at + self.config.lease / 2;
        if heard.lost && now < doubtful {
            self.look_again_at = Some(doubtful);
            return;
        }
        let (since, cause, until) = if heard.lost {
            let until = heard.at + self.config.lease + self.config.margin();
            (heard.at, Cause::HostLost(heard.node), until)
        } else {
            (heard.agent, Cause::AgentDead(heard.node), now)
        };
        if self.defers(now, since) {
            return;
        }
        self.take_over(now, since, cause, (now < until).then_some(until), sink);
    }

    /// The register's record says who served, though this node has not heard it since it started.
    fn named_by_the_register(&self) -> Option<Heard> {
        if !self.has_register() || !self.consulted {
            return None;
        }
        let node = self.record?.primary;
        let lost = self.view(node)?.lost;
        let since = self.listening_since;
        Some(Heard { node, at: since, agent: since, silent: true, lost })
    }

    /// Whether another node should go first: one that is in sync and alive, and has more of the log,
    /// or the higher priority. It is given `agent_timeout` to do so.
    fn defers(&mut self, now: Instant, since: Instant) -> bool {
        if !self.is_outranked(now) || self.is_split_in_two() {
            self.deferred_until = None;
            return false;
        }
        let until = *self.deferred_until.get_or_insert(since.max(now) + self.config.agent_timeout);
        self.look_again_at = Some(until).filter(|&at| now < at);
        now < until
    }

    fn is_split_in_two(&self) -> bool {
        self.config.nodes.len() <= 2
    }

    fn is_outranked(&self, now: Instant) -> bool {
        let Some(record) = self.record else { return false };
        let mine = (self.database.lsn, self.config.priority, self.config.node);
        self.peers.iter().flatten().any(|view| {
            let candidate = record.others().contains(view.node) && self.is_there(now, view);
            candidate
                && view.status.is_some_and(|status| {
                    status.role == Role::Standby
                        && status.phase != probe::Phase::Fenced
                        && (status.lsn, status.priority, view.node) > mine
                })
        })
    }

    /// Says so once, unless this node may serve without taking anything over.
    fn cannot_take_over(&mut self, now: Instant, hindrance: Hindrance, sink: Sink<'_>) {
        self.bootstrap(now, sink);
        if self.phase == Phase::Standby && self.config.database && self.told != Some(hindrance) {
            self.told = Some(hindrance);
            sink(Action::Notice(Notice::CannotTakeOver(hindrance)));
        }
    }

    /// Whether the last answer of an active node's kernel shows that its agent is dead, and by that
    /// its gate lapsed, where the agent alone renews it. Where no answer comes that is not known: it
    /// may be this node that is cut off.
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
        if !waits || !its_term || !self.config.database {
            return;
        }
        if let Some(hindrance) = self.hindrance() {
            return self.cannot_take_over(now, hindrance, sink);
        }
        let cause = Cause::PeerFenced(node);
        // Two that are told at once must hear of each other first; a register chooses one.
        let alone = self.is_split_in_two() || self.has_register();
        if let Phase::Waiting { until, cause: waits_for } = self.phase {
            if alone {
                self.phase = Phase::Waiting { until: now, cause };
                self.propose_takeover(now, sink);
            } else if waits_for != cause {
                let until = until.min(now + self.config.lease);
                self.phase = Phase::Waiting { until, cause };
            }
        } else if !self.defers(now, now) {
            let until = (!alone).then(|| now + self.config.lease);
            self.take_over(now, now, cause, until, sink);
        }
    }

    /// Rule 2, as far as this node alone can tell.
    pub(super) fn hindrance(&self) -> Option<Hindrance> {
        if let Phase::Fenced { .. } | Phase::Closing { .. } = self.phase {
            return Some(Hindrance::Fenced);
        }
        if self.heard.or_else(|| self.named_by_the_register()).is_none() {
            return Some(Hindrance::NeverHeardPrimary);
        }
        if !self.config.database {
            return None;
        }
        if self.is_paused() {
            return Some(Hindrance::Paused);
        }
        let behind = self.behind();
        let in_sync = self.record.is_some_and(|record| record.in_sync.contains(self.config.node));
        if !in_sync && self.keeps(Rule::PromoteInSync) {
            return Some(Hindrance::NotInSync(behind));
        }
        if self.config.max_lag.is_some_and(|max_lag| behind > max_lag) {
            return Some(Hindrance::Lag(behind));
        }
        (self.database.role != Role::Standby).then_some(Hindrance::NoStandby)
    }

    /// By how many bytes this node's log was behind that of the record's primary, when that was last
    /// heard.
    fn behind(&self) -> u64 {
        let primary = self.record.and_then(|record| self.view(record.primary));
        let heard = primary.and_then(|view| view.status);
        heard.map_or(0, |status| self.database.lsn.behind(status.lsn))
    }

    /// Begins to take over; first waits for the end of a promise, where one was given.
    pub(super) fn take_over(
        &mut self,
        now: Instant,
        first_sign: Instant,
        cause: Cause,
        promise: Option<Instant>,
        sink: Sink<'_>,
    ) {
        sink(Action::Begin { cause, at: first_sign });
        let waits = self.keeps(Rule::WaitForPromise);
        if self.config.grants() && waits {
            self.phase = Phase::Withdrawing { until: promise.unwrap_or(now), cause };
            sink(Action::Withdraw);
        } else if let (Some(until), true) = (promise, waits) {
            self.phase = Phase::Waiting { until, cause };
        } else {
            self.propose_takeover(now, sink);
        }
    }

    /// Nothing is promised any more from now on; what was, ends then.
    pub(super) fn withdrawn(&mut self, now: Instant, promised_until: Instant, sink: Sink<'_>) {
        let Phase::Withdrawing { until, cause } = self.phase else { return };
        // The primary has said itself that it is fenced, and needs no promise any more.
        let fenced = matches!(cause, Cause::PeerFenced(_));
        let promise = if fenced { until } else { until.max(promised_until + self.config.margin()) };
        self.phase = Phase::Waiting { until: promise, cause };
        if now >= promise {
            self.propose_takeover(now, sink);
        }
    }

    /// Rule 2: the arbiter grants the next term.
    pub(super) fn propose_takeover(&mut self, now: Instant, sink: Sink<'_>) {
        // Whoever is heard to be as good by now is as far as this node is.
        if let Phase::Waiting { cause, .. } = self.phase
            && !self.is_split_in_two()
            && !matches!(cause, Cause::Forced | Cause::Named | Cause::Bootstrap)
            && self.defers(now, now)
        {
            self.phase = Phase::Standby;
            sink(Action::End(Outcome::Standby));
            return sink(Action::Publish);
        }
        self.deferred_until = None;
        self.asked_at = now;
        let record = self.next_record();
        if self.config.arbiter == Arbiter::None || !self.keeps(Rule::AskArbiter) {
            self.persist_takeover(record, sink);
        } else {
            self.phase = Phase::Proposing { record };
            sink(Action::Propose(record));
            sink(Action::Publish);
        }
    }

    pub(super) fn ruled_on_takeover(
        &mut self,
        now: Instant,
        record: Record,
        ruling: Ruling,
        sink: Sink<'_>,
    ) {
        match ruling {
            Ruling::Granted(term) if term == record.term => {
                sink(Action::Step(Step::ArbiterGranted));
                self.persist_takeover(record, sink);
            }
            Ruling::Refused { term, record: stands } if term == record.term => {
                self.give_up(now, sink);
                if let Some(stands) = stands {
                    self.adopt(now, stands, sink);
                }
            }
            // If it was granted after all, the arbiter will say so when it is asked again.
            Ruling::Unknown(term) if term == record.term => {
                self.give_up(now, sink);
                if self.has_register() {
                    sink(Action::Consult);
                }
            }
            _ => {}
        }
    }

    /// Stands by again, and grants again. The next occasion is a moment away.
    fn give_up(&mut self, now: Instant, sink: Sink<'_>) {
        sink(Action::Notice(Notice::NotLetOn));
        self.phase = Phase::Standby;
        self.look_again_at = Some(now + self.config.lease);
        sink(Action::End(Outcome::Standby));
        sink(Action::Publish);
    }

    fn persist_takeover(&mut self, record: Record, sink: Sink<'_>) {
        self.phase = Phase::Persisting { record };
        sink(Action::Persist(record));
    }

    pub(super) fn persisted(&mut self, now: Instant, term: Term, sink: Sink<'_>) {
        let Phase::Persisting { record } = self.phase else {
            return self.members_persisted(term);
        };
        if record.term != term {
            return;
        }
        // Another candidate that deferred to this node may have gone on by now, and no register says so.
        let late = now.since(self.asked_at) >= self.config.agent_timeout / 2;
        if late && !self.has_register() && !self.is_split_in_two() {
            self.give_up(now, sink);
            if let Some(record) = self.record {
                sink(Action::Persist(record));
            }
            return;
        }
        self.record = Some(record);
        // Whoever served till now does not any more.
        self.heard = None;
        self.granters = NodeSet::EMPTY;
        self.inherited = false;
        self.membership.forget();
        sink(Action::Step(Step::RecordWritten));
        sink(Action::SetGranters(NodeSet::EMPTY));
        self.phase = Phase::Claiming;
        self.set_gate(now, GateOrder::Claim, sink);
    }

    pub(super) fn gate_set(&mut self, now: Instant, order: GateOrder, sink: Sink<'_>) {
        match (self.phase, order) {
            (Phase::Claiming, GateOrder::Claim) => self.claimed(now, sink),
            (Phase::Opening { lease }, GateOrder::Open) => self.opened(now, lease, sink),
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
            sink(Action::Database(Order::Promote));
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
        !self.config.database
            || (self.database.writable && self.database.role == Role::Primary)
            || !self.keeps(Rule::OpenOnWritable)
    }

    /// Rule 1: the record names this node, the database was seen to accept writes. Commits wait for
    /// whoever is in sync.
    pub(super) fn open_if_ready(&mut self, now: Instant, sink: Sink<'_>) {
        let promoting = matches!(self.phase, Phase::Promoting { .. });
        let ready = promoting && self.is_named() && self.addresses_held && self.writable();
        if ready && self.commits_wait(sink) {
            let lease = self.set_gate(now, GateOrder::Open, sink);
            self.phase = Phase::Opening { lease };
        }
    }

    fn opened(&mut self, now: Instant, lease: Lease, sink: Sink<'_>) {
        self.phase = Phase::Serving(Renewal::new(now, lease));
        self.returning.forget();
        self.heard = None;
        sink(Action::Step(Step::GateOpen));
        sink(Action::Announce);
        sink(Action::Publish);
        sink(Action::Step(Step::Announced));
        sink(Action::End(Outcome::Serving));
        if self.promoted {
            sink(Action::Database(Order::AfterFailover));
        }
        self.tend_members(now, sink);
    }

    pub(super) fn promotion_failed(&mut self, now: Instant, sink: Sink<'_>) {
        if self.holds_addresses() {
            self.fence(now, now, Cause::PromotionFailed, sink);
        }
    }

    /// The database was looked at.
    pub(super) fn observed(&mut self, now: Instant, database: Database, sink: Sink<'_>) {
        self.member |= database.role == Role::Standby;
        let before = ::core::mem::replace(&mut self.database, database);
        self.note_streaming(now);
        match self.phase {
            Phase::Promoting { .. } => {
                if self.writable() && !before.writable {
                    sink(Action::Step(Step::Writable));
                }
                self.open_if_ready(now, sink);
            }
            Phase::Serving(_) if self.config.database => self.check_serving(now, before.role, sink),
            Phase::Standby => {
                self.check_standby(now, sink);
                self.come_back(now, sink);
            }
            Phase::Fenced { cause, since } => self.check_fenced(now, cause, since, sink),
            _ => {}
        }
    }
}
