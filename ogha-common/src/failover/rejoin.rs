//! How the database here finds back to the others: it follows the primary, or is made a standby of
//! it again.

use ::core::time::Duration;

use super::{
    Action, Cause, Notice, Order, Phase, Role,
    core::{Core, Sink},
};
use crate::{
    units::{Instant, NodeId},
    wire::probe,
};

/// When an attempt that failed is made again.
const AGAIN: Duration = Duration::from_secs(10);

/// How the database here finds back to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Return {
    /// An attempt is under way.
    busy: bool,
    /// When the next one may begin.
    again_at: Option<Instant>,
    /// Whom the standby here was told to follow.
    followed: Option<NodeId>,
    /// An operator has asked for it, or has moved the role away from here.
    wanted: bool,
    /// Two histories were written in one term: only an operator may throw one away.
    split: bool,
}

impl Return {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.busy && self.again_at.is_none_or(|at| now >= at)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.busy = true;
        self.again_at = Some(now + AGAIN);
    }

    pub(super) fn end(&mut self, now: Instant, ok: bool) {
        self.busy = false;
        self.again_at = (!ok).then_some(now + AGAIN);
    }

    /// This node serves: there is nothing to come back to.
    pub(super) fn forget(&mut self) {
        *self = Self { busy: self.busy, ..Self::default() };
    }

    /// At once, whatever was decided before.
    pub(super) fn want(&mut self) {
        self.wanted = true;
        self.split = false;
        self.again_at = None;
    }

    pub(super) fn note_split(&mut self) {
        self.split = true;
    }

    pub(super) fn is_automatic(&self, configured: bool) -> bool {
        (configured || self.wanted) && !self.split
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }
}

impl Core {
    /// When [`Core::come_back`] is due.
    pub(super) fn return_timer(&self) -> Option<Instant> {
        if let Phase::Fenced { cause: Cause::Switchover(_), since } = self.phase {
            return (!self.returning.busy).then_some(since + self.config.agent_timeout);
        }
        self.returning.again_at.filter(|_| !self.returning.busy)
    }

    /// Brings the database here to the primary that serves, as far as this node may.
    pub(super) fn come_back(&mut self, now: Instant, sink: Sink<'_>) {
        if !self.config.database || !self.returning.is_due(now) {
            return;
        }
        self.returning.again_at = None;
        if let Phase::Fenced { cause: Cause::Switchover(_), since } = self.phase
            && self.is_named()
        {
            return self.undo_handover(now, since, sink);
        }
        let Some(primary) = self.serving_primary(now) else { return };
        let order = match self.database.role {
            Role::Standby if !self.returning.wanted => {
                if self.returning.followed == Some(primary) {
                    return;
                }
                Order::Follow(primary)
            }
            Role::Primary if !self.returning.wanted => return,
            _ if self.is_paused() || !self.returning.is_automatic(self.config.rejoin) => return,
            _ => Order::Rejoin(primary),
        };
        self.returning.begin(now);
        sink(Action::Database(order));
    }

    /// The other node that the record names, if it serves.
    pub(super) fn serving_primary(&self, now: Instant) -> Option<NodeId> {
        let record = self.record.filter(|record| record.primary != self.config.node)?;
        let view = self.view(record.primary)?;
        let fresh = now.since(view.at) < self.config.agent_timeout;
        let serves = view.status.is_some_and(|status| {
            status.phase == probe::Phase::Serving && status.term == record.term
        });
        (fresh && serves).then_some(record.primary)
    }

    /// Who should have taken over did not: the database here is the primary again.
    fn undo_handover(&mut self, now: Instant, since: Instant, sink: Sink<'_>) {
        if now.since(since) >= self.config.agent_timeout && self.database.role == Role::Unknown {
            sink(Action::Notice(Notice::SwitchoverUndone));
            self.returning.begin(now);
            sink(Action::Database(Order::Start));
        }
    }

    /// An attempt to come back has ended.
    pub(super) fn returned(&mut self, now: Instant, order: Order, ok: bool, sink: Sink<'_>) {
        self.returning.end(now, ok);
        match order {
            Order::Follow(node) if ok => self.returning.followed = Some(node),
            Order::Rejoin(node) if ok => {
                self.returning.followed = Some(node);
                self.returning.wanted = false;
                // What it waits for is what the new copy says.
                self.synchronized = None;
            }
            _ => {}
        }
        // What is to be done next the next look at the database says.
    }
}
