//! A peer whose probe the program answers, and what the node must know for that.

use std::time::Duration;

use ogha_common::{
    maps::{Offer, Peer, PeerKey},
    units::{Lsn, Members, NodeId, Priority, Term, Vrid},
    wire::{
        probe::{self, Phase, Probe, ProbeKind, Role, Status, offset},
        replay::Replay,
        siphash,
    },
};

use super::{
    assembly::Forget,
    cases::{INSTANCE, PORT, VRID},
};
use crate::lab::clock;

/// Where the node takes probes.
pub const PROBES: u16 = 26112;
const KEY: siphash::Key = siphash::Key::new([7; 16]);
const NODE: NodeId = NodeId::of("node");
/// The peer.
pub const PEER: NodeId = NodeId::of("peer");

/// The term of all: a higher one would close the gates.
pub const TERM: u64 = 7;

/// What the node offers: its database's port is looked up for each reply.
pub fn offer() -> Offer {
    Offer {
        vrid: VRID.into(),
        database_port: PORT.into(),
        key0: KEY.k0,
        key1: KEY.k1,
        node: NODE.get(),
        boot_id: [1; 2],
        heartbeat_ns: clock::now().ns(),
        said: status(NODE, Phase::Serving, Role::Primary).into(),
        ..Offer::default()
    }
}

/// A probe of that number that echoes a time of the node's that is a millisecond old.
pub fn datagram(sequence: u64) -> [u8; probe::LEN] {
    let probe = Probe {
        vrid: Vrid::new(VRID).expect("it is a virtual router's number"),
        kind: ProbeKind::Probe,
        sequence,
        boot_id: [2; 16],
        time_ns: sequence,
        echo_ns: clock::now().ns() - Duration::from_millis(1).as_nanos() as u64,
        node: PEER,
        to: NODE,
        path: 0,
        grant_ms: 0,
        status: status(NODE, Phase::Standby, Role::Standby),
        facts: None,
        page: None,
    };
    probe::encode(&probe, |body| siphash::tag(KEY, body))
}

/// Is it the node's reply to that probe?
pub fn answers(datagram: &[u8], question: &[u8]) -> bool {
    let time = offset::TIME..offset::TIME + 8;
    probe::parse(datagram, |body| siphash::tag(KEY, body)).is_ok_and(|reply| {
        reply.kind == ProbeKind::Reply && reply.echo_ns.to_be_bytes()[..] == question[time]
    })
}

fn status(primary: NodeId, phase: Phase, role: Role) -> Status {
    Status {
        term: Term::new(TERM),
        primary: Some(primary),
        in_sync: Members::NONE.with(NODE).with(PEER),
        phase,
        role,
        restarting: false,
        paused: false,
        hung: false,
        priority: Priority::new(100),
        lsn: Lsn::new(0x500_0148),
    }
}

/// What the node has to forget for the same probe to be the newest of this peer once more: the
/// number and the time of the last one. That it knows the peer and its boot stays.
pub fn forget(peers: i32) -> Forget {
    let key = PeerKey { instance: INSTANCE, reserved: 0, node: PEER.get() };
    let number = std::mem::offset_of!(Peer, replay) + std::mem::offset_of!(Replay, probe);
    let time = std::mem::offset_of!(Peer, their_time_ns);
    Forget { map: peers, key, words: [number as i16, time as i16] }
}
