//! Neighbour discovery for the virtual address (RFC 4861): what ARP does not know. What both do stands
//! in `neighbour`.

use std::net::{IpAddr, Ipv6Addr};

use ogha_common::{
    maps::{ArpCounters, LeaseGrants, Passage},
    wire::ndp::{self, Neighbour, NeighbourKind},
};
use ogha_tests::lab::clock;

use crate::{
    frames::{self, End},
    stage::{INSTANCE, Stage, Version, claimed, closed, lapsed, open},
    test_run::{DROP, PASS, RETURN, TestRun},
    wire::Wire,
};

const STRANGER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];
/// Where a message's own parts begin in its frame.
const HOP_LIMIT: usize = 21;
const CODE: usize = 55;
const TARGET: usize = 62;
const OPTION_LENGTH: usize = 79;

fn v6(address: IpAddr) -> Ipv6Addr {
    let IpAddr::V6(address) = address else { panic!("{address} is of IPv4") };
    address
}

fn counters(stage: &Stage) -> ArpCounters {
    stage.kernel.arp_counters(INSTANCE).unwrap()
}

/// The frame with this behind its message, the length told and the checksum right.
fn with_options(mut frame: Vec<u8>, options: &[u8]) -> Vec<u8> {
    frame.extend(options);
    let length = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frames::fill_icmpv6(&mut frame);
    frame
}

/// A nonce (RFC 3971 section 5.3.2), as Linux puts it into a probe (RFC 7527).
const NONCE: [u8; 8] = [14, 1, 1, 2, 3, 4, 5, 6];

struct Scene {
    stage: Stage,
    run: TestRun,
    client: End,
    vip: End,
}

impl Scene {
    fn set(name: &str) -> Self {
        let stage = Stage::on(Version::V6, name);
        let run = TestRun::ingress(&stage.node);
        let (client, vip) = (stage.client_end(), stage.vip_end());
        Self { stage, run, client, vip }
    }

    /// What the node says to a question.
    fn answer(&self, question: &[u8]) -> (Neighbour, Vec<u8>) {
        let (verdict, answer) = self.run.on(question);
        assert_eq!(verdict, RETURN, "{question:02x?}");
        (ndp::parse(&answer).unwrap(), answer)
    }

    /// What the node shall say.
    fn advertisement(&self, to: IpAddr, solicited: bool) -> Neighbour {
        Neighbour {
            kind: NeighbourKind::Advertisement { solicited, overrides: true },
            source: v6(self.vip.address),
            destination: v6(to),
            target: v6(self.vip.address),
            link_layer: Some(self.vip.mac),
        }
    }
}

/// Neighbours ask in each way that RFC 4861 and RFC 4862 know: the group, the VIP itself to see
/// whether it is still there, with and without their MAC, and from no address. Each gets the answer of
/// section 7.2.4, with a right checksum and nothing behind it.
#[test]
fn each_question_gets_the_answer_of_the_rfc() {
    let mut scene = Scene::set("ndp-answers");
    scene.stage.gate(claimed());
    let Scene { client, vip, .. } = scene;
    let everybody = ndp::ALL_NODES.into();
    let unspecified = End { address: scene.stage.unspecified(), ..client };
    let direct = Neighbour {
        destination: v6(vip.address),
        ..Neighbour::solicitation(v6(client.address), client.mac, v6(vip.address))
    };
    let silent = Neighbour { link_layer: None, ..direct };
    let moved = Neighbour { link_layer: Some([0x02, 0, 0, 0, 0, 0x77]), ..direct };
    let group = Neighbour { link_layer: Some([0x33, 0x33, 0, 0, 0, 1]), ..direct };
    let probe = frames::who_has(unspecified, vip.address);
    let of = |message: Neighbour| frames::neighbour(message, vip.mac, client.mac);
    let all_nodes = ndp::group_mac(ndp::ALL_NODES);
    let cases = [
        (frames::who_has(client, vip.address), client.address, client.mac),
        (of(direct), client.address, client.mac),
        (of(silent), client.address, client.mac),
        (with_options(of(silent), &NONCE), client.address, client.mac),
        (with_options(of(direct), &NONCE), client.address, client.mac),
        (of(moved), client.address, moved.link_layer.unwrap()),
        (of(group), client.address, client.mac),
        (probe.clone(), everybody, all_nodes),
        (with_options(probe, &NONCE), everybody, all_nodes),
    ];
    for (answered, (question, to, mac)) in (1..).zip(cases) {
        let (answer, frame) = scene.answer(&question);
        assert_eq!(answer, scene.advertisement(to, to == client.address), "{question:02x?}");
        assert_eq!(frame[..12], [mac, vip.mac].concat());
        assert_eq!(frame.len(), ndp::LEN);
        assert_eq!(counters(&scene.stage), ArpCounters { answered, ..ArpCounters::default() });
    }
}

