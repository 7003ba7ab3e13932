//! Neighbour discovery (RFC 4861) over Ethernet, as far as addresses are concerned: the
//! solicitation that asks who has one, and the advertisement that says so.

use core::net::Ipv6Addr;

use super::checksum::{fold, sum};

/// The EtherType of IPv6.
pub const ETHERTYPE: u16 = 0x86dd;
/// The protocol number of ICMPv6 (RFC 4443 section 1).
pub const ICMPV6: u8 = 58;
/// The hop limit that proves that no router has passed the packet on (RFC 4861 section 11.2).
pub const HOP_LIMIT: u8 = 255;
/// All nodes of the link (RFC 4291 section 2.7.1): who hears unsolicited advertisements.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The length of a frame that names a link-layer address, the only option that is written here.
pub const LEN: usize = MESSAGE + FIXED + OPTION;
/// The length of a frame without one, as duplicate address detection sends it.
pub const LEN_WITHOUT_OPTION: usize = MESSAGE + FIXED;

/// Where ICMPv6 begins: after Ethernet and a header of IPv6 without extensions.
const MESSAGE: usize = 14 + 40;
/// The part of both messages that is always there.
const FIXED: usize = 24;
/// An option with an Ethernet address.
const OPTION: usize = 8;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// Where the parts of a frame begin.
///
/// ```text
///  0               6              12      14
/// +---------------+---------------+-------+
/// |  destination  |    source     | 86 dd |
/// +---------------+---+---+-------+-------+---------------+----------------+
/// | version .. (4)| length| 58|255| source address (16)   | destination(16)|
/// +---------------+-------+---+---+-----------------------+----------------+
/// 14              18      20  21  22                      38
/// +----+----+----------+-----------+--------------------+------------------+
/// |type|code| checksum | flags (4) | target address (16)| options          |
/// +----+----+----------+-----------+--------------------+------------------+
/// 54   55   56         58          62                   78
/// ```
mod offset {
    pub(super) const SOURCE_MAC: usize = 6;
    pub(super) const ETHERTYPE: usize = 12;
    pub(super) const VERSION: usize = 14;
    pub(super) const LENGTH: usize = 18;
    pub(super) const NEXT_HEADER: usize = 20;
    pub(super) const HOP_LIMIT: usize = 21;
    pub(super) const SOURCE: usize = 22;
    pub(super) const DESTINATION: usize = 38;
    pub(super) const TYPE: usize = super::MESSAGE;
    pub(super) const CODE: usize = 55;
    pub(super) const CHECKSUM: usize = 56;
    pub(super) const FLAGS: usize = 58;
    pub(super) const TARGET: usize = 62;
    pub(super) const OPTIONS: usize = 78;
}

/// What a message wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourKind {
    /// Who has the target? From `::` it is a probe of duplicate address detection (RFC 4862
    /// section 5.4.2).
    Solicitation,
    /// The sender has the target.
    Advertisement {
        /// It answers a solicitation.
        solicited: bool,
        /// It replaces a link-layer address that is known already.
        overrides: bool,
    },
}

/// A solicitation or an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Which of the two, with its flags.
    pub kind: NeighbourKind,
    /// Who sends it.
    pub source: Ipv6Addr,
    /// Who shall hear it.
    pub destination: Ipv6Addr,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// The sender's MAC in a solicitation, the target's in an advertisement.
    pub link_layer: Option<[u8; 6]>,
}

/// Why a frame is no message that may be believed (RFC 4861 sections 7.1.1 and 7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// It is shorter than its fixed part, or than it says.
    Length,
    /// It is no ICMPv6 right behind a header of IPv6, or its type is another one.
    NotNeighbour,
    /// The hop limit is not 255.
    HopLimit,
    /// The code is not 0.
    Code,
    /// The checksum is wrong.
    Checksum,
    /// The target is a group.
    Target,
    /// An option has no length, or ends behind the message.
    Option,
    /// A solicitation from `::` that is not for the target's group, or names a MAC.
    Unspecified,
    /// A solicited advertisement to a group.
    Solicited,
}

impl Neighbour {
    /// Says unasked that the target is here, and to forget where it was (RFC 4861 section 7.2.6).
    #[must_use]
    pub fn unsolicited(target: Ipv6Addr, mac: [u8; 6]) -> Self {
        Self {
            kind: NeighbourKind::Advertisement { solicited: false, overrides: true },
            source: target,
            destination: ALL_NODES,
            target,
            link_layer: Some(mac),
        }
    }

    /// Asks the target's group who has it.
    #[must_use]
    pub fn solicitation(source: Ipv6Addr, mac: [u8; 6], target: Ipv6Addr) -> Self {
        let link_layer = (!source.is_unspecified()).then_some(mac);
        let destination = solicited_node(target);
        Self { kind: NeighbourKind::Solicitation, source, destination, target, link_layer }
    }

