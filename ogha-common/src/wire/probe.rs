//! Probes: authenticated UDP datagrams by which nodes tell each other that they are there, and
//! in what state. Status travels between nodes in no other way.
//!
//! An agent sends probes; the kernel of the node that is probed answers, whether its agent lives or
//! not. One fixed length, big-endian, 64-bit fields at multiples of 8: a datagram is handled as
//! [`Words`], by the kernel's program as by user space, and [`check`] is the one place where its
//! rules stand. The tag is a SipHash-2-4 under the cluster's key over all before it; the caller
//! brings the function, for this module holds no key.

use crate::{
    maps::Passage,
    units::{Lsn, NodeId, Priority, Term, Vrid},
};

/// The length of every probe and reply, in octets.
pub const LEN: usize = offset::TAG + 8;
/// The same in words of 8 octets.
pub const WORDS: usize = LEN / 8;

/// A datagram, its words as they lie in memory: in network order.
pub type Words = [u64; WORDS];
/// What the tag is over.
pub type Body = [u64; WORDS - 1];

/// The first four octets.
pub const MAGIC: [u8; 4] = *b"OGHA";
/// The version of this layout.
pub const VERSION: u8 = 1;
/// How many paths to a peer are told apart: a power of two.
pub const MAX_PATHS: usize = 4;

const RESTARTING: u8 = 1;
const FILLED_IN: u8 = 1;
const LISTENING: u8 = 2;
const EXITED: u8 = 4;

/// Where the fields begin.
///
/// ```text
///      0       1       2       3       4       5       6       7
///   +-------+-------+-------+-------+-------+-------+-------+-------+
///  0|            magic              |version| VRID  | kind  |priority|
///  8|                           sequence                            |
/// 16|                    boot id of the sender                      |
/// 24|                          (16 octets)                          |
/// 32|                      time, sender's clock                     |
/// 40|                      echo, receiver's clock                   |
/// 48|                            sender                             |
/// 56|                           receiver                            |
/// 64|                             term                              |
/// 72|                primary that the record names                  |
/// 80|                       log position (LSN)                      |
/// 88| phase | role  | flags | path  | facts | gate  | accept queue  |
/// 96|  queue limit  |     grant     |       heartbeat's age         |
/// 104|                             tag                              |
///   +---------------------------------------------------------------+
/// ```
pub mod offset {
    /// [`MAGIC`](super::MAGIC), 4 octets.
    pub const MAGIC: usize = 0;
    /// [`VERSION`](super::VERSION), 1 octet.
    pub const VERSION: usize = 4;
    /// Virtual router, 1 octet.
    pub const VRID: usize = 5;
    /// [`Kind`](super::Kind), 1 octet.
    pub const KIND: usize = 6;
    /// Priority of the sender, 1 octet.
    pub const PRIORITY: usize = 7;
    /// Sequence number, 8 octets.
    pub const SEQUENCE: usize = 8;
    /// The kernel's random boot id, 16 octets.
    pub const BOOT_ID: usize = 16;
    /// Sender's `CLOCK_BOOTTIME`, nanoseconds, 8 octets.
    pub const TIME: usize = 32;
    /// The receiver's `CLOCK_BOOTTIME` as last heard, nanoseconds, 8 octets; 0: never heard.
    pub const ECHO: usize = 40;
    /// The sender, 8 octets.
    pub const NODE: usize = 48;
    /// The receiver, 8 octets.
    pub const TO: usize = 56;
    /// Term of the sender's record, 8 octets.
    pub const TERM: usize = 64;
    /// The primary that the record names, 8 octets; 0: no record.
    pub const PRIMARY: usize = 72;
    /// Position in the database's log, 8 octets.
    pub const LSN: usize = 80;
    /// [`Phase`](super::Phase), 1 octet.
    pub const PHASE: usize = 88;
    /// [`Role`](super::Role), 1 octet.
    pub const ROLE: usize = 89;
    /// Bit 0: restarting. The others are sent as 0 and ignored. 1 octet.
    pub const FLAGS: usize = 90;
    /// The path on which the probe was sent, by its sender's numbers; in a reply, the probe's.
    /// 1 octet, below [`MAX_PATHS`](super::MAX_PATHS).
    pub const PATH: usize = 91;
    /// Bit 0: the kernel has filled in what follows; bit 1: the database's port has a listener;
    /// bit 2: the agent's process has exited. The others are sent as 0 and ignored. 1 octet.
    pub const FACTS: usize = 92;
    /// [`Passage`](crate::maps::Passage), 1 octet.
    pub const GATE: usize = 93;
    /// Connections that wait to be accepted, 2 octets.
    pub const QUEUE: usize = 94;
    /// How many may wait, 2 octets.
    pub const QUEUE_LIMIT: usize = 96;
    /// For how long the sender promises not to promote, milliseconds, 2 octets; 0: it does not.
    pub const GRANT: usize = 98;
    /// Milliseconds since the agent last showed that it lives, 4 octets.
    pub const HEARTBEAT: usize = 100;
    /// SipHash-2-4 over all octets before it, 8 octets.
    pub const TAG: usize = 104;
}

