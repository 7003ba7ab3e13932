//! The headers and addresses of both versions of IP.

use core::mem::size_of;

use crate::checksum;

/// An address.
pub trait Address: Copy {
    /// `VipKey::words` of it.
    fn key(self) -> [u64; 2];
    /// The last of its octets.
    fn last_octet(self) -> u8;
    /// The sum of its words, for a checksum.
    fn sum(self) -> u32;
}

/// An IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Address4([u16; 2]);

impl Address4 {
    /// Is it 0.0.0.0, the sender of an ARP probe (RFC 5227 section 2.1.1)?
    #[inline(always)]
    pub fn is_unspecified(self) -> bool {
        self.0[0] | self.0[1] == 0
    }
}

impl Address for Address4 {
    /// Of `::ffff:a.b.c.d`, the form in which the maps hold it. Byte by byte would take the program
    /// longer than the look-up.
    #[inline(always)]
    fn key(self) -> [u64; 2] {
        const PREFIX: u64 = u64::from_be_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]).to_be();
        const SHIFT: [u32; 2] = if cfg!(target_endian = "little") { [32, 48] } else { [16, 0] };
        [0, PREFIX | u64::from(self.0[0]) << SHIFT[0] | u64::from(self.0[1]) << SHIFT[1]]
    }

    #[inline(always)]
    fn last_octet(self) -> u8 {
        self.0[1].to_ne_bytes()[1]
    }

    #[inline(always)]
    fn sum(self) -> u32 {
        checksum::add(self.0)
    }
}

/// An IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Address6([u16; 8]);

impl Address6 {
    /// Every host at the link: ff02::1 (RFC 4291 section 2.7.1).
    pub const ALL_NODES: Self = Self([0xff02_u16.to_be(), 0, 0, 0, 0, 0, 0, 1_u16.to_be()]);

    /// Is it ::, the source of who does not know yet whether its address is its own (RFC 4862 section
    /// 5.4.2)?
    #[inline(always)]
    pub fn is_unspecified(self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    /// Is it that of a group?
    #[inline(always)]
    pub fn is_group(self) -> bool {
        self.0[0] & 0xff00_u16.to_be() == 0xff00_u16.to_be()
    }

    /// Is it ff02::1:ffxx:xxxx, where those are asked whose address ends so (RFC 4291 section 2.7.1)?
    #[inline(always)]
    pub fn is_solicited_node(self) -> bool {
        const PREFIX: [u16; 6] = [0xff02_u16.to_be(), 0, 0, 0, 0, 1_u16.to_be()];
        let [a, b, c, d, e, f, g, _] = self.0;
        let differs = |word: u16, index: usize| word ^ PREFIX[index];
        let prefix = differs(a, 0)
            | differs(b, 1)
            | differs(c, 2)
            | differs(d, 3)
            | differs(e, 4)
            | differs(f, 5);
        prefix == 0 && g & 0xff00_u16.to_be() == 0xff00_u16.to_be()
    }
}

impl Address for Address6 {
    #[inline(always)]
    fn key(self) -> [u64; 2] {
        let word = |[a, b, c, d]: [u16; 4]| {
            const SHIFT: [u32; 4] =
                if cfg!(target_endian = "little") { [0, 16, 32, 48] } else { [48, 32, 16, 0] };
            u64::from(a) << SHIFT[0]
                | u64::from(b) << SHIFT[1]
                | u64::from(c) << SHIFT[2]
                | u64::from(d) << SHIFT[3]
        };
        let [a, b, c, d, e, f, g, h] = self.0;
        [word([a, b, c, d]), word([e, f, g, h])]
    }

    #[inline(always)]
    fn last_octet(self) -> u8 {
        self.0[7].to_ne_bytes()[1]
    }

    #[inline(always)]
    fn sum(self) -> u32 {
        checksum::add(self.0)
    }
}

/// An IPv4 header without options (RFC 791 section 3.1).
#[repr(C)]
pub struct Ipv4 {
    /// Version, and length of the header in words of 32 bits.
    pub version_length: u8,
    /// Type of service.
    pub service: u8,
    /// Bytes of the packet, this header included; 0 in one of more than 64 KiB that segmentation
    /// offload has not cut yet.
    pub total: u16,
    /// Names the fragments of one packet.
    pub identification: u16,
    /// Flags, and the offset of the fragment in words of 64 bits.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Of this header.
    pub checksum: u16,
    /// Who sent it.
    pub source: Address4,
    /// Whom it is for.
    pub destination: Address4,
}

impl Ipv4 {
    /// Bytes, without options.
    pub const LEN: usize = size_of::<Self>();

    /// Bytes of the header with its options, as it says itself.
    #[inline(always)]
    pub fn header_length(&self) -> usize {
        usize::from(self.version_length & 0xf) << 2
    }

    /// It is a piece of a packet.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.fragment & 0x3fff_u16.to_be() != 0
    }

    /// A fragment other than the first begins in the middle of the payload.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment & 0x1fff_u16.to_be() != 0
    }
}

/// An IPv6 header (RFC 8200 section 3).
#[repr(C)]
pub struct Ipv6 {
    /// Version, class of traffic, label of the flow.
    pub version_class_flow: [u16; 2],
    /// Bytes that follow this header; 0 in a packet of more than 64 KiB.
    pub length: u16,
    /// What follows.
    pub next: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Who sent it.
    pub source: Address6,
    /// Whom it is for.
    pub destination: Address6,
}

impl Ipv6 {
    /// Bytes.
    pub const LEN: usize = size_of::<Self>();
    /// `version_class_flow` of a packet that has neither class nor flow.
    pub const VERSION: [u16; 2] = [0x6000_u16.to_be(), 0];
}

/// An extension header that may be skipped (RFC 8200 section 4): options, a route.
#[repr(C)]
pub struct Extension {
    /// What follows.
    pub next: u8,
    /// Words of 64 bits, the first left out.
    pub length: u8,
    rest: [u16; 3],
}

/// The extension header of a fragment (RFC 8200 section 4.5).
#[repr(C)]
pub struct Fragment {
    /// What follows.
    pub next: u8,
    reserved: u8,
    /// Where the fragment begins, in words of 64 bits, and flags in the low three bits.
    offset: u16,
    identification: [u16; 2],
}

impl Fragment {
    /// Bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A fragment other than the first begins in the middle of the payload.
    #[inline(always)]
    pub fn is_later(&self) -> bool {
        self.offset & 0xfff8_u16.to_be() != 0
    }
}
