//! VRRP adverts: what the kernel takes for a sign of a peer's life (RFC 9568 section 7.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ogha_common::{
    maps::AdvertCounters,
    units::{Centis, NodeId, Priority, Vrid},
    wire::vrrp::{self, Advert, Auth, Checksum, Ip, Version},
};
use ogha_tests::lab::clock;

use crate::{
    frames::{self, End},
    stage::{self, INSTANCE, Stage},
};

on_both_versions!(
    an_advert_is_stamped_and_passed_on,
    a_goodbye_is_no_sign_of_life,
    what_breaks_a_rule_is_no_sign_of_life,
);

const PEER: NodeId = NodeId::of("peer");

fn vrid() -> Vrid {
    Vrid::new(59).unwrap()
}

/// The stage, and the client as the node's peer.
fn set(version: stage::Version, name: &str, speaks: u8) -> Stage {
    let mut stage = Stage::on(version, name);
    let client = stage.client_address();
    stage.kernel.set_peers(INSTANCE, &[PEER]).unwrap();
    stage.kernel.set_advertisers(INSTANCE, vrid(), speaks, &[(client, PEER)]).unwrap();
    stage
}

/// An address of the same family.
fn another(like: IpAddr, last: u8) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(10, 59, 0, last).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0x59, 0, 0, 0, 0, 0, u16::from(last)).into(),
    }
}

/// Where VRRP begins in a packet.
fn message(packet: &[u8]) -> usize {
    if packet[12..14] == [8, 0] { 34 } else { 54 }
}

/// A packet with an advert of three addresses.
fn advert(from: End, to: End, version: Version, checksum: Checksum, priority: u8) -> Vec<u8> {
    let interval = match version {
        Version::V2 => Centis::from_duration(std::time::Duration::from_secs(1)),
        Version::V3 => Centis::from_duration(std::time::Duration::from_millis(100)),
    };
    let advert = Advert {
        version,
        vrid: vrid(),
        priority: Priority::new(priority),
        interval: interval.unwrap(),
        auth: Auth::None,
        checksum,
    };
    let addresses = [100, 101, 102].map(|last| another(from.address, last));
    let ip = Ip { source: from.address, destination: to.address, ttl: 255 };
    let mut buffer = [0; vrrp::MAX_LEN];
    let length = vrrp::encode(&advert, &addresses, ip, &mut buffer).unwrap();
    frames::with_ttl(frames::packet(from, to, vrrp::IP_PROTOCOL, 0, &buffer[..length]), 255)
}

/// Sends the packet, and waits until the node's stack answers what comes after it.
fn send(stage: &Stage, packet: &[u8]) {
    stage.wire.send(packet);
    stage.ask_for_vip();
}

fn counters(stage: &Stage) -> AdvertCounters {
    stage.kernel.advert_counters(INSTANCE).unwrap()
}

fn last(stage: &Stage) -> u64 {
    stage.kernel.peer(INSTANCE, PEER).unwrap().unwrap().last_advert_ns
}

/// Adverts of a peer, of both versions and with both checksums that version 3 has in the field: each
/// is counted, its time is the kernel's, and the host gets it.
fn an_advert_is_stamped_and_passed_on(at: stage::Version) {
    let (domain, kinds) = match at {
        stage::Version::V4 => (socket2::Domain::IPV4, &OVER_IPV4[..]),
        stage::Version::V6 => (socket2::Domain::IPV6, &OVER_IPV4[..1]),
    };
    for &(version, number, checksum) in kinds {
        let stage = set(at, "advert-good", number);
        let socket = stage.node.namespace().enter(|| {
            let protocol = Some(socket2::Protocol::from(i32::from(vrrp::IP_PROTOCOL)));
            socket2::Socket::new(domain, socket2::Type::RAW, protocol).unwrap()
        });
        assert_eq!(last(&stage), 0);
        let before = clock::now().ns();
        let packet = advert(stage.client_end(), stage.node_end(), version, checksum, 100);
        send(&stage, &packet);
        let stamped = last(&stage);
        assert!(stamped > before && stamped < clock::now().ns(), "{version:?} {checksum:?}");
        assert_eq!(counters(&stage), AdvertCounters { accepted: 1, ..Default::default() });
        socket.set_read_timeout(Some(crate::wire::GENEROUS)).unwrap();
        let mut buffer = [0; 200];
        let length = std::io::Read::read(&mut &socket, &mut buffer).unwrap();
        // A raw socket of IPv4 shows the header too (raw(7)); one of IPv6 does not (RFC 3542).
        let shown = if message(&packet) == 34 { 14 } else { 54 };
        assert_eq!(length, packet.len() - shown);
    }
}

const OVER_IPV4: [(Version, u8, Checksum); 3] = [
    (Version::V3, 3, Checksum::PseudoHeader),
    (Version::V3, 3, Checksum::Plain),
    (Version::V2, 2, Checksum::Plain),
];

/// The peer gives up its role: its advert counts, but nobody is to wait for the next.
fn a_goodbye_is_no_sign_of_life(at: stage::Version) {
    let stage = set(at, "advert-bye", 3);
    let (client, node) = (stage.client_end(), stage.node_end());
    send(&stage, &advert(client, node, Version::V3, Checksum::PseudoHeader, 0));
    assert_eq!(counters(&stage), AdvertCounters { accepted: 1, ..Default::default() });
    assert_eq!(last(&stage), 0);
}

/// Each rule of the RFC, broken by itself: a counter tells which, and the time stands still.
fn what_breaks_a_rule_is_no_sign_of_life(at: stage::Version) {
    let stage = set(at, "advert-bad", 3);
    let (client, node) = (stage.client_end(), stage.node_end());
    let good = || advert(client, node, Version::V3, Checksum::PseudoHeader, 100);
    let with = |at: usize, octet: u8| {
        let mut packet = good();
        let begin = message(&packet);
        packet[begin + at] = octet;
        packet
    };
    let begin = message(&good());
    let short = &good()[begin..begin + 16];
    let short = frames::with_ttl(frames::packet(client, node, 112, 0, short), 255);
    let stranger = End { address: another(client.address, 77), ..client };
    let strange = advert(stranger, node, Version::V3, Checksum::PseudoHeader, 100);
    type Counts = fn(&mut AdvertCounters);
    let cases: [(Vec<u8>, Counts); 7] = [
        (frames::with_ttl(good(), 254), |c| c.ttl += 1),
        (with(0, 0x21), |c| c.version += 1),
        (with(0, 0x32), |c| c.kind += 1),
        (with(3, 4), |c| c.length += 1),
        (short, |c| c.length += 1),
        (with(2, 99), |c| c.checksum += 1),
        (strange, |c| c.stranger += 1),
    ];
    let mut expected = AdvertCounters::default();
    for (packet, count) in cases {
        send(&stage, &packet);
        count(&mut expected);
        assert_eq!(counters(&stage), expected, "{packet:02x?}");
        assert_eq!(last(&stage), 0);
    }
    // Another virtual router is none of ours.
    send(&stage, &with(1, 60));
    assert_eq!(counters(&stage), expected);
    send(&stage, &good());
    assert!(last(&stage) > 0);
}
