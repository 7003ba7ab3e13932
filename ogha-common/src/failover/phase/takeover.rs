//! Taking over, step by step: withdraw the lease grant and wait for its end, ask the arbiter, write the
//! record, claim the addresses, promote, open the gate.

use ::core::time::Duration;

use super::{Phase, PhaseName, Serving, Standby, Why, enter};
use crate::{
    election,
    failover::{
        Action, Arbiter, Blocker, Cause, Database, GateOrder, NodeSet, Notice, Order, Record, Ruling, Step,
        cluster::Known,
        context::Context,
        grants::{Granters, Lease},
        rules::{OpenPermit, PromotePermit, TakeoverPermit},
    },
    units::{Instant, NodeId, Term},
};

/// How long a takeover waits for an answer that its agent should give by itself.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Why and when a takeover begins.
#[derive(Debug)]
pub(super) struct Plan {
    /// The first sign of what made it necessary.
    pub first_sign: Instant,
    pub cause: Cause,
    pub why: Why,
    /// The end of what the old primary was granted in any case.
    pub not_before: Option<Instant>,
}

/// A node that takes over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Takeover {
    /// What it goes back to if it gives up.
    pub back: Standby,
    pub cause: Cause,
    step: TakeoverStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TakeoverStep {
    /// The kernel is asked for the end of the last grant, again until it answers.
    Withdrawing { not_before: Instant, ask_at: Instant, deadline: Instant },
    /// The last grant expires then.
    Waiting { until: Instant },
    /// The arbiter is asked for the record that names this node.
    Proposing { record: Record, asked_at: Instant },
    /// That record is being written.
    Persisting { record: Record, asked_at: Instant },
    /// The kernel is told to claim the addresses.
    Claiming { record: Record, deadline: Instant },
    /// The database and the addresses are waited for.
    Promoting { give_up_at: Instant, lease: Lease, promoted: bool, addresses_held: bool },
    /// The kernel is told to open the gate.
    Opening { lease: Lease, promoted: bool, deadline: Instant },
}

impl Takeover {
    /// Begins to take over; first waits for the end of a grant, where one was given.
    pub(super) fn begin(
        cx: &mut Context<'_>,
        from: PhaseName,
        back: Standby,
        _: TakeoverPermit,
        plan: Plan,
    ) -> Phase {
        let Plan { first_sign, cause, why, not_before } = plan;
        cx.act(Action::Begin { cause, at: first_sign });
        let mut takeover = Self { back, cause, step: TakeoverStep::Waiting { until: cx.now } };
        if cx.known.config.grants() {
            let lease = cx.known.config.lease;
            takeover.step = TakeoverStep::Withdrawing {
                not_before: not_before.unwrap_or(cx.now),
                ask_at: cx.now + lease,
                deadline: cx.now + cx.known.config.agent_timeout * 2,
            };
            let phase = enter(cx, from, Phase::TakingOver(takeover), why);
            cx.act(Action::Withdraw);
            return phase;
        }
        match not_before {
            Some(until) => {
                takeover.step = TakeoverStep::Waiting { until };
                enter(cx, from, Phase::TakingOver(takeover), why)
            }
            None => takeover.propose(cx, from, why),
        }
    }

    /// An operator takes the responsibility. The old primary's last grant is waited out all the same.
    pub fn forced(cx: &mut Context<'_>, from: PhaseName, back: Standby) -> Phase {
        let config = &cx.known.config;
        let plan = Plan {
            first_sign: cx.now,
            cause: Cause::Forced,
            why: Why::Forced,
            not_before: Some(cx.now + config.lease + config.margin()),
        };
        Self::begin(cx, from, back, Known::forced(), plan)
    }

    pub const fn name(&self) -> PhaseName {
        match self.step {
            TakeoverStep::Withdrawing { .. } => PhaseName::Withdrawing,
            TakeoverStep::Waiting { .. } => PhaseName::Waiting,
            TakeoverStep::Proposing { .. } => PhaseName::Proposing,
            TakeoverStep::Persisting { .. } => PhaseName::Persisting,
            TakeoverStep::Claiming { .. } => PhaseName::Claiming,
            TakeoverStep::Promoting { .. } => PhaseName::Promoting,
            TakeoverStep::Opening { .. } => PhaseName::Opening,
        }
    }

