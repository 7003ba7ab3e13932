//! The words of an event timeline: why it began, its steps, how it ended.

use core::fmt;

use super::Sign;
use crate::units::{NodeId, Term};

/// Why an event timeline began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nobody served, and this node's database accepts writes.
    Bootstrap,
    /// The record names this node, the designated primary, and nobody serves.
    Designated,
    /// The database here died.
    DatabaseDied(Sign),
    /// The database here answers nothing.
    DatabaseHung,
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
    /// A peer serves in a higher term.
    HigherTerm(Term),
    /// A peer has served as well, in the same term, or in a higher one though it was not in sync.
    SplitBrain(NodeId),
    /// The record could not be written.
    DiskFailed,
    /// This agent was late: its lease ended before it was renewed.
    LeaseLapsed,
    /// The interface of the addresses is gone, or the programs on it.
    Unguarded,
    /// An operator wants that node to serve.
    Switchover(NodeId),
    /// An operator forced this node to take over.
    Forced,
}

/// A step of an event timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The kernel has the closed gate.
    GateClosed,
    /// The database is stopped.
    DatabaseStopped,
    /// It was started again in place.
    Restarting,
    /// The peers were told that this node is fenced.
    FencedReported,
    /// What this node had granted to the old primary has expired.
    GrantExpired,
    /// The arbiter has granted the term.
    ArbiterGranted,
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

/// How an event timeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap => f.write_str("nobody served, and the database here accepts writes"),
            Self::Designated => {
                f.write_str("nobody served, and this node is the designated primary")
            }
            Self::DatabaseDied(Sign::ProcessExit) => f.write_str("the database's process exited"),
            Self::DatabaseDied(Sign::ListenerGone) => {
                f.write_str("the database's listening socket closed")
            }
            Self::DatabaseDied(Sign::Observed) => f.write_str("the database is not running"),
            Self::DatabaseHung => f.write_str("the database hangs"),
            Self::NotWritable => f.write_str("the database has become a standby"),
            Self::PromotionFailed => f.write_str("the database could not be promoted"),
            Self::PeerFenced(_) => f.write_str("the primary reported itself fenced"),
            Self::HostLost(_) => f.write_str("the active node's host is unreachable"),
            Self::AgentDead(_) => f.write_str("the active node's agent is dead"),
            Self::HigherTerm(term) => write!(f, "another node serves in the higher term {term}"),
            Self::SplitBrain(_) => f.write_str("split brain: another node has served as well"),
            Self::LeaseLapsed => f.write_str("the lease ended before this agent renewed it"),
            Self::Unguarded => f.write_str("the interface, or the BPF programs on it, are gone"),
            Self::DiskFailed => f.write_str("the cluster record could not be written"),
            Self::Switchover(_) => f.write_str("switchover, by an operator"),
            Self::Forced => f.write_str("forced by an operator"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GateClosed => "gate closed",
            Self::DatabaseStopped => "database stopped",
            Self::Restarting => "database restarted in place",
            Self::FencedReported => "reported fenced to peers",
            Self::GrantExpired => "lease grant expired",
            Self::ArbiterGranted => "arbiter granted the term",
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
