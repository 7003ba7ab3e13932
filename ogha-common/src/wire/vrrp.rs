//! VRRP adverts: version 3 (RFC 9568 section 5) over IPv4 and IPv6, and version 2 (RFC 3768
//! section 5, with the authentication types 0 and 1 of RFC 2338) over IPv4.
//!
//! A virtual router has addresses of one family (RFC 9568 section 1), and its adverts travel in
//! that family.
//!
//! What the packet itself can prove wrong, [`parse`] refuses; what only the configuration can,
//! [`Expected::check`] refuses. Both are needed before an advert may be believed.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{fold, sum};
use crate::units::{Centis, Priority, Vrid};

/// The IP protocol number of VRRP (RFC 9568 section 5.1.1.4).
pub const IP_PROTOCOL: u8 = 112;
/// The group that adverts go to over IPv4 (RFC 9568 section 5.1.1.2).
pub const MULTICAST: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The group that adverts go to over IPv6 (RFC 9568 section 5.1.2.2).
pub const MULTICAST_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// The TTL, or hop limit, that proves that no router has passed the packet on (RFC 9568 sections
/// 5.1.1.3 and 5.1.2.3).
pub const TTL: u8 = 255;
/// The longest advert: 255 IPv6 addresses.
pub const MAX_LEN: usize = HEADER + 255 * ADDRESS_V6;

const HEADER: usize = 8;
const ADDRESS_V4: usize = 4;
const ADDRESS_V6: usize = 16;
const AUTH_DATA: usize = 8;
const ADVERTISEMENT: u8 = 1;
const AUTH_NONE: u8 = 0;
const AUTH_SIMPLE_TEXT: u8 = 1;

/// The version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// RFC 3768: intervals in whole seconds, IPv4 only.
    V2,
    /// RFC 9568: intervals in centiseconds.
    V3,
}

impl Version {
    /// `None` for a version that is neither 2 nor 3.
    #[must_use]
    pub const fn new(version: u8) -> Option<Self> {
        match version {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            _ => None,
        }
    }
}

/// What the checksum covers besides the message.
///
/// RFC 9568 section 5.2.8 includes a pseudo-header. Some routers leave it out over IPv4, as
/// version 2 does; both are accepted there, and what is sent is a choice. Over IPv6 there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Source, destination, protocol and length too.
    PseudoHeader,
    /// Nothing else. The only choice in version 2, and none over IPv6.
    Plain,
}

/// Version 2's authentication (RFC 2338 section 5.3.6). It authenticates nobody: the password
/// travels in clear. It is here for peers that insist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Type 0, and everything in version 3.
    None,
    /// Type 1: a password of up to 8 octets, filled up with zeros.
    SimpleText([u8; AUTH_DATA]),
}

impl Auth {
    /// A password as people write it; `None` if it is empty or longer than 8 octets.
    #[must_use]
    pub fn simple_text(password: &str) -> Option<Self> {
        let mut data = [0; AUTH_DATA];
        let octets = password.as_bytes();
        if octets.is_empty() {
            return None;
        }
        data.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(Self::SimpleText(data))
    }
}

/// What the IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// The sender's own address, never a virtual one. Its family is the packet's.
    pub source: IpAddr,
    /// [`MULTICAST`] or [`MULTICAST_V6`], or the receiver's address.
    pub destination: IpAddr,
    /// Time to live, or hop limit, as received.
    pub ttl: u8,
}

/// The addresses in an advert, network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses<'p> {
    /// Of an advert over IPv4.
    V4(&'p [[u8; ADDRESS_V4]]),
    /// Of an advert over IPv6.
    V6(&'p [[u8; ADDRESS_V6]]),
}

/// An advert but for its addresses, which election has no use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The version it is, or shall be, written in.
    pub version: Version,
    /// The virtual router.
    pub vrid: Vrid,
    /// The sender's priority; 0 when it gives up the role.
    pub priority: Priority,
    /// How often it sends. Version 2 can only say whole seconds.
    pub interval: Centis,
    /// The authentication data.
    pub auth: Auth,
    /// What the checksum covers.
    pub checksum: Checksum,
}

