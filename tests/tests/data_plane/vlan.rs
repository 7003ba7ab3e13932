//! Frames with VLAN tags (IEEE 802.1Q), as a driver gives them to the programs that leaves the tags
//! in the frame. On the lab's wires the kernel takes them out first, as a driver's offload does; so
//! the frames that come in are put before the program by hand.

use ogha_common::maps::{ArpCounters, PortCounters};
use ogha_tests::lab::clock;

use crate::{
    frames::{self, ACK, End, PSH, RST, SYN, Segment},
    peer::{self, PROBES, Play},
    stage::{INSTANCE, PORT, Stage, VIP, claimed, closed, lapsed, open},
    test_run::{DROP, PASS, RETURN, TestRun},
    wire::Wire,
};

/// TPID and control of a tag.
const PRIORITY: [u16; 2] = [0x8100, 0xa000];
const VLAN_7: [u16; 2] = [0x8100, 0xa007];
const SERVICE_PRIORITY: [u16; 2] = [0x88a8, 0xa000];
const SERVICE_VLAN_7: [u16; 2] = [0x88a8, 0x0007];

/// Tags that leave a frame in the LAN of the interface's own addresses.
const HERE: [&[[u16; 2]]; 2] = [&[PRIORITY], &[SERVICE_PRIORITY, PRIORITY]];
/// Tags that do not.
const ELSEWHERE: [&[[u16; 2]]; 4] =
    [&[VLAN_7], &[SERVICE_VLAN_7, PRIORITY], &[SERVICE_PRIORITY, VLAN_7], &[PRIORITY, VLAN_7]];

