//! The gate is being closed. Nothing is reported before the kernel has it (rule 5); a database that
//! hangs, or that hands over, is stopped before that is reported.

use ::core::time::Duration;

use super::{Fenced, Listening, Phase, Rejoin, enter};
use crate::{
    failover::{
        Action, Blocker, Cause, Database, GateOrder, NodeSet, Notice, Order, PhaseName, Step, Why,
        context::Context,
        grants::Granters,
        rules::{ClosingStep, FencedPermit, may_report_fenced},
    },
    units::Instant,
};

/// How long a hung database may take to stop before this node reports itself fenced all the same: its
/// gate is closed, so no client hears of what it acknowledges when it wakes. And how long a kernel may
/// take that neither closes a gate nor refuses to.
const DEADLINE: Duration = Duration::from_secs(30);

/// A gate that is being closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Closing {
    pub cause: Cause,
    /// The first sign of what made it necessary.
    pub at: Instant,
    step: ClosingStep,
    /// Who had to grant the lease, should the database go on here.
    granters: Granters,
    /// An order of it may be under way still.
    pub rejoin: Rejoin,
    /// The database served, or was ordered to be promoted or started.
    held: bool,
}

impl Closing {
    pub fn new(
        cause: Cause,
        at: Instant,
        now: Instant,
        granters: Granters,
        rejoin: Rejoin,
        held: bool,
    ) -> Self {
        let step = ClosingStep::Gate { deadline: now + DEADLINE };
        Self { cause, at, step, granters, rejoin, held }
    }

    pub fn timer(&self) -> Option<Instant> {
        match self.step {
            ClosingStep::Gate { deadline }
            | ClosingStep::Stopping { deadline }
            | ClosingStep::Demoting { deadline } => Some(deadline),
            ClosingStep::Closed => None,
        }
    }

    pub fn tick(mut self, cx: &mut Context<'_>) -> Phase {
        if self.timer().is_none_or(|at| cx.now < at) {
            return Phase::Closing(self);
        }
        match self.step {
            ClosingStep::Gate { .. } => {
                self.step = ClosingStep::Gate { deadline: cx.now + DEADLINE };
                cx.order_gate(GateOrder::Close, &Granters::default());
                Phase::Closing(self)
            }
            ClosingStep::Stopping { .. } => self.stopped(cx),
            ClosingStep::Demoting { .. } => self.demoted(cx, false),
            ClosingStep::Closed => self.report(cx),
        }
    }

    /// The kernel has the closed gate.
    pub fn closed(mut self, cx: &mut Context<'_>) -> Phase {
        if !matches!(self.step, ClosingStep::Gate { .. }) {
            return Phase::Closing(self);
        }
        cx.step(Step::GateClosed);
        match self.cause {
            Cause::DatabaseHung => {
                self.step = ClosingStep::Stopping { deadline: cx.now + DEADLINE };
                cx.act(Action::Database(Order::Stop));
            }
            Cause::Switchover(_) => {
                let deadline = cx.now + cx.known.config.switchover_timeout + DEADLINE;
                self.step = ClosingStep::Demoting { deadline };
                cx.set_handed_over(true);
                cx.act(Action::Database(Order::Demote));
            }
            _ => self.step = ClosingStep::Closed,
        }
        self.report(cx)
    }

    /// The hung database was stopped, or what can be done to that end is done.
    pub fn stopped(mut self, cx: &mut Context<'_>) -> Phase {
        if let ClosingStep::Stopping { .. } = self.step {
            cx.step(Step::DatabaseStopped);
            self.step = ClosingStep::Closed;
        }
        self.report(cx)
    }

    /// The database was shut down cleanly, or could not be: then it continues where it was.
    pub fn demoted(mut self, cx: &mut Context<'_>, ok: bool) -> Phase {
        if !matches!(self.step, ClosingStep::Demoting { .. }) {
            return Phase::Closing(self);
        }
        cx.known.facts.database = Database::Stopped;
        if !ok && cx.known.is_designated() {
            cx.notice(Notice::SwitchoverUndone);
            let from = PhaseName::Closing;
            let (granters, nobody) = (self.granters, NodeSet::EMPTY);
            return Phase::restart(cx, from, granters, true, nobody, Why::SwitchoverUndone);
        }
        cx.step(Step::DatabaseStopped);
        if cx.known.is_designated() {
            self.rejoin.hand_over();
        } else {
            self.cause = Cause::HigherTerm(cx.known.term());
        }
        self.step = ClosingStep::Closed;
        self.report(cx)
    }

    /// What is left to be done before this node may report itself fenced.
    pub fn blocker(&self) -> Option<Blocker> {
        may_report_fenced(self.step).err()
    }

    /// Rule 5.
    fn report(self, cx: &mut Context<'_>) -> Phase {
        match may_report_fenced(self.step) {
            Ok(permit) => self.leave(cx, permit),
            Err(_) => Phase::Closing(self),
        }
    }

    fn leave(self, cx: &mut Context<'_>, _: FencedPermit) -> Phase {
        if self.cause == Cause::LeaseLapsed {
            return Listening::begin(cx, PhaseName::Closing, Why::GateClosed);
        }
        let of = if self.held { Fenced::of_a_holder } else { Fenced::new };
        let fenced = of(self.cause, cx.now, self.rejoin);
        enter(cx, PhaseName::Closing, Phase::Fenced(fenced), Why::GateClosed)
    }

    /// A record that names another node has come meanwhile. What has to be stopped first still has.
    pub fn deposed(&mut self, cause: Cause) {
        if !matches!(self.cause, Cause::Switchover(_) | Cause::DatabaseHung) {
            self.cause = cause;
        }
    }
}
