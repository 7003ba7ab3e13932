//! The lease of the gate: whose word keeps it open, and how long.

use ::core::time::Duration;

use super::{
    Action, GateOrder, NodeSet, Phase, Rule,
    core::{Core, Sink},
};
use crate::units::{Instant, NodeId, Term};

/// When the addresses are announced again after the gate opened: a lost frame is a client that
/// talks to the old node.
const ANNOUNCE_AFTER: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// A lease that this node gave itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// When it is renewed: four times while it lasts, so that late timers cost nothing.
    pub renew_at: Instant,
    /// When it ends. A lease that has ended is never renewed: somebody else may hold one.
    pub until: Instant,
}

impl Lease {
    pub(super) fn new(now: Instant, lease: Duration) -> Self {
        Self { renew_at: now + lease / 4, until: now + lease }
    }
}

/// What a serving node does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Renewal {
    /// The lease of the gate.
    pub lease: Lease,
    /// When the gate opened.
    pub(super) opened: Instant,
    /// How many announcements of [`ANNOUNCE_AFTER`] are done.
    pub(super) announced: usize,
}

impl Renewal {
    pub(super) fn new(now: Instant, lease: Lease) -> Self {
        Self { lease, opened: now, announced: 0 }
    }

    pub(super) fn announce_at(&self) -> Option<Instant> {
        ANNOUNCE_AFTER.get(self.announced).map(|&after| self.opened + after)
    }
}

impl Core {
    /// To whom this node grants a lease: the primary of its record, until it wants its place.
    #[must_use]
    pub fn grant(&self) -> Option<NodeId> {
        let primary = self.record?.primary;
        let wants_its_place = matches!(
            self.phase,
            Phase::Withdrawing { .. }
                | Phase::Waiting { .. }
                | Phase::Proposing { .. }
                | Phase::Persisting { .. }
        ) && self.keeps(Rule::Withdraw);
        let grants = self.config.grants() && primary != self.config.node && !wants_its_place;
        grants.then_some(primary)
    }

    /// Nobody else may be promoted, so nobody else's word is needed.
    pub(super) fn renews_itself(&self) -> bool {
        let alone = self.granters.is_empty() && !self.inherited;
        !self.config.grants() || alone || !self.keeps(Rule::RenewOnlyAlone)
    }

    /// Till when all of these have granted, in whatever term: a promise is bound by its time.
    pub(super) fn granted_until(&self, granters: &NodeSet) -> Instant {
        let granted = granters.iter().map(|node| self.grant_of(node).1);
        granted.min().unwrap_or_default()
    }

    /// What that node granted last: in which term, till when.
    pub(super) fn grant_of(&self, node: NodeId) -> (Term, Instant) {
        self.view(node).map_or((Term::ZERO, Instant::default()), |view| view.granted)
    }

    pub(super) fn granted(&mut self, node: NodeId, term: Term, until: Instant) {
        if let Some(view) = self.view_mut(node)
            && until > view.granted.1
        {
            view.granted = (term, until);
        }
    }

    /// Sets the gate as it is ordered, with the lease that it has by right: its own where it renews
    /// itself, else what was granted, which the kernel goes on extending.
    pub(super) fn set_gate(&mut self, now: Instant, order: GateOrder, sink: Sink<'_>) -> Lease {
        let lease = if self.renews_itself() {
            Lease::new(now, self.config.agent_timeout)
        } else {
            let until = self.granted_until(&self.granters);
            Lease { renew_at: Instant::from_ns(u64::MAX), until }
        };
        sink(Action::SetGate { order, term: self.term(), until: lease.until });
        lease
    }

    /// Somebody else has had the addresses: switches and neighbours may have learnt them there. What
    /// was announced a moment ago is about to be repeated anyway.
    pub(super) fn announce_again(&mut self, now: Instant, sink: Sink<'_>) {
        if let Phase::Serving(renewal) = &mut self.phase
            && renewal.announced > 0
        {
            (renewal.opened, renewal.announced) = (now, 0);
            sink(Action::Announce);
        }
    }

    /// The lease is another one than before, or of another term.
    pub(super) fn reset_lease(&mut self, now: Instant, sink: Sink<'_>) {
        if let Phase::Serving(renewal) = self.phase {
            if !self.config.grants() && now >= renewal.lease.until {
                return self.lapsed(now, sink);
            }
            let lease = self.set_gate(now, GateOrder::Open, sink);
            self.phase = Phase::Serving(Renewal { lease, ..renewal });
        }
    }

    /// Renews the lease if that is due; `None` when it has ended. The word goes out before the
    /// lease is longer, so no peer's wait can end before the lease does.
    pub(super) fn renew(&mut self, now: Instant, lease: Lease, sink: Sink<'_>) -> Option<Lease> {
        if !self.renews_itself() {
            return Some(Lease { renew_at: Instant::from_ns(u64::MAX), ..lease });
        }
        if now >= lease.until && self.keeps(Rule::LapsedStaysLapsed) {
            self.lapsed(now, sink);
            return None;
        }
        if now < lease.renew_at {
            return Some(lease);
        }
        let renewed = Lease::new(now, self.config.agent_timeout);
        sink(Action::Publish);
        sink(Action::Renew { until: renewed.until });
        Some(renewed)
    }
}
