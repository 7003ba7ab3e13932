//! Where everything stands in a datagram.

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
/// The version of this layout. A datagram of a later version is read by what this one knows of it, and
/// answered in this one: see the rules of [`offset`].
pub const VERSION: u8 = 2;
/// How many paths to a peer are told apart: a power of two.
pub const MAX_PATHS: usize = 4;

/// Where the fields begin.
///
/// What a version and the next one have to agree on, so that they hear each other:
///
/// * The length, and what stands where, never change. A receiver takes its own version and all later
///   ones, and refuses earlier ones.
/// * Bits of flags that a receiver does not know are ignored. So is a [page](super::Page) that it does not
///   know: whatever a version adds is a page with a new number.
/// * A phase, a role or a kind that the older version does not know is not sent.
/// * A reply is of its sender's own version, whatever the probe's was.
///
/// A *probe* has no facts of a kernel. In their place it carries a page, another one each time: 16 bits
/// at [`offset::QUEUE`], 16 at [`offset::QUEUE_LIMIT`] and 32 at [`offset::HEARTBEAT`] are its value, [`offset::GATE`] is its number. The
/// programs of the first release, which know no pages, do not look there.
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
/// 88|               in-sync set that the record names               |
/// 96| phase | role  | flags | path  | facts | gate  | accept queue  |
///104|  queue limit  |     grant     |       heartbeat's age         |
///112|                              tag                              |
///   +---------------------------------------------------------------+
/// ```
pub mod offset {
    /// [`MAGIC`](crate::wire::probe::MAGIC), 4 octets.
    pub const MAGIC: usize = 0;
    /// [`VERSION`](crate::wire::probe::VERSION), 1 octet.
    pub const VERSION: usize = 4;
    /// Virtual router, 1 octet.
    pub const VRID: usize = 5;
    /// [`ProbeKind`](crate::wire::probe::ProbeKind), 1 octet.
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
    /// The in-sync set that the record names: [`Members`](crate::units::Members), 8 octets.
    pub const IN_SYNC: usize = 88;
    /// [`Phase`](crate::wire::probe::Phase), 1 octet.
    pub const PHASE: usize = 96;
    /// [`Role`](crate::wire::probe::Role), 1 octet.
    pub const ROLE: usize = 97;
    /// [`RESTARTING`](super::flag::RESTARTING), [`PAUSED`](super::flag::PAUSED),
    /// [`HUNG`](super::flag::HUNG). The other bits are
    /// sent as 0 and ignored. 1 octet.
    pub const FLAGS: usize = 98;
    /// The path on which the probe was sent, by its sender's numbers; in a reply, the probe's.
    /// 1 octet, below [`MAX_PATHS`](crate::wire::probe::MAX_PATHS).
    pub const PATH: usize = 99;
    /// [`FILLED_IN`](super::flag::FILLED_IN), [`LISTENING`](super::flag::LISTENING),
    /// [`EXITED`](super::flag::EXITED); in a probe, [`PAGE`](super::flag::PAGE). The other bits are sent
    /// as 0 and ignored. 1 octet.
    pub const FACTS: usize = 100;
    /// [`Passage`](crate::gate::Passage); in a probe, the number of its page. 1 octet.
    pub const GATE: usize = 101;
    /// Connections that wait to be accepted, 2 octets.
    pub const QUEUE: usize = 102;
    /// How many may wait, 2 octets.
    pub const QUEUE_LIMIT: usize = 104;
    /// For how long the sender grants a lease, milliseconds, 2 octets; 0: it does not.
    pub const GRANT: usize = 106;
    /// Milliseconds since the agent last showed that it lives, 4 octets.
    pub const HEARTBEAT: usize = 108;
    /// SipHash-2-4 over all octets before it, 8 octets.
    pub const TAG: usize = 112;
}

/// The bits of the octets of flags.
pub mod flag {
    /// [`FLAGS`](super::offset::FLAGS): the agent is away on purpose.
    pub const RESTARTING: u8 = 1;
    /// [`FLAGS`](super::offset::FLAGS): an operator has paused failovers.
    pub const PAUSED: u8 = 2;
    /// [`FLAGS`](super::offset::FLAGS): the database hangs, or was stopped because it did.
    pub const HUNG: u8 = 4;
    /// [`FACTS`](super::offset::FACTS): the kernel has filled in what follows.
    pub const FILLED_IN: u8 = 1;
    /// [`FACTS`](super::offset::FACTS): the database's port has a listener.
    pub const LISTENING: u8 = 2;
    /// [`FACTS`](super::offset::FACTS): the agent's process has exited.
    pub const EXITED: u8 = 4;
    /// [`FACTS`](super::offset::FACTS): in a probe, a page stands in the place of the facts.
    pub const PAGE: u8 = 8;
}

const _: () = assert!(LEN.is_multiple_of(8) && offset::HEARTBEAT + 4 == offset::TAG);

/// The datagram as words.
#[must_use]
pub fn words(datagram: &[u8; LEN]) -> Words {
    core::array::from_fn(|i| u64::from_ne_bytes(core::array::from_fn(|at| datagram[8 * i + at])))
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

/// For how long its sender grants a lease, milliseconds.
#[must_use]
#[inline(always)]
pub const fn grant_ms(words: &Words) -> u16 {
    (word(words, offset::GRANT) >> 32) as u16
}

/// The page of a probe, from the lower half of the word at [`offset::PHASE`] and the word after it: its
/// number and its value. `None`: it carries none.
#[must_use]
#[inline(always)]
pub const fn page(high: u32, low: u64) -> Option<(u8, u64)> {
    if (high >> 24) as u8 & flag::PAGE == 0 {
        return None;
    }
    let value = ((high & 0xffff) as u64) << 48 | low >> 48 << 32 | low & 0xffff_ffff;
    Some(((high >> 16) as u8, value))
}

/// The words that [`page`] reads. The second has room for the grant.
#[must_use]
pub const fn page_words(number: u8, value: u64) -> (u32, u64) {
    let high = (flag::PAGE as u32) << 24 | (number as u32) << 16 | (value >> 48) as u32;
    (high, (value >> 32 & 0xffff) << 48 | value & 0xffff_ffff)
}
