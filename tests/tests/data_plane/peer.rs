//! A peer of the node, played by the client: what it sends is made here, octet by octet if need be.

use std::{net::UdpSocket, time::Duration};

use ogha_common::{
    maps::{self, Offer, ProbeCounters},
    units::{Lsn, Members, NodeId, Priority, Term, Vrid},
    wire::{
        probe::{self, KernelFacts, Phase, Probe, ProbeKind, Role, Status},
        siphash,
    },
};
use ogha_tests::lab::clock;

use crate::{
    stage::{INSTANCE, PORT, Stage, TERM, Version},
    wire::GENEROUS,
};

pub const KEY: siphash::Key = siphash::Key::new([7; 16]);
pub const PROBES: u16 = 26112;
pub const NODE: NodeId = NodeId::of("node");
pub const PEER: NodeId = NodeId::of("peer");
pub const NODE_BOOT: [u64; 2] = [0x0101_0101_0101_0101; 2];
pub const PEER_BOOT: [u8; 16] = [2; 16];

/// The stage, and a peer on it that the node knows.
pub struct Play {
    pub stage: Stage,
    pub socket: UdpSocket,
    sequence: u64,
}

impl Play {
    /// [`Self::on`] IPv4.
    pub fn set(name: &str) -> Self {
        Self::on(Version::V4, name)
    }

    pub fn on(version: Version, name: &str) -> Self {
        let mut stage = Stage::on(version, name);
        stage.kernel.set_peers(INSTANCE, &[PEER]).unwrap();
        stage.kernel.set_self(INSTANCE, offer(&serving())).unwrap();
        stage.kernel.set_endpoints(INSTANCE, &[stage.node_address()], PROBES).unwrap();
        let own = (stage.client_address(), PROBES);
        let socket = stage.client.namespace().enter(|| UdpSocket::bind(own).unwrap());
        socket.connect((stage.node_address(), PROBES)).unwrap();
        socket.set_read_timeout(Some(GENEROUS)).unwrap();
        Self { stage, socket, sequence: clock::now().ns() }
    }

    /// The next probe of the peer, which has heard the node just now.
    pub fn probe(&mut self) -> Probe {
        self.sequence += 1;
        let now = clock::now();
        Probe {
            vrid: Vrid::new(59).unwrap(),
            kind: ProbeKind::Probe,
            sequence: self.sequence,
            boot_id: PEER_BOOT,
            time_ns: now.ns(),
            echo_ns: (now - Duration::from_millis(1)).ns(),
            node: PEER,
            to: NODE,
            path: 0,
            grant_ms: 0,
            status: standby(),
            facts: None,
            page: None,
        }
    }

    /// The next reply.
    pub fn reply(&mut self, facts: KernelFacts) -> Probe {
        Probe { kind: ProbeKind::Reply, facts: Some(facts), ..self.probe() }
    }

    pub fn send(&self, probe: &Probe) {
        self.send_raw(&datagram(probe));
    }

    pub fn send_raw(&self, datagram: &[u8]) {
        self.socket.send(datagram).unwrap();
    }

    /// The node's reply; others of its than to this probe are an error.
    pub fn ask(&mut self) -> Probe {
        let probe = self.probe();
        self.send(&probe);
        let reply = self.heard();
        assert_eq!(reply.echo_ns, probe.time_ns, "the node has answered something else");
        reply
    }

    /// What the node says next.
    pub fn heard(&self) -> Probe {
        let mut buffer = [0; 200];
        let length = self.socket.recv(&mut buffer).expect("the node does not answer");
        probe::parse(&buffer[..length], |body| siphash::tag(KEY, body)).unwrap()
    }

    /// What the node's kernel knows of the peer.
    pub fn known(&self) -> maps::Peer {
        self.stage.kernel.peer(INSTANCE, PEER).unwrap().unwrap()
    }

    pub fn counters(&self) -> ProbeCounters {
        self.stage.kernel.probe_counters(INSTANCE).unwrap()
    }
}

pub fn datagram(probe: &Probe) -> [u8; probe::LEN] {
    probe::encode(probe, |body| siphash::tag(KEY, body))
}

/// What the node offers, with a heartbeat of now.
pub fn offer(status: &Status) -> Offer {
    Offer {
        vrid: 59,
        database_port: u32::from(PORT),
        key0: KEY.k0,
        key1: KEY.k1,
        node: NODE.get(),
        boot_id: NODE_BOOT,
        heartbeat_ns: clock::now().ns(),
        said: (*status).into(),
        ..Offer::default()
    }
}

/// The node's status.
pub fn serving() -> Status {
    Status {
        term: Term::new(TERM),
        primary: Some(NODE),
        in_sync: Members::NONE.with(NODE).with(PEER),
        phase: Phase::Serving,
        role: Role::Primary,
        restarting: true,
        paused: true,
        hung: true,
        priority: Priority::new(150),
        lsn: Lsn::new(0x500_0148),
    }
}

/// The peer's status.
pub fn standby() -> Status {
    Status {
        phase: Phase::Standby,
        role: Role::Standby,
        restarting: false,
        paused: false,
        hung: false,
        priority: Priority::new(100),
        ..serving()
    }
}
