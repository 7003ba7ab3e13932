//! The peers of one instance: what was heard of them, and the probes that go to them.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use ogha_common::{
    units::{Instant, NodeId, Vrid},
    wire::probe::{Kind, Probe, Status},
};
use tracing::debug;

use crate::{clock, net::probe::ProbeSocket};

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// Its name in the configuration.
    pub name: String,
    /// Its identity on the wire.
    pub node: NodeId,
    /// Where it is.
    pub address: Ipv4Addr,
    /// When its last probe or reply arrived.
    pub heard: Option<Instant>,
    /// What it said then.
    pub status: Option<Status>,
    /// The last round trip.
    pub rtt: Option<Duration>,
    /// Its clock in its last probe, which ours echo.
    their_time: u64,
}

impl Peer {
    /// A peer of which nothing was heard.
    pub fn new(name: String, address: Ipv4Addr) -> Self {
        let node = NodeId::of(&name);
        Self { name, node, address, heard: None, status: None, rtt: None, their_time: 0 }
    }
}

/// All peers of an instance.
#[derive(Debug)]
pub struct Peers {
    /// The peers, as configured.
    pub list: Vec<Peer>,
    socket: Arc<ProbeSocket>,
    vrid: Vrid,
    node: NodeId,
    port: u16,
    interval: Duration,
    next_probe: Instant,
    sequence: u64,
}

impl Peers {
    /// Peers that are probed over this socket from now on.
    pub fn new(
        list: Vec<Peer>,
        socket: Arc<ProbeSocket>,
        vrid: Vrid,
        node: NodeId,
        port: u16,
        interval: Duration,
    ) -> Self {
        Self { list, socket, vrid, node, port, interval, next_probe: clock::now(), sequence: 0 }
    }

    /// When the next probes are due.
    pub fn next_probe(&self) -> Instant {
        self.next_probe
    }

    /// Probes each peer with this status. An interval that was missed is not made up for.
    pub fn probe(&mut self, now: Instant, status: &Status) {
        self.next_probe = now + self.interval;
        for index in 0..self.list.len() {
            self.send(index, Kind::Probe, status);
        }
    }

    /// Notes what a peer said, and answers a probe with this node's status. Returns the peer's
    /// identity, or `None` for a stranger.
    pub fn heard(&mut self, now: Instant, probe: &Probe, status: &Status) -> Option<NodeId> {
        let index = self.list.iter().position(|peer| peer.node == probe.node)?;
        let peer = &mut self.list[index];
        peer.heard = Some(now);
        peer.status = Some(probe.status);
        peer.their_time = probe.time_ns;
        match probe.kind {
            Kind::Probe => self.send(index, Kind::Reply, status),
            Kind::Reply => peer.rtt = Some(now.since(Instant::from_ns(probe.echo_ns))),
        }
        Some(probe.node)
    }

    fn send(&mut self, index: usize, kind: Kind, status: &Status) {
        // Nanoseconds since boot, so that a restarted agent goes on above its predecessor.
        let now = clock::now().ns();
        self.sequence = now.max(self.sequence + 1);
        let peer = &self.list[index];
        let probe = Probe {
            vrid: self.vrid,
            kind,
            sequence: self.sequence,
            boot_id: self.socket.boot_id(),
            time_ns: now,
            echo_ns: peer.their_time,
            node: self.node,
            to: peer.node,
            status: *status,
        };
        let to = SocketAddrV4::new(peer.address, self.port);
        if let Err(e) = self.socket.send(to, &probe) {
            // A link that is down is no news: the peer notices by itself.
            debug!(peer = peer.name, "a probe could not be sent: {e:#}");
        }
    }
}
