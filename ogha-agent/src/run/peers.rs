//! The peers of one instance: the probes that go to them, and what the kernel has heard of them.
//!
//! The kernel answers the peers' probes and takes their replies, by what this module tells it of the
//! node; this module reads what came of it, and leaves to the core what it means.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ogha_common::{
    maps::{self, NS_PER_MS, Offer},
    units::{Instant, NodeId, Vrid},
    wire::probe::{Kind, Probe, Status},
};
use tracing::{debug, error};

use crate::{clock, config::Liveness, kernel::Kernel, net::probe::ProbeSocket};

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// Its name in the configuration.
    pub name: String,
    /// Its identity on the wire.
    pub node: NodeId,
    /// Where it is.
    pub address: IpAddr,
    /// The kernel's word about it, when it was last looked at.
    seen: maps::Peer,
    /// When it was last probed.
    probed: Instant,
    /// When it was last probed in a round of its own, an interval after the one before.
    round: Instant,
    /// So many rounds in a row were sent and not answered.
    missed: u32,
}

/// What a look at a peer found, in the order in which the core should hear it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// What its agent said.
    pub said: Option<Status>,
    /// Its kernel answered; its agent was alive so long ago.
    pub answered: Option<Duration>,
}

impl Peer {
    /// A peer of which nothing was heard.
    pub fn new(name: String, address: IpAddr) -> Self {
        let node = NodeId::of(&name);
        let never = Instant::default();
        let seen = maps::Peer::default();
        Self { name, node, address, seen, probed: never, round: never, missed: 0 }
    }

    /// Counts the round before this one. A miss is a probe that was sent and not answered: a round
    /// that this host could not send, or began too late, is none.
    fn count_round(&mut self, now: Instant, interval: Duration) {
        if now.since(self.round) < interval / 2 {
            return;
        }
        if self.seen.answered_ns >= self.round.ns() {
            self.missed = 0;
        } else if self.probed >= self.round {
            self.missed = self.missed.saturating_add(1);
        }
        self.round = now;
    }

    /// What it said last.
    pub fn status(&self) -> Option<Status> {
        self.seen.said.status()
    }

    /// Whether its kernel answers: the probe that it answered is not older than the last one that
    /// was sent by more than `missed`. A late timer here sends no probe, and is no silence there.
    pub fn host_answers(&self, missed: Duration) -> bool {
        let answered = self.seen.answered_ns;
        answered != 0 && self.probed.since(Instant::from_ns(answered)) < missed
    }

    /// How long ago its agent last showed that it lives.
    pub fn agent_age(&self, now: Instant) -> Option<Duration> {
        self.seen.agent_age_ns(now.ns()).map(Duration::from_nanos)
    }

    /// Whether its database's port had a listener when its kernel last answered.
    pub fn listening(&self) -> Option<bool> {
        (self.seen.told != 0).then_some(self.seen.listening != 0)
    }

    /// The last round trip.
    pub fn rtt(&self) -> Option<Duration> {
        (self.seen.answered_ns != 0).then(|| Duration::from_nanos(self.seen.rtt_ns))
    }
}

/// This node, as its peers know it.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// The index in the maps.
    pub instance: u32,
    /// Its identity.
    pub node: NodeId,
    /// Where it takes probes.
    pub address: IpAddr,
    /// The virtual router.
    pub vrid: Vrid,
    /// The database's TCP port; 0: none.
    pub database_port: u16,
}

/// All peers of an instance.
#[derive(Debug)]
pub struct Peers {
    /// The peers, as configured.
    pub list: Vec<Peer>,
    socket: ProbeSocket,
    own: Own,
    port: u16,
    interval: Duration,
    lease: Duration,
    multiplier: u32,
    next_probe: Instant,
    sequence: u64,
    offered: Option<Status>,
}

impl Peers {
    /// Peers that are probed over this socket from now on.
    pub fn new(list: Vec<Peer>, socket: ProbeSocket, own: Own, liveness: &Liveness) -> Self {
        Self {
            list,
            socket,
            own,
            port: liveness.port,
            interval: liveness.probe_interval,
            lease: liveness.lease,
            multiplier: u32::from(liveness.detect_multiplier),
            next_probe: clock::now(),
            sequence: 0,
            offered: None,
        }
    }