    /// It only waits: a sign of the active node ends it.
    pub const fn waits(&self) -> bool {
        matches!(self.step, TakeoverStep::Withdrawing { .. } | TakeoverStep::Waiting { .. })
    }

    /// It has begun to claim the addresses, by its record.
    pub const fn claims(&self) -> bool {
        matches!(
            self.step,
            TakeoverStep::Claiming { .. }
                | TakeoverStep::Promoting { .. }
                | TakeoverStep::Opening { .. }
        )
    }

    pub const fn holds_addresses(&self) -> bool {
        self.claims() || matches!(self.step, TakeoverStep::Persisting { .. })
    }

    pub fn persists(&self, term: Term) -> bool {
        matches!(self.step, TakeoverStep::Persisting { record, .. } if record.term == term)
    }

    pub fn timer(&self) -> Instant {
        match self.step {
            TakeoverStep::Withdrawing { ask_at, deadline, .. } => ask_at.min(deadline),
            TakeoverStep::Waiting { until } => until,
            TakeoverStep::Proposing { asked_at, .. } | TakeoverStep::Persisting { asked_at, .. } => {
                asked_at + ANSWER_DEADLINE
            }
            TakeoverStep::Claiming { deadline, .. } | TakeoverStep::Opening { deadline, .. } => deadline,
            TakeoverStep::Promoting { give_up_at, lease, .. } => {
                lease.timer().map_or(give_up_at, |at| at.min(give_up_at))
            }
        }
    }

    /// The whole host was away: somebody may speak who could not be heard.
    pub fn wait_until(&mut self, at: Instant) {
        match &mut self.step {
            TakeoverStep::Withdrawing { not_before: until, .. } | TakeoverStep::Waiting { until } => {
                *until = (*until).max(at);
            }
            _ => {}
        }
    }

    pub fn tick(mut self, cx: &mut Context<'_>) -> Phase {
        if cx.now < self.timer() {
            return Phase::TakingOver(self);
        }
        match self.step {
            TakeoverStep::Withdrawing { deadline, .. } if cx.now >= deadline => {
                self.give_up(cx, Why::GrantNotWithdrawn)
            }
            TakeoverStep::Withdrawing { not_before, deadline, .. } => {
                let ask_at = cx.now + cx.known.config.lease;
                self.step = TakeoverStep::Withdrawing { not_before, ask_at, deadline };
                cx.act(Action::Withdraw);
                Phase::TakingOver(self)
            }
            TakeoverStep::Waiting { .. } => {
                cx.step(Step::GrantExpired);
                self.propose_if_best(cx, Why::GrantExpired)
            }
            TakeoverStep::Proposing { record, .. } => self.ruled(cx, Ruling::Unknown(record.term)),
            TakeoverStep::Persisting { .. } => {
                let phase = Phase::TakingOver(self);
                phase.close(cx, cx.now, Cause::DiskFailed, Why::DiskFailed)
            }
            TakeoverStep::Promoting { give_up_at, .. } if cx.now >= give_up_at => {
                cx.notice(Notice::PromotionTimedOut);
                self.promotion_failed(cx)
            }
            TakeoverStep::Promoting { give_up_at, lease, promoted, addresses_held } => {
                let Some(lease) = lease.renew(cx) else { return Phase::TakingOver(self).lapsed(cx) };
                self.step =
                    TakeoverStep::Promoting { give_up_at, lease, promoted, addresses_held };
                self.open_if_ready(cx)
            }
            TakeoverStep::Claiming { .. } | TakeoverStep::Opening { .. } => self.promotion_failed(cx),
        }
    }

    /// Stands by again, and grants again.
    pub fn stand_by(self, cx: &mut Context<'_>, why: Why) -> Phase {
        enter(cx, self.name(), Phase::Standby(self.back.decided()), why)
    }

    /// The same, and the next occasion is a moment away.
    fn give_up(self, cx: &mut Context<'_>, why: Why) -> Phase {
        let again = cx.now + cx.known.config.lease;
        enter(cx, self.name(), Phase::Standby(self.back.again(again)), why)
    }

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

    fn propose_if_best(self, cx: &mut Context<'_>, why: Why) -> Phase {
        self.propose_from(cx, PhaseName::Waiting, why)
    }

