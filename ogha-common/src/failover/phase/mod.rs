//! Where an instance is. Each phase owns its state and its timers, which end with it.

mod closing;
mod command;
mod database;
mod dispatch;
mod enter;
mod fenced;
mod hearing;
mod listening;
mod rejoin;
mod restart;
mod serving;
mod standby;
mod takeover;
mod terms;

use self::enter::{listening_end, order_open};
pub(super) use self::{
    closing::Closing, enter::enter, fenced::Fenced, listening::Listening, rejoin::Rejoin,
    restart::Restart, serving::Serving, standby::Standby, takeover::Takeover,
};
use super::{
    Cause, NodeSet, PhaseName, Why, cluster::Known, context::Context, grants::Granters,
    rules::TakeoverPermit,
};
use crate::units::Instant;

/// Where an instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Not started.
    #[default]
    Initial,
    /// Just started: hears whether somebody serves before it does anything.
    Listening(Listening),
    /// A backup.
    Standby(Standby),
    /// Takes over, step by step.
    TakingOver(Takeover),
    /// The database is started again where it died.
    Restarting(Restart),
    /// The gate is open.
    Serving(Serving),
    /// The kernel is ordered to close the gate; a database that hangs, or that hands over, is stopped
    /// before that is reported.
    Closing(Closing),
    /// The gate is closed, and stays so until the database has rejoined.
    Fenced(Fenced),
}

/// Why and when a takeover begins.
#[derive(Debug)]
struct Plan {
    /// The first sign of what made it necessary.
    pub first_sign: Instant,
    pub cause: Cause,
    pub why: Why,
    /// The end of what the old primary was granted in any case.
    pub not_before: Option<Instant>,
}

impl Phase {
    pub const fn name(&self) -> PhaseName {
        match self {
            Self::Initial => PhaseName::Initial,
            Self::Listening(_) => PhaseName::Listening,
            Self::Standby(_) => PhaseName::Standby,
            Self::TakingOver(takeover) => takeover.name(),
            Self::Restarting(_) => PhaseName::Restarting,
            Self::Serving(_) => PhaseName::Serving,
            Self::Closing(_) => PhaseName::Closing,
            Self::Fenced(_) => PhaseName::Fenced,
        }
    }

    /// Why this node closes or has closed its gate, or takes over.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::TakingOver(takeover) => Some(takeover.cause),
            Self::Closing(closing) => Some(closing.cause),
            Self::Fenced(fenced) => Some(fenced.cause),
            _ => None,
        }
    }

    /// When the phase wants a tick.
    pub fn timer(&self, known: &Known) -> Option<Instant> {
        match self {
            Self::Initial => None,
            Self::Listening(listening) => Some(listening.until),
            Self::Standby(standby) => standby.timer(known),
            Self::TakingOver(takeover) => Some(takeover.timer()),
            Self::Restarting(restart) => Some(restart.timer(known)),
            Self::Serving(serving) => serving.timer(known),
            Self::Closing(closing) => closing.timer(),
            Self::Fenced(fenced) => fenced.timer(known),
        }
    }

    pub fn tick(self, cx: &mut Context<'_>) -> Self {
        match self {
            Self::Initial => self,
            Self::Listening(listening) => listening.tick(cx),
            Self::Standby(standby) => standby.tick(cx),
            Self::TakingOver(takeover) => takeover.tick(cx),
            Self::Restarting(restart) => restart.tick(cx),
            Self::Serving(serving) => serving.tick(cx),
            Self::Closing(closing) => closing.tick(cx),
            Self::Fenced(fenced) => fenced.tick(cx),
        }
    }

    /// Whether this node claims the addresses, or is about to.
    pub const fn holds_addresses(&self) -> bool {
        match self {
            Self::TakingOver(takeover) => takeover.holds_addresses(),
            Self::Restarting(_) | Self::Serving(_) => true,
            _ => false,
        }
    }

    /// Closes the gate. What is reported about it waits for the kernel (rule 5).
    pub fn close(self, cx: &mut Context<'_>, at: Instant, cause: Cause, why: Why) -> Self {
        let from = self.name();
        let held = match &self {
            Self::TakingOver(takeover) => takeover.has_ordered_promotion(),
            _ => true,
        };
        let (granters, rejoin) = match self {
            Self::Restarting(restart) => (restart.granters, restart.rejoin),
            Self::Serving(serving) => (serving.granters, Rejoin::default()),
            _ => (Granters::default(), Rejoin::default()),
        };
        let closing = Closing::new(cause, at, cx.now, granters, rejoin, held);
        enter(cx, from, Self::Closing(closing), why)
    }

    /// Begins to take over; `back` is what the node goes back to if it gives up.
    fn take_over(
        cx: &mut Context<'_>,
        from: PhaseName,
        back: Standby,
        permit: TakeoverPermit,
        plan: Plan,
    ) -> Self {
        Takeover::begin(cx, from, back, permit, plan)
    }

    /// Starts the database again in place.
    fn restart(
        cx: &mut Context<'_>,
        from: PhaseName,
        granters: Granters,
        addresses_held: bool,
        proposed: NodeSet,
        why: Why,
    ) -> Self {
        Restart::begin(cx, from, granters, addresses_held, proposed, why)
    }

    /// The gate is closed, and stays so until the database here has rejoined.
    fn fence(
        cx: &mut Context<'_>,
        from: PhaseName,
        cause: Cause,
        rejoin: Rejoin,
        why: Why,
    ) -> Self {
        let fenced = Fenced::new(cause, cx.now, rejoin);
        enter(cx, from, Self::Fenced(fenced), why)
    }
}
