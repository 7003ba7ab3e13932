//! What a datagram says.

use crate::{
    gate::Passage,
    units::{Lsn, Members, NodeId, Priority, Term, Vrid},
};

/// Question or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ProbeKind {
    /// Wants a reply.
    Probe = 1,
    /// Answers a probe.
    Reply = 2,
}

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Just started: does nothing yet but listen.
    Listening = 1,
    /// A backup.
    Standby = 2,
    /// Is becoming the active node; its gate is still closed.
    TakingOver = 3,
    /// Its gate is open, or not yet known to be closed.
    Serving = 4,
    /// Its gate is closed, and the kernel has it.
    Fenced = 5,
}

/// The role of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// It does not answer, or there is none.
    #[default]
    Unknown = 0,
    /// It accepts writes, or would.
    Primary = 1,
    /// It follows a primary.
    Standby = 2,
}

impl Phase {
    /// Whether it serves, or is about to.
    #[must_use]
    pub const fn serves_or_takes_over(self) -> bool {
        matches!(self, Self::Serving | Self::TakingOver)
    }

    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Standby => "standby",
            Self::TakingOver => "taking over",
            Self::Serving => "serving",
            Self::Fenced => "fenced",
        }
    }
}

impl Role {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Primary => "primary",
            Self::Standby => "standby",
        }
    }
}

macro_rules! from_octet {
    ($($name:ident or $error:ident: $($variant:ident)*;)*) => {$(
        impl TryFrom<u8> for $name {
            type Error = Error;

            fn try_from(octet: u8) -> Result<Self, Error> {
                match octet {
                    $(octet if octet == Self::$variant as u8 => Ok(Self::$variant),)*
                    _ => Err(Error::$error),
                }
            }
        }
    )*};
}

from_octet! {
    ProbeKind or Kind: Probe Reply;
    Phase or Phase: Listening Standby TakingOver Serving Fenced;
    Role or Role: Unknown Primary Standby;
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// The term of its record; zero without one.
    pub term: Term,
    /// The primary that its record names.
    pub primary: Option<NodeId>,
    /// The in-sync set that its record names.
    pub in_sync: Members,
    /// What it is doing.
    pub phase: Phase,
    /// The role of its database.
    pub role: Role,
    /// Its agent is away on purpose and comes back.
    pub restarting: bool,
    /// An operator has paused failovers there.
    pub paused: bool,
    /// Its database hangs, or was stopped because it did, and has not come back.
    pub hung: bool,
    /// Its priority.
    pub priority: Priority,
    /// Where its database's log stands.
    pub lsn: Lsn,
}

/// What a kernel finds out about its node while it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelFacts {
    /// The database's port has a listener.
    pub listening: bool,
    /// What the gate does; `None`: a word of a later version.
    pub gate: Option<Passage>,
    /// Connections that wait for the database to accept them.
    pub queue: u16,
    /// How many may wait.
    pub queue_limit: u16,
    /// The agent's process has exited, and no other has taken its place.
    pub exited: bool,
    /// Milliseconds since the agent last showed that it lives.
    pub heartbeat_ms: u32,
}

/// A part of what a node says of its configuration: each probe carries one, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// Which: those that the receiver does not know are ignored.
    pub number: u8,
    /// What it says. A page that says nothing is 0.
    pub value: u64,
}

/// A probe or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The virtual router.
    pub vrid: Vrid,
    /// Question or answer.
    pub kind: ProbeKind,
    /// Grows with each packet of this sender, as long as its boot lasts: a restarted agent goes
    /// on where the old one was, or above. (Nanoseconds since boot are a good first number.)
    pub sequence: u64,
    /// The sender's boot.
    pub boot_id: [u8; 16],
    /// When it was sent: the sender's `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// The receiver's `time_ns` as the sender last heard it; in a reply, the probe's. 0: never
    /// heard.
    pub echo_ns: u64,
    /// The sender.
    pub node: NodeId,
    /// The receiver. A packet that is copied to a third node says nothing there: its echo is of
    /// another clock.
    pub to: NodeId,
    /// The path on which the probe was sent, by its sender's numbers; in a reply, the probe's.
    pub path: u8,
    /// For how long from the sending on the sender grants a lease, milliseconds; 0: it
    /// grants none.
    pub grant_ms: u16,
    /// The sender's status.
    pub status: Status,
    /// In a reply, what the kernel that made it saw.
    pub facts: Option<KernelFacts>,
    /// In a probe, a part of what its sender says of its configuration.
    pub page: Option<Page>,
}

/// Why a datagram was refused. One variant a reason, so that each can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Error {
    /// It is not [`LEN`](super::LEN) octets long.
    Length,
    /// It does not begin with [`MAGIC`](super::MAGIC).
    Magic,
    /// The layout is of an earlier version.
    Version,
    /// The tag is wrong: another key, or not from a node at all.
    Tag,
    /// The virtual router is 0.
    Vrid,
    /// The boot id is 0.
    Boot,
    /// Neither probe nor reply.
    Kind,
    /// Sender or receiver is nobody.
    Node,
    /// The phase is unknown.
    Phase,
    /// The role is unknown.
    Role,
    /// There is no path of this number.
    Path,
}

impl Error {
    /// One line for a log: what is wrong with the datagram.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Length => "its length is wrong",
            Self::Magic => "it is no probe of ogha's",
            Self::Version => "it is of an earlier version of the protocol",
            Self::Tag => "its tag is wrong: is the key file the same on all nodes?",
            Self::Vrid => "its virtual router is 0",
            Self::Boot => "its boot id is 0",
            Self::Kind => "it is neither probe nor reply",
            Self::Node => "its sender or its receiver is nobody",
            Self::Phase => "its phase is unknown",
            Self::Role => "its database role is unknown",
            Self::Path => "its path has too high a number",
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.reason())
    }
}

impl core::error::Error for Error {}
