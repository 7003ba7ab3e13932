//! Frames as a client would send them, and how to read those that come back.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use ogha_common::wire::ndp::{self, Neighbour, NeighbourKind};

pub const BROADCAST: [u8; 6] = [0xff; 6];
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

pub const REQUEST: u16 = 1;
pub const REPLY: u16 = 2;

/// An end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub mac: [u8; 6],
    pub address: IpAddr,
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes()].concat()
}

/// An ARP frame of `sender`, about `target`.
pub fn arp(operation: u16, sender: End, target: End) -> Vec<u8> {
    let to = if operation == REQUEST { BROADCAST } else { target.mac };
    let mut frame = ethernet(to, sender.mac, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    for end in [sender, target] {
        let IpAddr::V4(address) = end.address else { panic!("ARP is for IPv4") };
        frame.extend(end.mac);
        frame.extend(address.octets());
    }
    frame
}

/// A message of neighbour discovery.
pub fn neighbour(message: Neighbour, to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    message.encode(to, from, &mut [0; ndp::LEN]).to_vec()
}

/// Who has `address`? asked by `sender`.
pub fn who_has(sender: End, address: IpAddr) -> Vec<u8> {
    match (sender.address, address) {
        (IpAddr::V6(source), IpAddr::V6(address)) => {
            let question = Neighbour::solicitation(source, sender.mac, address);
            neighbour(question, ndp::group_mac(question.destination), sender.mac)
        }
        _ => arp(REQUEST, sender, End { mac: [0; 6], address }),
    }
}

/// `sender` tells everybody that it has its address.
pub fn gratuitous(sender: End) -> Vec<u8> {
    match sender.address {
        IpAddr::V4(_) => arp(REQUEST, sender, End { mac: [0; 6], address: sender.address }),
        IpAddr::V6(address) => {
            let claim = Neighbour::unsolicited(address, sender.mac);
            neighbour(claim, ndp::group_mac(claim.destination), sender.mac)
        }
    }
}

/// `sender` tells `target`, who has asked, that it has its address.
pub fn answer(sender: End, target: End) -> Vec<u8> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (sender.address, target.address) else {
        return arp(REPLY, sender, target);
    };
    let kind = NeighbourKind::Advertisement { solicited: true, overrides: true };
    let claim =
        Neighbour { kind, source, destination, target: source, link_layer: Some(sender.mac) };
    neighbour(claim, target.mac, sender.mac)
}

/// `(operation, sender, target)` of an ARP frame, or of the message of neighbour discovery that stands
/// for it: who asks and what for, or who answers and whom.
pub fn read_neighbour(frame: &[u8]) -> Option<(u16, End, End)> {
    read_arp(frame).or_else(|| read_ndp(frame))
}

fn read_arp(frame: &[u8]) -> Option<(u16, End, End)> {
    let body = frame.strip_prefix(&frame[..12])?.strip_prefix(&[8, 6, 0, 1, 8, 0, 6, 4])?;
    let end = |at: usize| {
        let mac = body.get(at..at + 6)?.try_into().ok()?;
        let octets: [u8; 4] = body.get(at + 6..at + 10)?.try_into().ok()?;
        Some(End { mac, address: octets.into() })
    };
    Some((u16::from_be_bytes([*body.first()?, *body.get(1)?]), end(2)?, end(12)?))
}

fn read_ndp(frame: &[u8]) -> Option<(u16, End, End)> {
    let message = ndp::parse(frame).ok()?;
    let mac = message.link_layer.unwrap_or(frame[6..12].try_into().unwrap());
    let target = message.target.into();
    Some(match message.kind {
        NeighbourKind::Solicitation => {
            let sender = End { mac, address: message.source.into() };
            (REQUEST, sender, End { mac: [0; 6], address: target })
        }
        NeighbourKind::Advertisement { .. } => {
            let to =
                End { mac: frame[..6].try_into().unwrap(), address: message.destination.into() };
            (REPLY, End { mac, address: target }, to)
        }
    })
}

/// A TCP segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub source: u16,
    pub destination: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub payload: Vec<u8>,
    /// Words of IP options that mean nothing; with IPv6, of 64 bits.
    pub ip_options: u8,
    /// Words of TCP options (no-operations).
    pub tcp_options: u8,
}

