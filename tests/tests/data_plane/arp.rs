//! ARP for the virtual address.

use std::{io, net::Ipv4Addr, thread, time::Duration};

use ogha_common::maps::{ArpCounters, DEFENCE_INTERVAL_NS, Heard, Passage, mac_number};
use ogha_tests::lab::clock;

use crate::{
    conflicts::Conflicts,
    frames::{self, End, REPLY},
    stage::{INSTANCE, Stage, VIP, claimed, closed, interface, lapsed, open, open_for, run},
    wire::Wire,
};

const STRANGER: End = End { mac: [0x02, 0, 0, 0, 0, 0x99], address: Ipv4Addr::new(10, 59, 0, 99) };

fn arp_counters(stage: &Stage) -> ArpCounters {
    stage.kernel.arp_counters(INSTANCE).unwrap()
}

/// A client asks for a VIP that is on no interface: a gate that is open or claims it answers with
/// the node's MAC.
#[test]
fn an_open_gate_and_a_claim_answer_for_the_vip() {
    let mut stage = Stage::set("arp-open");
    for (answered, gate) in [(1, open()), (2, claimed())] {
        stage.gate(gate);
        let expected = (REPLY, stage.vip_end(), stage.client_end());
        assert_eq!(stage.ask_for_vip(), Some(expected), "{gate:?}");
        assert_eq!(arp_counters(&stage), ArpCounters { answered, ..ArpCounters::default() });
    }
}

/// The VIP is still on the node's interface, so that its stack would answer for it; but the gate
/// is closed, or its lease has run out: nobody answers.
#[test]
fn a_closed_and_a_lapsed_gate_are_silent_about_the_vip() {
    let mut stage = Stage::set("arp-closed");
    run(&stage.node, &["ip", "address", "add", "10.59.0.100/32", "dev", "eth0"]);
    for (dropped, gate) in [(1, closed()), (2, lapsed())] {
        stage.gate(gate);
        assert_eq!(stage.ask_for_vip(), None, "{gate:?}");
        assert_eq!(arp_counters(&stage), ArpCounters { dropped, ..ArpCounters::default() });
    }
}

/// Nobody renews the lease of an open gate: it answers until the lease ends, and not once after.
#[test]
fn answers_end_with_the_lease() {
    let mut stage = Stage::set("arp-lease");
    let gate = open_for(Duration::from_millis(500));
    stage.gate(gate);
    assert!(stage.ask_for_vip().is_some());
    let last = loop {
        let before = clock::now();
        if stage.ask_for_vip().is_none() {
            break clock::now();
        }
        assert!(before.ns() < gate.lease_until_ns, "answered after the end of the lease");
    };
    assert!(last.ns() >= gate.lease_until_ns, "silent before the end of the lease");
}

/// Another host says that it has the VIP. To a node that holds it this is a conflict: counted,
/// and told to the agent. To a node that does not, it is news. Where only a takeover is under way,
/// the old holder may still speak, and is not answered.
#[test]
fn a_foreign_claim_is_a_conflict_for_the_holder_only() {
    let mut stage = Stage::set("arp-conflict");
    let mut events = Conflicts::of(&mut stage);
    let foreign = End { address: VIP, ..STRANGER };
    for gate in [closed(), lapsed()] {
        stage.gate(gate);
        stage.wire.send(&frames::gratuitous(foreign));
        assert_eq!(heard(&stage), [], "{gate:?}");
    }
    let own = End { address: VIP, mac: stage.node.mac() };
    for gate in [open(), claimed()] {
        stage.gate(gate);
        // The node's own announcement comes back; the frame's header is the client's, lest the
        // switch take the node for moved.
        let mut reflected = frames::gratuitous(own);
        reflected[6..12].copy_from_slice(&stage.client.mac());
        stage.wire.send(&reflected);
        assert_eq!(heard(&stage), [], "{gate:?}");
    }
    assert_eq!(arp_counters(&stage), ArpCounters::default());
    for kind in [frames::gratuitous(foreign), frames::arp(REPLY, foreign, own)] {
        stage.wire.send(&kind);
        assert_eq!(heard(&stage), []);
        assert_eq!(events.next(), (INSTANCE, mac_number(foreign.mac)));
        pause();
    }
    assert_eq!(arp_counters(&stage), ArpCounters { conflicts: 2, ..ArpCounters::default() });
    events.none_left();
}

/// Another host says that it has the VIP, in each way that ARP knows: as an announcement, by a
/// reply, and as somebody who asks for another address. The node, whose gate is open, tells everybody
/// at once that it is not so (RFC 5227 section 2.4).
#[test]
fn an_open_gate_is_defended() {
    let mut stage = Stage::set("arp-defence");
    let mut events = Conflicts::of(&mut stage);
    stage.gate(open());
    let (foreign, vip) = (End { address: VIP, ..STRANGER }, stage.vip_end());
    let mut reply = frames::gratuitous(foreign);
    reply[21] = REPLY as u8;
    let claims = [
        frames::gratuitous(foreign),
        reply,
        frames::arp(REPLY, foreign, End { address: stage.node.address(), ..vip }),
        frames::who_has(foreign, stage.node.address()),
    ];
    for (defended, claim) in (1..).zip(claims) {
        stage.wire.send(&claim);
        let frame = stage.wire.expect("the defence", |frame| {
            (frames::read_arp(frame)?.1.address == VIP).then(|| frame.to_vec())
        });
        assert_eq!(frame, frames::gratuitous(vip));
        assert_eq!(
            arp_counters(&stage),
            ArpCounters { conflicts: defended, defended, ..ArpCounters::default() }
        );
        assert_eq!(events.next(), (INSTANCE, mac_number(foreign.mac)));
        pause();
    }
}