/// Why an advert was refused. One variant a rule, so that each can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Error {
    /// The TTL is not 255: the packet came from another link (RFC 9568 sections 5.1.1.3, 5.1.2.3).
    Ttl,
    /// Addresses of two families (RFC 9568 section 1), or version 2 over IPv6.
    Family,
    /// The packet is shorter than its header.
    Truncated,
    /// The version is neither 2 nor 3, or not the configured one (section 7.1).
    Version,
    /// The type is not 1, ADVERTISEMENT (section 5.2.2).
    Type,
    /// The VRID is 0 (section 5.2.3).
    VridZero,
    /// There is no address (section 5.2.5), or there are more than 255 to write.
    AddressCount,
    /// The length is not that of the header and so many addresses (section 7.1).
    Length,
    /// The checksum is wrong, with and without pseudo-header (section 5.2.8).
    Checksum,
    /// The interval is 0 (section 5.2.7, erratum 8301), or cannot be written in this version.
    Interval,
    /// The authentication type is unknown (RFC 2338 section 5.3.6).
    AuthType,
    /// The VRID is another virtual router's (section 7.1).
    OtherVrid,
    /// The authentication type or data is not the configured one (RFC 2338 section 7.1).
    AuthMismatch,
    /// Version 2 wants the same interval at all routers (RFC 3768 section 7.1).
    IntervalMismatch,
    /// The buffer to write to is too small.
    Buffer,
}

impl Error {
    /// How many variants there are: the size of an array of counters.
    pub const COUNT: usize = Self::Buffer as usize + 1;

    /// One line for a log: what is wrong with the advert.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Ttl => "its TTL is not 255",
            Self::Family => "its addresses are not of one family that its version has",
            Self::Truncated => "it is shorter than a header",
            Self::Version => "its version is not the configured one",
            Self::Type => "its type is not ADVERTISEMENT",
            Self::VridZero => "its virtual router is 0",
            Self::AddressCount => "it has no address, or too many",
            Self::Length => "its length does not fit its count of addresses",
            Self::Checksum => "its checksum is wrong",
            Self::Interval => "its advertisement interval is out of range",
            Self::AuthType => "its authentication type is unknown",
            Self::OtherVrid => "it is another virtual router's",
            Self::AuthMismatch => "its authentication is not the configured one",
            Self::IntervalMismatch => "its interval is not ours, as version 2 requires",
            Self::Buffer => "the buffer is too small",
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.reason())
    }
}

impl core::error::Error for Error {}

/// Reads an advert from the payload of an IP packet, and its addresses.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------+-------+---------------+---------------+---------------+
/// |Version| Type  |     VRID      |   Priority    |  Addr Count   |
/// +-------+-------+---------------+---------------+---------------+
/// | zero  | Max Advertise Interval|           Checksum            |  version 3
/// +-------+-------+---------------+---------------+---------------+
/// |   Auth Type   | Adver Interval|           Checksum            |  version 2
/// +---------------+---------------+---------------+---------------+
/// |                      Addr Count addresses                     |
/// +---------------------------------------------------------------+
/// |            Authentication Data, version 2 only (8)            |
/// +---------------------------------------------------------------+
/// ```
///
/// # Errors
/// The first rule that the packet breaks.
pub fn parse(packet: &[u8], ip: Ip) -> Result<(Advert, Addresses<'_>), Error> {
    if ip.ttl != TTL {
        return Err(Error::Ttl);
    }
    let (header, body) = packet.split_first_chunk::<HEADER>().ok_or(Error::Truncated)?;
    let version = Version::new(header[0] >> 4).ok_or(Error::Version)?;
    let v6 = family(version, ip)?;
    if header[0] & 0xf != ADVERTISEMENT {
        return Err(Error::Type);
    }
    let (addresses, auth_data) = split_body(version, v6, header[3], body)?;
    let checksum = verify(version, packet, ip).ok_or(Error::Checksum)?;
    let vrid = Vrid::new(header[1]).ok_or(Error::VridZero)?;
    let interval = read_interval(version, [header[4], header[5]]).ok_or(Error::Interval)?;
    let auth = match (version, header[4], auth_data.try_into()) {
        (Version::V3, _, _) | (Version::V2, AUTH_NONE, _) => Auth::None,
        (Version::V2, AUTH_SIMPLE_TEXT, Ok(data)) => Auth::SimpleText(data),
        (Version::V2, _, _) => return Err(Error::AuthType),
    };
    let priority = Priority::new(header[2]);
    Ok((Advert { version, vrid, priority, interval, auth, checksum }, addresses))
}

