//! ARP for IPv4 over Ethernet (RFC 826), and the frames that announce an address (RFC 5227).

use core::net::Ipv4Addr;

/// The length of an Ethernet frame that carries ARP, without padding.
pub const LEN: usize = 42;
/// The EtherType of ARP.
pub const ETHERTYPE: u16 = 0x0806;
/// The Ethernet address of everybody.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// Hardware type Ethernet, protocol type IPv4, and the lengths of both kinds of address.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Where the parts of a frame begin.
///
/// ```text
///  0               6              12      14                20  22
/// +---------------+---------------+-------+----------------+---+
/// |  destination  |    source     | 08 06 | 00 01 08 00 6 4|op |
/// +---------------+-------+-------+-------+-------+--------+---+
/// |  sender MAC   | sender IP     |  target MAC   |  target IP |
/// +---------------+---------------+---------------+------------+
/// 22              28              32              38           42
/// ```
pub mod offset {
    /// Ethernet destination, 6 octets.
    pub const DESTINATION: usize = 0;
    /// Ethernet source, 6 octets.
    pub const SOURCE: usize = 6;
    /// EtherType, 2 octets.
    pub const ETHERTYPE: usize = 12;
    /// Types and lengths, 6 octets.
    pub const TYPES: usize = 14;
    /// Operation, 2 octets.
    pub const OPERATION: usize = 20;
    /// Sender's MAC, 6 octets.
    pub const SENDER_MAC: usize = 22;
    /// Sender's IPv4 address, 4 octets.
    pub const SENDER_IP: usize = 28;
    /// Target's MAC, 6 octets.
    pub const TARGET_MAC: usize = 32;
    /// Target's IPv4 address, 4 octets.
    pub const TARGET_IP: usize = 38;
}

/// What an ARP packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Operation {
    /// Who has the target's address?
    Request = 1,
    /// The sender has the sender's address.
    Reply = 2,
}

/// An ARP packet. Both operations say that `sender_ip` is at `sender_mac`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Who sends it.
    pub sender_mac: [u8; 6],
    /// The address that the sender claims; 0.0.0.0 in a probe (RFC 5227 section 2.1.1).
    pub sender_ip: Ipv4Addr,
    /// Whose MAC it is about; a request has none.
    pub target_mac: [u8; 6],
    /// The address that it is about.
    pub target_ip: Ipv4Addr,
}

/// Why a frame is no ARP that concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// It is shorter than [`LEN`].
    Length,
    /// The EtherType is another one.
    EtherType,
    /// It is not for Ethernet and IPv4.
    Types,
    /// It neither asks nor answers.
    Operation,
}

impl Arp {
    /// Announces an address unasked: sender and target are the same (RFC 5227 sections 2.3, 3).
    #[must_use]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// Writes the frame.
    #[must_use]
    pub fn encode(&self, destination: [u8; 6], source: [u8; 6]) -> [u8; LEN] {
        let mut frame = [0; LEN];
        put(&mut frame, offset::DESTINATION, destination);
        put(&mut frame, offset::SOURCE, source);
        put(&mut frame, offset::ETHERTYPE, ETHERTYPE.to_be_bytes());
        put(&mut frame, offset::TYPES, ETHERNET_IPV4);
        put(&mut frame, offset::OPERATION, (self.operation as u16).to_be_bytes());
        put(&mut frame, offset::SENDER_MAC, self.sender_mac);
        put(&mut frame, offset::SENDER_IP, self.sender_ip.octets());
        put(&mut frame, offset::TARGET_MAC, self.target_mac);
        put(&mut frame, offset::TARGET_IP, self.target_ip.octets());
        frame
    }
}

