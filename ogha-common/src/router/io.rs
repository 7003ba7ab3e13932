//! What a router learns, and what it wants done.

use core::{fmt, net::IpAddr};

use crate::{
    election::Advert,
    failover::GateOrder,
    units::{Instant, Priority},
};

/// The gate as a starting agent finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// It lets nothing pass: closed, lapsed, or not this router's.
    Shut,
    /// It is this router's, and open by a lease that has not ended.
    Open,
}

/// What a router learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// It begins.
    Started(Found),
    /// Time has passed; [`Router::next_timer`](super::Router::next_timer) says when this is due.
    /// Adverts that have arrived must come first.
    Tick,
    /// A valid advert has arrived.
    Advert(Advert),
    /// The kernel has the gate that was ordered.
    GateSet(GateOrder),
    /// The kernel does not have it.
    GateFailed(GateOrder),
    /// The gate's lease ends at `until` now.
    Renewed {
        /// As ordered.
        until: Instant,
    },
    /// The gate had lapsed, or was closed, before it was renewed.
    Lapsed,
    /// The addresses are on the interface, as was last ordered.
    AddressesHeld,
    /// The addresses are off the interface, as was last ordered.
    AddressesDropped,
    /// The interface is gone, or the programs on it: nothing enforces the gate there.
    Unguarded,
    /// The interface is up again, or has another Ethernet address: neighbours and switches may have
    /// forgotten where the addresses are.
    Risen,
    /// The agent is told to end.
    Stopping,
}

/// What a router wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Set the gate. Answer with [`Input::GateSet`] or [`Input::GateFailed`].
    SetGate {
        /// Closed, claimed or open.
        order: GateOrder,
        /// End of the lease.
        until: Instant,
    },
    /// Extend the lease of a gate that has not lapsed. Answer with [`Input::Renewed`] or
    /// [`Input::Lapsed`]; without an answer the lease ends when it ends.
    Renew {
        /// End of the lease.
        until: Instant,
    },
    /// Put the addresses on the interface. Answer with [`Input::AddressesHeld`].
    HoldAddresses,
    /// Take the addresses off the interface. Answer with [`Input::AddressesDropped`].
    DropAddresses,
    /// Tell the LAN who holds the addresses.
    Announce,
    /// Send an advert.
    SendAdvert(Priority),
    /// An event timeline for the history begins.
    Begin {
        /// Why.
        cause: Cause,
        /// The first sign.
        at: Instant,
    },
    /// A step of the timeline.
    Step(Step),
    /// The timeline ends.
    End(Outcome),
    /// Something a person should know.
    Notice(Notice),
}

/// Why a timeline begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No other router was heard since the start.
    NobodyHeard,
    /// The active router is silent.
    Silent(IpAddr),
    /// The active router gave up the role.
    Released(IpAddr),
    /// The active router has a lower priority.
    Preempts(IpAddr, Priority),
    /// The agent was restarted while its gate was open.
    Resumed,
    /// A router of higher priority is active.
    Outranked(IpAddr, Priority),
    /// The lease ended before it was renewed.
    Lapsed,
    /// The interface is gone, or the programs on it.
    Unguarded,
    /// The agent was told to end.
    Stopping,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyHeard => f.write_str("no other router was heard"),
            Self::Silent(router) => write!(f, "the active router {router} is silent"),
            Self::Released(router) => write!(f, "the active router {router} gave up its role"),
            Self::Preempts(router, priority) => {
                write!(f, "the active router {router} has the lower priority {}", priority.get())
            }
            Self::Resumed => f.write_str("the agent was restarted while its gate was open"),
            Self::Outranked(router, priority) => {
                let priority = priority.get();
                write!(f, "router {router} of priority {priority} is active and outranks this one")
            }
            Self::Lapsed => {
                f.write_str("the lease ended before this agent renewed it: it was not running")
            }
            Self::Unguarded => f.write_str("the interface, or the BPF programs on it, are gone"),
            Self::Stopping => f.write_str("the agent was told to stop"),
        }
    }
}

/// A step of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The addresses are claimed: ARP is answered, TCP gets an RST.
    Claimed,
    /// The addresses are on the interface.
    AddressesHeld,
    /// The gate is open.
    GateOpen,
    /// The LAN was told.
    Announced,
    /// The kernel has the closed gate.
    GateClosed,
    /// The addresses are off the interface.
    AddressesDropped,
    /// The other routers were told that this one gives up the role.
    Released,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claimed => "addresses claimed",
            Self::AddressesHeld => "addresses on the interface",
            Self::GateOpen => "gate open",
            Self::Announced => "announced",
            Self::GateClosed => "gate closed",
            Self::AddressesDropped => "addresses off the interface",
            Self::Released => "role released",
        })
    }
}

/// How a timeline ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// This router serves.
    Serving,
    /// This router is a backup.
    Backup,
    /// This router has stopped.
    Stopped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "serving",
            Self::Backup => "backup",
            Self::Stopped => "stopped",
        })
    }
}

/// Something a person should know; none of it changes the state. Each is said once for each time that
/// it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// A router of lower priority is active too. It yields when it hears this one.
    Rival(IpAddr, Priority),
    /// Elected, but the kernel does not open the gate: the role was given up for a while.
    GateRefused,
    /// Elected, but the addresses could not be put on the interface: the role was given up for a while.
    AddressesRefused,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rival(router, priority) => write!(
                f,
                "router {router} of the lower priority {} is active too; it yields when it hears \
                 this one's adverts",
                priority.get()
            ),
            Self::GateRefused => f.write_str(
                "this router was elected, but the kernel does not open its gate; another one may \
                 take over, and this one tries again later",
            ),
            Self::AddressesRefused => f.write_str(
                "this router was elected, but the addresses could not be put on the interface; \
                 another one may take over, and this one tries again later",
            ),
        }
    }
}
