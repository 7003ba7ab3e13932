//! ARP and neighbour discovery for the virtual address.

use std::{io, thread, time::Duration};

use ogha_common::{
    maps::{ArpCounters, DEFENCE_INTERVAL_NS, LeaseGrants, Passage, mac_number},
    wire::ndp,
};
use ogha_tests::lab::clock;

use crate::{
    conflicts::Conflicts,
    frames::{self, End, REPLY},
    stage::{INSTANCE, Stage, Version, claimed, closed, lapsed, open, open_for},
    wire::Wire,
};

on_both_versions!(
    an_open_gate_and_a_claim_answer_for_the_vip,
    a_closed_and_a_lapsed_gate_are_silent_about_the_vip,
    answers_end_with_the_lease,
    a_foreign_claim_is_a_conflict_for_the_holder_only,
    an_open_gate_is_defended,
    a_defence_is_rate_limited,
    a_probe_is_answered_by_the_holder_only,
    an_announcement_leaves_only_while_the_vip_is_held,
);

const STRANGER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];

fn arp_counters(stage: &Stage) -> ArpCounters {
    stage.kernel.arp_counters(INSTANCE).unwrap()
}

/// A client asks for a VIP that is on no interface: a gate that is open or claims it answers with
/// the node's MAC.
fn an_open_gate_and_a_claim_answer_for_the_vip(version: Version) {
    let mut stage = Stage::on(version, "arp-open");
    for (answered, gate) in [(1, open()), (2, claimed())] {
        stage.gate(gate);
        let expected = (REPLY, stage.vip_end(), stage.client_end());
        assert_eq!(stage.ask_for_vip(), Some(expected), "{gate:?}");
        assert_eq!(arp_counters(&stage), ArpCounters { answered, ..ArpCounters::default() });
    }
}

/// The VIP is still on the node's interface, so that its stack would answer for it; but the gate
/// is closed, or its lease has run out: nobody answers.
fn a_closed_and_a_lapsed_gate_are_silent_about_the_vip(version: Version) {
    let mut stage = Stage::on(version, "arp-closed");
    stage.add_vip();
    for (dropped, gate) in [(1, closed()), (2, lapsed())] {
        stage.gate(gate);
        assert_eq!(stage.ask_for_vip(), None, "{gate:?}");
        assert_eq!(arp_counters(&stage), ArpCounters { dropped, ..ArpCounters::default() });
    }
}

