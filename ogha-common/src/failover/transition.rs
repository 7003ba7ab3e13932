//! The names of phases, and of the reasons for which one is left for another.

use core::fmt;

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
pub const TRANSITIONS: &str = include_str!("transitions.txt");

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
    Contradiction = "the peers' configuration contradicts this node's";
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
    Unguarded = "nothing enforces the gate: the interface or its programs are gone";
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
