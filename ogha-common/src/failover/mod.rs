//! The decision core: who may promote, and when the gate may open.
//!
//! One [`Core`] an instance. An [`Input`] goes in with the time at which it happened, [`Action`]s
//! come out in the order in which they must be carried out, and the outcome of each effect comes
//! back as an input. Nothing here reads a clock, a file or a socket, so the same code runs in the
//! agent, in the tests and in the simulation.
//!
//! The rules that it keeps, by the names that the tests use:
//!
//! 1. `gate_opens_only_on_a_writable_primary`: a gate opens only on the node that the record
//!    names as primary, on a database seen to accept writes.
//! 2. `promotion_waits_for_the_promise`: a node promotes only if it may (it is in sync, its
//!    promise has run out or the old primary reported itself fenced).
//! 4. `a_higher_term_fences`: a node that sees a higher term fences at once and does not serve
//!    again before its database has rejoined as a standby.
//! 5. `closed_is_reported_after_the_kernel_has_it`; two primaries of one term are a split brain:
//!    the lower priority fences, both say so.
//! 6. `a_dead_database_fences_at_once`: close the gate, report `fenced`, let the peer promote;
//!    no timer is waited for.
//! 7. `a_slow_agent_is_no_failure`, and an agent that is dead for `agent_timeout` is.

mod core;
mod fence;
mod record;
mod start;
mod takeover;
#[cfg(test)]
mod tests;

pub use self::{
    core::{Core, Lease, Phase, Renewal},
    record::{MAX_NODES, NodeSet, Record},
};

use ::core::{fmt, time::Duration};

use crate::{
    election,
    units::{Instant, Lsn, NodeId, Priority, Term},
    wire::probe,
};

/// What an instance was configured to be.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// The configured nodes, this one among them.
    pub nodes: NodeSet,
    /// Who fences when two nodes serve in one term: the lower.
    pub priority: Priority,
    /// False: a VIP for any service. VRRP alone decides, nothing is promoted.
    pub database: bool,
    /// How long a promise to a host that no longer answers lasts.
    pub lease: Duration,
    /// How long an open gate stays open without its agent: a dead-man switch. An agent that is
    /// silent for so long is dead.
    pub agent_timeout: Duration,
    /// How long a promotion may take before the node gives it up.
    pub promotion_timeout: Duration,
    /// The election.
    pub election: election::Config,
}

impl Config {
    /// What a waiting node adds to a promise: clock rates differ by up to 1 part in 1000, and
    /// the renewal may have been under way when the last word was sent.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.agent_timeout / 1000 + Duration::from_millis(1)
    }
}

/// What the instance learns. `at` is when it happened, where that is not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The agent has started. What the last agent left: the record on disk, and whether the
    /// kernel still held the gate open in the record's term.
    Started {
        /// The record on disk.
        record: Option<Record>,
        /// The gate was found open in this term, its lease not yet over.
        open: Option<Term>,
    },
    /// A timer has come due ([`Core::next_timer`]).
    Tick,
    /// This agent was not running for so long: what it did not hear meanwhile is nobody's
    /// silence.
    Stalled(Duration),
    /// A valid advert of a configured peer.
    Advert {
        /// Who sent it.
        node: NodeId,
        /// What it says.
        advert: election::Advert,
    },
    /// The kernel has had a valid advert of a configured peer, at that time. What it says comes as
    /// [`Input::Advert`], which a busy agent may read late.
    AdvertStamped {
        /// Who sent it.
        node: NodeId,
        /// When the kernel had it.
        at: Instant,
    },
    /// A valid status of a configured peer.
    Peer {
        /// Who says it.
        node: NodeId,
        /// What it says.
        status: probe::Status,
    },
    /// A peer's kernel has answered a probe. It does so for a dead agent too.
    Answered {
        /// Whose kernel.
        node: NodeId,
        /// How long before the answer its agent was last alive.
        agent_age: Duration,
    },
    /// As many probes as `detect_multiplier` says were sent in a row, and none was answered.
    Unanswered {
        /// Whose host is lost.
        node: NodeId,
    },
    /// The kernel saw the database's main process exit, or its listener go with nobody left.
    DatabaseDied {
        /// When the kernel saw it.
        at: Instant,
        /// What it saw.
        sign: Sign,
    },
    /// The database was looked at.
    Database(Database),
    /// The record is on disk, flushed.
    Persisted(Term),
    /// The record could not be written: a node that cannot keep its word must not give it.
    PersistFailed(Term),
    /// The kernel has the gate that [`Action::SetGate`] ordered.
    GateSet(GateOrder),
    /// The kernel refused it.
    GateFailed(GateOrder),
    /// The kernel's gate lapsed before [`Action::Renew`] reached it.
    Lapsed,
    /// The addresses are on the interface.
    AddressesHeld,
    /// The database's tool refused to promote.
    PromotionRefused,
    /// The agent is about to end, to be started again.
    Stopping,
}

/// How the death of a database was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `sched_process_exit` of the main process.
    ProcessExit,
    /// The listener went, and the process with it.
    ListenerGone,
    /// An observation found no process.
    Observed,
}

/// The database's role.
pub use crate::wire::probe::Role;

/// What an observation of the database found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Its role; unknown where it did not answer.
    pub role: Role,
    /// It accepts writes.
    pub writable: bool,
    /// Its main process is there.
    pub alive: bool,
    /// Where its log stands.
    pub lsn: Lsn,
}

/// The gate, as ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOrder {
    /// Nothing passes, nothing is claimed.
    Close,
    /// Nothing passes; the addresses are ours.
    Claim,
    /// Traffic passes.
    Open,
}

