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
/// So often a standby may fail to follow before it is made anew.
const UNFOLLOWED: u8 = 2;
/// When one that succeeded must be seen to have.
const SETTLE: Duration = Duration::from_millis(200);

/// How the database here finds back to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Return {
    /// An attempt is under way.
    busy: bool,
    /// When the next one may begin.
    again_at: Option<Instant>,
    /// Whom the standby here was told to follow.
    followed: Option<NodeId>,
    /// How often in a row it could not.
    unfollowed: u8,
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
        self.again_at = Some(now + if ok { SETTLE } else { AGAIN });
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

    /// A standby that can't follow, again and again: its log is another one than the primary's.
    pub(super) fn is_diverged(&self) -> bool {
        self.unfollowed >= UNFOLLOWED
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }
}

impl Core {
    /// When [`Core::come_back`] is due.
    pub(super) fn return_timer(&self) -> Option<Instant> {
        if let Phase::Fenced { cause: Cause::Switchover(_), since } = self.phase {
            let waits = !self.returning.busy && self.database.role == Role::Unknown;
            let due = since + self.config.agent_timeout;
            return waits.then(|| self.returning.again_at.map_or(due, |again| again.max(due)));
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
        if self.database.role == Role::Standby && self.is_in_sync() {
            // It is back, however that came.
            self.returning.wanted = false;
            self.returning.unfollowed = 0;
        }
        let order = match self.database.role {
            Role::Standby if !self.returning.wanted && !self.returning.is_diverged() => {
                if self.returning.followed == Some(primary) && self.is_in_sync() {
                    return;
                }
                Order::Follow(primary)
            }
            Role::Primary if !self.returning.wanted => return,
            // An operator's word is not what a pause holds back.
            _ if self.is_paused() && !self.returning.wanted => return,
            _ if !self.returning.is_automatic(self.config.rejoin) => return,
            _ => Order::Rejoin(primary),
        };
        self.returning.begin(now);
        sink(Action::Database(order));
    }

    fn is_in_sync(&self) -> bool {
        self.record.is_some_and(|record| record.in_sync.contains(self.config.node))
    }

    /// The other node that the record names, if it serves.
    pub(super) fn serving_primary(&self, now: Instant) -> Option<NodeId> {
        let record = self.record.filter(|record| record.primary != self.config.node)?;
        let view = self.view(record.primary)?;
        let serves = view.status.is_some_and(|status| {
            status.phase == probe::Phase::Serving && status.term == record.term
        });
        (self.speaks(now, view) && serves).then_some(record.primary)
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
    pub(super) fn returned(&mut self, now: Instant, order: Order, ok: bool) {
        self.returning.end(now, ok);
        match order {
            Order::Follow(node) if ok => {
                self.returning.followed = Some(node);
                self.returning.unfollowed = 0;
                // Time to catch up, before it is asked again whether it receives.
                self.returning.again_at = Some(now + AGAIN);
            }
            Order::Follow(_) => {
                self.returning.unfollowed = self.returning.unfollowed.saturating_add(1);
            }
            Order::Rejoin(node) if ok => {
                self.returning.followed = Some(node);
                self.returning.wanted = false;
                self.returning.unfollowed = 0;
                self.returning.again_at = Some(now + AGAIN);
                // What it waits for is what the new copy says.
                self.synchronized = None;
            }
            _ => {}
        }
        // What is to be done next the next look at the database says.
    }
}
