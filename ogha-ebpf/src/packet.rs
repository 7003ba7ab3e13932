//! Headers, and the one place where a packet's bounds are checked.
//!
//! Fields are 16 bits at most, for IP's addresses stand at an odd multiple of two in a frame.
//! All of them keep network order; the methods give host order.

use core::mem::size_of;

mod ip;

pub use ip::{Address, Address4, Address6, Extension, Fragment, Ipv4, Ipv6};

/// `Ethernet::kind`, network order: IPv4.
pub const KIND_IPV4: u16 = 0x0800_u16.to_be();
/// `Ethernet::kind`, network order: IPv6.
pub const KIND_IPV6: u16 = 0x86dd_u16.to_be();
/// `Ethernet::kind`, network order: ARP.
pub const KIND_ARP: u16 = 0x0806_u16.to_be();
/// `Ethernet::kind`, network order: a VLAN tag (IEEE 802.1Q).
const KIND_VLAN: u16 = 0x8100_u16.to_be();
/// `Ethernet::kind`, network order: a provider's VLAN tag (IEEE 802.1ad), around another.
const KIND_SERVICE_VLAN: u16 = 0x88a8_u16.to_be();
/// What follows IP's header: IPv6's options for every hop (RFC 8200 section 4.3).
pub const PROTOCOL_HOP_BY_HOP: u8 = 0;
/// What follows IP's header: TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// What follows IP's header: UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// What follows IPv6's header: a route (RFC 8200 section 4.4).
pub const PROTOCOL_ROUTING: u8 = 43;
/// What follows IPv6's header: this is a piece of a packet (RFC 8200 section 4.5).
pub const PROTOCOL_FRAGMENT: u8 = 44;
/// What follows IPv6's header: ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// What follows IP's header: nothing (RFC 8200 section 4.7).
pub const PROTOCOL_NONE: u8 = 59;
/// What follows IP's header: VRRP.
pub const PROTOCOL_VRRP: u8 = 112;
/// What follows IPv6's header: options for the destination (RFC 8200 section 4.6).
pub const PROTOCOL_DESTINATION: u8 = 60;

/// The bytes of a frame that may be read and written.
///
/// Offsets are counted as if the frame had no VLAN tags.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
    /// Bytes of the tags between the MACs and `Ethernet::kind`.
    tags: usize,
    /// It belongs to another LAN than the interface's own.
    elsewhere: bool,
}

impl Frame {
    /// From the `data` and `data_end` of a program's context; `elsewhere`: its hook says that the
    /// frame came in, or leaves, in a VLAN.
    #[inline(always)]
    pub fn new(start: usize, end: usize, elsewhere: bool) -> Self {
        Self { start, end, tags: 0, elsewhere }
    }

    /// Looks behind the VLAN tags, of which there may be two (IEEE 802.1Q), and returns the kind of
    /// what follows, as `Ethernet::kind` would be. A tag without a VLAN, which only tells a priority,
    /// leaves the frame where it is.
    #[inline(always)]
    pub fn open(mut self) -> Option<(Self, u16)> {
        // SAFETY: `at` has checked the bounds.
        let mut kind = unsafe { (*self.ethernet()?).kind };
        for _ in 0..2 {
            if kind != KIND_VLAN && kind != KIND_SERVICE_VLAN {
                break;
            }
            let tag = self.at::<Tag>(Ethernet::LEN)?;
            // SAFETY: `at` has checked the bounds.
            let tag = unsafe { &*tag };
            self.elsewhere |= tag.control & Tag::VLAN != 0;
            self.tags += Tag::LEN;
            kind = tag.kind;
        }
        Some((self, kind))
    }

    /// The same frame, read anew after the program has changed its size.
    #[inline(always)]
    pub fn like(self, old: Self) -> Self {
        Self { start: self.start, end: self.end, ..old }
    }

    /// Bytes in the frame.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Bytes of the VLAN tags.
    #[inline(always)]
    pub fn tags(self) -> usize {
        self.tags
    }

    /// Does it belong to a VLAN, and not to the LAN of the interface's own addresses?
    #[inline(always)]
    pub fn is_elsewhere(self) -> bool {
        self.elsewhere
    }

    /// The MACs. What follows them may be a tag.
    #[inline(always)]
    pub fn ethernet(self) -> Option<*mut Ethernet> {
        let end = self.start + size_of::<Ethernet>();
        if end > self.end { None } else { Some(self.start as *mut Ethernet) }
    }

    /// Sends it back to where it came from. Returns whether it was done.
    #[inline(always)]
    pub fn turn(self) -> bool {
        let Some(ethernet) = self.ethernet() else { return false };
        // SAFETY: `ethernet` has checked the bounds; nobody else has the packet.
        let ethernet = unsafe { &mut *ethernet };
        (ethernet.source, ethernet.destination) = (ethernet.destination, ethernet.source);
        true
    }

    /// A header at `offset`, if the frame has it whole. The pointer holds until the program
    /// changes the frame's size.
    #[inline(always)]
    pub fn at<T>(self, offset: usize) -> Option<*mut T> {
        let address = self.start + self.tags + offset;
        if address + size_of::<T>() > self.end { None } else { Some(address as *mut T) }
    }
}

/// A VLAN tag and the kind of what follows it (IEEE 802.1Q section 9.6).
#[repr(C)]
struct Tag {
    /// Priority and VLAN.
    control: u16,
    /// As `Ethernet::kind`.
    kind: u16,
}