/// Nobody renews the lease of an open gate: it answers until the lease ends, and not once after.
fn answers_end_with_the_lease(version: Version) {
    let mut stage = Stage::on(version, "arp-lease");
    let gate = open_for(Duration::from_millis(1500));
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
fn a_foreign_claim_is_a_conflict_for_the_holder_only(version: Version) {
    let mut stage = Stage::on(version, "arp-conflict");
    let mut events = Conflicts::of(&mut stage);
    let foreign = End { mac: STRANGER, address: stage.vip };
    for gate in [closed(), lapsed()] {
        stage.gate(gate);
        stage.wire.send(&frames::gratuitous(foreign));
        assert_eq!(stage.heard(), [], "{gate:?}");
    }
    let own = stage.vip_end();
    for gate in [open(), claimed()] {
        stage.gate(gate);
        // The node's own announcement comes back; the frame's header is the client's, lest the
        // switch take the node for moved.
        let mut reflected = frames::gratuitous(own);
        reflected[6..12].copy_from_slice(&stage.client.mac());
        stage.wire.send(&reflected);
        assert_eq!(stage.heard(), [], "{gate:?}");
    }
    assert_eq!(arp_counters(&stage), ArpCounters::default());
    for kind in [frames::gratuitous(foreign), frames::answer(foreign, own)] {
        stage.wire.send(&kind);
        assert_eq!(stage.heard(), []);
        assert_eq!(events.next(), (INSTANCE, mac_number(foreign.mac)));
        pause();
    }
    assert_eq!(arp_counters(&stage), ArpCounters { conflicts: 2, ..ArpCounters::default() });
    events.none_left();
}

/// Another host says that it has the VIP, in each way that ARP knows: as an announcement, by a
/// reply, and as somebody who asks for another address. The node, whose gate is open, tells everybody
/// at once that it is not so (RFC 5227 section 2.4, RFC 4861 section 7.2.6).
fn an_open_gate_is_defended(version: Version) {
    let mut stage = Stage::on(version, "arp-defence");
    let mut events = Conflicts::of(&mut stage);
    stage.gate(open());
    let (foreign, vip) = (End { mac: STRANGER, address: stage.vip }, stage.vip_end());
    let everybody = End { mac: frames::BROADCAST, ..foreign };
    let claims = [
        frames::gratuitous(foreign),
        frames::answer(foreign, everybody),
        frames::answer(foreign, stage.node_end()),
        frames::who_has(foreign, stage.node_address()),
    ];
    for (defended, claim) in (1..).zip(claims) {
        stage.wire.send(&claim);
        let frame = stage.wire.expect("the defence", |frame| {
            (frames::read_neighbour(frame)?.1.address == stage.vip).then(|| frame.to_vec())
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
fn a_defence_is_rate_limited(version: Version) {
    const CLAIMS: u64 = 200;
    let mut stage = Stage::on(version, "arp-rate");
    let mut events = Conflicts::of(&mut stage);
    stage.gate(open());
    let claim = frames::gratuitous(End { mac: STRANGER, address: stage.vip });
    let before = clock::now().ns();
    for _ in 0..CLAIMS {
        stage.wire.send(&claim);
    }
    let heard = stage.heard().len() as u64;
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
    stage.wire.expect("the defence", |frame| {
        (frames::read_neighbour(frame)?.1.address == stage.vip).then_some(())
    });
}

/// Until the next claim is acted upon.
fn pause() {
    thread::sleep(Duration::from_nanos(DEFENCE_INTERVAL_NS));
}

/// A host probes for the VIP before it takes it (RFC 5227, RFC 4862 section 5.4): who holds it defends it; who does not
/// keeps silent, and counts nothing.
fn a_probe_is_answered_by_the_holder_only(version: Version) {
    let mut stage = Stage::on(version, "arp-probe");
    let probe = End { address: stage.unspecified(), ..stage.client_end() };
    stage.gate(closed());
    stage.wire.send(&frames::who_has(probe, stage.vip));
    assert_eq!(stage.ask_for_vip(), None);
    assert_eq!(arp_counters(&stage).dropped, 1, "the question that followed, but not the probe");
    stage.gate(open());
    stage.wire.send(&frames::who_has(probe, stage.vip));
    let reply = stage.wire.expect("the defence", frames::read_neighbour);
    // With IPv6 everybody is told (RFC 4861 section 7.2.4), for who asks has no address yet.
    let told = match version {
        Version::V4 => probe,
        Version::V6 => End { mac: ndp::group_mac(ndp::ALL_NODES), address: ndp::ALL_NODES.into() },
    };
    assert_eq!(reply, (REPLY, stage.vip_end(), told));
}

/// The node announces the VIP, and answers for it: it leaves only while the gate is open or claims it.
fn an_announcement_leaves_only_while_the_vip_is_held(version: Version) {
    let mut stage = Stage::on(version, "arp-announce");
    let node = Wire::open(&stage.node);
    let own = stage.node_end();
    let announce = |stage: &mut Stage, gate| {
        stage.gate(gate);
        let passage = gate.passage(&LeaseGrants::default(), clock::now().ns());
        let held = matches!(passage, Passage::Open | Passage::Claimed);
        // The kernel tells the sender that the frame was dropped.
        let told = |result: io::Result<()>| {
            assert_eq!(
                result.map_err(|e| e.raw_os_error()).err(),
                (!held).then_some(Some(libc::ENOBUFS))
            );
        };
        told(node.try_send(&frames::gratuitous(stage.vip_end())));
        told(node.try_send(&frames::answer(stage.vip_end(), stage.client_end())));
        node.send(&frames::gratuitous(own));
        let mut heard = 0;
        stage.wire.expect("the announcement of the node's own address", |frame| {
            let (_, sender, _) = frames::read_neighbour(frame)?;
            heard += usize::from(sender.address == stage.vip);
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
}