    /// Rule 2: the arbiter grants the next term.
    fn propose(mut self, cx: &mut Context<'_>, from: PhaseName, why: Why) -> Phase {
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
                let phase = self.give_up(cx, Why::ArbiterRefused);
                match current {
                    Some(current) => phase.adopt(cx, current),
                    None => phase,
                }
            }
            // If it was granted after all, the arbiter will say so when it is asked again.
            Ruling::Unknown(term) if term == record.term => {
                cx.notice(Notice::ArbiterRefused(term));
                let phase = self.give_up(cx, Why::ArbiterRefused);
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

    pub fn gate_set(self, cx: &mut Context<'_>, order: GateOrder) -> Phase {
        match (self.step, order) {
            (TakeoverStep::Claiming { record, .. }, GateOrder::Claim) => self.claimed(cx, &record),
            (TakeoverStep::Opening { lease, promoted, .. }, GateOrder::Open) => {
                Serving::open(cx, PhaseName::Opening, lease, Granters::default(), promoted)
            }
            _ => Phase::TakingOver(self),
        }
    }

    /// The kernel answers for the addresses now: tell the LAN, and promote.
    fn claimed(mut self, cx: &mut Context<'_>, record: &Record) -> Phase {
        let config = cx.known.config;
        let promote = cx.known.facts.database.writable().is_none();
        let permit = match cx.known.may_promote(record) {
            Ok(permit) => permit,
            // Nothing but a mistake here can have changed the record: it closes.
            Err(_) => return self.promotion_failed(cx),
        };
        self.step = TakeoverStep::Promoting {
            give_up_at: cx.now + config.promotion_timeout,
            lease: Lease::own(cx.now, config.agent_timeout),
            promoted: promote,
            addresses_held: false,
        };
        let phase = enter(cx, PhaseName::Claiming, Phase::TakingOver(self), Why::Claimed);
        if promote {
            order_promotion(cx, permit);
        }
        cx.act(Action::Announce);
        cx.elect(election::Input::Take);
        cx.act(Action::HoldAddresses);
        cx.publish();
        cx.step(Step::Claimed);
        if promote {
            cx.step(Step::PromotionOrdered);
        }
        phase
    }

    pub fn addresses_held(mut self, cx: &mut Context<'_>) -> Phase {
        if let TakeoverStep::Promoting { addresses_held, .. } = &mut self.step {
            *addresses_held = true;
        }
        self.open_if_ready(cx)
    }

    pub fn observed(self, cx: &mut Context<'_>, before: &Database) -> Phase {
        if let TakeoverStep::Promoting { .. } = self.step
            && cx.known.facts.database.writable().is_some()
            && before.writable().is_none()
        {
            cx.step(Step::Writable);
        }
        self.open_if_ready(cx)
    }

    /// Rule 1.
    pub fn open_if_ready(mut self, cx: &mut Context<'_>) -> Phase {
        let TakeoverStep::Promoting { promoted, addresses_held, .. } = self.step else {
            return Phase::TakingOver(self);
        };
        let Ok(permit) = cx.known.may_open(addresses_held) else { return Phase::TakingOver(self) };
        let lease = order_open(cx, permit, &Granters::default());
        self.step =
            TakeoverStep::Opening { lease, promoted, deadline: cx.now + ANSWER_DEADLINE };
        enter(cx, PhaseName::Promoting, Phase::TakingOver(self), Why::Ready)
    }

    /// Which rule stands against the next step.
    pub fn blocker(&self, known: &Known) -> Option<Blocker> {
        match self.step {
            TakeoverStep::Promoting { addresses_held, .. } => known.may_open(addresses_held).err(),
            _ => None,
        }
    }

    /// The database could not be promoted, or the kernel does not have the gate.
    pub fn promotion_failed(self, cx: &mut Context<'_>) -> Phase {
        let phase = Phase::TakingOver(self);
        if phase.holds_addresses() {
            phase.close(cx, cx.now, Cause::PromotionFailed, Why::PromotionFailed)
        } else {
            phase
        }
    }
}

fn order_promotion(cx: &mut Context<'_>, _: PromotePermit) {
    cx.act(Action::Database(Order::Promote));
}

/// Has the kernel open the gate.
pub(super) fn order_open(cx: &mut Context<'_>, _: OpenPermit, granters: &Granters) -> Lease {
    cx.order_gate(GateOrder::Open, granters)
}