/// Whether the packet is IPv6.
fn family(version: Version, ip: Ip) -> Result<bool, Error> {
    let v6 = ip.source.is_ipv6();
    if ip.destination.is_ipv6() != v6 || v6 && version == Version::V2 {
        return Err(Error::Family);
    }
    Ok(v6)
}

/// The length of an address, in octets.
const fn address_length(v6: bool) -> usize {
    if v6 { ADDRESS_V6 } else { ADDRESS_V4 }
}

/// Splits what follows the header into addresses and authentication data.
fn split_body(
    version: Version,
    v6: bool,
    count: u8,
    body: &[u8],
) -> Result<(Addresses<'_>, &[u8]), Error> {
    if count == 0 {
        return Err(Error::AddressCount);
    }
    let length = usize::from(count) * address_length(v6);
    let (addresses, rest) = body.split_at_checked(length).ok_or(Error::Length)?;
    let expected = if version == Version::V2 { AUTH_DATA } else { 0 };
    if rest.len() != expected {
        return Err(Error::Length);
    }
    let addresses = match v6 {
        true => Addresses::V6(addresses.as_chunks().0),
        false => Addresses::V4(addresses.as_chunks().0),
    };
    Ok((addresses, rest))
}

/// Version 3 has 12 bits of centiseconds (RFC 9568 section 5.2.7), version 2 an octet of seconds
/// (RFC 3768 section 5.3.7). Version 2's 41 to 255 s are refused: no configuration can match them.
fn read_interval(version: Version, field: [u8; 2]) -> Option<Centis> {
    Centis::new(match version {
        Version::V3 => u16::from_be_bytes(field) & 0xfff,
        Version::V2 => u16::from(field[1]) * 100,
    })
}

fn write_interval(advert: &Advert) -> Result<[u8; 2], Error> {
    let centis = advert.interval.get();
    match advert.version {
        Version::V3 => Ok(centis.to_be_bytes()),
        Version::V2 if centis.is_multiple_of(100) => {
            let seconds = u8::try_from(centis / 100).map_err(|_| Error::Interval)?;
            let auth_type = match advert.auth {
                Auth::None => AUTH_NONE,
                Auth::SimpleText(_) => AUTH_SIMPLE_TEXT,
            };
            Ok([auth_type, seconds])
        }
        Version::V2 => Err(Error::Interval),
    }
}

