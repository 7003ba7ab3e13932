//! A known packet, one case a rule, and random ones.

extern crate std;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const VIP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x10);
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x11);

fn written(message: &Neighbour) -> Vec<u8> {
    message.encode(group_mac(message.destination), MAC, &mut [0xaa; LEN]).to_vec()
}

/// Makes the length and the checksum right again after a test has changed the packet.
fn resum(packet: &mut [u8]) {
    let length = packet.len() - MESSAGE;
    packet[offset::LENGTH..][..2].copy_from_slice(&(length as u16).to_be_bytes());
    packet[offset::CHECKSUM..][..2].fill(0);
    let address = |at| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    let sum = !checksum(address(offset::SOURCE), address(offset::DESTINATION), &packet[MESSAGE..]);
    packet[offset::CHECKSUM..][..2].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn an_announcement_overrides_at_all_nodes() {
    let packet = written(&Neighbour::unsolicited(VIP, MAC));
    assert_eq!(packet.len(), LEN);
    assert_eq!(packet[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
    assert_eq!(packet[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
    assert_eq!(packet[38..54], ALL_NODES.octets());
    // Worked out by hand: fd00 + 10 + ff02 + 1 + 3a + 20 (pseudo-header), 8800 + 2000 + fd00 +
    // 10 + 0201 + 0200 + 0 + 1 (message) are 3a57f, folded a582.
    assert_eq!(packet[54..62], [136, 0, 0x5a, 0x7d, 0x20, 0, 0, 0]);
    assert_eq!(packet[62..78], VIP.octets());
    assert_eq!(packet[78..], [2, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(parse(&packet), Ok(Neighbour::unsolicited(VIP, MAC)));
}

#[test]
fn a_question_goes_to_the_group_of_its_target() {
    let target = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0x12ab, 0xcdef);
    let question = Neighbour::solicitation(OTHER, MAC, target);
    assert_eq!(question.destination, "ff02::1:ffab:cdef".parse::<Ipv6Addr>().unwrap());
    assert_eq!(group_mac(question.destination), [0x33, 0x33, 0xff, 0xab, 0xcd, 0xef]);
    assert_eq!(parse(&written(&question)), Ok(question));
    // Duplicate address detection has no address to answer to.
    let probe = Neighbour::solicitation(Ipv6Addr::UNSPECIFIED, MAC, target);
    assert_eq!(probe.link_layer, None);
    let packet = written(&probe);
    assert_eq!(packet.len(), LEN_WITHOUT_OPTION);
    assert_eq!(parse(&packet), Ok(probe));
}

fn as_nobodys_question(packet: &mut [u8]) {
    packet[54] = SOLICITATION;
    packet[offset::SOURCE..][..16].fill(0);
}

/// A change to a valid advertisement, and the rule that it breaks.
type Case = (fn(&mut Vec<u8>), Error);

#[test]
fn each_rule_refuses() {
    let cases: [Case; 13] = [
        (|p| p[13] = 0, Error::NotNeighbour),
        (|p| p[14] = 0x40, Error::NotNeighbour),
        (|p| p[20] = 17, Error::NotNeighbour),
        (|p| p[54] = 134, Error::NotNeighbour),
        (|p| p[21] = 254, Error::HopLimit),
        (|p| p[55] = 1, Error::Code),
        (|p| p[62] = 0xff, Error::Target),
        (|p| p[79] = 0, Error::Option),
        (|p| p[79] = 2, Error::Option),
        (|p| p.push(0), Error::Option),
        (|p| p[58] |= 0x40, Error::Solicited),
        // As a question of nobody's, for a group that is not the target's.
        (|p| as_nobodys_question(p), Error::Unspecified),
        (|p| p.truncate(77), Error::Length),
    ];
    for (i, (change, error)) in cases.into_iter().enumerate() {
        let mut packet = written(&Neighbour::unsolicited(VIP, MAC));
        change(&mut packet);
        resum(&mut packet);
        assert_eq!(parse(&packet), Err(error), "case {i}");
    }
    let mut packet = written(&Neighbour::unsolicited(VIP, MAC));
    packet[57] ^= 1;
    assert_eq!(parse(&packet), Err(Error::Checksum));
    let mut probe = written(&Neighbour::solicitation(Ipv6Addr::UNSPECIFIED, MAC, VIP));
    probe.extend([1, 1, 2, 0, 0, 0, 0, 1]);
    resum(&mut probe);
    assert_eq!(parse(&probe), Err(Error::Unspecified));
    assert_eq!(parse(&probe[..85]), Err(Error::Length));
}

#[test]
fn options_that_nobody_knows_are_passed_over() {
    let mut packet = written(&Neighbour::solicitation(OTHER, MAC, VIP));
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    packet.splice(offset::OPTIONS..offset::OPTIONS, nonce);
    packet.extend(nonce);
    resum(&mut packet);
    packet.extend([0x55; 9]);
    assert_eq!(parse(&packet), Ok(Neighbour::solicitation(OTHER, MAC, VIP)));
}

fn any_message() -> impl Strategy<Value = Neighbour> {
    let kind = prop_oneof![
        Just(NeighbourKind::Solicitation),
        any::<bool>()
            .prop_map(|overrides| NeighbourKind::Advertisement { solicited: false, overrides }),
        any::<bool>()
            .prop_map(|overrides| NeighbourKind::Advertisement { solicited: true, overrides }),
    ];
    let addresses = (any::<Ipv6Addr>(), any::<Ipv6Addr>(), any::<Ipv6Addr>());
    (kind, addresses, any::<Option<[u8; 6]>>())
        .prop_map(|(kind, (source, destination, target), link_layer)| Neighbour {
            kind,
            source,
            destination,
            target,
            link_layer,
        })
        .prop_filter("valid", |message| !message.target.is_multicast() && check(message).is_ok())
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in any_message()) {
        prop_assert_eq!(parse(&written(&message)), Ok(message));
    }

    #[test]
    fn nothing_makes_the_parser_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&frame);
    }

    /// Damage behind the headers, where random frames do not come.
    #[test]
    fn no_damage_makes_the_parser_panic(
        message in any_message(),
        damage in proptest::collection::vec((MESSAGE..LEN, any::<u8>()), 1..8),
        extra in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut packet = written(&message);
        packet.extend(extra);
        let length = packet.len();
        for (at, octet) in damage {
            packet[at % length] = octet;
        }
        resum(&mut packet);
        let _ = parse(&packet);
    }

    #[test]
    fn a_flipped_bit_of_the_message_does_not_pass(message in any_message()) {
        let packet = written(&message);
        for bit in MESSAGE * 8..packet.len() * 8 {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(parse(&flipped).is_err(), "bit {}", bit);
        }
    }
}
