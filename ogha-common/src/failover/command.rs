//! Operator commands: what they are, why one is refused, what it would lose.

use core::fmt;

use super::Marks;
use crate::units::{Instant, NodeId};

/// What an operator commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Hand the role to that node, or to the best; nothing is lost.
    Switchover {
        /// `None`: the best of the in-sync set.
        to: Option<NodeId>,
    },
    /// Take over here, though this node may not by itself: writes may be lost.
    Force,
    /// No failover until [`Command::Resume`].
    Pause,
    /// Failovers again.
    Resume,
    /// Make the database here a standby of the primary.
    Rejoin,
}

/// Why a command is refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Another node serves: the command belongs there, or makes no sense while that is so.
    Serves(NodeId),
    /// The database here receives WAL from a living primary: to promote it would make two.
    PrimaryLives,
    /// That node's database is a primary, and its agent speaks.
    PrimaryAt(NodeId),
    /// Nobody serves.
    NobodyServes,
    /// This node serves.
    ServesHere,
    /// Another operation is under way.
    Busy,
    /// Failovers are paused: the standby would not take over.
    Paused,
    /// That is no other node of the instance.
    UnknownNode,
    /// That node is not in sync.
    NotInSync(NodeId),
    /// That node is unreachable, or its database is no standby.
    NotReady(NodeId),
    /// No other node is in sync.
    NobodyInSync,
    /// The database here is neither standby nor primary.
    NoDatabaseHere,
    /// That node has paused, and must resume.
    PausedAt(NodeId),
}

/// What a forced failover would lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Nothing that was acknowledged: the record counts this node in sync.
    Nothing,
    /// What the old primary has acknowledged since it was last heard, and so many bytes that it had
    /// then and this node has not.
    Since(u64),
    /// Nobody can tell: no primary was heard since this agent started.
    Unknown,
}

/// What an operator has commanded and is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Operator {
    /// What is remembered over restarts.
    pub marks: Marks,
    /// The agent is about to end, to be started again.
    pub stopping: bool,
    /// A force waits for the arbiter, until then.
    pub force_until: Option<Instant>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serves(_) => "another node serves",
            Self::PrimaryLives => {
                "the database here receives WAL from a living primary: to promote it would make two \
                 primaries. Start the agent of that node, or stop its database first"
            }
            Self::PrimaryAt(_) => "another node's database is the primary, and its agent runs",
            Self::NobodyServes => "no node serves",
            Self::ServesHere => "this node serves",
            Self::Busy => "another operation is under way; see `ogha-agent status`",
            Self::Paused => "failovers are paused, so no other node would take over; resume first",
            Self::UnknownNode => "no other node of the instance has that name",
            Self::NotInSync(_) => "that node is not in sync: acknowledged writes would be lost",
            Self::NotReady(_) => "that node is unreachable, or its database is no standby",
            Self::NobodyInSync => "no other node is in sync and ready",
            Self::NoDatabaseHere => "the database here does not run; start it first",
            Self::PausedAt(_) => "another node is paused too; resume there",
        })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no acknowledged write: this node is in sync"),
            Self::Since(0) => f.write_str(
                "what the old primary has acknowledged without this node since it was last heard",
            ),
            Self::Since(bytes) => write!(
                f,
                "at least {bytes} bytes of WAL, and what the old primary has acknowledged since it \
                 was last heard"
            ),
            Self::Unknown => {
                f.write_str("an unknown amount: no primary was heard since this agent started")
            }
        }
    }
}