    /// Writes the frame and returns the part of `out` that it fills.
    pub fn encode<'o>(
        &self,
        destination: [u8; 6],
        source: [u8; 6],
        out: &'o mut [u8; LEN],
    ) -> &'o [u8] {
        let length = if self.link_layer.is_some() { LEN } else { LEN_WITHOUT_OPTION };
        let (kind, flags, option) = match self.kind {
            NeighbourKind::Solicitation => (SOLICITATION, 0, SOURCE_LINK_LAYER),
            NeighbourKind::Advertisement { solicited, overrides } => {
                let solicited = if solicited { SOLICITED } else { 0 };
                let overrides = if overrides { OVERRIDE } else { 0 };
                (ADVERTISEMENT, solicited | overrides, TARGET_LINK_LAYER)
            }
        };
        *out = [0; LEN];
        put(out, 0, destination);
        put(out, offset::SOURCE_MAC, source);
        put(out, offset::ETHERTYPE, ETHERTYPE.to_be_bytes());
        put(out, offset::VERSION, [6 << 4]);
        put(out, offset::LENGTH, ((length - MESSAGE) as u16).to_be_bytes());
        put(out, offset::NEXT_HEADER, [ICMPV6, HOP_LIMIT]);
        put(out, offset::SOURCE, self.source.octets());
        put(out, offset::DESTINATION, self.destination.octets());
        put(out, offset::TYPE, [kind]);
        put(out, offset::FLAGS, [flags]);
        put(out, offset::TARGET, self.target.octets());
        if let Some(mac) = self.link_layer {
            put(out, offset::OPTIONS, [option, (OPTION / 8) as u8]);
            put(out, offset::OPTIONS + 2, mac);
        }
        let checksum = !checksum(self.source, self.destination, &out[MESSAGE..length]);
        put(out, offset::CHECKSUM, checksum.to_be_bytes());
        &out[..length]
    }
}

/// Reads a frame. What stands behind the message is padding.
///
/// # Errors
/// The first rule that the frame breaks.
pub fn parse(frame: &[u8]) -> Result<Neighbour, Error> {
    let fixed = frame.first_chunk::<LEN_WITHOUT_OPTION>().ok_or(Error::Length)?;
    let is_ipv6 = take(fixed, offset::ETHERTYPE) == ETHERTYPE.to_be_bytes()
        && fixed[offset::VERSION] >> 4 == 6
        && fixed[offset::NEXT_HEADER] == ICMPV6;
    if !is_ipv6 || !matches!(fixed[offset::TYPE], SOLICITATION | ADVERTISEMENT) {
        return Err(Error::NotNeighbour);
    }
    if fixed[offset::HOP_LIMIT] != HOP_LIMIT {
        return Err(Error::HopLimit);
    }
    let length = usize::from(u16::from_be_bytes(take(fixed, offset::LENGTH)));
    let message = frame.get(MESSAGE..MESSAGE + length).ok_or(Error::Length)?;
    let options = message.get(FIXED..).ok_or(Error::Length)?;
    if fixed[offset::CODE] != 0 {
        return Err(Error::Code);
    }
    let source = take::<16>(fixed, offset::SOURCE).into();
    let destination = take::<16>(fixed, offset::DESTINATION).into();
    if checksum(source, destination, message) != 0xffff {
        return Err(Error::Checksum);
    }
    let target = Ipv6Addr::from(take::<16>(fixed, offset::TARGET));
    if target.is_multicast() {
        return Err(Error::Target);
    }
    let flags = fixed[offset::FLAGS];
    let (kind, option) = match fixed[offset::TYPE] {
        SOLICITATION => (NeighbourKind::Solicitation, SOURCE_LINK_LAYER),
        _ => {
            let (solicited, overrides) = (flags & SOLICITED != 0, flags & OVERRIDE != 0);
            (NeighbourKind::Advertisement { solicited, overrides }, TARGET_LINK_LAYER)
        }
    };
    let link_layer = find_option(options, option)?;
    let read = Neighbour { kind, source, destination, target, link_layer };
    check(&read)?;
    Ok(read)
}

/// The rules about more than one field.
fn check(message: &Neighbour) -> Result<(), Error> {
    match message.kind {
        NeighbourKind::Solicitation if message.source.is_unspecified() => {
            let to_group = message.destination == solicited_node(message.target);
            if to_group && message.link_layer.is_none() { Ok(()) } else { Err(Error::Unspecified) }
        }
        NeighbourKind::Advertisement { solicited: true, .. }
            if message.destination.is_multicast() =>
        {
            Err(Error::Solicited)
        }
        _ => Ok(()),
    }
}

/// The Ethernet address in the option of that type. Others are passed over, as RFC 4861 section
/// 4.6 wants it.
fn find_option(mut options: &[u8], wanted: u8) -> Result<Option<[u8; 6]>, Error> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        let (option, rest) = options.split_at_checked(length).ok_or(Error::Option)?;
        if length == 0 {
            return Err(Error::Option);
        }
        if kind == wanted && length == OPTION {
            found = option[2..].first_chunk().copied();
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Error::Option) }
}

/// The group of all who have an address that ends like this one (RFC 4291 section 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let last = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), last)
}

/// The Ethernet address of a group (RFC 2464 section 7).
#[must_use]
pub fn group_mac(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The folded sum over the pseudo-header (RFC 8200 section 8.1) and the message.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let addresses = sum(sum(0, &source.octets()), &destination.octets());
    // The length came from 16 bits: no truncation.
    fold(sum(addresses + u32::from(ICMPV6) + message.len() as u32, message))
}

fn put<const N: usize>(frame: &mut [u8; LEN], at: usize, octets: [u8; N]) {
    frame[at..at + N].copy_from_slice(&octets);
}

fn take<const N: usize>(frame: &[u8; LEN_WITHOUT_OPTION], at: usize) -> [u8; N] {
    core::array::from_fn(|i| frame[at + i])
}

#[cfg(test)]
mod tests;
