//! Where the programs are attached: XDP where it is free, TCX ingress where it is not.

use std::{fs, net::Ipv4Addr, time::Duration};

use ogha_agent::{
    config::Xdp,
    kernel::{self, Hook, Place},
};
use ogha_common::maps::{ArpCounters, PortCounters};
use ogha_tests::lab::{clock, host::INTERFACE};

use crate::{
    foreign::{Foreign, Mode},
    frames::{self, ACK, RST, SYN, Segment},
    stage::{INSTANCE, PORT, Stage, closed, interface, lapsed, open, run, start, start_at},
    wire::{GENEROUS, Wire},
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
    stage.wire.send(&frames::who_has(stage.client_end(), stage.node_address()));
    let mut answer = None;
    stage.wire.expect("the answer for the node's own address", |frame| {
        if let Some((_, _, segment)) = Segment::read(frame) {
            answer = Some(segment);
        }
        frames::read_neighbour(frame)
            .filter(|(_, sender, _)| sender.address == stage.node_address())
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
    let again = || Foreign::attach(stage.node.namespace(), INTERFACE, Mode::Generic);
    let late = std::panic::catch_unwind(again);
    assert!(late.is_err(), "two programs hold XDP");
}

/// The stage with nothing attached yet.
fn empty(name: &str) -> Stage {
    let stage = Stage::set_behind(name, None);
    kernel::unload(&stage.node.bpf_dir()).unwrap();
    let gone = || Ok((!attached(&stage).contains("prog/xdp")).then_some(()));
    clock::wait_until("nothing to be attached", GENEROUS, Duration::from_millis(5), gone).unwrap();
    stage
}

/// Starts with this wish, and this neighbour to ask. Returns where the packets are seen.
fn begin(stage: &mut Stage, xdp: Xdp, neighbour: Ipv4Addr) -> Hook {
    let own = Some(stage.node.address());
    let place =
        stage.node.namespace().enter(|| Place::new(&interface(&stage.node), xdp, own, [neighbour]));
    stage.kernel = start_at(&stage.node, &place);
    // The neighbour has seen the questions, which must not be taken for answers.
    stage.wire = Wire::open(&stage.client);
    stage.kernel.hook(INTERFACE).unwrap()
}

/// A program at the other end of the node's cable: without one, veth drops what native XDP sends.
fn other_end(stage: &Stage) -> Foreign {
    Foreign::attach(stage.switch.namespace(), stage.node.name(), Mode::Native)
}

/// What native XDP sends back is heard: it is used, and a restart keeps it. Then it is heard no
/// more: a start that finds that out falls back to generic XDP.
#[test]
fn native_xdp_is_used_while_it_is_heard() {
    let mut stage = empty("attach-native");
    let client = stage.client.address();
    let end = other_end(&stage);
    for _ in 0..2 {
        assert_eq!(begin(&mut stage, Xdp::Auto, client), Hook::Native);
        assert_eq!(hooks(&stage), ["tcx_egress", "xdp_native"]);
        works(&mut stage);
    }
    drop(end);
    assert_eq!(begin(&mut stage, Xdp::Auto, client), Hook::Generic);
    assert_eq!(hooks(&stage), ["tcx_egress", "xdp"]);
    works(&mut stage);
}

/// The driver takes the program, and what it sends back is lost: generic XDP is used from the
/// beginning. Later the way is free: what is attached stays as it is.
#[test]
fn native_xdp_that_is_not_heard_is_not_used() {
    let mut stage = empty("attach-unheard");
    let client = stage.client.address();
    assert_eq!(begin(&mut stage, Xdp::Auto, client), Hook::Generic);
    works(&mut stage);
    let _end = other_end(&stage);
    assert_eq!(begin(&mut stage, Xdp::Auto, client), Hook::Generic);
    works(&mut stage);
}

/// Nobody is there to ask: nothing is proved, so native XDP is not used. Where it was proved
/// before, silence takes nothing back.
#[test]
fn silence_proves_nothing() {
    let mut stage = empty("attach-silence");
    let nobody = Ipv4Addr::new(10, 59, 0, 250);
    let _end = other_end(&stage);
    assert_eq!(begin(&mut stage, Xdp::Auto, nobody), Hook::Generic);
    let client = stage.client.address();
    assert_eq!(begin(&mut stage, Xdp::Native, client), Hook::Native);
    assert_eq!(begin(&mut stage, Xdp::Auto, nobody), Hook::Native);
    works(&mut stage);
}

/// The operator's word counts, whatever was attached before.
#[test]
fn the_mode_follows_the_configuration() {
    let mut stage = empty("attach-mode");
    let client = stage.client.address();
    let _end = other_end(&stage);
    for (xdp, hook) in
        [(Xdp::Generic, Hook::Generic), (Xdp::Native, Hook::Native), (Xdp::Generic, Hook::Generic)]
    {
        assert_eq!(begin(&mut stage, xdp, client), hook);
        works(&mut stage);
    }
}
