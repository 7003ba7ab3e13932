//! What each input means in each phase. A phase that it does not concern stays as it is.

use ::core::time::Duration;

use super::{Phase, Standby, enter};
use crate::{
    election,
    failover::{
        Action, Cause, GateOrder, NodeSet, Outcome, PhaseName, Record, Ruling, Why,
        context::Context, grants::Granters,
    },
    profile::Danger,
    units::{Instant, NodeId, Term},
    wire::probe,
};

impl Phase {
    /// This agent was not running for so long. What came meanwhile the kernel has heard, and is handed
    /// in before this node goes on. Only if the whole host was away somebody may speak who could not
    /// be heard.
    pub fn postponed(mut self, cx: &Context<'_>, time: Duration) -> Self {
        let lease = cx.known.config.lease;
        if time >= lease {
            match &mut self {
                Self::Listening(listening) => listening.wait_until(cx.now + lease),
                Self::TakingOver(takeover) => takeover.wait_until(cx.now + lease),
                _ => {}
            }
        }
        self
    }

    /// What is known of the active node has changed.
    pub fn consider(self, cx: &mut Context<'_>) -> Self {
        match self {
            Self::Standby(standby) => standby.consider(cx),
            other => other,
        }
    }

    /// The node that serves was heard: a wait for its lease ends, and one for its silence begins anew.
    pub fn heard_active(self, cx: &mut Context<'_>) -> Self {
        match self {
            Self::Listening(_) => enter(
                cx,
                PhaseName::Listening,
                Self::Standby(Standby::default()),
                Why::PrimaryHeard,
            ),
            Self::Standby(standby) => Self::Standby(standby.relieved()),
            Self::TakingOver(takeover) if takeover.waits() => {
                takeover.stand_by(cx, Why::PrimaryHeard)
            }
            other => other,
        }
    }

    /// The host that was given up is there. (A dead agent's kernel answers too.)
    pub fn host_answers(self, cx: &mut Context<'_>) -> Self {
        match self {
            Self::TakingOver(takeover)
                if takeover.waits() && matches!(takeover.cause, Cause::HostLost(_)) =>
            {
                takeover.stand_by(cx, Why::HostAnswers)
            }
            other => other,
        }
    }

    /// What the peers say contradicts this node, or no longer does. Nothing is taken over by it: one that
    /// waits to take over stays a standby.
    pub fn contradicted(self, cx: &mut Context<'_>, danger: Option<Danger>) -> Self {
        match self {
            Self::TakingOver(takeover)
                if takeover.waits() && danger.is_some() && takeover.cause != Cause::Forced =>
            {
                takeover.stand_by(cx, Why::Contradiction)
            }
            other => other,
        }
    }

    /// Rule 6: the primary reports that its kernel has the closed gate: there is nothing to wait for.
    pub fn peer_fenced(self, cx: &mut Context<'_>, node: NodeId, status: &probe::Status) -> Self {
        let its_term =
            cx.known.record().is_some_and(|r| r.primary == node && r.term == status.term);
        match self {
            Self::Standby(standby) if its_term => standby.peer_fenced(cx, node),
            Self::TakingOver(takeover) if its_term => takeover.peer_fenced(cx, node),
            other => other,
        }
    }

    /// An operator has ended a pause: what was reported may be reported again.
    pub fn resumed(mut self) -> Self {
        if let Self::Standby(standby) = &mut self {
            standby.reported = None;
        }
        self
    }

    /// The peers were polled, or what is known of one has changed.
    pub fn tend(self, cx: &mut Context<'_>) -> Self {
        match self {
            Self::Serving(serving) => serving.tend(cx),
            other => other,
        }
    }

    /// All that the kernel had heard of the peers was handed in.
    pub fn polled(self, cx: &mut Context<'_>) -> Self {
        match self {
            Self::Serving(serving) => serving.polled(cx),
            other => other,
        }
    }

    /// A record is on disk.
    pub fn persisted(self, cx: &mut Context<'_>, term: Term) -> Self {
        match self {
            Self::TakingOver(takeover) => takeover.persisted(cx, term),
            Self::Serving(mut serving) => {
                serving.membership.persisted(term);
                Self::Serving(serving)
            }
            other => other,
        }
    }

    /// A record could not be written, and no consensus store keeps it: this node could forget what it granted.
    pub fn persist_failed(self, cx: &mut Context<'_>, term: Term) -> Self {
        let needed = match &self {
            Self::TakingOver(takeover) => takeover.persists(term),
            Self::Serving(serving) => serving.membership.is_proposed(term),
            _ => false,
        };
        if needed { self.close(cx, cx.now, Cause::DiskFailed, Why::DiskFailed) } else { self }
    }

