//! The second half of a takeover: the addresses are claimed, the database is promoted, the gate opens.

use super::{ANSWER_DEADLINE, Takeover, TakeoverStep};
use crate::{
    election,
    failover::{
        Action, Blocker, Cause, Database, GateOrder, NodeSet, Order, PhaseName, Record, Step, Why,
        cluster::Known,
        context::Context,
        grants::{Granters, Lease},
        phase::{Phase, Serving, enter, order_open},
        rules::PromotePermit,
    },
};

impl Takeover {
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
        let Ok(permit) = cx.known.may_open(addresses_held, NodeSet::EMPTY) else {
            return Phase::TakingOver(self);
        };
        let lease = order_open(cx, permit, &Granters::default());
        self.step = TakeoverStep::Opening { lease, promoted, deadline: cx.now + ANSWER_DEADLINE };
        enter(cx, PhaseName::Promoting, Phase::TakingOver(self), Why::Ready)
    }

    /// Which rule stands against the next step.
    pub fn blocker(&self, known: &Known) -> Option<Blocker> {
        match self.step {
            TakeoverStep::Promoting { addresses_held, .. } => {
                known.may_open(addresses_held, NodeSet::EMPTY).err()
            }
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
