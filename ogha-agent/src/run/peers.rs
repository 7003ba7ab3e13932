//! The peers of one instance: the probes that go to them, and what the kernel has heard of them.
//!
//! The kernel answers the peers' probes and takes their replies, by what this module tells it of the
//! node; this module reads what came of it, and leaves to the core what it means.

use std::{net::IpAddr, time::Duration};

use ogha_common::{
    detector::CheckOutcome,
    failover::NodeSet,
    maps::Offer,
    units::{Instant, NodeId, Vrid},
    wire::probe::{Probe, ProbeKind, Status},
};
use tracing::{debug, error};

use super::peer::{News, Peer};
use crate::{
    clock,
    config::Liveness,
    kernel::Kernel,
    net::{interface::Interface, probe::ProbeSockets},
};

/// This node, as its peers know it.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// The index in the maps.
    pub instance: u32,
    /// Its identity.
    pub node: NodeId,
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
    sockets: ProbeSockets,
    own: Own,
    interval: Duration,
    lease: Duration,
    next_probe: Instant,
    sequence: u64,
    /// What the kernel says for this node: its status, and to whom it grants.
    offered: Option<(Status, Option<NodeId>)>,
}

impl Peers {
    /// Peers that are probed over these sockets from now on.
    pub fn new(list: Vec<Peer>, sockets: ProbeSockets, own: Own, liveness: &Liveness) -> Self {
        Self {
            list,
            sockets,
            own,
            interval: liveness.probe_interval,
            lease: liveness.lease,
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
        let promised_until = clock::now() + self.lease;
        let nodes: Vec<NodeId> = self.list.iter().map(|peer| peer.node).collect();
        kernel.set_peers(instance, &nodes)?;
        for peer in &mut self.list {
            peer.start(kernel.peer(instance, peer.node)?.unwrap_or_default(), promised_until);
        }
        Ok(())
    }

    /// Has the kernel take probes, once there is something to answer.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen(&self, kernel: &mut Kernel) -> anyhow::Result<()> {
        let addresses: Vec<IpAddr> = self.addresses().collect();
        kernel.set_endpoints(self.own.instance, &addresses, self.sockets.port())
    }

