//! The change of a phase: what it orders, and why it happens.

use core::fmt;

use super::{Closing, Fenced, Phase};
use crate::{
    election,
    failover::{
        Action, Cause, GateOrder, NodeSet, Order, Outcome, Step, context::Context, grants::Granters,
    },
    units::Instant,
};

/// The name of a phase, or of a step of a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseName {
    /// Not started.
    Initial,
    /// Just started.
    Listening,
    /// A backup.
    Standby,
    /// Takes over: withdraws its lease grant.
    Withdrawing,
    /// Takes over: waits until its lease grant has expired.
    Waiting,
    /// Takes over: asks the arbiter.
    Proposing,
    /// Takes over: writes the record.
    Persisting,
    /// Takes over: has the kernel claim the addresses.
    Claiming,
    /// Takes over: waits for the database and the addresses.
    Promoting,
    /// Takes over: has the kernel open the gate.
    Opening,
    /// Starts the database again in place.
    Restarting,
    /// The gate is open.
    Serving,
    /// The gate is being closed.
    Closing,
    /// The gate is closed until the database has rejoined.
    Fenced,
}

impl PhaseName {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Listening => "listening",
            Self::Standby => "standby",
            Self::Withdrawing => "withdrawing its lease grant",
            Self::Waiting => "waiting",
            Self::Proposing => "asking the arbiter",
            Self::Persisting => "writing the record",
            Self::Claiming => "claiming",
            Self::Promoting => "promoting",
            Self::Opening => "opening",
            Self::Restarting => "restarting",
            Self::Serving => "serving",
            Self::Closing => "closing",
            Self::Fenced => "fenced",
        }
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One change of the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transition {
    /// The phase that was left.
    pub from: PhaseName,
    /// What came in.
    pub input: &'static str,
    /// The phase that was entered.
    pub to: PhaseName,
    /// Why.
    pub why: Why,
}

/// Each transition that the core makes, a line each behind a heading: phase, input, next phase, why. Made by
/// a test from the core itself, and kept true by it.
pub const TRANSITIONS: &str = include_str!("../transitions.txt");

/// Declares [`Why`] with the sentence for each reason.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Why a phase was left for another.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Why {
            $(#[doc = $text] $name,)*
        }

        impl Why {
            /// Each of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The sentence for people.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    AgentStarted = "the agent has started";
    GateFoundOpen = "the last agent's gate is open still, in the record's term";
    PrimaryHeard = "the node that serves was heard";
    NobodyHeard = "nobody was heard to serve";
    HostAnswers = "the host that was unreachable answers";
    NobodyServes = "nobody serves, and this node may";
    HostLost = "the active node's host is unreachable";
    AgentDead = "the active node's agent is dead";
    PeerFenced = "the primary reported itself fenced";
    Forced = "an operator forced this node";
    GrantWithdrawn = "this node grants no lease any more";
    GrantNotWithdrawn = "the lease grant could not be withdrawn in time";
    GrantExpired = "the last lease grant has expired";
    BetterCandidate = "a better candidate is there";
    ArbiterGranted = "the arbiter granted the term";
    ArbiterRefused = "the arbiter refused the term, or did not answer";
    RecordWritten = "the record is on disk";
    WrittenTooLate = "the record was written so late that another node may have gone on";
    Claimed = "the kernel claims the addresses";
    Ready = "the database accepts writes, and the addresses are held";
    GateOpen = "the kernel has the open gate";
    HigherTerm = "another node has the higher term";
    SplitBrain = "another node has served as well";
    DatabaseDied = "the database died";
    DatabaseHangs = "the database hangs";
    RestartInPlace = "the database died, and is started again in place";
    NotRestarted = "the database could not be started in place";
    NotAwaited = "commits could not be made to wait for the in-sync standbys";
    NotWritable = "the database has become a standby";
    PromotionFailed = "the database could not be promoted";
    DiskFailed = "the record could not be written";
    LeaseLapsed = "the lease ended before it was renewed";
    Switchover = "an operator moves the role to another node";
    SwitchoverUndone = "the switchover was undone";
    GateClosed = "the kernel has the closed gate";
    Deposed = "another node is the designated primary now";
    SecondPrimary = "the database here is a second primary";
    DesignatedButStopped = "the designated primary's database does not run";
    Rejoined = "the database here is a standby";
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The one way from a phase to another: what leaving the one and entering the other orders.
pub(in crate::failover) fn enter(
    cx: &mut Context<'_>,
    from: PhaseName,
    next: Phase,
    why: Why,
) -> Phase {
    let to = next.name();
    cx.act(Action::Entered(Transition { from, input: cx.input, to, why }));
    match (from, &next) {
        (_, Phase::Closing(closing)) => begin_to_close(cx, from, closing),
        (PhaseName::Closing, Phase::Listening(_) | Phase::Fenced(_)) => report_closed(cx, &next),
        (
            PhaseName::Withdrawing
            | PhaseName::Waiting
            | PhaseName::Proposing
            | PhaseName::Persisting,
            Phase::Standby(_),
        ) => {
            cx.end(Outcome::Standby);
            cx.publish();
        }
        (_, Phase::Standby(_)) | (PhaseName::Listening | PhaseName::Standby, Phase::Fenced(_)) => {
            cx.publish();
        }
        (_, Phase::Serving(_)) => cx.set_handed_over(false),
        _ => {}
    }
    next
}

fn begin_to_close(cx: &mut Context<'_>, from: PhaseName, closing: &Closing) {
    if from != PhaseName::Serving {
        cx.end(Outcome::Fenced);
    }
    cx.order_gate(GateOrder::Close, &Granters::default());
    cx.act(Action::Begin { cause: closing.cause, at: closing.at });
}

/// The kernel has the closed gate, and what had to be stopped is stopped.
fn report_closed(cx: &mut Context<'_>, next: &Phase) {
    cx.known.commits.forget();
    cx.order_granters(NodeSet::EMPTY);
    cx.publish();
    cx.elect(election::Input::Release);
    cx.step(Step::FencedReported);
    cx.act(Action::DropAddresses);
    let outcome = match next {
        Phase::Fenced(Fenced { cause, .. }) => {
            if let Cause::DatabaseDied(_) | Cause::HigherTerm(_) | Cause::SplitBrain(_) = cause {
                cx.act(Action::Database(Order::Stop));
            }
            Outcome::Fenced
        }
        _ => {
            cx.known.facts.listening_since = cx.now;
            Outcome::Listening
        }
    };
    cx.end(outcome);
}

/// How long a node listens: long enough to hear whoever serves, and for any gate of an agent that died
/// to lapse.
pub(super) fn listening_end(cx: &Context<'_>) -> Instant {
    cx.now + cx.known.config.agent_timeout + cx.known.config.margin()
}
