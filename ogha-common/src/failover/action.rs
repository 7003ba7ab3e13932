//! What an instance wants done.

use super::{
    Blocker, Cause, GateOrder, Marks, NodeSet, Order, Outcome, Record, Refusal, Step, Transition,
};
use crate::units::{Instant, NodeId, Priority, Term};

/// What the instance wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Set the kernel's gate, its own lease ending at `until`. Answer with
    /// [`Input::GateSet`](super::Input::GateSet) once the kernel was read to have it; a gate that can't
    /// be claimed or opened with [`Input::GateFailed`](super::Input::GateFailed). One that can't be
    /// closed lapses: close it as soon as that can be done.
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
    /// set: the agent alone renews. Answer with [`Input::GrantersSet`](super::Input::GrantersSet) as
    /// soon as the kernel has it.
    SetGranters(NodeSet),
    /// This node grants nothing from now on ([`Core::grant`](super::Core::grant) has said so to the
    /// kernel): read what it had granted. Answer with
    /// [`Input::Withdrawn`](super::Input::Withdrawn).
    Withdraw,
    /// Ask the arbiter for this record. Answer with [`Input::Ruled`](super::Input::Ruled).
    Propose(Record),
    /// Ask the arbiter for the current record, again until it answers. Answer with
    /// [`Input::Consulted`](super::Input::Consulted).
    Consult,
    /// Write the record and flush it. Answer with [`Input::Persisted`](super::Input::Persisted).
    Persist(Record),
    /// Remember these over restarts.
    PersistMarks(Marks),
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
    /// The instance has changed its phase. For the log and the tests.
    Entered(Transition),
    /// An event timeline for the history begins.
    Begin {
        /// Why.
        cause: Cause,
        /// The first sign.
        at: Instant,
    },
    /// A step of the event timeline.
    Step(Step),
    /// The event timeline ends.
    End(Outcome),
    /// Something a person should know.
    Notice(Notice),
}

/// Something a person should know; none of it changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The active node is silent, but this one may not take over.
    CannotTakeOver(Blocker),
    /// Another node has served as well; this one goes on.
    SplitBrain(NodeId),
    /// Another node sends adverts while this one serves.
    RivalAdvert,
    /// The database came back without having rejoined, and is stopped.
    Stopping,
    /// The database did not become writable in time.
    PromotionTimedOut,
    /// The record could not be written to this node's disk. The consensus store has it.
    NotOnDisk,
    /// The node takes over by an operator's force, though this stood against it.
    Forced(Blocker),
    /// An operator's force waited for the arbiter, and is given up: this stands against it by now.
    ForceRefused(Refusal),
    /// An operator's force waited for the arbiter, which did not answer in time.
    ForceExpired,
    /// The node left the in-sync set: it may no longer be promoted.
    OutOfSync(NodeId),
    /// The node is in the in-sync set: it may be promoted.
    InSync(NodeId),
    /// Commits do not wait for this member of the in-sync set any more: somebody changed that by hand.
    NotAwaited(NodeId),
    /// The arbiter refused that term, or did not answer.
    ArbiterRefused(Term),
    /// The database here hangs, so soon after one was stopped for a hang that an operator has to agree.
    HangsAgain,
    /// The switchover was undone.
    SwitchoverUndone,
    /// The consensus store's record of that term names a primary that is not configured here.
    StrangerDesignated(Term),
    /// A record of that term was refused: it is too far above the current one to follow it.
    ImplausibleTerm(Term),
}
