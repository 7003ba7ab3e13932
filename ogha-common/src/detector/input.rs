//! What a detector learns.

use core::time::Duration;

use super::{AcceptQueue, CheckOutcome, Passive, Stall};
use crate::{maps::Passage, units::Instant, wire::probe::Status};

/// What the peer's kernel said in a reply, of the instant at which it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whether somebody listened on the database's port (a socket look-up). `None`: no port is
    /// watched, or the kernel cannot tell.
    pub listener: Option<bool>,
    /// The listener's accept queue; `None` where it is not known.
    pub queue: Option<AcceptQueue>,
    /// The peer's gate.
    pub gate: Passage,
    /// Age of the last heartbeat of the peer's agent, on the peer's `CLOCK_BOOTTIME`.
    pub agent_age: Duration,
    /// The peer's kernel saw its agent exit, and no new one has beaten since.
    pub agent_exited: bool,
    /// What the peer's agent last said of itself.
    pub status: Status,
}

/// What the detector learns. Paths are numbered from 0; an input of a path that there is not
/// changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A probe was sent, now. One that the kernel refused to send is none.
    Sent {
        /// On which path.
        path: u8,
    },
    /// An authentic reply has arrived.
    Reply {
        /// On which path.
        path: u8,
        /// When the probe that it answers was sent, by this node's clock: the echoed time.
        sent: Instant,
        /// What it says.
        facts: Facts,
    },
    /// An authentic probe of the peer has arrived, now.
    Heard {
        /// On which path.
        path: u8,
    },
    /// Whether the path can be used at this end: the interface has a carrier and the address.
    Usable {
        /// Which path.
        path: u8,
        /// It can. (Paths begin usable.)
        usable: bool,
    },
    /// What the TCP counters show of the peer's database; `None`: nothing unusual. A level: it
    /// holds until the next such input.
    Passive(Option<Passive>),
    /// An active check has ended.
    Check {
        /// When it began.
        began: Instant,
        /// What came of it.
        outcome: CheckOutcome,
    },
    /// The driver found by itself that this node stalled.
    Stalled(Stall),
    /// Time has passed.
    Tick {
        /// `CLOCK_MONOTONIC`, nanoseconds, read together with the time of the input.
        monotonic_ns: u64,
    },
}
