//! Units as types, so that a centisecond is never taken for a second.

use core::{
    fmt,
    num::NonZeroU64,
    ops::{Add, Sub},
    time::Duration,
};

/// A virtual router identifier, 1 to 255 (RFC 9568 section 5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrid(u8);

impl Vrid {
    /// `None` for 0, which names no virtual router.
    #[must_use]
    pub const fn new(id: u8) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The identifier as it stands on the wire.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A VRRP priority (RFC 9568 section 5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The active router gives up its role.
    pub const RELEASE: Self = Self(0);
    /// What an operator gets without a choice.
    pub const DEFAULT: Self = Self(100);
    /// The highest that does not claim to own the address.
    pub const HIGHEST: Self = Self(254);
    /// The router owns the addresses, and is active whenever it is up.
    pub const OWNER: Self = Self(255);

    /// Any octet is a priority: 0 releases, 255 owns the address, the rest are ranks.
    #[must_use]
    pub const fn new(rank: u8) -> Self {
        Self(rank)
    }

    /// The priority as it stands on the wire.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// `Skew_Time`: `(256 - priority) * interval / 256` (RFC 9568 section 6.1).
    /// The product comes first, for a centisecond divided by 256 is nothing.
    #[must_use]
    pub const fn skew(self, interval: Centis) -> Duration {
        let nanos = interval.duration().as_nanos() as u64;
        Duration::from_nanos((256 - self.0 as u64) * nanos / 256)
    }
}

/// Centiseconds, 1 to 4095: the unit and the 12 bits of `Max Advertise Interval`
/// (RFC 9568 section 5.2.7; 0 is refused by erratum 8301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Centis(u16);

impl Centis {
    /// The interval that version 2 is usually run with, and the unit of its skew.
    pub const ONE_SECOND: Self = Self(100);

    /// `None` outside 1 to 4095.
    #[must_use]
    pub const fn new(centis: u16) -> Option<Self> {
        if centis >= 1 && centis <= 0xfff { Some(Self(centis)) } else { None }
    }

    /// `None` if the duration is not a whole number of centiseconds from 10 ms to 40.95 s.
    #[must_use]
    pub const fn from_duration(duration: Duration) -> Option<Self> {
        let nanos = duration.as_nanos();
        if !nanos.is_multiple_of(10_000_000) || nanos > 40_950_000_000 {
            return None;
        }
        Self::new((nanos / 10_000_000) as u16)
    }

    /// The number as it stands on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The same time as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 10)
    }
}

