//! VRRP adverts: what the kernel takes for a sign of a peer's life (RFC 9568 section 7.1).

use std::net::{IpAddr, Ipv4Addr};

use ogha_common::{
    maps::AdvertCounters,
    units::{Centis, NodeId, Priority, Vrid},
    wire::vrrp::{self, Advert, Auth, Checksum, Ip, Version},
};
use ogha_tests::lab::clock;

use crate::{
    frames::{self, End},
    stage::{INSTANCE, Stage, VIP},
};

const PEER: NodeId = NodeId::of("peer");

fn vrid() -> Vrid {
    Vrid::new(59).unwrap()
}

/// The stage, and the client as the node's peer.
fn set(name: &str, version: u8) -> Stage {
    let mut stage = Stage::set(name);
    let client = stage.client.address().into();
    stage.kernel.set_peers(INSTANCE, &[PEER]).unwrap();
    stage.kernel.set_advertisers(INSTANCE, vrid(), version, &[(client, PEER)]).unwrap();
    stage
}

fn node_end(stage: &Stage) -> End {
    End { mac: stage.node.mac(), address: stage.node.address().into() }
}

/// A packet with an advert of three addresses.
fn advert(from: End, to: End, version: Version, checksum: Checksum) -> Vec<u8> {
    let interval = match version {
        Version::V2 => Centis::from_duration(std::time::Duration::from_secs(1)),
        Version::V3 => Centis::from_duration(std::time::Duration::from_millis(100)),
    };
    let advert = Advert {
        version,
        vrid: vrid(),
        priority: Priority::new(100),
        interval: interval.unwrap(),
        auth: Auth::None,
        checksum,
    };
    let addresses: Vec<IpAddr> =
        vec![VIP, Ipv4Addr::new(10, 59, 0, 101).into(), Ipv4Addr::new(10, 59, 0, 102).into()];
    let ip = Ip { source: from.address.into(), destination: to.address.into(), ttl: 255 };
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
#[test]
fn an_advert_is_stamped_and_passed_on() {
    for (version, number, checksum) in [
        (Version::V3, 3, Checksum::PseudoHeader),
        (Version::V3, 3, Checksum::Plain),
        (Version::V2, 2, Checksum::Plain),
    ] {
        let stage = set("advert-good", number);
        let socket = stage.node.namespace().enter(|| {
            let protocol = Some(socket2::Protocol::from(i32::from(vrrp::IP_PROTOCOL)));
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, protocol).unwrap()
        });
        assert_eq!(last(&stage), 0);
        let before = clock::now().ns();
        let packet = advert(stage.client_end(), node_end(&stage), version, checksum);
        send(&stage, &packet);
        let stamped = last(&stage);
        assert!(stamped > before && stamped < clock::now().ns(), "{version:?} {checksum:?}");
        assert_eq!(counters(&stage), AdvertCounters { accepted: 1, ..Default::default() });
        socket.set_read_timeout(Some(crate::wire::GENEROUS)).unwrap();
        let mut buffer = [0; 200];
        let length = std::io::Read::read(&mut &socket, &mut buffer).unwrap();
        assert_eq!(length, packet.len() - 14);
    }
}

/// Each rule of the RFC, broken by itself: a counter tells which, and the time stands still.
#[test]
fn what_breaks_a_rule_is_no_sign_of_life() {
    let stage = set("advert-bad", 3);
    let (client, node) = (stage.client_end(), node_end(&stage));
    let good = || advert(client, node, Version::V3, Checksum::PseudoHeader);
    let with = |at: usize, octet: u8| {
        let mut packet = good();
        packet[34 + at] = octet;
        packet
    };
    let short = frames::with_ttl(frames::packet(client, node, 112, 0, &good()[34..50]), 255);
    let stranger = End { address: Ipv4Addr::new(10, 59, 0, 77).into(), ..client };
    let strange = advert(stranger, node, Version::V3, Checksum::PseudoHeader);
    let cases: [(Vec<u8>, fn(&mut AdvertCounters)); 7] = [
        (frames::with_ttl(good(), 254), |c| c.ttl += 1),
        (advert(client, node, Version::V2, Checksum::Plain), |c| c.version += 1),
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
