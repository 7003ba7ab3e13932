//! Where the programs are attached: XDP where it is free, TCX ingress where it is not.

use std::fs;

use ogha_common::maps::{ArpCounters, PortCounters};

use crate::{
    foreign::{Foreign, Mode},
    frames::{self, ACK, RST, SYN, Segment},
    stage::{INSTANCE, PORT, Stage, closed, lapsed, open, run, start},
};

/// The pins of the links to the node's one interface, without its number.
fn hooks(stage: &Stage) -> Vec<String> {
    let mut hooks: Vec<String> = fs::read_dir(stage.node.bpf_dir().join("links"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.rsplit_once('_')?.0.to_owned())
        })
        .collect();
    hooks.sort();
    hooks
}

/// What the kernel says is attached to the node's interface.
fn attached(stage: &Stage) -> String {
    run(&stage.node, &["ip", "-details", "link", "show", "eth0"])
}

/// Sends a SYN for the VIP, and then asks for the node's own address: what was said to the SYN
/// comes before the answer.
fn knock(stage: &Stage) -> Option<Segment> {
    let syn =
        Segment { source: 4000, destination: PORT, sequence: 7, flags: SYN, ..Segment::default() };
    stage.wire.send(&syn.packet(stage.client_end(), stage.vip_end()));
    stage.wire.send(&frames::who_has(stage.client_end(), stage.node.address()));
    let mut answer = None;
    stage.wire.expect("the answer for the node's own address", |frame| {
        if let Some((_, _, segment)) = Segment::read(frame) {
            answer = Some(segment);
        }
        frames::read_arp(frame).filter(|(_, sender, _)| sender.address == stage.node.address())
    });
    answer
}

/// All gates in turn; each packet is counted once.
fn works(stage: &mut Stage) {
    let before = (arp(stage), port(stage));
    stage.gate(open());
    assert!(stage.ask_for_vip().is_some());
    stage.gate(closed());
    assert_eq!(stage.ask_for_vip(), None);
    let reset = knock(stage).expect("a closed gate answers");
    assert_eq!((reset.flags, reset.acknowledgement), (RST | ACK, 8));
    stage.gate(lapsed());
    assert_eq!(knock(stage), None);
    let (arp_before, port_before) = before;
    let answered = arp_before.answered + 1;
    assert_eq!(arp(stage), ArpCounters { answered, dropped: arp_before.dropped + 1, ..arp_before });
    let expected = PortCounters {
        syn_in: port_before.syn_in + 2,
        rst_out: port_before.rst_out + 1,
        rejected: port_before.rejected + 1,
        dropped: port_before.dropped + 1,
        ..port_before
    };
    let seen = port(stage);
    assert_eq!(PortCounters { syn_in_last_ns: 0, rst_out_last_ns: 0, ..seen }, expected);
}

fn arp(stage: &Stage) -> ArpCounters {
    stage.kernel.arp_counters(INSTANCE).unwrap()
}

fn port(stage: &Stage) -> PortCounters {
    let counters = stage.kernel.port_counters(INSTANCE).unwrap();
    PortCounters { syn_in_last_ns: 0, rst_out_last_ns: 0, ..counters }
}

/// Another program holds XDP, in the mode that ogha would take or in the other: ogha does its work
/// at TCX ingress, and the other program stays.
#[test]
fn where_xdp_is_taken_the_programs_run_at_tcx() {
    for mode in [Mode::Generic, Mode::Native] {
        let mut stage = Stage::set_behind("attach-taken", Some(mode));
        let foreign = attached(&stage);
        assert!(foreign.contains("xdp"), "{foreign}");
        assert_eq!(hooks(&stage), ["tcx_egress", "tcx_ingress"]);
        works(&mut stage);
        stage.kernel = start(&stage.node);
        works(&mut stage);
        assert_eq!(attached(&stage), foreign, "the other's program is touched");
    }
}

/// The other program goes: the next start takes XDP, and the program at TCX ingress goes. And the
/// other way round there is no way: who comes later finds ogha's.
#[test]
fn xdp_is_taken_back_when_it_is_free() {
    let mut stage = Stage::set_behind("attach-back", Some(Mode::Generic));
    stage.foreign = None;
    works(&mut stage);
    stage.kernel = start(&stage.node);
    assert_eq!(hooks(&stage), ["tcx_egress", "xdp"]);
    works(&mut stage);
    let late = std::panic::catch_unwind(|| Foreign::attach(&stage.node, Mode::Generic));
    assert!(late.is_err(), "two programs hold XDP");
}
