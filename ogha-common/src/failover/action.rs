//! What an instance wants done.

use core::fmt;

use super::{Cause, NodeSet, Outcome, Record, Step};
use crate::units::{Instant, NodeId, Priority, Term};

/// The gate, as ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateOrder {
    /// Nothing passes, nothing is claimed.
    Close,
    /// Nothing passes; the addresses are ours.
    Claim,
    /// Traffic passes.
    Open,
}

/// What the instance wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Set the kernel's gate, its own lease ending at `until`. Answer with
    /// [`Input::GateSet`](super::Input::GateSet).
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
    /// Have the kernel count the grants of these nodes: the lease is the earliest of them. The empty
    /// set: the agent alone renews. Answer with [`Input::GrantersSet`](super::Input::GrantersSet).
    SetGranters(NodeSet),
    /// This node grants nothing from now on ([`Core::grant`](super::Core::grant) has said so to the
    /// kernel): read what it had promised. Answer with
    /// [`Input::Withdrawn`](super::Input::Withdrawn).
    Withdraw,
    /// Ask the arbiter for this record. Answer with [`Input::Ruled`](super::Input::Ruled).
    Propose(Record),
    /// Ask the arbiter what stands, again until it answers. Answer with
    /// [`Input::Consulted`](super::Input::Consulted).
    Consult,
    /// Write the record and flush it. Answer with [`Input::Persisted`](super::Input::Persisted).
    Persist(Record),
    /// Remember over restarts whether failovers are paused.
    PersistPause(bool),
    /// Put the addresses on the interface. Answer with
    /// [`Input::AddressesHeld`](super::Input::AddressesHeld).
    HoldAddresses,
    /// Take the addresses off the interface.
    DropAddresses,
    /// Tell the LAN who holds the addresses (gratuitous ARP).
    Announce,
    /// Send an advert.
    SendAdvert(Priority),
    /// The status has changed: tell the peers now.
    Publish,
    /// Do this to the database. Answer with [`Input::DatabaseDid`](super::Input::DatabaseDid).
    Database(Order),
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

/// What is done to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Make the standby a primary, and look every few milliseconds whether it accepts writes.
    Promote,
    /// Stop it at once: it must not be written. Done when no process of it is left.
    Stop,
    /// Write out what a clean stop would have to, while it still serves.
    Checkpoint,
    /// Stop the primary cleanly: its standbys receive everything first.
    Demote,
    /// Start it as what it was.
    Start,
    /// Let commits wait for exactly these nodes from now on; of a standby, after its promotion.
    Synchronize(NodeSet),
    /// Let the standby receive its log from that node.
    Follow(NodeId),
    /// Make it a standby of that node, by the cheapest way, and start it.
    Rejoin(NodeId),
    /// Let its tools know about the new primary, outside the outage's path.
    AfterFailover,
}

/// Something a person should know; none of it changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The record could not be written to this node's disk. The arbiter has it.
    NotOnDisk,
    /// The node takes over by an operator's force, though this stood against it.
    Forced(Hindrance),
    /// The node left the in-sync set: it may no more be promoted.
    OutOfSync(NodeId),
    /// The node is in the in-sync set: it may be promoted.
    InSync(NodeId),
    /// The arbiter does not let this node go on without the others.
    NotLetOn,
    /// The switchover was undone.
    SwitchoverUndone,
}

/// Why a node may not take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hindrance {
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
    /// That node's database is a primary too, and no register tells which of the two counts.
    Rival(NodeId),
}

impl fmt::Display for Hindrance {
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
            Self::Rival(_) => f.write_str(
                "another node's database is a primary too: what one of the two has written is lost",
            ),
            Self::Paused => f.write_str("failovers are paused; `ogha-agent resume` ends that"),
        }
    }
}