/// Reads a frame. What stands after the first [`LEN`] octets is padding.
///
/// # Errors
/// When the frame is no ARP for IPv4 over Ethernet.
pub fn parse(frame: &[u8]) -> Result<Arp, Error> {
    let frame = frame.first_chunk::<LEN>().ok_or(Error::Length)?;
    if take(frame, offset::ETHERTYPE) != ETHERTYPE.to_be_bytes() {
        return Err(Error::EtherType);
    }
    if take(frame, offset::TYPES) != ETHERNET_IPV4 {
        return Err(Error::Types);
    }
    let operation = match u16::from_be_bytes(take(frame, offset::OPERATION)) {
        1 => Operation::Request,
        2 => Operation::Reply,
        _ => return Err(Error::Operation),
    };
    Ok(Arp {
        operation,
        sender_mac: take(frame, offset::SENDER_MAC),
        sender_ip: take::<4>(frame, offset::SENDER_IP).into(),
        target_mac: take(frame, offset::TARGET_MAC),
        target_ip: take::<4>(frame, offset::TARGET_IP).into(),
    })
}

/// The two frames that tell the LAN that `ip` is at `mac`.
///
/// First the announcement as RFC 5227 section 3 wants it, a request; then a reply, for the hosts
/// that learn only from replies. The reply names the MAC twice (RFC 5944 section 4.6).
#[must_use]
pub fn gratuitous(mac: [u8; 6], ip: Ipv4Addr) -> [[u8; LEN]; 2] {
    let request = Arp {
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: ip,
        target_mac: [0; 6],
        target_ip: ip,
    };
    let reply = Arp { operation: Operation::Reply, target_mac: mac, ..request };
    [request, reply].map(|arp| arp.encode(BROADCAST, mac))
}

fn put<const N: usize>(frame: &mut [u8; LEN], at: usize, octets: [u8; N]) {
    frame[at..at + N].copy_from_slice(&octets);
}

fn take<const N: usize>(frame: &[u8; LEN], at: usize) -> [u8; N] {
    core::array::from_fn(|i| frame[at + i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    #[test]
    fn an_announcement_is_a_request_and_a_reply() {
        let [request, reply] = gratuitous(MAC, IP);
        assert_eq!(request[..12], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1]);
        assert_eq!(request[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(request[22..32], [2, 0, 0, 0, 0, 1, 192, 0, 2, 10]);
        assert_eq!(request[32..], [0, 0, 0, 0, 0, 0, 192, 0, 2, 10]);
        assert_eq!(reply[20..22], [0, 2]);
        assert_eq!(reply[32..], [2, 0, 0, 0, 0, 1, 192, 0, 2, 10]);
        for frame in [request, reply] {
            let arp = parse(&frame).unwrap();
            assert!(arp.is_gratuitous());
            assert_eq!((arp.sender_mac, arp.sender_ip), (MAC, IP));
        }
    }

    #[test]
    fn what_is_no_arp_of_ours_is_refused() {
        let frame = gratuitous(MAC, IP)[0];
        let changed = |at: usize| {
            let mut frame = frame;
            frame[at] ^= 0x10;
            parse(&frame)
        };
        assert_eq!(parse(&frame[..41]), Err(Error::Length));
        assert_eq!(changed(12), Err(Error::EtherType));
        for at in 14..20 {
            assert_eq!(changed(at), Err(Error::Types), "octet {at}");
        }
        assert_eq!(changed(20), Err(Error::Operation));
        assert_eq!(changed(21), Err(Error::Operation));
    }

    #[test]
    fn padding_is_ignored_and_a_question_claims_nothing() {
        let question = Arp {
            operation: Operation::Request,
            sender_mac: MAC,
            sender_ip: Ipv4Addr::UNSPECIFIED,
            target_mac: [0; 6],
            target_ip: IP,
        };
        let mut padded = [0x55; 60];
        padded[..LEN].copy_from_slice(&question.encode(BROADCAST, MAC));
        assert_eq!(parse(&padded), Ok(question));
        assert!(!question.is_gratuitous());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            reply: bool,
            sender_mac: [u8; 6],
            sender_ip: Ipv4Addr,
            target_mac: [u8; 6],
            target_ip: Ipv4Addr,
        ) {
            let operation = if reply { Operation::Reply } else { Operation::Request };
            let arp = Arp { operation, sender_mac, sender_ip, target_mac, target_ip };
            prop_assert_eq!(parse(&arp.encode(target_mac, sender_mac)), Ok(arp));
        }

        #[test]
        fn nothing_makes_the_parser_panic(
            frame in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = parse(&frame);
        }
    }
}