const _: () = assert!(LEN.is_multiple_of(8) && offset::HEARTBEAT + 4 == offset::TAG);

/// Question or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Wants a reply.
    Probe = 1,
    /// Answers a probe.
    Reply = 2,
}

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    ($($name:ident: $($variant:ident)*;)*) => {$(
        impl TryFrom<u8> for $name {
            type Error = Error;

            fn try_from(octet: u8) -> Result<Self, Error> {
                match octet {
                    $(octet if octet == Self::$variant as u8 => Ok(Self::$variant),)*
                    _ => Err(Error::$name),
                }
            }
        }
    )*};
}

from_octet! {
    Kind: Probe Reply;
    Phase: Listening Standby TakingOver Serving Fenced;
    Role: Unknown Primary Standby;
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The term of its record; zero without one.
    pub term: Term,
    /// The primary that its record names.
    pub primary: Option<NodeId>,
    /// What it is doing.
    pub phase: Phase,
    /// The role of its database.
    pub role: Role,
    /// Its agent is away on purpose and comes back.
    pub restarting: bool,
    /// Its priority.
    pub priority: Priority,
    /// Where its database's log stands.
    pub lsn: Lsn,
}

/// What a kernel finds out about its node while it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
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

/// A probe or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The virtual router.
    pub vrid: Vrid,
    /// Question or answer.
    pub kind: Kind,
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
    /// For how long from the sending on the sender promises not to promote, milliseconds; 0: it
    /// promises nothing.
    pub grant_ms: u16,
    /// The sender's status.
    pub status: Status,
    /// In a reply, what the kernel that made it saw.
    pub facts: Option<Facts>,
}

/// Why a datagram was refused. One variant a reason, so that each can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Error {
    /// It is not [`LEN`] octets long.
    Length,
    /// It does not begin with [`MAGIC`].
    Magic,
    /// The layout is another version's.
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
            Self::Version => "it is of another version of the protocol",
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

/// Writes the datagram; `tag` is the keyed hash over what it is given.
pub fn encode(probe: &Probe, tag: impl FnOnce(&Body) -> u64) -> [u8; LEN] {
    let status = &probe.status;
    let primary = status.primary.map_or(0, NodeId::get);
    let flags = if status.restarting { RESTARTING } else { 0 };
    let mut out = [0; LEN];
    put(&mut out, offset::MAGIC, MAGIC);
    put(&mut out, offset::VERSION, [VERSION]);
    put(&mut out, offset::VRID, [probe.vrid.get()]);
    put(&mut out, offset::KIND, [probe.kind as u8]);
    put(&mut out, offset::PRIORITY, [status.priority.get()]);
    put(&mut out, offset::SEQUENCE, probe.sequence.to_be_bytes());
    put(&mut out, offset::BOOT_ID, probe.boot_id);
    put(&mut out, offset::TIME, probe.time_ns.to_be_bytes());
    put(&mut out, offset::ECHO, probe.echo_ns.to_be_bytes());
    put(&mut out, offset::NODE, probe.node.get().to_be_bytes());
    put(&mut out, offset::TO, probe.to.get().to_be_bytes());
    put(&mut out, offset::TERM, status.term.get().to_be_bytes());
    put(&mut out, offset::PRIMARY, primary.to_be_bytes());
    put(&mut out, offset::LSN, status.lsn.get().to_be_bytes());
    put(&mut out, offset::PHASE, [status.phase as u8]);
    put(&mut out, offset::ROLE, [status.role as u8]);
    put(&mut out, offset::FLAGS, [flags]);
    put(&mut out, offset::PATH, [probe.path]);
    if let Some(facts) = &probe.facts {
        let (high, low) = facts_words(facts);
        put(&mut out, offset::FACTS, high.to_be_bytes());
        put(&mut out, offset::QUEUE_LIMIT, low.to_be_bytes());
    }
    put(&mut out, offset::GRANT, probe.grant_ms.to_be_bytes());
    let tag = body(&words(&out)).map_or(0, tag);
    put(&mut out, offset::TAG, tag.to_be_bytes());
    out
}

/// What a kernel fills in: the lower half of the word at [`offset::PHASE`], and the one after it.
#[must_use]
#[inline(always)]
pub fn facts_words(facts: &Facts) -> (u32, u64) {
    let flags = FILLED_IN
        | if facts.listening { LISTENING } else { 0 }
        | if facts.exited { EXITED } else { 0 };
    let gate = match facts.gate {
        Some(passage) => passage as u8,
        None => 0,
    };
    let high = (flags as u32) << 24 | (gate as u32) << 16 | facts.queue as u32;
    (high, (facts.queue_limit as u64) << 48 | facts.heartbeat_ms as u64)
}

/// The datagram as words.
#[must_use]
pub fn words(datagram: &[u8; LEN]) -> Words {
    core::array::from_fn(|i| u64::from_ne_bytes(take(datagram, 8 * i)))
}

/// All but the tag.
#[must_use]
#[inline(always)]
pub fn body(words: &Words) -> Option<&Body> {
    words.first_chunk()
}