/// The frame of a question is shorter than that of its answer: on a wire too it has room.
#[test]
fn a_short_question_is_answered_on_the_wire() {
    let mut stage = Stage::on(Version::V6, "ndp-short");
    stage.gate(open());
    let (client, vip) = (stage.client_end(), stage.vip_end());
    let question = Neighbour {
        destination: v6(vip.address),
        link_layer: None,
        ..Neighbour::solicitation(v6(client.address), client.mac, v6(vip.address))
    };
    stage.wire.send(&frames::neighbour(question, vip.mac, client.mac));
    let answer = stage.wire.expect("the answer", |frame| {
        frames::read_neighbour(frame).filter(|(_, sender, _)| *sender == vip)
    });
    assert_eq!(answer, (frames::REPLY, vip, client));
}

/// Messages that RFC 4861 sections 7.1.1 and 7.1.2 say to discard, each wrong in one thing: whatever
/// the gate says, they are left to the host's stack as they are, and counted nowhere.
#[test]
fn malformed_messages_are_left_to_the_stack() {
    let mut scene = Scene::set("ndp-malformed");
    let Scene { client, vip, .. } = scene;
    let unspecified = End { address: scene.stage.unspecified(), ..client };
    let foreign = End { mac: STRANGER, ..vip };
    let (question, claim) = (frames::who_has(client, vip.address), frames::gratuitous(foreign));
    let probe = frames::who_has(unspecified, vip.address);
    let changed = |frame: &[u8], at: usize, octet: u8| {
        let mut frame = frame.to_vec();
        frame[at] = octet;
        frame
    };
    let to_all = Neighbour {
        kind: NeighbourKind::Advertisement { solicited: true, overrides: true },
        ..Neighbour::unsolicited(v6(vip.address), STRANGER)
    };
    let mut probe_to_vip = probe.clone();
    probe_to_vip[38..54].copy_from_slice(&v6(vip.address).octets());
    let mut cases = vec![
        with_options(probe.clone(), &[1, 1, 2, 0, 0, 0, 0, 1]),
        probe_to_vip,
        frames::neighbour(to_all, ndp::group_mac(ndp::ALL_NODES), STRANGER),
        with_options(question.clone(), &[14, 1, 0, 0, 0, 0, 0, 0].repeat(4)),
    ];
    for message in [&question, &claim] {
        cases.extend([
            changed(message, HOP_LIMIT, 254),
            changed(message, CODE, 1),
            changed(message, TARGET, 0xff),
            changed(message, OPTION_LENGTH, 0),
            changed(message, OPTION_LENGTH, 2),
            with_options(message.clone(), &[14, 0, 0, 0, 0, 0, 0, 0]),
            with_options(message.clone(), &[14, 1, 0, 0]),
            message[..70].to_vec(),
            message[..80].to_vec(),
        ]);
    }
    for gate in [open(), claimed(), closed(), lapsed()] {
        scene.stage.gate(gate);
        for frame in &cases {
            assert_eq!(scene.run.on(frame), (PASS, frame.clone()), "{gate:?}");
        }
    }
    assert_eq!(counters(&scene.stage), ArpCounters::default());
}

