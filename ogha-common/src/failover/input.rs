//! What an instance learns.

use core::time::Duration;

use super::{GateOrder, NodeSet, Order, Record};
use crate::{
    election,
    profile::Danger,
    units::{Instant, Lsn, NodeId, Term},
    wire::probe,
};

/// The database's role.
pub use crate::wire::probe::Role;

/// What the instance learns. `at` is when it happened, where that is not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The agent has started. What the last agent left: the record on disk, and whether the
    /// kernel still held the gate open in the record's term.
    Started {
        /// The record on disk.
        record: Option<Record>,
        /// The gate was found open in this term, its lease not yet over.
        open: Option<Term>,
        /// What else must outlive an agent.
        marks: Marks,
    },
    /// A timer has come due ([`Core::next_timer`](super::Core::next_timer)).
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
        /// The last sign that its agent lived. It may be long ago: this agent may have hung since.
        at: Instant,
    },
    /// A peer's kernel has answered a probe. It does so for a dead agent too.
    Answered {
        /// Whose kernel.
        node: NodeId,
        /// How long before the answer its agent was last alive.
        agent_age: Duration,
        /// Its gate was open or claimed then.
        holds: bool,
    },
    /// All that the kernel had heard of the peers by then was handed in. What had not come till then is
    /// missing; what came later may wait to be read.
    Polled {
        /// When that polling began.
        at: Instant,
    },
    /// As many probes as `detect_multiplier` says were sent in a row, and none was answered.
    Unanswered {
        /// Whose host is lost.
        node: NodeId,
    },
    /// A peer grants this node a lease until `until`: it does not promote before, while this node's term is `term`.
    Granted {
        /// Who grants.
        node: NodeId,
        /// In which term.
        term: Term,
        /// Till when, by this node's clock.
        until: Instant,
    },
    /// The kernel saw the database's main process exit, or its listener go with nobody left.
    DatabaseDied {
        /// When the kernel saw it.
        at: Instant,
        /// What it saw.
        sign: Sign,
    },
    /// The database here hangs, by evidence that no client can make.
    DatabaseHung {
        /// The first sign.
        at: Instant,
    },
    /// The database here hangs no more.
    HangOver,
    /// What the peers say of themselves contradicts this node dangerously, or no longer does.
    Contradiction(Option<Danger>),
    /// The database was observed.
    Database(Database),
    /// What came of [`Action::Database`](super::Action::Database).
    DatabaseDid {
        /// The order.
        order: Order,
        /// Whether its effect was seen.
        ok: bool,
    },
    /// The record is on disk, flushed.
    Persisted(Term),
    /// The record could not be written, or not in time: a node that cannot keep its word must not give it.
    PersistFailed(Term),
    /// What the arbiter says of [`Action::Propose`](super::Action::Propose).
    Ruled(Ruling),
    /// The current record at the arbiter: the answer to [`Action::Consult`](super::Action::Consult).
    Consulted(Option<Record>),
    /// The kernel has the gate that [`Action::SetGate`](super::Action::SetGate) ordered.
    GateSet(GateOrder),
    /// The kernel refused it.
    GateFailed(GateOrder),
    /// The kernel's gate lapsed before [`Action::Renew`](super::Action::Renew) reached it.
    Lapsed,
    /// The kernel counts the grants of these nodes, and of nobody else.
    GrantersSet(NodeSet),
    /// This node grants nothing any more. Its last lease grant ends then.
    Withdrawn {
        /// The end of the last lease grant to any peer, by this node's clock.
        granted_until: Instant,
    },
    /// The addresses are on the interface.
    AddressesHeld,
    /// The interface is gone, or the programs on it: nothing enforces the gate there.
    Unguarded,
    /// The programs enforce it again.
    Guarded,
    /// What the LAN knows of the addresses may be lost: the interface was down, has another Ethernet
    /// address, or an address was missing for a while.
    Risen,
    /// The agent is about to end, to be started again.
    Stopping,
}

/// What must outlive an agent beside the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// An operator has paused failovers here.
    pub paused: bool,
    /// A switchover has stopped the database here, and is not over: this node may start it, or make it
    /// a standby, by itself.
    pub handed_over: bool,
}

