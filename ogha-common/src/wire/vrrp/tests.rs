//! Known packets, one case a rule, and random ones.

extern crate std;
use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;

const ADDRESSES: [IpAddr; 2] = [v4([20, 0, 1, 2]), v4([20, 0, 1, 3])];
const IP: Ip = Ip { source: v4([20, 0, 0, 3]), destination: IpAddr::V4(MULTICAST), ttl: 255 };

const LINK_LOCAL: IpAddr = v6([0xfe80, 0, 0, 0, 0, 0, 0, 0x10]);
const GLOBAL: IpAddr = v6([0xfd00, 0, 0, 0, 0, 0, 0, 0x10]);
const IP_V6: Ip = Ip {
    source: v6([0xfe80, 0, 0, 0, 0, 0, 0, 1]),
    destination: IpAddr::V6(MULTICAST_V6),
    ttl: 255,
};

const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// The addresses of an advert that was read, in their order.
fn list(addresses: Addresses<'_>) -> Vec<IpAddr> {
    match addresses {
        Addresses::V4(addresses) => addresses.iter().map(|&octets| octets.into()).collect(),
        Addresses::V6(addresses) => addresses.iter().map(|&octets| octets.into()).collect(),
    }
}

fn known(checksum: u16) -> Vec<u8> {
    let mut packet = vec![0x31, 2, 0xfe, 2, 0, 1, 0, 0, 20, 0, 1, 2, 20, 0, 1, 3];
    packet[6..8].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn v3(checksum: Checksum) -> Advert {
    Advert {
        version: Version::V3,
        vrid: Vrid::new(2).unwrap(),
        priority: Priority::HIGHEST,
        interval: Centis::new(1).unwrap(),
        auth: Auth::None,
        checksum,
    }
}

fn v2(auth: Auth) -> Advert {
    let interval = Centis::new(100).unwrap();
    Advert { version: Version::V2, interval, auth, ..v3(Checksum::Plain) }
}

fn written(advert: &Advert, addresses: &[IpAddr], ip: Ip) -> Vec<u8> {
    let mut out = [0xaa; MAX_LEN];
    let length = encode(advert, addresses, ip, &mut out).unwrap();
    out[..length].to_vec()
}

/// Makes the checksum right again after a test has changed the packet.
fn resum(packet: &mut [u8]) {
    packet[6..8].fill(0);
    let checksum = !fold(sum(0, packet));
    packet[6..8].copy_from_slice(&checksum.to_be_bytes());
}

#[test]
fn known_packets_read_and_write() {
    for (sum, camp) in [(0xb25e, Checksum::PseudoHeader), (0xa6f4, Checksum::Plain)] {
        let packet = known(sum);
        let (advert, addresses) = parse(&packet, IP).unwrap();
        assert_eq!(advert, v3(camp));
        assert_eq!(list(addresses), ADDRESSES);
        assert_eq!(written(&advert, &ADDRESSES, IP), packet);
    }
    assert_eq!(parse(&known(0xa6f5), IP), Err(Error::Checksum));
    // The pseudo-header ties the packet to its sender.
    let moved = Ip { source: v4([20, 0, 0, 4]), ..IP };
    assert_eq!(parse(&known(0xb25e), moved), Err(Error::Checksum));
}

#[test]
fn over_ipv6_the_pseudo_header_is_summed_and_the_link_local_address_comes_first() {
    let packet = written(&v3(Checksum::PseudoHeader), &[GLOBAL, LINK_LOCAL], IP_V6);
    // Worked out by hand: fe80 + 1 + ff02 + 12 + 70 + 28 (pseudo-header), 3102 + fe02 + 0 + 1 +
    // fe80 + 10 + fd00 + 10 (message) are 528d2, folded 28d7.
    assert_eq!(packet[..8], [0x31, 2, 0xfe, 2, 0, 1, 0xd7, 0x28]);
    assert_eq!(packet.len(), 40);
    let (advert, addresses) = parse(&packet, IP_V6).unwrap();
    assert_eq!(advert, v3(Checksum::PseudoHeader));
    assert_eq!(list(addresses), [LINK_LOCAL, GLOBAL]);
    // Without a pseudo-header it is neither written nor believed.
    assert_eq!(written(&v3(Checksum::Plain), &[GLOBAL, LINK_LOCAL], IP_V6), packet);
    let mut plain = packet;
    resum(&mut plain);
    assert_eq!(parse(&plain, IP_V6), Err(Error::Checksum));
}

#[test]
fn an_advert_is_of_one_family_and_version_2_of_ipv4() {
    let advert = v3(Checksum::PseudoHeader);
    let mut out = [0; MAX_LEN];
    let mut refused =
        |advert: &Advert, addresses: &[IpAddr], ip| encode(advert, addresses, ip, &mut out);
    let mixed = Ip { source: IP.source, ..IP_V6 };
    assert_eq!(refused(&advert, &[GLOBAL, ADDRESSES[0]], IP_V6), Err(Error::Family));
    assert_eq!(refused(&advert, &[GLOBAL], IP), Err(Error::Family));
    assert_eq!(refused(&advert, &[GLOBAL], mixed), Err(Error::Family));
    assert_eq!(refused(&v2(Auth::None), &[GLOBAL], IP_V6), Err(Error::Family));
    assert_eq!(parse(&known(0xb25e), mixed), Err(Error::Family));
    let version_2 = written(&v2(Auth::None), &ADDRESSES, IP);
    assert_eq!(parse(&version_2, IP_V6), Err(Error::Family));
    // Two IPv4 addresses are half of one IPv6 address.
    assert_eq!(parse(&known(0xb25e), IP_V6), Err(Error::Length));
    assert_eq!(refused(&advert, &[GLOBAL; 255], IP_V6), Ok(MAX_LEN));
}

#[test]
fn version_2_carries_a_password_and_seconds() {
    let packet = written(&v2(Auth::simple_text("1111").unwrap()), &ADDRESSES[..1], IP);
    assert_eq!(packet[..6], [0x21, 2, 0xfe, 1, 1, 1]);
    assert_eq!(packet[8..], *b"\x14\x00\x01\x021111\0\0\0\0");
    assert_eq!(parse(&packet, IP).unwrap().0, v2(Auth::simple_text("1111").unwrap()));
    let packet = written(&v2(Auth::None), &ADDRESSES[..1], IP);
    assert_eq!(packet[4..6], [0, 1]);
    assert_eq!(packet[12..], [0; 8]);
    assert_eq!(Auth::simple_text(""), None);
    assert_eq!(Auth::simple_text("123456789"), None);
}

/// A change to a valid packet, and the rule that it breaks.
type Case = (fn(&mut Vec<u8>), Error);

#[test]
fn each_rule_refuses() {
    assert_eq!(parse(&known(0xb25e), Ip { ttl: 254, ..IP }), Err(Error::Ttl));
    let packet = written(&v3(Checksum::PseudoHeader), &[GLOBAL], IP_V6);
    assert_eq!(parse(&packet, Ip { ttl: 254, ..IP_V6 }), Err(Error::Ttl));
    let cases: [Case; 12] = [
        (|p| p.truncate(7), Error::Truncated),
        (|p| p.clear(), Error::Truncated),
        (|p| p[0] = 0x41, Error::Version),
        (|p| p[0] = 0x11, Error::Version),
        (|p| p[0] = 0x32, Error::Type),
        (|p| p[1] = 0, Error::VridZero),
        (|p| p[3] = 0, Error::AddressCount),
        (|p| p[3] = 1, Error::Length),
        (|p| p[3] = 3, Error::Length),
        (|p| p.push(0), Error::Length),
        (|p| p[4..6].fill(0), Error::Interval),
        // The four reserved bits are no part of the interval (section 5.2.6).
        (|p| p[4..6].copy_from_slice(&[0xf0, 0]), Error::Interval),
    ];
    for (i, (change, error)) in cases.into_iter().enumerate() {
        let mut packet = known(0xa6f4);
        change(&mut packet);
        if packet.len() >= 8 {
            resum(&mut packet);
        }
        assert_eq!(parse(&packet, IP), Err(error), "case {i}");
    }
}

#[test]
fn each_rule_of_version_2_refuses() {
    let cases: [Case; 5] = [
        (|p| p[4] = 2, Error::AuthType),
        (|p| p[5] = 0, Error::Interval),
        (|p| p[5] = 41, Error::Interval),
        (|p| p.truncate(16), Error::Length),
        (|p| p[6] ^= 1, Error::Checksum),
    ];
    for (i, (change, error)) in cases.into_iter().enumerate() {
        let mut packet = written(&v2(Auth::None), &ADDRESSES, IP);
        change(&mut packet);
        if error != Error::Checksum {
            resum(&mut packet);
        }
        assert_eq!(parse(&packet, IP), Err(error), "case {i}");
    }
    // The pseudo-header is version 3's alone.
    let mut out = [0; MAX_LEN];
    let asked = Advert { checksum: Checksum::PseudoHeader, ..v2(Auth::None) };
    let length = encode(&asked, &ADDRESSES, IP, &mut out).unwrap();
    assert_eq!(parse(&out[..length], IP).unwrap().0.checksum, Checksum::Plain);
}

#[test]
fn reserved_bits_are_ignored() {
    let mut packet = known(0);
    packet[4] |= 0xf0;
    resum(&mut packet);
    assert_eq!(parse(&packet, IP).unwrap().0, v3(Checksum::Plain));
}

#[test]
fn the_configuration_is_checked() {
    let advert = v2(Auth::simple_text("1111").unwrap());
    let expected = Expected {
        version: advert.version,
        vrid: advert.vrid,
        interval: advert.interval,
        auth: advert.auth,
    };
    assert_eq!(expected.check(&advert), Ok(()));
    let other = Vrid::new(3).unwrap();
    let interval = Centis::new(200).unwrap();
    for (advert, error) in [
        (Advert { version: Version::V3, ..advert }, Error::Version),
        (Advert { vrid: other, ..advert }, Error::OtherVrid),
        (Advert { auth: Auth::None, ..advert }, Error::AuthMismatch),
        (Advert { auth: Auth::simple_text("1112").unwrap(), ..advert }, Error::AuthMismatch),
        (Advert { interval, ..advert }, Error::IntervalMismatch),
    ] {
        assert_eq!(expected.check(&advert), Err(error));
    }
    // Version 3 learns the interval from the active router (RFC 9568 section 6.4.2).
    let advert = v3(Checksum::PseudoHeader);
    let expected = Expected { version: Version::V3, auth: Auth::None, ..expected };
    assert_eq!(expected.check(&Advert { interval, ..advert }), Ok(()));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut out = [0; MAX_LEN];
    let advert = v3(Checksum::Plain);
    let many = [ADDRESSES[0]; 256];
    assert_eq!(encode(&advert, &[], IP, &mut out), Err(Error::AddressCount));
    assert_eq!(encode(&advert, &many, IP, &mut out), Err(Error::AddressCount));
    assert_eq!(encode(&advert, &ADDRESSES, IP, &mut out[..15]), Err(Error::Buffer));
    let fraction = Advert { interval: Centis::new(150).unwrap(), ..v2(Auth::None) };
    assert_eq!(encode(&fraction, &ADDRESSES, IP, &mut out), Err(Error::Interval));
    assert_eq!(encode(&v2(Auth::None), &many[..255], IP, &mut out), Ok(8 + 255 * 4 + 8));
}

/// The header and the addresses of a packet, of one family.
fn any_packet() -> impl Strategy<Value = (Ip, Vec<IpAddr>)> {
    let v4 = || any::<Ipv4Addr>().prop_map(IpAddr::V4);
    let v6 = || any::<Ipv6Addr>().prop_map(IpAddr::V6);
    let ip = |(source, destination)| Ip { source, destination, ttl: 255 };
    prop_oneof![
        ((v4(), v4()).prop_map(ip), proptest::collection::vec(v4(), 1..=255)),
        ((v6(), v6()).prop_map(ip), proptest::collection::vec(v6(), 1..=255)),
    ]
}

fn any_ip() -> impl Strategy<Value = Ip> {
    any_packet().prop_map(|(ip, _)| ip)
}

/// An advert, and a packet that can carry it.
fn any_sent() -> impl Strategy<Value = (Advert, Ip, Vec<IpAddr>)> {
    (any_advert(), any_packet())
        .prop_filter("version 2 is IPv4", |(advert, (ip, _))| family(advert.version, *ip).is_ok())
        .prop_map(|(advert, (ip, addresses))| (advert, ip, addresses))
}

fn any_advert() -> impl Strategy<Value = Advert> {
    let text = prop_oneof![Just(Auth::None), any::<[u8; 8]>().prop_map(Auth::SimpleText)];
    (1..=255u8, any::<u8>(), any::<bool>(), 1..=4095u16, 1..=40u16, text).prop_map(
        |(vrid, priority, third, centis, seconds, auth)| Advert {
            version: if third { Version::V3 } else { Version::V2 },
            vrid: Vrid::new(vrid).unwrap(),
            priority: Priority::new(priority),
            interval: Centis::new(if third { centis } else { seconds * 100 }).unwrap(),
            auth: if third { Auth::None } else { auth },
            checksum: if third { Checksum::PseudoHeader } else { Checksum::Plain },
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read((advert, ip, mut addresses) in any_sent()) {
        let packet = written(&advert, &addresses, ip);
        let (read, read_addresses) = parse(&packet, ip).unwrap();
        prop_assert_eq!(read, advert);
        addresses.sort_by_key(|a| !matches!(a, IpAddr::V6(a) if a.is_unicast_link_local()));
        prop_assert_eq!(list(read_addresses), addresses);
    }

    #[test]
    fn nothing_makes_the_parser_panic(
        packet in proptest::collection::vec(any::<u8>(), 0..2048),
        ip in any_ip(),
    ) {
        let _ = parse(&packet, ip);
    }

    /// A flipped bit never passes in the same camp. (It may pass in the other one, where the
    /// addresses happen to add up to a power of two; then the advert says so.)
    #[test]
    fn a_flipped_bit_does_not_pass((advert, ip, addresses) in any_sent()) {
        let packet = written(&advert, &addresses[..1], ip);
        for bit in 0..packet.len() * 8 {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok((read, _)) = parse(&flipped, ip) {
                prop_assert_ne!(read.checksum, advert.checksum, "bit {}", bit);
            }
        }
    }
}
