//! What the database's end, each observation of it, and the outcome of each order to it mean in each phase.

use super::{Phase, Rejoin};
use crate::{
    failover::{Cause, Database, Order, Sign, Why, context::Context},
    units::Instant,
};

impl Phase {
    /// The database here died.
    pub fn died(self, cx: &mut Context<'_>, at: Instant, sign: Sign) -> Self {
        match self {
            Self::Serving(serving) => serving.died(cx, at, sign),
            // That was the end that the start follows; what becomes of this one its outcome shows.
            Self::Restarting(_) => self,
            Self::TakingOver(_) if self.holds_addresses() => {
                self.close(cx, at, Cause::DatabaseDied(sign), Why::DatabaseDied)
            }
            other => other,
        }
    }

    /// The database answers nothing, but its process is there: it could still acknowledge a write
    /// when it wakes. It is stopped before anybody hears that this node is fenced.
    pub fn hung(self, cx: &mut Context<'_>, at: Instant) -> Self {
        match self {
            Self::Serving(_) if !cx.known.is_paused() && cx.may_stop_for_hang() => {
                cx.known.facts.hangs.stop(cx.now);
                self.close(cx, at, Cause::DatabaseHung, Why::DatabaseHangs)
            }
            other => other,
        }
    }

    /// The database here was observed.
    pub fn observed(self, cx: &mut Context<'_>, before: &Database) -> Self {
        match self {
            Self::Standby(standby) => standby.observed(cx),
            Self::TakingOver(takeover) => takeover.observed(cx, before),
            Self::Restarting(restart) => restart.open_if_ready(cx),
            Self::Serving(serving) => serving.observed(cx, before),
            Self::Fenced(fenced) => fenced.observed(cx),
            other => other,
        }
    }

    /// What came of an order to the database.
    pub fn did(self, cx: &mut Context<'_>, order: Order, ok: bool) -> Self {
        match (order, self) {
            (Order::Promote, Self::TakingOver(takeover)) if !ok => takeover.promotion_failed(cx),
            (Order::Synchronize(set), phase) => {
                cx.commits_ordered(set, ok);
                match phase {
                    Self::Restarting(restart) => restart.commits_ordered(cx, ok),
                    Self::TakingOver(takeover) if ok => takeover.open_if_ready(cx),
                    other => other.tend(cx),
                }
            }
            (Order::Start, Self::Restarting(restart)) => restart.started(cx, ok),
            (Order::Start | Order::Follow(_) | Order::Rejoin(_), mut phase) => {
                if let (Order::Rejoin(_), true) = (order, ok) {
                    // What it waits for is what the new copy says.
                    cx.known.commits.forget();
                }
                if let Some(rejoin) = phase.rejoin_mut() {
                    rejoin.did(cx.now, order, ok);
                }
                phase
            }
            (Order::Stop, Self::Closing(closing)) => closing.stopped(cx),
            (Order::Stop, Self::Fenced(fenced)) => fenced.stopped(),
            (Order::Demote, Self::Closing(closing)) => closing.demoted(cx, ok),
            (Order::Checkpoint, Self::Serving(serving)) => serving.checkpointed(cx, ok),
            (_, other) => other,
        }
    }

    fn rejoin_mut(&mut self) -> Option<&mut Rejoin> {
        match self {
            Self::Standby(standby) => Some(&mut standby.rejoin),
            Self::Fenced(fenced) => Some(&mut fenced.rejoin),
            Self::TakingOver(takeover) => Some(&mut takeover.back.rejoin),
            Self::Restarting(restart) => Some(&mut restart.rejoin),
            Self::Closing(closing) => Some(&mut closing.rejoin),
            _ => None,
        }
    }

    pub const fn rejoin(&self) -> Option<&Rejoin> {
        match self {
            Self::Standby(standby) => Some(&standby.rejoin),
            Self::Fenced(fenced) => Some(&fenced.rejoin),
            _ => None,
        }
    }
}
