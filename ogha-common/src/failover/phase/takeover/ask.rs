//! The first half of a takeover: the lease grant expires, the arbiter grants the term, the record is
//! written.

use super::{ANSWER_DEADLINE, Takeover, TakeoverStep};
use crate::{
    failover::{
        Action, Arbiter, Cause, GateOrder, NodeSet, Notice, PhaseName, Record, Ruling, Step, Why,
        context::Context,
        grants::Granters,
        phase::{Phase, enter},
    },
    units::{Instant, NodeId, Term},
};

impl Takeover {
    /// Nothing is granted any more from now on; what was, ends then.
    pub fn withdrawn(mut self, cx: &mut Context<'_>, granted_until: Instant) -> Phase {
        let TakeoverStep::Withdrawing { not_before, .. } = self.step else {
            return Phase::TakingOver(self);
        };
        // The primary has said itself that it is fenced, and needs no grant any more.
        let fenced = matches!(self.cause, Cause::PeerFenced(_));
        let end = granted_until + cx.known.config.margin();
        let until = if fenced { not_before } else { not_before.max(end) };
        self.step = TakeoverStep::Waiting { until };
        if cx.now >= until {
            return self.propose_from(cx, PhaseName::Withdrawing, Why::GrantWithdrawn);
        }
        enter(cx, PhaseName::Withdrawing, Phase::TakingOver(self), Why::GrantWithdrawn)
    }

    /// The old primary reports itself fenced while this node waits for the end of its grant.
    pub fn peer_fenced(mut self, cx: &mut Context<'_>, node: NodeId) -> Phase {
        let TakeoverStep::Waiting { until } = self.step else { return Phase::TakingOver(self) };
        if cx.known.may_take_over().is_err() {
            return Phase::TakingOver(self);
        }
        let cause = Cause::PeerFenced(node);
        if cx.known.config.is_a_pair() || cx.known.config.has_store() {
            self.cause = cause;
            self.step = TakeoverStep::Waiting { until: cx.now };
            return self.propose_if_best(cx, Why::PeerFenced);
        }
        if self.cause != cause {
            self.cause = cause;
            self.step = TakeoverStep::Waiting { until: until.min(cx.now + cx.known.config.lease) };
        }
        Phase::TakingOver(self)
    }

    fn propose_from(self, cx: &mut Context<'_>, from: PhaseName, why: Why) -> Phase {
        // Whoever is heard to be as good by now is as far as this node is.
        let chosen = matches!(self.cause, Cause::Forced | Cause::Designated | Cause::Bootstrap);
        let mut takeover = self;
        if !chosen && !cx.known.config.is_a_pair() && takeover.back.defers_now(cx) {
            return enter(cx, from, Phase::Standby(takeover.back), Why::BetterCandidate);
        }
        takeover.propose(cx, from, why)
    }

    pub(super) fn propose_if_best(self, cx: &mut Context<'_>, why: Why) -> Phase {
        self.propose_from(cx, PhaseName::Waiting, why)
    }

    /// Rule 2: the arbiter grants the next term.
    pub(super) fn propose(mut self, cx: &mut Context<'_>, from: PhaseName, why: Why) -> Phase {
        self.back = self.back.decided();
        let (record, asked_at) = (cx.known.next_record(), cx.now);
        if cx.known.config.arbiter == Arbiter::None {
            return self.persist(cx, from, why, record, asked_at);
        }
        self.step = TakeoverStep::Proposing { record, asked_at };
        let phase = enter(cx, from, Phase::TakingOver(self), why);
        cx.act(Action::Propose(record));
        cx.publish();
        phase
    }

    pub fn ruled(self, cx: &mut Context<'_>, ruling: Ruling) -> Phase {
        let TakeoverStep::Proposing { record, asked_at } = self.step else {
            return Phase::TakingOver(self);
        };
        match ruling {
            Ruling::Granted(term) if term == record.term => {
                cx.step(Step::ArbiterGranted);
                self.persist(cx, PhaseName::Proposing, Why::ArbiterGranted, record, asked_at)
            }
            Ruling::Refused { term, record: current } if term == record.term => {
                cx.notice(Notice::ArbiterRefused(term));
                let phase = self.refused(cx);
                match current {
                    Some(current) => phase.adopt_from_store(cx, current),
                    None => phase,
                }
            }
            // If it was granted after all, the arbiter will say so when it is asked again.
            Ruling::Unknown(term) if term == record.term => {
                cx.notice(Notice::ArbiterRefused(term));
                let phase = self.refused(cx);
                if cx.known.config.has_store() {
                    cx.act(Action::Consult);
                }
                phase
            }
            _ => Phase::TakingOver(self),
        }
    }

    fn persist(
        mut self,
        cx: &mut Context<'_>,
        from: PhaseName,
        why: Why,
        record: Record,
        asked_at: Instant,
    ) -> Phase {
        self.step = TakeoverStep::Persisting { record, asked_at };
        let phase = enter(cx, from, Phase::TakingOver(self), why);
        cx.act(Action::Persist(record));
        phase
    }

    /// The record is on disk: it is the current one, and the kernel may claim the addresses.
    pub fn persisted(mut self, cx: &mut Context<'_>, term: Term) -> Phase {
        let TakeoverStep::Persisting { record, asked_at } = self.step else {
            return Phase::TakingOver(self);
        };
        if record.term != term {
            return Phase::TakingOver(self);
        }
        // Another candidate that deferred to this node may have gone on by now, and no store says so.
        let config = cx.known.config;
        let late = cx.now.since(asked_at) >= config.agent_timeout / 2;
        if late && !config.has_store() && !config.is_a_pair() {
            let phase = self.give_up(cx, Why::WrittenTooLate);
            if let Some(record) = cx.known.record() {
                cx.act(Action::Persist(record));
            }
            return phase;
        }
        cx.known.cluster.record = Some(record);
        // Whoever served till now does not any more.
        cx.known.facts.active = None;
        cx.step(Step::RecordWritten);
        cx.order_granters(NodeSet::EMPTY);
        self.step = TakeoverStep::Claiming { record, deadline: cx.now + ANSWER_DEADLINE };
        let phase = enter(cx, PhaseName::Persisting, Phase::TakingOver(self), Why::RecordWritten);
        cx.order_gate(GateOrder::Claim, &Granters::default());
        phase
    }
}
