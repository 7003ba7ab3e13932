//! The paths through the XDP program, each with a frame that takes it and the proof that it did.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use ogha_common::{
    maps::{ArpCounters, GATE_CLOSED, GATE_OPEN, Gate, PortCounters, ProbeCounters},
    units::{Centis, Priority, Vrid},
    wire::{
        arp::{Arp, BROADCAST, Operation},
        vrrp::{self, Advert, Auth, Checksum, Version},
    },
};

use super::peer::{self, PROBES, TERM};
use crate::lab::clock;

/// The instance.
pub const INSTANCE: u32 = 0;
/// Its virtual router.
pub const VRID: u8 = 59;
/// The virtual address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 100);
/// The database's port.
pub const PORT: u16 = 26000;
/// The node's own: the gate has no say in it.
pub const OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 11);
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 59, 0, 1), 40_000);
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Of the group that [`vrrp::MULTICAST`] names (RFC 1112 section 6.4).
const VRRP_MAC: [u8; 6] = [1, 0, 0x5e, 0, 0, 18];
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const PSH_ACK: u8 = 0x18;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// The instance's counters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Of TCP.
    pub port: PortCounters,
    /// Of ARP.
    pub arp: ArpCounters,
    /// Of probes.
    pub probes: ProbeCounters,
}

/// What it takes to run the program on the same frame once more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Nothing.
    AsItIs,
    /// The program changes the frame: it is restored.
    Restored,
    /// The program knows the frame again, too: that it has seen it is forgotten.
    Forgotten,
}

/// A path.
pub struct Case {
    /// As in the results.
    pub name: &'static str,
    /// Nanoseconds that it should take at most, beyond the harness; `None` if nobody has said.
    pub budget_ns: Option<f64>,
    /// The gate that the frame meets.
    pub gate: Gate,
    /// The frame.
    pub frame: Vec<u8>,
    /// What the program returns.
    pub verdict: u32,
    /// What it takes to run it again.
    pub again: Again,
    /// The counter that each run moves by one; `None` if the path has none.
    pub counter: Option<fn(&Counters) -> u64>,
}

/// All paths, for a node with that MAC on its interface.
#[must_use]
pub fn all(mac: [u8; 6]) -> Vec<Case> {
    let database = |address| SocketAddrV4::new(address, PORT);
    let syn = || tcp(mac, database(VIP), SYN, 0);
    let of = |name, gate, frame, verdict| Case {
        name,
        budget_ns: None,
        gate,
        frame,
        verdict,
        again: Again::AsItIs,
        counter: None,
    };
    vec![
        of(
            "not-ours",
            open(),
            tcp(mac, SocketAddrV4::new(OWN_ADDRESS, 5432), PSH_ACK, 64),
            XDP_PASS,
        ),
        Case {
            again: Again::Restored,
            budget_ns: Some(90.0),
            counter: Some(|c| c.arp.answered),
            ..of("arp-reply", open(), who_has_vip(), XDP_TX)
        },
        Case {
            counter: Some(|c| c.arp.dropped),
            ..of("arp-drop", closed(), who_has_vip(), XDP_DROP)
        },
        Case { counter: Some(|c| c.port.syn_in), ..of("syn-open", open(), syn(), XDP_PASS) },
        Case {
            again: Again::Restored,
            counter: Some(|c| c.port.rejected),
            ..of("syn-closed", closed(), syn(), XDP_TX)
        },
        Case { counter: Some(|c| c.port.dropped), ..of("syn-lapsed", lapsed(), syn(), XDP_DROP) },
        Case {
            budget_ns: Some(40.0),
            counter: Some(|c| c.port.data_in),
            ..of("established-open", open(), tcp(mac, database(VIP), PSH_ACK, 64), XDP_PASS)
        },
        of("advert", open(), advert(), XDP_PASS),
        Case {
            again: Again::Forgotten,
            budget_ns: Some(350.0),
            counter: Some(|c| c.probes.answered),
            ..of("probe", open(), probe(mac), XDP_TX)
        },
    ]
}

/// It stays open for an hour.
pub fn open() -> Gate {
    let lease_until_ns = (clock::now() + Duration::from_secs(3600)).ns();
    Gate { state: GATE_OPEN, claimed: 1, term: TERM, lease_until_ns }
}

const fn closed() -> Gate {
    Gate { state: GATE_CLOSED, claimed: 0, term: TERM, lease_until_ns: 0 }
}

const fn lapsed() -> Gate {
    Gate { state: GATE_OPEN, claimed: 1, term: TERM, lease_until_ns: 1 }
}

fn who_has_vip() -> Vec<u8> {
    let request = Arp {
        operation: Operation::Request,
        sender_mac: CLIENT_MAC,
        sender_ip: *CLIENT.ip(),
        target_mac: [0; 6],
        target_ip: VIP,
    };
    request.encode(BROADCAST, CLIENT_MAC).to_vec()
}

/// A segment without options. An answer to it by RST has the length of one without payload, so that
/// it need not be made longer again. The checksum of TCP is left out, for the program does not look at it.
fn tcp(mac: [u8; 6], to: SocketAddrV4, flags: u8, payload: usize) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(CLIENT.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(vec![0; payload]);
    ipv4(mac, *to.ip(), TCP, 64, &segment)
}

/// VRRP version 3 from a peer, to the group (RFC 9568 section 5).
fn advert() -> Vec<u8> {
    let advert = Advert {
        version: Version::V3,
        vrid: Vrid::new(VRID).expect("it is a virtual router's number"),
        priority: Priority::new(100),
        interval: Centis::new(10).expect("10 is an interval"),
        auth: Auth::None,
        checksum: Checksum::PseudoHeader,
    };
    let ip = vrrp::Ip {
        source: IpAddr::V4(*CLIENT.ip()),
        destination: vrrp::MULTICAST.into(),
        ttl: vrrp::TTL,
    };
    let mut packet = [0; vrrp::MAX_LEN];
    let length = vrrp::encode(&advert, &[VIP.into()], ip, &mut packet).expect("one address fits");
    ipv4(VRRP_MAC, vrrp::MULTICAST, vrrp::IP_PROTOCOL, vrrp::TTL, &packet[..length])
}

/// A peer's probe. The checksum of UDP is left out, as IPv4 allows (RFC 768).
fn probe(mac: [u8; 6]) -> Vec<u8> {
    let payload = peer::datagram(1);
    let length = 8 + payload.len() as u16;
    let header = [PROBES, PROBES, length, 0].map(u16::to_be_bytes);
    ipv4(mac, OWN_ADDRESS, UDP, 64, &[header.as_flattened(), &payload].concat())
}

fn ipv4(mac: [u8; 6], to: Ipv4Addr, protocol: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend((20 + payload.len() as u16).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, ttl, protocol, 0, 0]);
    ip.extend(CLIENT.ip().octets());
    ip.extend(to.octets());
    let sum = !ip.chunks(2).fold(0_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([word[0], word[1]]));
        sum + u16::from(carry)
    });
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&mac, &CLIENT_MAC, &[8, 0][..], &ip, payload].concat()
}
