//! One case a rule, and random probes.

use proptest::prelude::*;

use super::*;

/// Any keyed function will do here.
fn tag(body: &Body) -> u64 {
    body.iter().fold(7, |hash: u64, &word| {
        (hash.rotate_left(9) ^ u64::from_be(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// Signs a packet that was changed.
fn sign(packet: &mut [u8; LEN]) {
    let signed = tag(body(&words(packet)).unwrap());
    packet[offset::TAG..].copy_from_slice(&signed.to_be_bytes());
}

fn probe() -> Probe {
    Probe {
        vrid: Vrid::new(59).unwrap(),
        kind: ProbeKind::Reply,
        sequence: 0x0102_0304_0506_0708,
        boot_id: *b"sixteen octets!!",
        time_ns: 11,
        echo_ns: 12,
        node: NodeId::new(13),
        to: NodeId::new(14),
        path: 2,
        grant_ms: 0,
        status: Status {
            term: Term::new(15),
            primary: Some(NodeId::new(16)),
            in_sync: Members::from_wire(18),
            phase: Phase::Serving,
            role: Role::Primary,
            restarting: true,
            paused: false,
            hung: true,
            priority: Priority::new(100),
            lsn: Lsn::new(17),
        },
        facts: None,
        page: None,
    }
}

#[test]
fn the_layout_is_fixed() {
    let packet = encode(&probe(), tag);
    assert_eq!(packet.len(), 120);
    assert_eq!(packet[..8], *b"OGHA\x02\x3b\x02\x64");
    assert_eq!(packet[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(packet[16..32], *b"sixteen octets!!");
    for (number, at) in [11, 12, 13, 14, 15, 16, 17, 18].into_iter().zip((32..).step_by(8)) {
        assert_eq!(packet[at..at + 8], [0, 0, 0, 0, 0, 0, 0, number]);
    }
    assert_eq!(packet[96..100], [4, 1, 5, 2]);
    assert_eq!(packet[100..112], [0; 12]);
    assert_eq!(packet[112..], tag(body(&words(&packet)).unwrap()).to_be_bytes());
    assert_eq!(parse(&packet, tag), Ok(probe()));
}

#[test]
fn facts_have_their_place() {
    let facts = KernelFacts {
        listening: true,
        gate: Some(Passage::Lapsed),
        queue: 0x0102,
        queue_limit: 0x0304,
        exited: true,
        heartbeat_ms: 0x0506_0708,
    };
    let told = Probe { facts: Some(facts), grant_ms: 0x090a, ..probe() };
    let packet = encode(&told, tag);
    assert_eq!(packet[96..112], [4, 1, 5, 2, 7, 4, 1, 2, 3, 4, 9, 10, 5, 6, 7, 8]);
    assert_eq!(parse(&packet, tag), Ok(told));
}

#[test]
fn words_and_octets_are_named_by_their_offset() {
    let packet: [u8; LEN] = core::array::from_fn(|i| i as u8);
    let words = words(&packet);
    for at in 0..LEN {
        assert_eq!(octet(&words, at), at as u8);
    }
    assert_eq!(word(&words, offset::TIME), u64::from_be_bytes([32, 33, 34, 35, 36, 37, 38, 39]));
}

#[test]
fn each_rule_refuses() {
    let packet = encode(&probe(), tag);
    assert_eq!(parse(&packet[..119], tag), Err(Error::Length));
    assert_eq!(parse(&[0; 121], tag), Err(Error::Length));
    assert_eq!(parse(&packet, |body| !tag(body)), Err(Error::Tag));
    for (at, octet, error) in [
        (0, b'o', Error::Magic),
        (4, 1, Error::Version),
        (5, 0, Error::Vrid),
        (6, 0, Error::Kind),
        (6, 3, Error::Kind),
        (55, 0, Error::Node),
        (63, 0, Error::Node),
        (96, 0, Error::Phase),
        (96, 6, Error::Phase),
        (97, 3, Error::Role),
        (99, 4, Error::Path),
    ] {
        let mut changed = packet;
        changed[at] = octet;
        sign(&mut changed);
        assert_eq!(parse(&changed, tag), Err(error), "octet {at}");
    }
}

#[test]
fn what_a_later_version_may_add_is_ignored() {
    let mut packet = encode(&probe(), tag);
    packet[98] = 0xfd;
    packet[100] = 0xfe;
    packet[101..106].fill(0xff);
    packet[108..112].fill(0xff);
    sign(&mut packet);
    assert_eq!(parse(&packet, tag), Ok(probe()));
    packet[100] = 0xff;
    sign(&mut packet);
    assert_eq!(parse(&packet, tag).unwrap().facts.unwrap().gate, None);
}

/// A version adds pages and bits, and changes nothing that stands already.
#[test]
fn a_datagram_of_the_next_version_is_read() {
    let asked = Probe { kind: ProbeKind::Probe, ..probe() };
    let mut packet = encode(&asked, tag);
    packet[4] = VERSION + 1;
    packet[98] |= 0xfc;
    packet[100] = 0xfe;
    packet[101] = 200;
    packet[102..106].fill(0xee);
    packet[108..112].fill(0xee);
    sign(&mut packet);
    let read = parse(&packet, tag).unwrap();
    assert_eq!(read.page, Some(Page { number: 200, value: 0xeeee_eeee_eeee_eeee }));
    assert_eq!(Probe { page: None, ..read }, asked);
}

/// What the first release sends: no page, and no facts.
#[test]
fn a_probe_without_a_page_is_read() {
    let asked = Probe { kind: ProbeKind::Probe, ..probe() };
    let packet = encode(&asked, tag);
    assert_eq!((packet[4], &packet[100..112]), (2, &[0; 12][..]));
    assert_eq!(parse(&packet, tag), Ok(asked));
}

/// What the first release does not look at in a probe is where the page is.
#[test]
fn a_page_stands_where_a_reply_has_its_facts() {
    let page = Page { number: 0x0b, value: 0x0102_0304_0506_0708 };
    let asked = Probe { kind: ProbeKind::Probe, page: Some(page), grant_ms: 0x090a, ..probe() };
    let packet = encode(&asked, tag);
    assert_eq!(packet[100..112], [8, 0x0b, 1, 2, 3, 4, 9, 10, 5, 6, 7, 8]);
    assert_eq!(parse(&packet, tag), Ok(asked));
    // The bit that says that a kernel has filled it in is not set.
    assert_eq!(packet[100] & flag::FILLED_IN, 0);
}

#[test]
fn a_boot_id_is_never_zero() {
    let boot_id = [0; 16];
    assert_eq!(parse(&encode(&Probe { boot_id, ..probe() }, tag), tag), Err(Error::Boot));
}

#[test]
fn a_node_without_a_record_names_no_primary() {
    let mut probe = probe();
    probe.status.primary = None;
    assert_eq!(parse(&encode(&probe, tag), tag).unwrap().status.primary, None);
}

#[test]
fn every_octet_is_under_the_tag() {
    let packet = encode(&probe(), tag);
    for at in 0..LEN {
        let mut changed = packet;
        changed[at] ^= 1;
        assert!(parse(&changed, tag).is_err(), "octet {at}");
    }
}

fn any_facts() -> impl Strategy<Value = Option<KernelFacts>> {
    let numbers = (any::<u16>(), any::<u16>(), any::<u32>());
    proptest::option::of((numbers, 1..=4u8, any::<[bool; 2]>()).prop_map(
        |((queue, queue_limit, heartbeat_ms), gate, [listening, exited])| KernelFacts {
            listening,
            exited,
            gate: Passage::from_wire(gate),
            queue,
            queue_limit,
            heartbeat_ms,
        },
    ))
}

fn any_status() -> impl Strategy<Value = Status> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u8>());
    (numbers, any::<u64>(), 1..=5u8, 0..=2u8, any::<[bool; 3]>()).prop_map(
        |((term, primary, lsn, priority), members, phase, role, [restarting, paused, hung])| {
            Status {
                term: Term::new(term),
                primary: NodeId::from_wire(primary),
                in_sync: Members::from_wire(members),
                phase: phase.try_into().unwrap(),
                role: role.try_into().unwrap(),
                restarting,
                paused,
                hung,
                priority: Priority::new(priority),
                lsn: Lsn::new(lsn),
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        vrid in 1..=255u8,
        kind in 1..=2u8,
        [sequence, time_ns, echo_ns, node, to] in any::<[u64; 5]>(),
        (path, grant_ms) in (0..4u8, any::<u16>()),
        boot_id in any::<[u8; 16]>().prop_filter("no boot has it", |id| *id != [0; 16]),
        status in any_status(),
        facts in any_facts(),
        page in proptest::option::of(any::<(u8, u64)>()),
    ) {
        let probe = Probe {
            vrid: Vrid::new(vrid).unwrap(),
            kind: kind.try_into().unwrap(),
            sequence,
            boot_id,
            time_ns,
            echo_ns,
            node: NodeId::new(node),
            to: NodeId::new(to),
            path,
            grant_ms,
            status,
            facts: facts.filter(|_| kind == 2),
            page: page.filter(|_| kind == 1).map(|(number, value)| Page { number, value }),
        };
        prop_assert_eq!(parse(&encode(&probe, tag), tag), Ok(probe));
    }

    /// The kernel goes by `check` alone: what that lets through, user space can read.
    #[test]
    fn what_is_checked_is_read(mut packet: [u8; LEN], small: [u8; 5], version: u8) {
        packet[..4].copy_from_slice(&MAGIC);
        packet[4] = version;
        for (at, octet) in [5, 6, 96, 97, 99].into_iter().zip(small) {
            packet[at] = octet % 8;
        }
        sign(&mut packet);
        prop_assert_eq!(check(&words(&packet), tag), parse(&packet, tag).map(drop));
    }

    #[test]
    fn nothing_makes_the_parser_panic(mut packet: [u8; LEN], known: bool) {
        if known {
            packet[..4].copy_from_slice(&MAGIC);
            packet[4] = VERSION;
        }
        let own = u64::from_be_bytes(packet[offset::TAG..].try_into().unwrap());
        let _ = parse(&packet, |_| own);
    }
}