/// A moment of `CLOCK_BOOTTIME`, in nanoseconds since boot: the clock of `bpf_ktime_get_boot_ns`,
/// which goes on while the machine sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// A moment from the kernel's nanoseconds.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// The kernel's nanoseconds.
    #[must_use]
    pub const fn ns(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time (584 years).
    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at boot.
    fn sub(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

/// A number that grows by one with each change of the cluster record; the higher always wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

impl Term {
    /// Before the first record.
    pub const ZERO: Self = Self(0);
    /// How far a term may be ahead of one's own and be believed. Each change of the record takes one
    /// term: at one a second, 2^32 last for 136 years, so no node has ever missed so many. And no
    /// single datagram or record, forged or damaged, can bring the terms near their end, where no
    /// change is possible any more: that would take 2^32 of them.
    pub const LEAP: u64 = 1 << 32;

    /// A term read from a record or from the wire.
    #[must_use]
    pub const fn new(term: u64) -> Self {
        Self(term)
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The term that a change of the record takes.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Is it so far ahead of the own term that it cannot be true? Who reads such a one refuses what
    /// names it.
    #[must_use]
    #[inline(always)]
    pub const fn leaps_from(self, own: Self) -> bool {
        self.0.saturating_sub(own.0) > Self::LEAP
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position in the write-ahead log, shown as PostgreSQL shows it: `0/5000148`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// A byte position.
    #[must_use]
    pub const fn new(position: u64) -> Self {
        Self(position)
    }

    /// The byte position.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Reads `high/low`, both hexadecimal, at most 32 bits each.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.trim().split_once('/')?;
        let part = |hex| u32::from_str_radix(hex, 16).ok().map(u64::from);
        Some(Self(part(high)? << 32 | part(low)?))
    }

    /// Bytes by which this position is behind `other`; 0 if it is not behind.
    #[must_use]
    pub const fn behind(self, other: Self) -> u64 {
        other.0.saturating_sub(self.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// Who a node is, on the wire and in the cluster record: a fixed hash of its configured name.
/// Never 0, which stands for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// An identity read from a record. 0 is nobody's, and becomes 1 as in [`NodeId::of`];
    /// [`NodeId::from_wire`] tells it apart.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        match NonZeroU64::new(id) {
            Some(id) => Self(id),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// An identity as it stands on the wire; `None` for 0, nobody.
    #[must_use]
    pub const fn from_wire(id: u64) -> Option<Self> {
        if id == 0 { None } else { Some(Self::new(id)) }
    }

    /// The identity of the node of this name: FNV-1a, 64 bits. It must never change, for nodes
    /// of different versions must agree on it.
    #[must_use]
    pub const fn of(name: &str) -> Self {
        Self::new(fnv_1a(name.as_bytes()))
    }

    /// The number as it stands on the wire.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

const fn fnv_1a(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

/// A set of nodes on the wire: the exclusive-or of their identities. As these are hashes of 64 bits,
/// the few sets that the nodes of an instance can make are told apart by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Members(u64);

impl Members {
    /// Of no node.
    pub const NONE: Self = Self(0);

    /// As it stands on the wire.
    #[must_use]
    pub const fn from_wire(word: u64) -> Self {
        Self(word)
    }

    /// As it stands on the wire.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// With that node, if it was not in the set; else without it.
    #[must_use]
    pub const fn with(self, node: NodeId) -> Self {
        Self(self.0 ^ node.get())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn skew_is_not_truncated_at_ten_milliseconds() {
        let interval = Centis::new(1).unwrap();
        assert_eq!(Priority::new(100).skew(interval), Duration::from_nanos(6_093_750));
        assert_eq!(Priority::new(254).skew(interval), Duration::from_nanos(78_125));
        assert_eq!(Priority::new(0).skew(interval), interval.duration());
    }

    #[test]
    fn centiseconds_are_centiseconds() {
        assert_eq!(Centis::new(100).unwrap().duration(), Duration::from_secs(1));
        assert_eq!(Centis::from_duration(Duration::from_millis(10)), Centis::new(1));
        assert_eq!(Centis::from_duration(Duration::from_millis(40_950)), Centis::new(4095));
        for refused in [0, 5, 15, 40_960] {
            assert_eq!(Centis::from_duration(Duration::from_millis(refused)), None, "{refused} ms");
        }
        assert_eq!(Centis::new(0), None);
        assert_eq!(Centis::new(4096), None);
    }

    #[test]
    fn vrid_zero_is_refused() {
        assert_eq!(Vrid::new(0), None);
        assert_eq!(Vrid::new(59).map(Vrid::get), Some(59));
    }

    #[test]
    fn instants_saturate() {
        let boot = Instant::default();
        assert_eq!(boot - Duration::from_secs(1), boot);
        assert_eq!(boot.since(boot + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!((boot + Duration::MAX).ns(), u64::MAX);
    }

    #[test]
    fn a_term_that_leaps_is_not_believed() {
        let leaps = |term, own| Term::new(term).leaps_from(Term::new(own));
        for own in [0, 7, Term::LEAP, u64::MAX - Term::LEAP] {
            assert!(!leaps(own, own), "{own}");
            assert!(!leaps(own + 1, own), "{own}");
            assert!(!leaps(own + Term::LEAP, own), "{own}");
            assert!(!leaps(0, own), "what is behind does not leap");
        }
        for own in [0, 7, Term::LEAP] {
            assert!(leaps(own + Term::LEAP + 1, own), "{own}");
            assert!(leaps(u64::MAX, own), "{own}");
        }
        assert!(!leaps(u64::MAX, u64::MAX));
    }

    #[test]
    fn positions_read_and_show_as_postgresql_shows_them() {
        let lsn = Lsn::parse("0/5000148\n").unwrap();
        assert_eq!(lsn.to_string(), "0/5000148");
        assert_eq!(Lsn::parse("16/B374D848").unwrap().get(), 0x16_B374_D848);
        assert_eq!(lsn.behind(Lsn::new(lsn.get() + 16)), 16);
        assert_eq!(lsn.behind(Lsn::new(0)), 0);
        for refused in ["", "0", "0/", "/1", "g/0", "1FFFFFFFF/0", "0/1/2"] {
            assert_eq!(Lsn::parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_name_has_one_identity_and_it_is_never_nobody() {
        // The published test values of FNV-1a.
        assert_eq!(NodeId::of("a").get(), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(NodeId::of("foobar").get(), 0x8594_4171_f739_67e8);
        assert_eq!(NodeId::of("").get(), 0xcbf2_9ce4_8422_2325);
        // A name whose hash is 0.
        assert_eq!(fnv_1a(b"!0IC=VloaY"), 0);
        assert_eq!(NodeId::of("!0IC=VloaY").get(), 1);
        assert_eq!(NodeId::from_wire(0), None);
        assert_eq!(NodeId::from_wire(7).map(NodeId::get), Some(7));
        assert_eq!(NodeId::of("a").to_string(), "af63dc4c8601ec8c");
    }
}