impl Segment {
    /// A packet of it, with right checksums.
    pub fn packet(&self, from: End, to: End) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.source.to_be_bytes());
        tcp.extend(self.destination.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.extend([(5 + self.tcp_options) << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(vec![1; 4 * usize::from(self.tcp_options)]);
        tcp.extend(&self.payload);
        let sum = checksum(&[pseudo(from.address, to.address, 6, tcp.len()), tcp.clone()].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        packet(from, to, 6, self.ip_options, &tcp)
    }

    /// Reads a packet, whose checksum of IP must be right. Options are not looked behind.
    pub fn read(packet: &[u8]) -> Option<(IpAddr, IpAddr, Self)> {
        let (from, to, at) = read_ip(packet, 6)?;
        let tcp = &packet[at];
        let offset = usize::from(tcp[12] >> 4) * 4;
        let segment = Self {
            source: u16::from_be_bytes([tcp[0], tcp[1]]),
            destination: u16::from_be_bytes([tcp[2], tcp[3]]),
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            acknowledgement: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags: tcp[13],
            payload: tcp[offset..].to_vec(),
            ip_options: 0,
            tcp_options: (offset / 4 - 5) as u8,
        };
        Some((from, to, segment))
    }
}

/// The ends of a packet without options that carries this protocol, and where its payload is.
pub fn read_ip(packet: &[u8], protocol: u8) -> Option<(IpAddr, IpAddr, Range<usize>)> {
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    match *packet.get(12..14)? {
        [8, 0] if packet[14] == 0x45 && packet[23] == protocol => {
            assert_eq!(checksum(&packet[14..34]), 0, "the checksum of IP is wrong");
            let address = |at| IpAddr::from(octets::<4>(packet, at));
            Some((address(26), address(30), 34..14 + word(16)))
        }
        [0x86, 0xdd] if packet[20] == protocol => {
            let address = |at| IpAddr::from(octets::<16>(packet, at));
            Some((address(22), address(38), 54..54 + word(18)))
        }
        _ => None,
    }
}

/// The checksum of a packet of TCP, and what hardware would make of it that takes the field for the
/// sum of the pseudo header. Both must be the same.
pub fn tcp_checksums(packet: &[u8]) -> (u16, u16) {
    let (from, to, at) = read_ip(packet, 6).unwrap();
    let mut tcp = packet[at].to_vec();
    let field = u16::from_be_bytes([tcp[16], tcp[17]]);
    let by_hardware = checksum(&tcp);
    tcp[16..18].fill(0);
    let right = checksum(&[pseudo(from, to, 6, tcp.len()), tcp].concat());
    assert_eq!(field, right, "the checksum of TCP is wrong");
    (right, by_hardware)
}

/// A UDP datagram.
pub fn udp(from: End, to: End, port: u16) -> Vec<u8> {
    datagram(from, to, port, b"ping")
}

/// The same with this payload.
pub fn datagram(from: End, to: End, port: u16, payload: &[u8]) -> Vec<u8> {
    packet(from, to, 17, 0, &udp_of(from, to, port, payload))
}

/// The same behind so many words of IP options.
pub fn datagram_with_options(from: End, to: End, port: u16, options: u8) -> Vec<u8> {
    packet(from, to, 17, options, &udp_of(from, to, port, b"ping"))
}

fn udp_of(from: End, to: End, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    for word in [port, port, 8 + payload.len() as u16, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend(payload);
    let sum = checksum(&[pseudo(from.address, to.address, 17, udp.len()), udp.clone()].concat());
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    udp
}

/// Cuts a packet without options in two behind so many bytes of its payload, a multiple of eight.
pub fn fragments(packet: &[u8], at: usize) -> [Vec<u8>; 2] {
    let (head, payload) = packet.split_at(if is_v4(packet) { 34 } else { 54 });
    let (first, second) = payload.split_at(at);
    [fragment(head, first, 0, true), fragment(head, second, at, false)]
}

/// Cuts the second of [`fragments`] in two.
pub fn cut_again(packet: &[u8], at: usize) -> [Vec<u8>; 2] {
    let (head, payload) = packet.split_at(if is_v4(packet) { 34 } else { 62 });
    let place = |at| usize::from(u16::from_be_bytes(octets(packet, at)));
    let mut head = head.to_vec();
    let begin = if is_v4(packet) { 8 * (place(20) & 0x1fff) } else { place(56) & !7 };
    if !is_v4(packet) {
        head[20] = head[54];
        head.truncate(54);
    }
    let (second, third) = payload.split_at(at);
    [fragment(&head, second, begin, true), fragment(&head, third, begin + at, false)]
}

/// The packet with another time to live, or hop limit.
pub fn with_ttl(mut packet: Vec<u8>, ttl: u8) -> Vec<u8> {
    if !is_v4(&packet) {
        packet[21] = ttl;
        return packet;
    }
    packet[22] = ttl;
    packet[24..26].fill(0);
    let sum = checksum(&packet[14..34]);
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn is_v4(packet: &[u8]) -> bool {
    packet[12..14] == [8, 0]
}

fn fragment(head: &[u8], payload: &[u8], offset: usize, more: bool) -> Vec<u8> {
    if is_v4(head) {
        let mut head = head.to_vec();
        let place = (offset / 8) as u16 | u16::from(more) << 13;
        head[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        head[18..20].copy_from_slice(&77_u16.to_be_bytes());
        head[20..22].copy_from_slice(&place.to_be_bytes());
        head[24..26].fill(0);
        let sum = checksum(&head[14..34]);
        head[24..26].copy_from_slice(&sum.to_be_bytes());
        return [&head, payload].concat();
    }
    let [high, low] = (offset as u16 | u16::from(more)).to_be_bytes();
    behind_extensions(&[head, payload].concat(), &[(44, vec![0, 0, high, low, 0, 0, 0, 77])])
}

/// Puts a packet of IPv6 behind extension headers: the number of each, and how it begins. The second
/// octet of each but a fragment's tells its length; the first is filled in.
pub fn behind_extensions(packet: &[u8], headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let (head, payload) = packet.split_at(54);
    let mut head = head.to_vec();
    let numbers = headers.iter().map(|(number, _)| *number).chain([head[20]]);
    let mut all = Vec::new();
    for ((number, begin), next) in headers.iter().zip(numbers.skip(1)) {
        let words = if *number == 44 || begin[1] > 100 { 1 } else { usize::from(begin[1]) + 1 };
        let mut header = begin.clone();
        header.resize(8 * words, 0);
        header[0] = next;
        all.extend(header);
    }
    let length = (all.len() + payload.len()) as u16;
    head[18..20].copy_from_slice(&length.to_be_bytes());
    head[20] = headers[0].0;
    [&head, &all[..], payload].concat()
}

/// The packet as the second of two fragments.
pub fn as_later_fragment(packet: &[u8]) -> Vec<u8> {
    let [_, second] = fragments(packet, 8);
    second
}

/// Words of options that mean nothing: of 32 bits with IPv4, and with IPv6 of 64, in a header for the
/// destination.
pub fn packet(from: End, to: End, protocol: u8, options: u8, payload: &[u8]) -> Vec<u8> {
    match (from.address, to.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = vec![0x45 + options, 0];
            let options = vec![1; 4 * usize::from(options)];
            ip.extend(((20 + options.len() + payload.len()) as u16).to_be_bytes());
            ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            ip.extend(options);
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            [ethernet(to.mac, from.mac, 0x0800), ip, payload.to_vec()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = Vec::new();
            if options > 0 {
                header = vec![0; 8 * usize::from(options)];
                // An option for experiments (RFC 4727 section 3.3); more padding than is needed would
                // be refused by Linux.
                header[..4].copy_from_slice(&[protocol, options - 1, 0x1e, 8 * options - 4]);
            }
            let next = if options > 0 { 60 } else { protocol };
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend(((header.len() + payload.len()) as u16).to_be_bytes());
            ip.extend([next, 64]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            [ethernet(to.mac, from.mac, 0x86dd), ip, header, payload.to_vec()].concat()
        }
        other => panic!("{other:?} are of two families"),
    }
}

/// Makes the checksum of a message of ICMPv6 right.
pub fn fill_icmpv6(frame: &mut [u8]) {
    let (from, to) = (octets::<16>(frame, 22).into(), octets::<16>(frame, 38).into());
    frame[56..58].fill(0);
    let message = frame[54..].to_vec();
    let sum = checksum(&[pseudo(from, to, 58, message.len()), message].concat());
    frame[56..58].copy_from_slice(&sum.to_be_bytes());
}

fn octets<const N: usize>(packet: &[u8], at: usize) -> [u8; N] {
    packet[at..at + N].try_into().unwrap()
}

fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address).to_vec(),
    };
    [&octets(from)[..], &octets(to), &[0, protocol], &(length as u16).to_be_bytes()].concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