    /// The interfaces at which paths to the peers begin.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> + '_ {
        self.sockets.interfaces()
    }

    /// The addresses at which this node takes probes.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.sockets.addresses()
    }

    /// When [`Peers::probe`] or [`Peers::tick`] is due.
    pub fn next_timer(&self) -> Instant {
        let ticks = self.list.iter().filter_map(Peer::next_timer);
        ticks.fold(self.next_probe, Instant::min)
    }

    /// Whether probes are due.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next_probe
    }

    /// Time has passed: probes may have been missed. What the kernel has heard must have been
    /// looked at.
    pub fn tick(&mut self, now: Instant) {
        for peer in &mut self.list {
            if peer.next_timer().is_none_or(|due| now >= due) {
                peer.tick(now);
            }
        }
    }

    /// An active check of a peer's database has ended.
    pub fn checked(&mut self, node: NodeId, began: Instant, outcome: CheckOutcome) {
        if let Some(peer) = self.list.iter_mut().find(|peer| peer.node == node) {
            peer.checked(began, outcome);
        }
    }

    /// Has the kernel tell the peers this status, if it is another one than before.
    pub fn offer(&mut self, status: &Status, grant: Option<NodeId>, kernel: &mut Kernel) {
        if self.offered != Some((*status, grant)) {
            self.beat(status, grant, kernel);
        }
    }

    /// A heartbeat: the kernel tells its age to the peers.
    fn beat(&mut self, status: &Status, grant: Option<NodeId>, kernel: &mut Kernel) {
        self.offered = None;
        match kernel.set_self(self.own.instance, self.offer_of(status, grant)) {
            Ok(()) => self.offered = Some((*status, grant)),
            Err(e) => error!("the kernel cannot speak for this node: {e:#}"),
        }
    }

    fn offer_of(&self, status: &Status, grant: Option<NodeId>) -> Offer {
        let (key, boot_id) = (self.sockets.key().words(), self.sockets.boot_id());
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
            grant_to: grant.map_or(0, NodeId::get),
            grant_ms: u32::from(grant.map_or(0, |_| self.grant_ms())),
            ..Offer::default()
        }
    }

    /// How long a lease this node grants, as it goes over the wire.
    fn grant_ms(&self) -> u16 {
        u16::try_from(self.lease.as_millis()).unwrap_or(u16::MAX)
    }

    /// The last promise to any peer: what the kernel has given by its answers, and this agent by its
    /// probes. `None` while the kernel may be giving more, or can't be asked.
    pub fn promised_until(&self, kernel: &Kernel) -> Option<Instant> {
        if !matches!(self.offered, Some((_, None))) {
            error!("the kernel still promises for this node, which can't take over then");
            return None;
        }
        let mut until = Instant::default();
        for peer in &self.list {
            match kernel.peer(self.own.instance, peer.node) {
                Ok(seen) => {
                    let answered = Instant::from_ns(seen.unwrap_or_default().promised_until_ns);
                    until = until.max(answered).max(peer.promised_until());
                }
                Err(e) => {
                    error!(peer = peer.name, "cannot tell what was promised: {e:#}");
                    return None;
                }
            }
        }
        Some(until)
    }

    /// This node.
    pub fn own(&self) -> NodeId {
        self.own.node
    }

    /// A peer's name, for people.
    pub fn name_of(&self, node: NodeId) -> &str {
        let peer = self.list.iter().find(|peer| peer.node == node);
        peer.map_or("a node that is not configured here", |peer| &peer.name)
    }

    /// The peers that have these names.
    pub fn set(&self, names: Vec<&str>) -> NodeSet {
        let node = |name| self.list.iter().find(|peer| peer.name == name).map(|peer| peer.node);
        names.into_iter().filter_map(node).fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Probes each peer with this status. An interval that was missed is not made up for.
    pub fn probe(&mut self, status: &Status, grant: Option<NodeId>, kernel: &mut Kernel) {
        self.beat(status, grant, kernel);
        self.next_probe = clock::now() + self.interval;
        for index in 0..self.list.len() {
            for path in 0..self.list[index].addresses.len() {
                self.send(index, path, status, grant);
            }
        }
    }

    /// What is new of a peer since the last look.
    pub fn news(&mut self, index: usize, kernel: &Kernel) -> Option<(NodeId, News)> {
        let peer = self.list.get_mut(index)?;
        let heard = match kernel.peer(self.own.instance, peer.node) {
            Ok(heard) => heard.unwrap_or_default(),
            Err(e) => {
                error!(peer = peer.name, "cannot tell what was heard: {e:#}");
                return None;
            }
        };
        let news = peer.look(heard, self.own.database_port != 0, self.lease);
        (news != News::default()).then_some((peer.node, news))
    }

    /// The peers whose hosts are lost. Whether it is our own end of a path that is, is asked first:
    /// a node whose cable was pulled must not take itself for the last one alive.
    pub fn lost(&mut self) -> Vec<NodeId> {
        let now = clock::now();
        for peer in self.list.iter_mut().filter(|peer| peer.is_lost()) {
            peer.look_at_paths(now, &self.sockets);
        }
        self.list.iter().filter(|peer| peer.is_lost()).map(|peer| peer.node).collect()
    }

    /// Whether paths whose end here could not be used can be again.
    pub fn look_at_paths(&mut self, now: Instant) {
        for peer in self.list.iter_mut().filter(|peer| !peer.verdict().is_good()) {
            peer.look_at_paths(now, &self.sockets);
        }
    }

    fn send(&mut self, index: usize, path: usize, status: &Status, grant: Option<NodeId>) {
        // Nanoseconds since boot, so that a restarted agent goes on above its predecessor.
        let now = clock::now();
        self.sequence = now.ns().max(self.sequence + 1);
        let grant_ms = grant.map_or(0, |_| self.grant_ms());
        let peer = &mut self.list[index];
        let grant_ms = if grant == Some(peer.node) { grant_ms } else { 0 };
        if grant_ms > 0 {
            peer.promise(now + Duration::from_millis(grant_ms.into()));
        }
        let path_number = path as u8;
        let probe = Probe {
            vrid: self.own.vrid,
            kind: ProbeKind::Probe,
            sequence: self.sequence,
            boot_id: self.sockets.boot_id(),
            time_ns: now.ns(),
            echo_ns: peer.their_time_ns(),
            node: self.own.node,
            to: peer.node,
            path: path_number,
            grant_ms,
            status: *status,
            facts: None,
        };
        match self.sockets.send(peer.sockets[path], peer.addresses[path], &probe) {
            Ok(()) => peer.sent(now, path_number),
            // Our own link, then; that says nothing of the peer.
            Err(e) => {
                debug!(peer = peer.name, path, "a probe could not be sent: {e:#}");
                peer.look_at_paths(now, &self.sockets);
            }
        }
    }
}
