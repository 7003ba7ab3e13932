//! Frames as a client would send them, and how to read those that come back.

use std::net::Ipv4Addr;

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
    pub address: Ipv4Addr,
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
        frame.extend(end.mac);
        frame.extend(end.address.octets());
    }
    frame
}

/// Who has `address`? asked by `sender`.
pub fn who_has(sender: End, address: Ipv4Addr) -> Vec<u8> {
    arp(REQUEST, sender, End { mac: [0; 6], address })
}

/// `sender` tells everybody that it has its address.
pub fn gratuitous(sender: End) -> Vec<u8> {
    arp(REQUEST, sender, End { mac: [0; 6], address: sender.address })
}

/// `(operation, sender, target)` of an ARP frame.
pub fn read_arp(frame: &[u8]) -> Option<(u16, End, End)> {
    let body = frame.strip_prefix(&frame[..12])?.strip_prefix(&[8, 6, 0, 1, 8, 0, 6, 4])?;
    let end = |at: usize| {
        let mac = body.get(at..at + 6)?.try_into().ok()?;
        let octets: [u8; 4] = body.get(at + 6..at + 10)?.try_into().ok()?;
        Some(End { mac, address: octets.into() })
    };
    Some((u16::from_be_bytes([*body.first()?, *body.get(1)?]), end(2)?, end(12)?))
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
    /// Words of IP options (no-operations).
    pub ip_options: u8,
    /// Words of TCP options (no-operations).
    pub tcp_options: u8,
}

impl Segment {
    /// A packet of it, with right checksums.
    pub fn packet(&self, from: End, to: End) -> Vec<u8> {
        let ip_options = vec![1; 4 * usize::from(self.ip_options)];
        let mut tcp = Vec::new();
        tcp.extend(self.source.to_be_bytes());
        tcp.extend(self.destination.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.extend([(5 + self.tcp_options) << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(vec![1; 4 * usize::from(self.tcp_options)]);
        tcp.extend(&self.payload);
        let sum = checksum(&[pseudo(from.address, to.address, tcp.len()), tcp.clone()].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        ipv4(from, to, 6, &ip_options, &tcp)
    }

    /// Reads a packet, whose checksums must be right.
    pub fn read(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, Self)> {
        if packet.get(12..14)? != [8, 0] || *packet.get(23)? != 6 {
            return None;
        }
        let header = usize::from(packet[14] & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes([packet[16], packet[17]]));
        let (from, to) = (octets(packet, 26), octets(packet, 30));
        let tcp = &packet[14 + header..14 + total];
        assert_eq!(checksum(&packet[14..14 + header]), 0, "the checksum of IP is wrong");
        let offset = usize::from(tcp[12] >> 4) * 4;
        let segment = Self {
            source: u16::from_be_bytes([tcp[0], tcp[1]]),
            destination: u16::from_be_bytes([tcp[2], tcp[3]]),
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            acknowledgement: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags: tcp[13],
            payload: tcp[offset..].to_vec(),
            ip_options: (header / 4 - 5) as u8,
            tcp_options: (offset / 4 - 5) as u8,
        };
        Some((from, to, segment))
    }
}

/// The checksum of a TCP packet, and what hardware would make of it that takes the field for the
/// sum of the pseudo header. Both must be the same.
pub fn tcp_checksums(packet: &[u8]) -> (u16, u16) {
    let (from, to) = (octets(packet, 26), octets(packet, 30));
    let total = usize::from(u16::from_be_bytes([packet[16], packet[17]]));
    let mut tcp = packet[34..14 + total].to_vec();
    let field = u16::from_be_bytes([tcp[16], tcp[17]]);
    let by_hardware = checksum(&tcp);
    tcp[16..18].fill(0);
    let right = checksum(&[pseudo(from, to, tcp.len()), tcp].concat());
    assert_eq!(field, right, "the checksum of TCP is wrong");
    (right, by_hardware)
}

/// A UDP datagram, without its checksum.
pub fn udp(from: End, to: End, port: u16) -> Vec<u8> {
    datagram(from, to, port, b"ping")
}

/// The same with this payload.
pub fn datagram(from: End, to: End, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    for word in [port, port, 8 + payload.len() as u16, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend(payload);
    ipv4(from, to, 17, &[], &udp)
}

/// The same packet as the second of two fragments.
pub fn as_later_fragment(mut packet: Vec<u8>) -> Vec<u8> {
    packet[20..22].copy_from_slice(&185_u16.to_be_bytes());
    packet[24..26].fill(0);
    let sum = checksum(&packet[14..34]);
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The same packet with another time to live.
pub fn with_ttl(mut packet: Vec<u8>, ttl: u8) -> Vec<u8> {
    packet[22] = ttl;
    packet[24..26].fill(0);
    let sum = checksum(&packet[14..34]);
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A packet of that protocol.
pub fn ipv4(from: End, to: End, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45 + (options.len() / 4) as u8, 0];
    ip.extend(((20 + options.len() + payload.len()) as u16).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    ip.extend(from.address.octets());
    ip.extend(to.address.octets());
    ip.extend(options);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [ethernet(to.mac, from.mac, 0x0800), ip, payload.to_vec()].concat()
}

fn octets(packet: &[u8], at: usize) -> Ipv4Addr {
    let octets: [u8; 4] = packet[at..at + 4].try_into().unwrap();
    octets.into()
}

fn pseudo(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    [&from.octets()[..], &to.octets(), &[0, 6], &(length as u16).to_be_bytes()].concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
