//! Which addresses and ports are ours.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    frames::{self, End, RST, SYN, Segment},
    stage::{INSTANCE, PORT, Stage, VIP, claimed, closed},
};

/// Ends as [`VIP`] does.
const ALIKE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 59, 1, 100));

/// Is the address answered for? The node's stack has none of them, and always answers the second
/// question.
fn is_answered(stage: &Stage, address: IpAddr) -> bool {
    stage.wire.send(&frames::who_has(stage.client_end(), address));
    stage.wire.send(&frames::who_has(stage.client_end(), stage.node_address()));
    let mut answered = false;
    stage.wire.expect("the answer for the node's own address", |frame| {
        let sender = frames::read_neighbour(frame)?.1.address;
        answered |= sender == address;
        (sender == stage.node_address()).then_some(())
    });
    answered
}

/// Two virtual addresses share their last octet, then each of them is alone, then there is none:
/// at every moment exactly those that are configured are answered for.
#[test]
fn addresses_that_end_alike_are_told_apart() {
    let mut stage = Stage::set("vips-alike");
    let both = [VIP, ALIKE];
    for wanted in [&both[..], &both[1..], &both[..1], &both[..], &[]] {
        stage.kernel.set_vips(INSTANCE, wanted, stage.node.mac()).unwrap();
        stage.gate(claimed());
        for address in both {
            assert_eq!(is_answered(&stage, address), wanted.contains(&address), "{wanted:?}");
        }
        assert!(!is_answered(&stage, Ipv4Addr::new(10, 59, 2, 100).into()));
    }
}

/// The database moves to another port: from then on SYNs are counted there, and no more on the old
/// one, whose traffic for the virtual address the gate goes on to reject. The addresses that are
/// added later know the port too.
#[test]
fn the_counters_follow_the_port() {
    let mut stage = Stage::set("vips-port");
    stage.gate(closed());
    let syn = |stage: &Stage, address, port| {
        let segment =
            Segment { source: 40_000, destination: port, flags: SYN, ..Segment::default() };
        let to = End { mac: stage.node.mac(), address };
        stage.wire.send(&segment.packet(stage.client_end(), to));
        stage.wire.expect("the RST", |frame| {
            let (from, _, reply) = Segment::read(frame)?;
            (from == address && reply.source == port && reply.flags & RST != 0).then_some(())
        });
        stage.kernel.port_counters(INSTANCE).unwrap().syn_in
    };
    assert_eq!(syn(&stage, VIP, PORT), 1);
    stage.kernel.set_port(PORT + 1, INSTANCE).unwrap();
    assert_eq!(syn(&stage, VIP, PORT), 1);
    assert_eq!(syn(&stage, VIP, PORT + 1), 2);
    let both = [VIP, ALIKE];
    stage.kernel.set_vips(INSTANCE, &both, stage.node.mac()).unwrap();
    assert_eq!(syn(&stage, ALIKE, PORT + 1), 3);
    assert_eq!(syn(&stage, VIP, PORT + 1), 4);
}
