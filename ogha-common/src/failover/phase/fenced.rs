//! The gate is closed, and stays so until the database here has rejoined as a standby, or nobody else
//! has taken over.

use super::{Phase, Plan, Rejoin, Standby, enter, standby};
use crate::{
    failover::{
        Action, Cause, Database, Notice, Order, PhaseName, Why, cluster::Known, context::Context,
    },
    retry::Retry,
    units::Instant,
};

/// A fenced node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Fenced {
    /// Why.
    pub cause: Cause,
    /// Since when the kernel has the closed gate.
    pub since: Instant,
    pub rejoin: Rejoin,
    /// A second primary is stopped, again until it is.
    stop: Retry,
    /// The database was ordered to stop when the gate was closed, and that has not ended: what is
    /// observed meanwhile is about to change.
    stopping: bool,
}

impl Fenced {
    pub fn new(from: PhaseName, cause: Cause, since: Instant, mut rejoin: Rejoin) -> Self {
        // A promotion that was under way may succeed yet; what died may have been started by somebody.
        let stops =
            matches!(cause, Cause::DatabaseDied(_) | Cause::HigherTerm(_) | Cause::SplitBrain(_));
        let stopping = from == PhaseName::Closing && stops;
        if let Cause::SplitBrain(_) = cause {
            rejoin.note_split();
        }
        Self { cause, since, rejoin, stop: Retry::default(), stopping }
    }

    /// Whether the database is to be stopped, now that the gate is closed.
    pub const fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// It was, or what can be done to that end is done.
    pub fn stopped(mut self) -> Phase {
        self.stopping = false;
        Phase::Fenced(self)
    }

    /// A record that names another node has come meanwhile. That two histories were written stays true.
    pub fn deposed(&mut self, cause: Cause) {
        if !matches!(self.cause, Cause::SplitBrain(_)) {
            self.cause = cause;
        }
    }

    pub fn timer(&self, known: &Known) -> Option<Instant> {
        if let Cause::Switchover(_) = self.cause {
            let due = self.since + known.config.agent_timeout;
            let waits = known.facts.database == Database::Stopped;
            return self.rejoin.timer_from(due).filter(|_| waits);
        }
        self.rejoin.timer()
    }

    pub fn tick(mut self, cx: &mut Context<'_>) -> Phase {
        self.come_back(cx);
        Phase::Fenced(self)
    }

    /// The database here was observed.
    pub fn observed(mut self, cx: &mut Context<'_>) -> Phase {
        let split = matches!(self.cause, Cause::SplitBrain(_));
        let waited = cx.now.since(self.since);
        let timeout = cx.known.config.agent_timeout;
        match cx.known.facts.database {
            Database::Unknown | Database::Unresponsive => {}
            Database::Stopped => {
                self.stopping = false;
                // One that was stopped to hand over is started by the end of the handover alone.
                if !matches!(self.cause, Cause::Switchover(_)) {
                    self.rejoin.start_database(cx);
                }
                self.come_back(cx);
            }
            Database::Standby { .. } if self.stopping => {}
            Database::Standby { .. } => {
                let again = self.cause == Cause::PromotionFailed && waited < timeout;
                // Only a person can tell which of two histories is worth more.
                if !(again || split && cx.known.is_designated()) {
                    return self.rejoined(cx);
                }
            }
            // Restarted in place, or promoted after all. A peer that could take over has by now.
            Database::Primary(_) if cx.known.is_unreplaced() && !split => {
                if waited >= timeout {
                    cx.known.facts.listening_since = self.since;
                    return self.bootstrap(cx);
                }
            }
            // Nobody else serves either: a person must be able to choose this one.
            Database::Primary(_)
                if split && cx.known.is_designated() && !cx.known.anyone_active(cx.now) => {}
            Database::Primary(_) => self.stop(cx),
        }
        Phase::Fenced(self)
    }

    fn rejoined(self, cx: &mut Context<'_>) -> Phase {
        let standby = Standby::with(self.rejoin);
        let phase = enter(cx, PhaseName::Fenced, Phase::Standby(standby), Why::Rejoined);
        standby::release_commits(cx);
        phase
    }

    fn bootstrap(self, cx: &mut Context<'_>) -> Phase {
        let Some((permit, cause)) = cx.known.may_bootstrap(cx.now) else {
            return Phase::Fenced(self);
        };
        let back = Standby::with(self.rejoin);
        let plan = Plan { first_sign: cx.now, cause, why: Why::NobodyServes, not_before: None };
        Phase::take_over(cx, PhaseName::Fenced, back, permit, plan)
    }

    /// A second primary beside the one that the record names.
    fn stop(&mut self, cx: &mut Context<'_>) {
        if self.stop.is_due(cx.now) {
            if self.stop == Retry::default() {
                cx.notice(Notice::Stopping);
            }
            self.stop.failed(cx.now);
            self.stopping = true;
            cx.act(Action::Database(Order::Stop));
        }
    }

    /// Brings the database here to the primary that serves, or back to where it was.
    pub fn come_back(&mut self, cx: &mut Context<'_>) {
        let handing_over = matches!(self.cause, Cause::Switchover(_));
        if !(handing_over && cx.known.is_designated()) {
            return self.rejoin.come_back(cx);
        }
        // Who should have taken over did not: the database here is the primary again.
        let waited = cx.now.since(self.since) >= cx.known.config.agent_timeout;
        if waited && cx.known.facts.database == Database::Stopped && self.rejoin.is_due(cx.now) {
            cx.notice(Notice::SwitchoverUndone);
            self.rejoin.start(cx);
        }
    }
}
