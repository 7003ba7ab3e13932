//! Why a rule does not let a node do what it would do next.

use core::fmt;

use crate::{profile::Danger, units::NodeId};

/// Why a node may not do now what it would do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blocker {
    /// It has never heard a primary since it started, so it cannot know who wrote last.
    NeverHeardPrimary,
    /// The record does not count it in sync. So many bytes were missing when the primary was last
    /// heard, as far as is known.
    NotInSync(u64),
    /// It is asynchronous, and behind by more than `max_lag`: by so many bytes.
    Lag(u64),
    /// Its own database is no standby.
    NoStandby,
    /// It is fenced.
    Fenced,
    /// An operator has paused failovers.
    Paused,
    /// The configurations of the nodes contradict each other.
    Contradiction(Danger),
    /// That node's database is a primary too, and no consensus store tells which of the two counts.
    Rival(NodeId),
    /// The record names another node as primary.
    NotDesignated,
    /// The database was not observed to accept writes.
    NotWritable,
    /// The addresses are not on the interface yet.
    NoAddresses,
    /// Nothing enforces the gate here: the interface is gone, or the programs on it.
    Unguarded,
    /// Commits do not wait for that member of the in-sync set.
    NotAwaited(NodeId),
    /// That node is in the in-sync set still: commits must go on waiting for it.
    StillInSync(NodeId),
    /// The kernel has not confirmed the closed gate.
    GateNotClosed,
    /// The database that hangs, or hands over, is not stopped yet: it could acknowledge a write.
    NotStopped,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverHeardPrimary => f.write_str("no primary was heard since this agent started"),
            Self::NotInSync(behind) => write!(
                f,
                "the record does not count this node in sync ({behind} bytes behind when last heard)"
            ),
            Self::Lag(behind) => write!(f, "it is {behind} bytes behind, more than max_lag"),
            Self::NoStandby => f.write_str("the database here is no standby"),
            Self::Fenced => {
                f.write_str("this node is fenced until its database rejoins as a standby")
            }
            Self::Paused => f.write_str("failovers are paused; `ogha-agent resume` ends that"),
            Self::Contradiction(danger) => {
                write!(f, "{danger}; `ogha-agent status` names the contradiction")
            }
            Self::Rival(_) => f.write_str(
                "split brain: another node's database is a primary too, and one side's writes will \
                 be discarded",
            ),
            Self::NotDesignated => f.write_str("the record names another node as primary"),
            Self::NotWritable => f.write_str("the database here does not accept writes yet"),
            Self::NoAddresses => f.write_str("the addresses are not on the interface yet"),
            Self::Unguarded => {
                f.write_str("the interface, or the BPF programs on it, are gone: no fence here")
            }
            Self::NotAwaited(_) => f.write_str("commits do not wait for all in-sync standbys yet"),
            Self::StillInSync(_) => f.write_str("the record still counts the standby in sync"),
            Self::GateNotClosed => f.write_str("the kernel has not confirmed the closed gate"),
            Self::NotStopped => f.write_str("the database here is not stopped yet"),
        }
    }
}
