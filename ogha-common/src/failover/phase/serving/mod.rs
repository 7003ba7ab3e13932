//! The gate is open: keep its lease, tell the LAN, tend the in-sync set.

use ::core::time::Duration;

mod change;
mod membership;
mod switchover;

use self::{membership::Membership, switchover::Switchover};
use super::{Phase, enter};
use crate::{
    election,
    failover::{
        Action, Cause, Database, GateOrder, Order, Outcome, PhaseName, Record, Sign, Step, Why,
        cluster::Known,
        context::Context,
        grants::{Granters, Lease},
    },
    retry::Retry,
    units::Instant,
};

/// When the addresses are announced again after the gate opened: a lost frame is a client that
/// talks to the old node.
const ANNOUNCE_AFTER: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// After so long, that the database was started again in place counts no more.
const SERVED_LONG: Duration = Duration::from_secs(600);

/// A node that serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Serving {
    pub lease: Lease,
    /// Whose grants the kernel counts.
    pub granters: Granters,
    /// When the gate is ordered again, after the kernel refused a change of its lease or term.
    pub gate: Retry,
    opened: Instant,
    /// How many announcements of [`ANNOUNCE_AFTER`] are done.
    announced: usize,
    pub addresses_held: bool,
    pub membership: Membership,
    pub switchover: Option<Switchover>,
}

impl Serving {
    fn new(now: Instant, lease: Lease, granters: Granters) -> Self {
        Self {
            lease,
            granters,
            gate: Retry::default(),
            opened: now,
            announced: 0,
            addresses_held: true,
            membership: Membership::default(),
            switchover: None,
        }
    }

    /// The kernel has the open gate.
    pub fn open(
        cx: &mut Context<'_>,
        from: PhaseName,
        lease: Lease,
        granters: Granters,
        promoted: bool,
    ) -> Phase {
        cx.known.facts.active = None;
        let serving = Phase::Serving(Self::new(cx.now, lease, granters));
        let phase = enter(cx, from, serving, Why::GateOpen);
        cx.step(Step::GateOpen);
        cx.act(Action::Announce);
        cx.publish();
        cx.step(Step::Announced);
        cx.end(Outcome::Serving);
        if promoted {
            cx.act(Action::Database(Order::AfterFailover));
        }
        phase.tend(cx)
    }

    /// The last agent's gate is open still, in the term of our record.
    pub fn resumed(cx: &mut Context<'_>, record: &Record) -> Phase {
        let granters = Granters {
            set: Granters::wanted(&cx.known.config, record, None),
            inherited: cx.known.config.has_store(),
        };
        cx.elect(election::Input::Take);
        let lease = if granters.inherited {
            Lease::Granted
        } else {
            cx.order_granters(granters.set);
            cx.order_gate(GateOrder::Open, &granters)
        };
        cx.act(Action::HoldAddresses);
        let serving = Self { addresses_held: false, ..Self::new(cx.now, lease, granters) };
        enter(cx, PhaseName::Initial, Phase::Serving(serving), Why::GateFoundOpen)
    }

    fn announce_at(&self) -> Option<Instant> {
        ANNOUNCE_AFTER.get(self.announced).map(|&after| self.opened + after)
    }

    pub fn timer(&self, known: &Known) -> Option<Instant> {
        let own = [self.lease.timer(), self.announce_at(), self.membership_timer(known)];
        let switchover = self.switchover.map(|switchover| switchover.deadline);
        let retries = [self.gate.at(), known.commits.timer()];
        own.into_iter().chain(retries).chain([switchover]).flatten().min()
    }

    pub fn tick(mut self, cx: &mut Context<'_>) -> Phase {
        cx.known.commits.tick(cx.now);
        match self.lease.renew(cx) {
            Some(lease) => self.lease = lease,
            None => return Phase::Serving(self).lapsed(cx),
        }
        if self.gate.at().is_some_and(|at| cx.now >= at) {
            self.gate.begin();
            self = match self.reset_lease(cx) {
                Phase::Serving(serving) => serving,
                other => return other,
            };
        }
        if cx.now.since(self.opened) >= SERVED_LONG {
            cx.known.facts.restarts = 0;
        }
        if self.announce_at().is_some_and(|at| cx.now >= at) {
            self.announced += 1;
            cx.act(Action::Announce);
        }
        match self.tend(cx) {
            Phase::Serving(serving) => serving.tend_switchover(cx),
            other => other,
        }
    }

    /// Somebody else has had the addresses: switches and neighbours may have learnt them there. What
    /// was announced a moment ago is about to be repeated anyway.
    pub fn announce_again(&mut self, cx: &mut Context<'_>) {
        if self.announced > 0 {
            (self.opened, self.announced) = (cx.now, 0);
            cx.act(Action::Announce);
        }
    }

    /// Whether the announcements that follow an opening are over.
    pub fn is_announced(&self) -> bool {
        self.announce_at().is_none()
    }

    /// The lease is another one than before, or of another term.
    pub fn reset_lease(mut self, cx: &mut Context<'_>) -> Phase {
        if !cx.known.config.grants() && self.lease.is_over(cx.now) {
            return Phase::Serving(self).lapsed(cx);
        }
        self.lease = cx.order_gate(GateOrder::Open, &self.granters);
        Phase::Serving(self)
    }

    /// The database died while it served.
    pub fn died(mut self, cx: &mut Context<'_>, at: Instant, sign: Sign) -> Phase {
        let attempts = cx.known.config.restart_attempts;
        let may = cx.known.facts.restarts < attempts && !cx.known.is_paused();
        if !may || self.switchover.is_some() {
            let cause = Cause::DatabaseDied(sign);
            return Phase::Serving(self).close(cx, at, cause, Why::DatabaseDied);
        }
        cx.known.facts.restarts += 1;
        cx.act(Action::Begin { cause: Cause::DatabaseDied(sign), at });
        // What was asked of the arbiter may be granted yet.
        self.granters.inherited |= self.membership.changes() && cx.known.config.has_store();
        let (granters, held) = (self.granters, self.addresses_held);
        let proposed = self.membership.proposed_others(cx.known.config.node);
        Phase::restart(cx, PhaseName::Serving, granters, held, proposed, Why::RestartInPlace)
    }

    /// The database here was observed. One that could not be observed, or does not answer, is not known
    /// to be dead (rule 10); one that is gone or has become a standby must not be served. Both are seen
    /// twice: an observation may have begun before the promotion ended.
    pub fn observed(mut self, cx: &mut Context<'_>, before: &Database) -> Phase {
        match (before, cx.known.facts.database) {
            (Database::Stopped, Database::Stopped) => self.died(cx, cx.now, Sign::Observed),
            (Database::Standby { .. }, Database::Standby { .. }) => {
                Phase::Serving(self).close(cx, cx.now, Cause::NotWritable, Why::NotWritable)
            }
            _ => {
                self.note_standbys(cx);
                self.tend(cx)
            }
        }
    }
}