/// How the death of a database was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sign {
    /// `sched_process_exit` of the main process.
    ProcessExit,
    /// The listener went, and the process with it.
    ListenerGone,
    /// An observation found no process.
    Observed,
}

/// What one observation of the database found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Database {
    /// It could not be observed. Never read as dead.
    #[default]
    Unknown,
    /// No process of it runs: known for sure.
    Stopped,
    /// Its main process lives, but answers no SQL: it starts, recovers, refuses the login, or hangs.
    Unresponsive,
    /// It follows a primary.
    Standby {
        /// What it has received.
        lsn: Lsn,
        /// Its walreceiver streams from a living primary.
        receives: bool,
    },
    /// It accepts writes, or would.
    Primary(Primary),
}

/// A primary, and its standbys as it sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Primary {
    /// It accepts writes.
    pub writable: bool,
    /// Its end of the WAL on disk.
    pub lsn: Lsn,
    /// The peers that receive its WAL now.
    pub streaming: NodeSet,
    /// The peers without whose confirmation no commit returns: verified at this observation.
    pub awaited: NodeSet,
    /// Those of `awaited` that have confirmed all that was acknowledged before that was so.
    pub confirmed: NodeSet,
}

impl Database {
    /// Its role; unknown where it did not answer.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Unknown | Self::Stopped | Self::Unresponsive => Role::Unknown,
            Self::Standby { .. } => Role::Standby,
            Self::Primary(_) => Role::Primary,
        }
    }

    /// Where its WAL stands; zero where that is not known.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        match self {
            Self::Unknown | Self::Stopped | Self::Unresponsive => Lsn::new(0),
            Self::Standby { lsn, .. } | Self::Primary(Primary { lsn, .. }) => *lsn,
        }
    }

    /// The primary that accepts writes, where it is one.
    #[must_use]
    pub const fn writable(&self) -> Option<&Primary> {
        match self {
            Self::Primary(primary) if primary.writable => Some(primary),
            _ => None,
        }
    }

    /// Its walreceiver streams from a living primary.
    #[must_use]
    pub const fn receives(&self) -> bool {
        matches!(self, Self::Standby { receives: true, .. })
    }
}

/// What an arbiter says of a proposed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ruling {
    /// The proposed record, of this term, is the cluster's.
    Granted(Term),
    /// It is not, and will not be.
    Refused {
        /// The proposed term.
        term: Term,
        /// What stands instead, where the arbiter keeps records.
        record: Option<Record>,
    },
    /// No answer in time: it may have been granted or not. To ask again does no harm.
    Unknown(Term),
}

impl Input {
    /// Its name, for the table of transitions.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Tick => "timer",
            Self::Stalled(_) => "stalled",
            Self::Advert { .. } => "advert",
            Self::AdvertStamped { .. } => "advert in the kernel",
            Self::Peer { .. } => "peer status",
            Self::Answered { .. } => "peer's kernel answered",
            Self::Polled { .. } => "peers polled",
            Self::Unanswered { .. } => "host unreachable",
            Self::Granted { .. } => "lease granted",
            Self::DatabaseDied { .. } => "database died",
            Self::DatabaseHung { .. } => "database hangs",
            Self::HangOver => "hang over",
            Self::Contradiction(_) => "contradiction",
            Self::Database(_) => "database observed",
            Self::DatabaseDid { .. } => "database order ended",
            Self::Persisted(_) => "record written",
            Self::PersistFailed(_) => "record not written",
            Self::Ruled(_) => "arbiter ruled",
            Self::Consulted(_) => "arbiter consulted",
            Self::GateSet(_) => "gate set",
            Self::GateFailed(_) => "gate not set",
            Self::Lapsed => "lease lapsed",
            Self::GrantersSet(_) => "granters set",
            Self::Withdrawn { .. } => "lease grant withdrawn",
            Self::AddressesHeld => "addresses held",
            Self::Unguarded => "nothing enforces gate",
            Self::Guarded => "gate enforced again",
            Self::Risen => "interface up again",
            Self::Stopping => "agent stops",
        }
    }
}