/// A word of the datagram as a number, named by its [`offset`].
#[must_use]
#[inline(always)]
pub const fn word(words: &Words, at: usize) -> u64 {
    u64::from_be(words[at / 8])
}

/// An octet of the datagram, named by its [`offset`].
#[must_use]
#[inline(always)]
pub const fn octet(words: &Words, at: usize) -> u8 {
    (word(words, at) >> (56 - 8 * (at % 8))) as u8
}

/// For how long its sender promises not to promote, milliseconds.
#[must_use]
#[inline(always)]
pub const fn grant_ms(words: &Words) -> u16 {
    (word(words, offset::GRANT) >> 32) as u16
}

/// Is this a datagram that may be acted upon? `tag` is the keyed hash over what it is given.
/// Nothing but magic and version is looked at before the tag is found right.
///
/// # Errors
/// The first rule that the datagram breaks.
#[inline(always)]
pub fn check(words: &Words, tag: impl FnOnce(&Body) -> u64) -> Result<(), Error> {
    if word(words, offset::MAGIC) >> 32 != u32::from_be_bytes(MAGIC) as u64 {
        return Err(Error::Magic);
    }
    if octet(words, offset::VERSION) != VERSION {
        return Err(Error::Version);
    }
    let Some(body) = body(words) else { return Err(Error::Length) };
    if tag(body) != word(words, offset::TAG) {
        return Err(Error::Tag);
    }
    if octet(words, offset::VRID) == 0 {
        return Err(Error::Vrid);
    }
    if words[offset::BOOT_ID / 8] | words[offset::BOOT_ID / 8 + 1] == 0 {
        return Err(Error::Boot);
    }
    if !matches!(octet(words, offset::KIND), 1..=2) {
        return Err(Error::Kind);
    }
    if word(words, offset::NODE) == 0 || word(words, offset::TO) == 0 {
        return Err(Error::Node);
    }
    if !matches!(octet(words, offset::PHASE), 1..=5) {
        return Err(Error::Phase);
    }
    if octet(words, offset::ROLE) > 2 {
        return Err(Error::Role);
    }
    if octet(words, offset::PATH) as usize >= MAX_PATHS {
        return Err(Error::Path);
    }
    Ok(())
}

/// Reads a datagram; `tag` is the keyed hash over what it is given.
///
/// # Errors
/// The first rule that the datagram breaks, as [`check`] finds it.
pub fn parse(datagram: &[u8], tag: impl FnOnce(&Body) -> u64) -> Result<Probe, Error> {
    let packet: &[u8; LEN] = datagram.try_into().map_err(|_| Error::Length)?;
    check(&words(packet), tag)?;
    let node = |at| NodeId::from_wire(number(packet, at)).ok_or(Error::Node);
    Ok(Probe {
        vrid: Vrid::new(packet[offset::VRID]).ok_or(Error::Vrid)?,
        kind: packet[offset::KIND].try_into()?,
        sequence: number(packet, offset::SEQUENCE),
        boot_id: take(packet, offset::BOOT_ID),
        time_ns: number(packet, offset::TIME),
        echo_ns: number(packet, offset::ECHO),
        node: node(offset::NODE)?,
        to: node(offset::TO)?,
        path: packet[offset::PATH],
        grant_ms: u16::from_be_bytes(take(packet, offset::GRANT)),
        status: read_status(packet)?,
        facts: read_facts(packet),
    })
}

fn read_status(packet: &[u8; LEN]) -> Result<Status, Error> {
    Ok(Status {
        term: Term::new(number(packet, offset::TERM)),
        primary: NodeId::from_wire(number(packet, offset::PRIMARY)),
        phase: packet[offset::PHASE].try_into()?,
        role: packet[offset::ROLE].try_into()?,
        restarting: packet[offset::FLAGS] & RESTARTING != 0,
        priority: Priority::new(packet[offset::PRIORITY]),
        lsn: Lsn::new(number(packet, offset::LSN)),
    })
}

fn read_facts(packet: &[u8; LEN]) -> Option<Facts> {
    let flags = packet[offset::FACTS];
    (flags & FILLED_IN != 0).then(|| Facts {
        listening: flags & LISTENING != 0,
        exited: flags & EXITED != 0,
        gate: Passage::from_wire(packet[offset::GATE]),
        queue: u16::from_be_bytes(take(packet, offset::QUEUE)),
        queue_limit: u16::from_be_bytes(take(packet, offset::QUEUE_LIMIT)),
        heartbeat_ms: u32::from_be_bytes(take(packet, offset::HEARTBEAT)),
    })
}

fn put<const N: usize>(packet: &mut [u8; LEN], at: usize, octets: [u8; N]) {
    packet[at..at + N].copy_from_slice(&octets);
}

fn take<const N: usize>(packet: &[u8; LEN], at: usize) -> [u8; N] {
    core::array::from_fn(|i| packet[at + i])
}

fn number(packet: &[u8; LEN], at: usize) -> u64 {
    u64::from_be_bytes(take(packet, at))
}

#[cfg(test)]
mod tests;
