//! Taking over, step by step: withdraw the lease grant and wait for its end, ask the arbiter, write the
//! record, claim the addresses, promote, open the gate.

use ::core::time::Duration;

mod ask;
mod promote;

use super::{Phase, Plan, Standby, enter};
use crate::{
    failover::{
        Action, Cause, Notice, PhaseName, Record, Ruling, Step, Why, cluster::Known,
        context::Context, grants::Lease, rules::TakeoverPermit,
    },
    units::{Instant, Term},
};

/// How long a takeover waits for an answer that its agent should give by itself.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

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
    /// The kernel is ordered to claim the addresses.
    Claiming { record: Record, deadline: Instant },
    /// The database and the addresses are waited for.
    Promoting { give_up_at: Instant, lease: Lease, promoted: bool, addresses_held: bool },
    /// The kernel is ordered to open the gate.
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

    /// Whether the database may be promoted by this takeover, sooner or later.
    pub const fn has_ordered_promotion(&self) -> bool {
        matches!(self.step, TakeoverStep::Promoting { .. } | TakeoverStep::Opening { .. })
    }

    pub fn persists(&self, term: Term) -> bool {
        matches!(self.step, TakeoverStep::Persisting { record, .. } if record.term == term)
    }

    pub fn timer(&self) -> Instant {
        match self.step {
            TakeoverStep::Withdrawing { ask_at, deadline, .. } => ask_at.min(deadline),
            TakeoverStep::Waiting { until } => until,
            TakeoverStep::Proposing { asked_at, .. }
            | TakeoverStep::Persisting { asked_at, .. } => asked_at + ANSWER_DEADLINE,
            TakeoverStep::Claiming { deadline, .. } | TakeoverStep::Opening { deadline, .. } => {
                deadline
            }
            TakeoverStep::Promoting { give_up_at, lease, .. } => {
                lease.timer().map_or(give_up_at, |at| at.min(give_up_at))
            }
        }
    }

    /// The whole host was away: somebody may speak who could not be heard.
    pub fn wait_until(&mut self, at: Instant) {
        match &mut self.step {
            TakeoverStep::Withdrawing { not_before: until, .. }
            | TakeoverStep::Waiting { until } => {
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
                let Some(lease) = lease.renew(cx) else {
                    return Phase::TakingOver(self).lapsed(cx);
                };
                self.step = TakeoverStep::Promoting { give_up_at, lease, promoted, addresses_held };
                self.open_if_ready(cx)
            }
            TakeoverStep::Claiming { .. } | TakeoverStep::Opening { .. } => {
                self.promotion_failed(cx)
            }
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

    /// The same, and the arbiter is asked again after a pause that grows each time.
    fn refused(self, cx: &mut Context<'_>) -> Phase {
        let from = self.name();
        let back = self.back.refused(cx.now);
        enter(cx, from, Phase::Standby(back), Why::ArbiterRefused)
    }
}
