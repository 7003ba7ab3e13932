//! The database is started again where it died, or where a switchover has stopped it. Clients are
//! refused at once meanwhile, and the peers hear that this node is at it.

use super::{Phase, Rejoin, Serving, enter, order_open};
use crate::{
    failover::{
        Action, Blocker, Cause, GateOrder, NodeSet, Notice, Order, PhaseName, Sign, Step, Why,
        cluster::Known,
        context::Context,
        grants::{Granters, Lease},
    },
    units::Instant,
};

/// So often in a row the database may refuse to let commits wait.
const UNORDERED: u8 = 3;

/// A start in place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Restart {
    give_up_at: Instant,
    lease: Lease,
    pub granters: Granters,
    pub addresses_held: bool,
    /// Who else may be in sync: a record that says so was proposed, and may have been granted.
    proposed: NodeSet,
    /// The kernel is ordered to open the gate.
    opening: bool,
    pub rejoin: Rejoin,
}

impl Restart {
    pub fn begin(
        cx: &mut Context<'_>,
        from: PhaseName,
        granters: Granters,
        addresses_held: bool,
        proposed: NodeSet,
        why: Why,
    ) -> Phase {
        cx.known.commits.forget();
        let lease = cx.order_gate(GateOrder::Claim, &granters);
        let give_up_at = cx.now + cx.known.config.promotion_timeout;
        let mut rejoin = Rejoin::default();
        rejoin.begin(cx.now);
        let restart =
            Self { give_up_at, lease, granters, addresses_held, proposed, opening: false, rejoin };
        let phase = enter(cx, from, Phase::Restarting(restart), why);
        cx.act(Action::Database(Order::Start));
        cx.publish();
        cx.step(Step::Restarting);
        phase
    }

    pub fn timer(&self, known: &Known) -> Instant {
        let due = self.lease.timer().into_iter().chain(known.commits.timer());
        due.fold(self.give_up_at, Instant::min)
    }

    pub fn tick(mut self, cx: &mut Context<'_>) -> Phase {
        cx.known.commits.tick(cx.now);
        if cx.now >= self.give_up_at {
            cx.notice(Notice::PromotionTimedOut);
            let phase = Phase::Restarting(self);
            return phase.close(cx, cx.now, Cause::PromotionFailed, Why::PromotionFailed);
        }
        match self.lease.renew(cx) {
            Some(lease) => self.lease = lease,
            None => return Phase::Restarting(self).lapsed(cx),
        }
        self.open_if_ready(cx)
    }

    /// Which rule stands against the opening.
    pub fn blocker(&self, known: &Known) -> Option<Blocker> {
        known.may_open(self.addresses_held, self.proposed).err()
    }

    /// The database that was started is up, or will not be.
    pub fn started(mut self, cx: &mut Context<'_>, ok: bool) -> Phase {
        self.rejoin.end(cx.now, ok);
        // One that accepts writes is up, whatever the order to start it came to: it was observed since.
        if ok || cx.known.facts.database.writable().is_some() {
            return self.open_if_ready(cx);
        }
        let cause = Cause::DatabaseDied(Sign::Observed);
        Phase::Restarting(self).close(cx, cx.now, cause, Why::NotRestarted)
    }

    /// Commits wait for the others, or can't be made to: then this node does not serve with them. It
    /// closes, for one of them to take over, or for itself to begin anew without them.
    pub fn commits_ordered(self, cx: &mut Context<'_>, ok: bool) -> Phase {
        if !ok && cx.known.commits.failures() >= UNORDERED {
            let phase = Phase::Restarting(self);
            return phase.close(cx, cx.now, Cause::PromotionFailed, Why::NotAwaited);
        }
        self.open_if_ready(cx)
    }

    /// Rule 1.
    pub fn open_if_ready(mut self, cx: &mut Context<'_>) -> Phase {
        if self.opening {
            return Phase::Restarting(self);
        }
        match cx.known.may_open(self.addresses_held, self.proposed) {
            Ok(permit) => {
                self.opening = true;
                self.lease = order_open(cx, permit, &self.granters);
            }
            Err(_) if cx.known.facts.database.writable().is_some() => {
                cx.have_commits_wait(self.proposed.iter().fold(cx.known.others(), NodeSet::with));
            }
            Err(_) => {}
        }
        Phase::Restarting(self)
    }

    pub fn opened(self, cx: &mut Context<'_>) -> Phase {
        if !self.opening {
            return Phase::Restarting(self);
        }
        Serving::open(cx, PhaseName::Restarting, self.lease, self.granters, false)
    }
}