    /// Tells the kernel who the peers are. What the last agent has heard is no news to this one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self, kernel: &mut Kernel) -> anyhow::Result<()> {
        let instance = self.own.instance;
        let nodes: Vec<NodeId> = self.list.iter().map(|peer| peer.node).collect();
        kernel.set_peers(instance, &nodes)?;
        for peer in &mut self.list {
            peer.seen = kernel.peer(instance, peer.node)?.unwrap_or_default();
        }
        Ok(())
    }

    /// Has the kernel take probes, once there is something to answer.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen(&self, kernel: &mut Kernel) -> anyhow::Result<()> {
        kernel.set_endpoint(self.own.instance, self.own.address, self.port)
    }

    /// When the next probes are due.
    pub fn next_probe(&self) -> Instant {
        self.next_probe
    }

    /// Has the kernel tell the peers this status, if it is another one than before.
    pub fn offer(&mut self, status: &Status, kernel: &mut Kernel) {
        if self.offered != Some(*status) {
            self.beat(status, kernel);
        }
    }

    /// A heartbeat: the kernel tells its age to the peers.
    fn beat(&mut self, status: &Status, kernel: &mut Kernel) {
        match kernel.set_self(self.own.instance, self.offer_of(status)) {
            Ok(()) => self.offered = Some(*status),
            Err(e) => error!("the kernel cannot speak for this node: {e:#}"),
        }
    }

    fn offer_of(&self, status: &Status) -> Offer {
        let (key, boot_id) = (self.socket.key().words(), self.socket.boot_id());
        let (first, last) = boot_id.split_at(8);
        let word = |octets: &[u8]| u64::from_ne_bytes(std::array::from_fn(|i| octets[i]));
        Offer {
            vrid: u32::from(self.own.vrid.get()),
            database_port: u32::from(self.own.database_port),
            key0: key.k0,
            key1: key.k1,
            node: self.own.node.get(),
            boot_id: [word(first), word(last)],
            heartbeat_ns: clock::now().ns(),
            said: (*status).into(),
            ..Offer::default()
        }
    }

    /// Probes each peer with this status. An interval that was missed is not made up for.
    pub fn probe(&mut self, status: &Status, kernel: &mut Kernel) {
        self.beat(status, kernel);
        self.next_probe = clock::now() + self.interval;
        for index in 0..self.list.len() {
            self.list[index].count_round(clock::now(), self.interval);
            self.send(index, status);
        }
    }

    /// What is new of a peer since the last look.
    ///
    /// A reply is its kernel's word, which may speak for an agent that has died: what it says of
    /// the agent counts only if the agent had shown within a lease that it lives.
    pub fn news(&mut self, index: usize, kernel: &Kernel) -> Option<(NodeId, News)> {
        let peer = self.list.get_mut(index)?;
        let now = match kernel.peer(self.own.instance, peer.node) {
            Ok(now) => now.unwrap_or_default(),
            Err(e) => {
                error!(peer = peer.name, "cannot tell what was heard: {e:#}");
                return None;
            }
        };
        let before = std::mem::replace(&mut peer.seen, now);
        let answered = now.last_reply_ns != before.last_reply_ns;
        let beat = Duration::from_nanos(u64::from(now.heartbeat_ms) * NS_PER_MS);
        let spoke = now.last_probe_ns != before.last_probe_ns || answered && beat < self.lease;
        let news = News {
            said: if spoke { now.said.status() } else { None },
            answered: if answered { peer.agent_age(clock::now()) } else { None },
        };
        (news != News::default()).then_some((peer.node, news))
    }

    /// The peers whose hosts are lost: so many probes in a row were sent and not answered.
    pub fn lost(&self) -> Vec<NodeId> {
        let lost = |peer: &&Peer| peer.missed >= self.multiplier;
        self.list.iter().filter(lost).map(|peer| peer.node).collect()
    }

    fn send(&mut self, index: usize, status: &Status) {
        // Nanoseconds since boot, so that a restarted agent goes on above its predecessor.
        let now = clock::now();
        self.sequence = now.ns().max(self.sequence + 1);
        let peer = &mut self.list[index];
        let probe = Probe {
            vrid: self.own.vrid,
            kind: Kind::Probe,
            sequence: self.sequence,
            boot_id: self.socket.boot_id(),
            time_ns: now.ns(),
            echo_ns: peer.seen.their_time_ns,
            node: self.own.node,
            to: peer.node,
            status: *status,
            facts: None,
        };
        let to = SocketAddr::new(peer.address, self.port);
        match self.socket.send(to, &probe) {
            Ok(()) => peer.probed = now,
            // Our own link, then; that says nothing of the peer.
            Err(e) => debug!(peer = peer.name, "a probe could not be sent: {e:#}"),
        }
    }
}