/// Writes an advert into `out` and returns its length. The source and the destination are part
/// of version 3's checksum; the TTL is not. Link-local addresses of IPv6 are written before the
/// others, for the first must be one (RFC 9568 section 5.2.9).
///
/// # Errors
/// [`Error::Family`] where the addresses are not all of one family, [`Error::AddressCount`] for
/// none or more than 255 of them, [`Error::Interval`] where version 2 cannot say the interval,
/// [`Error::Buffer`] where it does not fit.
pub fn encode(
    advert: &Advert,
    addresses: &[IpAddr],
    ip: Ip,
    out: &mut [u8],
) -> Result<usize, Error> {
    let v6 = family(advert.version, ip)?;
    if addresses.iter().any(|address| address.is_ipv6() != v6) {
        return Err(Error::Family);
    }
    let count = u8::try_from(addresses.len()).ok().filter(|&n| n > 0).ok_or(Error::AddressCount)?;
    let (version, auth_len) = match advert.version {
        Version::V2 => (2, AUTH_DATA),
        Version::V3 => (3, 0),
    };
    let interval = write_interval(advert)?;
    let addresses_len = addresses.len() * address_length(v6);
    let length = HEADER + addresses_len + auth_len;
    let out = out.get_mut(..length).ok_or(Error::Buffer)?;
    let (header, body) = out.split_first_chunk_mut::<HEADER>().ok_or(Error::Buffer)?;
    *header = [
        version << 4 | ADVERTISEMENT,
        advert.vrid.get(),
        advert.priority.get(),
        count,
        interval[0],
        interval[1],
        0,
        0,
    ];
    let (slots, auth_data) = body.split_at_mut(addresses_len);
    write_addresses(addresses, slots);
    match advert.auth {
        Auth::SimpleText(data) if auth_len > 0 => auth_data.copy_from_slice(&data),
        _ => auth_data.fill(0),
    }
    let pseudo = advert.version == Version::V3 && (v6 || advert.checksum == Checksum::PseudoHeader);
    let start = if pseudo { pseudo_header(ip, length) } else { 0 };
    let checksum = !fold(sum(start, out));
    out[6..8].copy_from_slice(&checksum.to_be_bytes());
    Ok(length)
}

/// Writes the link-local addresses, then the others.
fn write_addresses(addresses: &[IpAddr], mut slots: &mut [u8]) {
    let is_link_local =
        |address: &&IpAddr| matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
    let first = addresses.iter().filter(is_link_local);
    for address in first.chain(addresses.iter().filter(|address| !is_link_local(address))) {
        slots = match address {
            IpAddr::V4(address) => put(slots, &address.octets()),
            IpAddr::V6(address) => put(slots, &address.octets()),
        };
    }
}

/// Writes what fits, and returns what is left.
fn put<'s>(slots: &'s mut [u8], octets: &[u8]) -> &'s mut [u8] {
    let (slot, rest) = slots.split_at_mut(octets.len().min(slots.len()));
    slot.copy_from_slice(&octets[..slot.len()]);
    rest
}

/// Which of the two checksums is right, if any. The one of the RFC is tried first.
fn verify(version: Version, packet: &[u8], ip: Ip) -> Option<Checksum> {
    // Over a message with its right checksum, the sum is all ones (RFC 1071).
    let plain = sum(0, packet);
    if version == Version::V3 && fold(plain + pseudo_header(ip, packet.len())) == 0xffff {
        Some(Checksum::PseudoHeader)
    } else if ip.source.is_ipv4() && fold(plain) == 0xffff {
        Some(Checksum::Plain)
    } else {
        None
    }
}

/// The sum of the pseudo-header: source, destination, zero and protocol, length (RFC 8200 section
/// 8.1 for IPv6, whose fields are wider and whose sum is the same).
fn pseudo_header(ip: Ip, length: usize) -> u32 {
    // At most MAX_LEN: no truncation.
    add(add(0, ip.source), ip.destination) + u32::from(IP_PROTOCOL) + u32::from(length as u16)
}

fn add(start: u32, address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => sum(start, &address.octets()),
        IpAddr::V6(address) => sum(start, &address.octets()),
    }
}

/// What the configuration says of the adverts of a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The configured version.
    pub version: Version,
    /// The virtual router.
    pub vrid: Vrid,
    /// The configured interval.
    pub interval: Centis,
    /// The configured authentication.
    pub auth: Auth,
}

impl Expected {
    /// The checks of RFC 9568 section 7.1 (RFC 3768 and 2338 section 7.1) that need the
    /// configuration.
    ///
    /// # Errors
    /// The first that fails.
    pub fn check(&self, advert: &Advert) -> Result<(), Error> {
        if advert.version != self.version {
            return Err(Error::Version);
        }
        if advert.vrid != self.vrid {
            return Err(Error::OtherVrid);
        }
        if self.version == Version::V2 {
            if advert.auth != self.auth {
                return Err(Error::AuthMismatch);
            }
            if advert.interval != self.interval {
                return Err(Error::IntervalMismatch);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