/// The VIP's neighbours talk about themselves while the gate is shut: that is not the clients'
/// traffic, and passes. Other ICMPv6 for the VIP is, and does not.
#[test]
fn what_is_not_about_the_vip_passes() {
    let mut scene = Scene::set("ndp-others");
    let Scene { client, vip, .. } = scene;
    let about_itself = frames::answer(client, vip);
    let asks_for_node = frames::who_has(client, scene.stage.node_address());
    let mut echo = about_itself.clone();
    echo[54] = 128;
    for gate in [closed(), lapsed(), open()] {
        scene.stage.gate(gate);
        for frame in [&about_itself, &asks_for_node] {
            assert_eq!(scene.run.on(frame), (PASS, frame.clone()), "{gate:?}");
        }
        let passes = gate.passage(&LeaseGrants::default(), clock::now().ns()) == Passage::Open;
        assert_eq!(scene.run.on(&echo).0, if passes { PASS } else { DROP });
    }
    assert_eq!(counters(&scene.stage), ArpCounters::default());
}

/// The node's own probe for the VIP comes back to it: an answer would make its stack believe that the
/// address is taken (RFC 7527 section 1).
#[test]
fn the_nodes_own_probe_is_not_answered() {
    let mut scene = Scene::set("ndp-own");
    let own = End { address: scene.stage.unspecified(), ..scene.vip };
    let probe = with_options(frames::who_has(own, scene.vip.address), &NONCE);
    for gate in [open(), claimed()] {
        scene.stage.gate(gate);
        assert_eq!(scene.run.on(&probe), (PASS, probe.clone()));
    }
}

/// The node's stack asks from the VIP, or probes for it: that leaves only while the VIP is held, for
/// the one is a claim, and the other takes the address from who is about to use it. A probe for
/// another address always leaves.
#[test]
fn questions_of_the_vip_leave_only_while_it_is_held() {
    let mut stage = Stage::on(Version::V6, "ndp-egress");
    let node = Wire::open(&stage.node);
    let unspecified = End { address: stage.unspecified(), ..stage.vip_end() };
    let questions = [
        frames::who_has(stage.vip_end(), stage.client_address()),
        frames::who_has(unspecified, stage.vip),
    ];
    for (gate, held) in [(closed(), false), (open(), true), (lapsed(), false), (claimed(), true)] {
        stage.gate(gate);
        for question in &questions {
            let error = node.try_send(question).map_err(|error| error.raw_os_error()).err();
            assert_eq!(error, (!held).then_some(Some(libc::ENOBUFS)), "{gate:?}");
        }
        node.send(&frames::who_has(unspecified, stage.node_address()));
    }
    assert_eq!(counters(&stage), ArpCounters { suppressed: 4, ..ArpCounters::default() });
}

/// In another VLAN the same address is somebody else's, who is asked for and announces it: the node
/// keeps out of it.
#[test]
fn neighbours_of_another_vlan_are_none_of_ours() {
    let mut scene = Scene::set("ndp-vlan");
    let foreign = End { mac: STRANGER, ..scene.vip };
    let in_vlan =
        |frame: Vec<u8>, vlan: u8| [&frame[..12], &[0x81, 0, 0xa0, vlan], &frame[12..]].concat();
    for gate in [open(), claimed(), closed(), lapsed()] {
        scene.stage.gate(gate);
        let question = frames::who_has(scene.client, scene.vip.address);
        for frame in [question, frames::gratuitous(foreign)] {
            let frame = in_vlan(frame, 7);
            assert_eq!(scene.run.on(&frame), (PASS, frame), "{gate:?}");
        }
    }
    assert_eq!(counters(&scene.stage), ArpCounters::default());
    // A tag that only tells a priority changes nothing.
    scene.stage.gate(open());
    let question = in_vlan(frames::who_has(scene.client, scene.vip.address), 0);
    let (verdict, answer) = scene.run.on(&question);
    let expected = in_vlan(frames::answer(scene.vip, scene.client), 0);
    assert_eq!((verdict, answer), (RETURN, expected));
}