fn tagged(frame: &[u8], tags: &[[u16; 2]]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flatten().flat_map(|word| word.to_be_bytes()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

/// The frame without the tags, which must be these.
fn untagged(frame: &[u8], tags: &[[u16; 2]]) -> Vec<u8> {
    let plain = [&frame[..12], &frame[12 + 4 * tags.len()..]].concat();
    assert_eq!(frame, tagged(&plain, tags), "the tags have changed");
    plain
}

fn syn() -> Segment {
    Segment { source: 40_000, destination: PORT, sequence: 1000, flags: SYN, ..Segment::default() }
}

fn port_counters(stage: &Stage) -> PortCounters {
    stage.kernel.port_counters(INSTANCE).unwrap()
}

fn arp_counters(stage: &Stage) -> ArpCounters {
    stage.kernel.arp_counters(INSTANCE).unwrap()
}

/// A switch marks the frames of the LAN with a priority, and with no VLAN. The host's stack takes
/// them for untagged ones; so do the programs, and their answers keep the mark.
#[test]
fn priority_tags_change_nothing() {
    let mut stage = Stage::set("vlan-priority");
    let run = TestRun::ingress(&stage.node);
    let (client, vip) = (stage.client_end(), stage.vip_end());
    let data = Segment { flags: ACK | PSH, payload: vec![1, 2, 3], ..syn() };
    for (count, tags) in (1..).zip(HERE) {
        let on = |frame: Vec<u8>| run.on(&tagged(&frame, tags));
        stage.gate(closed());
        assert_eq!(on(frames::who_has(client, VIP)).0, DROP);
        let (verdict, reset) = on(syn().packet(client, vip));
        assert_eq!(verdict, RETURN);
        let (from, to, reset) = Segment::read(&untagged(&reset, tags)).unwrap();
        assert_eq!((from, to, reset.flags), (VIP, client.address, RST | ACK));
        stage.gate(lapsed());
        assert_eq!(on(syn().packet(client, vip)).0, DROP);
        stage.gate(open());
        let (verdict, answer) = on(frames::who_has(client, VIP));
        assert_eq!(verdict, RETURN);
        assert_eq!(untagged(&answer, tags), frames::arp(frames::REPLY, vip, client));
        assert_eq!(on(data.packet(client, vip)).0, PASS);
        let seen = port_counters(&stage);
        assert_eq!((seen.syn_in, seen.rejected, seen.dropped), (2 * count, count, count));
        assert_eq!(seen.data_in, count);
        let seen = arp_counters(&stage);
        assert_eq!((seen.answered, seen.dropped), (count, count));
    }
}

/// A peer's probes come with tags, and are answered with the same.
#[test]
fn a_probe_is_answered_with_its_tags() {
    let mut play = Play::set("vlan-probe");
    let run = TestRun::ingress(&play.stage.node);
    let node = play.stage.node_end();
    for tags in HERE.iter().chain(&ELSEWHERE) {
        let probe = peer::datagram(&play.probe());
        let frame = frames::datagram(play.stage.client_end(), node, PROBES, &probe);
        let (verdict, reply) = run.on(&tagged(&frame, tags));
        assert_eq!(verdict, RETURN);
        let reply = untagged(&reply, tags);
        assert_eq!(reply[..12], [play.stage.client.mac(), node.mac].concat());
        assert_eq!(frames::read_ip(&reply, 17).unwrap().0, node.address);
    }
    assert_eq!(play.counters().answered, 6);
}

/// The interface is a trunk, and in one of its VLANs the same address is somebody else's, who is
/// asked for, answers and announces: the node keeps out of it, whatever its gate says.
#[test]
fn arp_of_another_vlan_is_none_of_ours() {
    let mut stage = Stage::set("vlan-arp");
    let run = TestRun::ingress(&stage.node);
    let client = stage.client_end();
    let owner = End { mac: [0x02, 0, 0, 0, 0, 0x99], address: VIP };
    for gate in [closed(), claimed(), open(), lapsed()] {
        stage.gate(gate);
        for tags in ELSEWHERE {
            for frame in [
                frames::who_has(client, VIP),
                frames::arp(frames::REPLY, owner, client),
                frames::gratuitous(owner),
            ] {
                let frame = tagged(&frame, tags);
                assert_eq!(run.on(&frame), (PASS, frame), "{gate:?} {tags:04x?}");
            }
        }
    }
    assert_eq!(arp_counters(&stage), ArpCounters::default());
}

/// A client reaches the VIP through another VLAN, in which the host has an address too: its stack
/// would take the packet. The gate holds there as well; but what is for another MAC is left alone.
#[test]
fn the_gate_holds_in_every_vlan() {
    let mut stage = Stage::set("vlan-gate");
    let run = TestRun::ingress(&stage.node);
    let (client, vip) = (stage.client_end(), stage.vip_end());
    let other = End { mac: [0x02, 0, 0, 0, 0, 0x99], ..vip };
    for tags in ELSEWHERE {
        let on = |to: End| run.on(&tagged(&syn().packet(client, to), tags));
        stage.gate(open());
        assert_eq!(on(vip).0, PASS);
        stage.gate(lapsed());
        assert_eq!(on(vip).0, DROP);
        stage.gate(closed());
        let (verdict, reset) = on(vip);
        assert_eq!(verdict, RETURN);
        let (_, _, reset) = Segment::read(&untagged(&reset, tags)).unwrap();
        assert_eq!(reset.flags, RST | ACK);
        assert_eq!(on(other), (PASS, tagged(&syn().packet(client, other), tags)));
    }
}

/// A frame of three tags, one that ends within a tag, and one whose tag is followed by something
/// else pass as they are.
#[test]
fn what_is_behind_the_tags_is_not_guessed() {
    let mut stage = Stage::set("vlan-deep");
    let run = TestRun::ingress(&stage.node);
    stage.gate(open());
    let question = frames::who_has(stage.client_end(), VIP);
    let mut cut = tagged(&question, &[PRIORITY]);
    cut.truncate(16);
    let mut strange = tagged(&question, &[PRIORITY]);
    strange[16..18].copy_from_slice(&[0x88, 0xb5]);
    for frame in [tagged(&question, &[PRIORITY; 3]), cut, strange] {
        assert_eq!(run.on(&frame), (PASS, frame));
    }
    assert_eq!(arp_counters(&stage), ArpCounters::default());
}

/// The node's stack, or a program on it, sends with tags: what would claim the VIP, or speak for it,
/// does not leave in any VLAN while the gate is not open.
#[test]
fn nothing_leaves_for_the_vip_in_any_vlan() {
    let mut stage = Stage::set("vlan-egress");
    let wire = Wire::open(&stage.node);
    let data = Segment { source: PORT, flags: ACK | PSH, payload: vec![1], ..syn() };
    let mut expected = (0, 0);
    for tags in HERE.iter().chain(&ELSEWHERE) {
        for frame in
            [frames::gratuitous(stage.vip_end()), data.packet(stage.vip_end(), stage.client_end())]
        {
            let frame = tagged(&frame, tags);
            stage.gate(lapsed());
            let refused = wire.try_send(&frame).map_err(|error| error.raw_os_error());
            assert_eq!(refused, Err(Some(libc::ENOBUFS)), "{tags:04x?}");
            stage.gate(open());
            wire.send(&frame);
        }
        expected = (expected.0 + 1, expected.1 + 1);
        let seen = (arp_counters(&stage).suppressed, port_counters(&stage).dropped);
        assert_eq!(seen, expected);
    }
    assert!(port_counters(&stage).data_out_last_ns < clock::now().ns());
    assert_eq!(port_counters(&stage).data_out, 6);
}

/// A client's question goes over the wire with a priority tag, which the lab's switch takes out of the
/// frame: it is answered as any other.
#[test]
fn a_tag_that_the_driver_took_out_is_not_missed() {
    let mut stage = Stage::set("vlan-wire");
    stage.gate(open());
    stage.wire.send(&tagged(&frames::who_has(stage.client_end(), VIP), &[PRIORITY]));
    let answer = stage.wire.expect("the answer", frames::read_neighbour);
    assert_eq!(answer, (frames::REPLY, stage.vip_end(), stage.client_end()));
}
