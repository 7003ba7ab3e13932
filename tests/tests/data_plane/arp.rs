//! ARP for the virtual address.

use std::{io, net::Ipv4Addr, time::Duration};

use ogha_common::maps::{ArpCounters, EVENT_CONFLICT, Event, Heard, Passage, mac_number};
use ogha_tests::lab::clock;

use crate::{
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
/// and told to the agent. To a node that does not, it is news.
#[test]
fn a_foreign_claim_is_a_conflict_for_the_holder_only() {
    let mut stage = Stage::set("arp-conflict");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut events = runtime.block_on(async { stage.kernel.take_events() }).unwrap();
    let foreign = End { address: VIP, ..STRANGER };
    for gate in [closed(), lapsed()] {
        stage.gate(gate);
        stage.wire.send(&frames::gratuitous(foreign));
        // The node's stack has seen it before it answers this.
        stage.ask_for_vip();
        assert_eq!(arp_counters(&stage).conflicts, 0, "{gate:?}");
    }
    let own = End { address: VIP, mac: stage.node.mac() };
    for (conflicts, gate) in [(2, open()), (4, claimed())] {
        stage.gate(gate);
        let before = clock::now().ns();
        // The node's own announcement comes back; the frame's header is the client's, lest the
        // switch take the node for moved.
        let mut reflected = frames::gratuitous(own);
        reflected[6..12].copy_from_slice(&stage.client.mac());
        stage.wire.send(&reflected);
        stage.wire.send(&frames::gratuitous(foreign));
        stage.wire.send(&frames::arp(REPLY, foreign, own));
        stage.ask_for_vip();
        assert_eq!(arp_counters(&stage).conflicts, conflicts, "{gate:?}");
        for _ in 0..2 {
            let told = async {
                tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap()
            };
            let event = runtime.block_on(told).unwrap();
            let Event { kind, instance, time_ns, detail } = event;
            assert_eq!((kind, instance), (EVENT_CONFLICT, INSTANCE));
            assert_eq!(detail, mac_number(foreign.mac));
            assert!(time_ns > before && time_ns < clock::now().ns());
        }
        assert_eq!(events.take(), None);
    }
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