/// A host insists, frame after frame: each is counted, but answered and told at most once in a
/// tenth of a second, lest two that both insist flood their LAN.
#[test]
fn a_defence_is_rate_limited() {
    const CLAIMS: u64 = 200;
    let mut stage = Stage::set("arp-rate");
    let mut events = Conflicts::of(&mut stage);
    stage.gate(open());
    let claim = frames::gratuitous(End { address: VIP, ..STRANGER });
    let before = clock::now().ns();
    for _ in 0..CLAIMS {
        stage.wire.send(&claim);
    }
    let heard = heard(&stage).len() as u64;
    let took = clock::now().ns() - before;
    let allowed = took / DEFENCE_INTERVAL_NS + 1;
    assert!((1..=allowed).contains(&heard), "{heard} defences in {took} ns");
    let counters = ArpCounters { conflicts: CLAIMS, defended: heard, ..ArpCounters::default() };
    assert_eq!(arp_counters(&stage), counters);
    for _ in 0..heard {
        events.next();
    }
    events.none_left();
    // Silence was kept, not lost: the next claim after it is answered again.
    pause();
    stage.wire.send(&claim);
    stage
        .wire
        .expect("the defence", |frame| (frames::read_arp(frame)?.1.address == VIP).then_some(()));
}

/// What is said about the VIP before the node answers for its own address.
fn heard(stage: &Stage) -> Vec<(u16, End, End)> {
    stage.wire.send(&frames::who_has(stage.client_end(), stage.node.address()));
    let mut heard = Vec::new();
    stage.wire.expect("the answer for the node's own address", |frame| {
        let arp = frames::read_arp(frame)?;
        if arp.1.address == VIP {
            heard.push(arp);
        }
        (arp.1.address == stage.node.address()).then_some(())
    });
    heard
}

/// Until the next claim is acted upon.
fn pause() {
    thread::sleep(Duration::from_nanos(DEFENCE_INTERVAL_NS));
}

/// A host probes for the VIP before it takes it (RFC 5227): who holds it defends it; who does not
/// keeps silent, and counts nothing.
#[test]
fn a_probe_is_answered_by_the_holder_only() {
    let mut stage = Stage::set("arp-probe");
    let probe = End { address: Ipv4Addr::UNSPECIFIED, ..stage.client_end() };
    stage.gate(closed());
    stage.wire.send(&frames::who_has(probe, VIP));
    assert_eq!(stage.ask_for_vip(), None);
    assert_eq!(arp_counters(&stage).dropped, 1, "the question that followed, but not the probe");
    stage.gate(open());
    stage.wire.send(&frames::who_has(probe, VIP));
    let reply = stage.wire.expect("the defence", frames::read_arp);
    assert_eq!(reply, (REPLY, stage.vip_end(), probe));
}

/// The node announces the VIP by gratuitous ARP: it leaves only while the gate is open or claims it.
#[test]
fn an_announcement_leaves_only_while_the_vip_is_held() {
    let mut stage = Stage::set("arp-announce");
    let node = Wire::open(&stage.node);
    let own = End { address: stage.node.address(), mac: stage.node.mac() };
    let announce = |stage: &mut Stage, gate| {
        stage.gate(gate);
        let passage = gate.passage(&Heard::default(), clock::now().ns());
        let held = matches!(passage, Passage::Open | Passage::Claimed);
        // The kernel tells the sender that the frame was dropped.
        let told = |result: io::Result<()>| {
            assert_eq!(
                result.map_err(|e| e.raw_os_error()).err(),
                (!held).then_some(Some(libc::ENOBUFS))
            );
        };
        told(node.try_send(&frames::gratuitous(stage.vip_end())));
        told(node.try_send(&frames::arp(REPLY, stage.vip_end(), stage.client_end())));
        node.send(&frames::gratuitous(own));
        let mut heard = 0;
        stage.wire.expect("the announcement of the node's own address", |frame| {
            let (_, sender, _) = frames::read_arp(frame)?;
            heard += usize::from(sender.address == VIP);
            (sender.address == own.address).then_some(())
        });
        heard
    };
    for (suppressed, gate) in [(2, closed()), (4, lapsed())] {
        assert_eq!(announce(&mut stage, gate), 0, "{gate:?}");
        assert_eq!(arp_counters(&stage).suppressed, suppressed);
    }
    for gate in [claimed(), open()] {
        assert_eq!(announce(&mut stage, gate), 2, "{gate:?}");
    }
    assert_eq!(arp_counters(&stage), ArpCounters { suppressed: 4, ..ArpCounters::default() });
    assert_eq!(interface(&stage.node).mac, own.mac);
}