    /// What the arbiter says of a record that was proposed.
    pub fn ruled(self, cx: &mut Context<'_>, ruling: Ruling) -> Self {
        match self {
            Self::TakingOver(takeover) => takeover.ruled(cx, ruling),
            Self::Serving(serving) => serving.ruled(cx, ruling),
            other => other,
        }
    }

    /// The arbiter has reported the current record.
    pub fn consulted(self, cx: &mut Context<'_>, record: Option<Record>) -> Self {
        let phase = match record {
            Some(record) => self.adopt_from_store(cx, record),
            None => self,
        };
        match cx.force_if_waiting(phase) {
            Self::Standby(standby) => standby.bootstrap(cx),
            other => other,
        }
    }

    /// The kernel has the gate as ordered.
    pub fn gate_set(self, cx: &mut Context<'_>, order: GateOrder) -> Self {
        match (self, order) {
            (Self::TakingOver(takeover), order) => takeover.gate_set(cx, order),
            (Self::Restarting(restart), GateOrder::Open) => restart.opened(cx),
            (Self::Serving(mut serving), GateOrder::Open) => {
                serving.gate.succeeded();
                Self::Serving(serving)
            }
            (Self::Closing(closing), GateOrder::Close) => closing.closed(cx),
            (other, _) => other,
        }
    }

    /// The kernel does not have it.
    pub fn gate_failed(self, cx: &mut Context<'_>, order: GateOrder) -> Self {
        match self {
            Self::TakingOver(takeover) if order != GateOrder::Close => {
                takeover.promotion_failed(cx)
            }
            Self::Restarting(_) if order != GateOrder::Close => {
                self.close(cx, cx.now, Cause::PromotionFailed, Why::PromotionFailed)
            }
            // The gate is as it was, and its lease ends by itself.
            Self::Serving(mut serving) => {
                serving.gate.failed(cx.now);
                Self::Serving(serving)
            }
            other => other,
        }
    }

    /// The kernel counts the grants of these.
    pub fn granters_set(self, cx: &mut Context<'_>, granters: NodeSet) -> Self {
        match self {
            Self::Serving(serving) => serving.granters_set(cx, granters),
            other => other,
        }
    }

    /// This node grants nothing any more.
    pub fn withdrawn(self, cx: &mut Context<'_>, granted_until: Instant) -> Self {
        match self {
            Self::TakingOver(takeover) => takeover.withdrawn(cx, granted_until),
            other => other,
        }
    }

    /// The addresses are on the interface.
    pub fn addresses_held(self, cx: &mut Context<'_>) -> Self {
        match self {
            Self::TakingOver(takeover) => takeover.addresses_held(cx),
            Self::Restarting(mut restart) => {
                restart.addresses_held = true;
                restart.open_if_ready(cx)
            }
            Self::Serving(mut serving) => {
                serving.addresses_held = true;
                Self::Serving(serving)
            }
            other => other,
        }
    }

    /// The lease ended before it was renewed: a peer may be about to serve. Close for good, and
    /// listen as after a start.
    pub fn lapsed(self, cx: &mut Context<'_>) -> Self {
        if self.holds_addresses() {
            self.close(cx, cx.now, Cause::LeaseLapsed, Why::LeaseLapsed)
        } else {
            self
        }
    }

    /// Nothing enforces the gate on the interface any more: no fence without programs.
    pub fn unguarded(self, cx: &mut Context<'_>) -> Self {
        if self.holds_addresses() {
            self.close(cx, cx.now, Cause::Unguarded, Why::Unguarded)
        } else {
            self
        }
    }

    /// The LAN may have forgotten where the addresses are.
    pub fn risen(mut self, cx: &mut Context<'_>) -> Self {
        if let Self::Serving(serving) = &mut self {
            serving.announce_again(cx);
        }
        self
    }

    /// The agent ends, in order to be started again: an open gate stays as it is for another
    /// `agent_timeout`, which is also how long the peers bear with it.
    pub fn stopping(self, cx: &mut Context<'_>) -> Self {
        let timeout = cx.known.config.agent_timeout;
        match &self {
            Self::Serving(serving) => {
                let by_grants = serving.granters.renew(&cx.known.config);
                if !by_grants {
                    cx.act(Action::Renew { until: cx.now + timeout });
                }
            }
            other if other.holds_addresses() => {
                cx.order_gate(GateOrder::Close, &Granters::default());
                cx.elect(election::Input::Release);
                cx.act(Action::DropAddresses);
                cx.end(Outcome::Fenced);
            }
            _ => {}
        }
        self
    }
}