/// What the instance wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set the kernel's gate, its lease ending at `until`. Answer with [`Input::GateSet`].
    SetGate {
        /// Closed, claimed or open.
        order: GateOrder,
        /// The term it belongs to.
        term: Term,
        /// End of the lease.
        until: Instant,
    },
    /// Extend the lease of the gate as it is.
    Renew {
        /// End of the lease.
        until: Instant,
    },
    /// Write the record and flush it. Answer with [`Input::Persisted`].
    Persist(Record),
    /// Put the addresses on the interface. Answer with [`Input::AddressesHeld`].
    HoldAddresses,
    /// Take the addresses off the interface.
    DropAddresses,
    /// Tell the LAN who holds the addresses (gratuitous ARP).
    Announce,
    /// Send an advert.
    SendAdvert(Priority),
    /// The status has changed: tell the peers now.
    Publish,
    /// Make the database a primary, and look at it every few milliseconds.
    Promote(Term),
    /// Stop the database at once: it must not be written.
    StopDatabase,
    /// Let the database's tools know about the new primary, outside the outage's path.
    AfterFailover,
    /// A story for the history begins.
    Begin {
        /// Why.
        cause: Cause,
        /// The first sign.
        at: Instant,
    },
    /// A step of the story.
    Step(Step),
    /// The story ends.
    End(Outcome),
    /// Something a person should know.
    Notice(Notice),
}

/// Why a story began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody served, and this node's database accepts writes.
    Bootstrap,
    /// The database here died.
    DatabaseDied(Sign),
    /// The database here has become a standby.
    NotWritable,
    /// The database here could not be promoted.
    PromotionFailed,
    /// The primary reported itself fenced.
    PeerFenced(NodeId),
    /// The active node's host does not answer.
    HostLost(NodeId),
    /// The active node's host answers, but its agent has been dead for `agent_timeout`.
    AgentDead(NodeId),
    /// VRRP's election gave this node the role.
    Elected,
    /// VRRP's election took the role away.
    Outranked,
    /// A peer serves in a higher term.
    HigherTerm(Term),
    /// A peer serves in the same term.
    SplitBrain(NodeId),
    /// The record could not be written.
    DiskFailed,
    /// This agent was late: its lease ended before it was renewed.
    LeaseLapsed,
}

/// A step of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The kernel has the closed gate.
    GateClosed,
    /// The peers were told that this node is fenced.
    FencedReported,
    /// The old primary's lease was waited out.
    PromiseRanOut,
    /// The record is on disk.
    RecordWritten,
    /// The addresses are claimed and announced; TCP gets an RST.
    Claimed,
    /// The order to promote went out.
    PromotionOrdered,
    /// The database accepts writes.
    Writable,
    /// The gate is open.
    GateOpen,
    /// The LAN was told.
    Announced,
}

/// How a story ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This node serves.
    Serving,
    /// This node is fenced.
    Fenced,
    /// This node is a backup.
    Standby,
    /// This node listens, as after a start.
    Listening,
}

/// Something a person should know; none of it changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The active node is silent, but this one may not take over.
    CannotTakeOver(Hindrance),
    /// Two nodes serve in one term; this one has the higher priority and goes on.
    SplitBrain(NodeId),
    /// Another node sends adverts while this one serves.
    RivalAdvert,
    /// The database came back without having rejoined, and is stopped.
    Stopping,
    /// The database did not become writable in time.
    PromotionTimedOut,
}

/// Why a node may not take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It has never heard a primary since it started, so it cannot know who wrote last.
    NeverHeardPrimary,
    /// The record does not count it in sync.
    NotInSync,
    /// Its own database is no standby.
    NoStandby,
    /// It is fenced.
    Fenced,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap => f.write_str("nobody served, and the database here accepts writes"),
            Self::DatabaseDied(Sign::ProcessExit) => f.write_str("the database's process exited"),
            Self::DatabaseDied(Sign::ListenerGone) => f.write_str("the database's listener went"),
            Self::DatabaseDied(Sign::Observed) => f.write_str("the database is not running"),
            Self::NotWritable => f.write_str("the database has become a standby"),
            Self::PromotionFailed => f.write_str("the database could not be promoted"),
            Self::PeerFenced(_) => f.write_str("the primary reported itself fenced"),
            Self::HostLost(_) => f.write_str("the active node's host does not answer"),
            Self::AgentDead(_) => f.write_str("the active node's agent is dead"),
            Self::Elected => f.write_str("elected active by VRRP"),
            Self::Outranked => f.write_str("outranked by another VRRP router"),
            Self::HigherTerm(term) => write!(f, "another node serves in the higher term {term}"),
            Self::SplitBrain(_) => f.write_str("split brain: another node serves in the same term"),
            Self::LeaseLapsed => f.write_str("the lease ended before this agent renewed it"),
            Self::DiskFailed => f.write_str("the cluster record could not be written"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GateClosed => "gate closed",
            Self::FencedReported => "fenced reported",
            Self::PromiseRanOut => "promise ran out",
            Self::RecordWritten => "record written",
            Self::Claimed => "addresses claimed",
            Self::PromotionOrdered => "promotion ordered",
            Self::Writable => "database writable",
            Self::GateOpen => "gate open",
            Self::Announced => "announced",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "serving",
            Self::Fenced => "fenced",
            Self::Standby => "standby",
            Self::Listening => "listening",
        })
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverHeardPrimary => "no primary was heard since this agent started",
            Self::NotInSync => "the record does not count this node in sync",
            Self::NoStandby => "the database here is no standby",
            Self::Fenced => "this node is fenced until its database rejoins as a standby",
        })
    }
}