impl Tag {
    /// Bytes.
    const LEN: usize = size_of::<Self>();
    /// The bits of `control` that name the VLAN, network order; 0: none.
    const VLAN: u16 = 0x0fff_u16.to_be();
}

/// A MAC.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Mac([u16; 3]);

impl Mac {
    /// Of everybody.
    pub const BROADCAST: Self = Self([0xffff; 3]);
    /// Of nobody: it is asked for.
    pub const ZERO: Self = Self([0; 3]);
    /// Of every host that speaks IPv6 (RFC 2464 section 7).
    pub const ALL_NODES: Self = Self([0x3333_u16.to_be(), 0, 1_u16.to_be()]);

    /// From a map's value.
    #[inline(always)]
    pub fn from_octets(o: [u8; 6]) -> Self {
        let word = |high, low| u16::from_ne_bytes([high, low]);
        Self([word(o[0], o[1]), word(o[2], o[3]), word(o[4], o[5])])
    }

    /// Is it that of a group, or of everybody?
    #[inline(always)]
    pub fn is_group(self) -> bool {
        self.0[0] & 0x0100_u16.to_be() != 0
    }

    /// Its words, for a checksum.
    #[inline(always)]
    pub fn words(self) -> [u16; 3] {
        self.0
    }

    /// The low 48 bits, first octet highest: as `ogha_common::maps::mac_number` packs it.
    #[inline(always)]
    pub fn number(self) -> u64 {
        let word = |index: usize| u64::from(u16::from_be(self.0[index]));
        word(0) << 32 | word(1) << 16 | word(2)
    }
}

/// The header of a frame.
#[repr(C)]
pub struct Ethernet {
    /// Whom the frame is for.
    pub destination: Mac,
    /// Who sent it.
    pub source: Mac,
    /// What follows.
    pub kind: u16,
}

impl Ethernet {
    /// Bytes.
    pub const LEN: usize = size_of::<Self>();
}

/// ARP for IPv4 over Ethernet (RFC 826).
#[repr(C)]
pub struct Arp {
    /// Hardware, protocol and their lengths; [`Arp::FORMAT`] is the only one we speak.
    pub format: [u16; 3],
    /// Request or reply.
    pub operation: u16,
    /// MAC of the sender.
    pub sender_mac: Mac,
    /// Address that the sender claims.
    pub sender: Address4,
    /// MAC of the target.
    pub target_mac: Mac,
    /// Address asked for.
    pub target: Address4,
}

impl Arp {
    /// Ethernet (1), IPv4 (0x0800), addresses of 6 and 4 bytes.
    pub const FORMAT: [u16; 3] = [1_u16.to_be(), KIND_IPV4, 0x0604_u16.to_be()];
    /// `operation`, network order: who has `target`?
    pub const REQUEST: u16 = 1_u16.to_be();
    /// `operation`, network order: `sender` is at `sender_mac`.
    pub const REPLY: u16 = 2_u16.to_be();
}

/// A TCP header without options (RFC 9293 section 3.1).
#[repr(C)]
pub struct Tcp {
    /// Port of the sender.
    pub source: u16,
    /// Port of the receiver.
    pub destination: u16,
    /// Sequence number of the first byte.
    pub sequence: [u16; 2],
    /// Next sequence number that the sender expects.
    pub acknowledgement: [u16; 2],
    /// Length of the header, in words of 32 bits, in the high half.
    pub offset: u8,
    /// The `TCP_` flags.
    pub flags: u8,
    /// Bytes that the sender will take.
    pub window: u16,
    /// Of the segment and a pseudo header.
    pub checksum: u16,
    /// End of urgent data.
    pub urgent: u16,
}

/// `Tcp::flags`: no more data from the sender.
pub const TCP_FIN: u8 = 0x01;
/// `Tcp::flags`: synchronises sequence numbers.
pub const TCP_SYN: u8 = 0x02;
/// `Tcp::flags`: resets the connection.
pub const TCP_RST: u8 = 0x04;
/// `Tcp::flags`: the acknowledgement number counts.
pub const TCP_ACK: u8 = 0x10;

impl Tcp {
    /// Bytes, without options.
    pub const LEN: usize = size_of::<Self>();

    /// Bytes of the header with its options, as it says itself.
    #[inline(always)]
    pub fn header_length(&self) -> u32 {
        u32::from(self.offset >> 4) << 2
    }
}

/// A UDP header (RFC 768).
#[repr(C)]
pub struct Udp {
    /// Port of the sender.
    pub source: u16,
    /// Port of the receiver.
    pub destination: u16,
    /// Bytes, this header included.
    pub length: u16,
    /// Of the datagram and a pseudo header; 0: none was made.
    pub checksum: u16,
}

impl Udp {
    /// Bytes.
    pub const LEN: usize = size_of::<Self>();
}

/// Two words of a packet as a number in host order.
#[inline(always)]
pub fn number(words: [u16; 2]) -> u32 {
    u32::from(u16::from_be(words[0])) << 16 | u32::from(u16::from_be(words[1]))
}

/// A number in host order as two words of a packet.
#[inline(always)]
pub fn words(number: u32) -> [u16; 2] {
    [((number >> 16) as u16).to_be(), (number as u16).to_be()]
}
