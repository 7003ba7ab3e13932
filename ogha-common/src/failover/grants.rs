//! The lease of the gate: who keeps it, and how long.

use ::core::time::Duration;

use super::{Action, Config, GateOrder, NodeSet, Record, context::Context, facts::Facts};
use crate::units::{Instant, NodeId};

/// Whose grants the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Granters {
    /// These.
    pub set: NodeSet,
    /// The last agent's gate was taken up, and what it had asked of the arbiter may be granted yet: the
    /// kernel counts whose grants it counted, until a record of this agent is current.
    pub inherited: bool,
}

impl Granters {
    /// Whose grants the lease needs: all other nodes that may be promoted, and who is about to be one.
    pub fn wanted(config: &Config, record: &Record, joining: Option<NodeId>) -> NodeSet {
        if !config.grants() {
            return NodeSet::EMPTY;
        }
        joining.into_iter().fold(record.others(), NodeSet::with)
    }

    /// Whether others renew the lease. Where nobody else may be promoted, nobody else's grant is needed.
    pub fn renew(&self, config: &Config) -> bool {
        config.grants() && (self.inherited || !self.set.is_empty())
    }

    /// Until when all of these have granted, in whatever term: a grant is bound by its time.
    fn until(&self, facts: &Facts) -> Instant {
        self.set.iter().map(|node| facts.grant_of(node).1).min().unwrap_or_default()
    }
}

/// The lease of a gate that is claimed or open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lease {
    /// This node gave it itself.
    Own {
        /// When it is renewed: four times while it lasts, so that late timers cost nothing.
        renew_at: Instant,
        /// When it ends. A lease that has ended is never renewed: somebody else may hold one.
        until: Instant,
    },
    /// The granters renew it, and the kernel counts.
    Granted,
}

impl Lease {
    pub fn own(now: Instant, lease: Duration) -> Self {
        Self::Own { renew_at: now + lease / 4, until: now + lease }
    }

    pub const fn timer(&self) -> Option<Instant> {
        match self {
            Self::Own { renew_at, .. } => Some(*renew_at),
            Self::Granted => None,
        }
    }

    /// Whether it is this node's own, and has ended.
    pub fn is_over(&self, now: Instant) -> bool {
        matches!(self, Self::Own { until, .. } if now >= *until)
    }

    /// Renews it if that is due; `None` when it has ended. The status goes out before the
    /// lease is longer, so no peer's wait can end before the lease does.
    pub fn renew(self, cx: &mut Context<'_>) -> Option<Self> {
        if self.is_over(cx.now) {
            return None;
        }
        let Self::Own { renew_at, .. } = self else { return Some(self) };
        if cx.now < renew_at {
            return Some(self);
        }
        let timeout = cx.known.config.agent_timeout;
        cx.publish();
        cx.act(Action::Renew { until: cx.now + timeout });
        Some(Self::own(cx.now, timeout))
    }
}

impl Context<'_> {
    /// Orders the gate, with the lease that it has by right: its own where it renews itself, else what
    /// was granted, which the kernel goes on extending.
    pub fn order_gate(&mut self, order: GateOrder, granters: &Granters) -> Lease {
        let (now, term) = (self.now, self.known.term());
        let timeout = self.known.config.agent_timeout;
        let (lease, until) = if granters.renew(&self.known.config) {
            (Lease::Granted, granters.until(&self.known.facts))
        } else {
            (Lease::own(now, timeout), now + timeout)
        };
        self.act(Action::SetGate { order, term, until });
        lease
    }

    /// Has the kernel count the grants of these.
    pub fn order_granters(&mut self, granters: NodeSet) {
        self.act(Action::SetGranters(granters));
    }
}
