//! The peers of one instance: the probes that go to them, and what the kernel has heard of them.
//!
//! The kernel answers the peers' probes and takes their replies, by what this module tells it of the
//! node; this module reads what came of it, and leaves to the core what it means.

use std::{collections::VecDeque, time::Duration};

use ogha_common::{
    detector::CheckOutcome,
    failover::NodeSet,
    maps::Offer,
    profile::{self, Profile},
    units::{Instant, NodeId, Vrid},
    wire::{
        probe::{Page, Probe, ProbeKind, Status},
        siphash::Key,
    },
};
use tracing::debug;

use super::{
    peer::{News, Peer},
    ports::Ports,
    retry::Trouble,
};
use crate::config::Liveness;

/// How many numbers of probes are remembered, to know one that comes back.
const REMEMBERED: usize = 512;
/// The last page that says anything.
const LAST_PAGE: u8 = profile::page::ARBITER;

/// This node, as its peers know it.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Its identity.
    pub node: NodeId,
    /// The virtual router.
    pub vrid: Vrid,
    /// The database's TCP port; 0: none.
    pub database_port: u16,
    /// The cluster's key.
    pub key: Key,
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
}

/// All peers of an instance.
#[derive(Debug)]
pub struct Peers {
    /// The peers, as configured.
    pub list: Vec<Peer>,
    own: Own,
    interval: Duration,
    lease: Duration,
    next_probe: Instant,
    sequence: u64,
    /// The numbers of the last probes that were sent.
    sent: VecDeque<u64>,
    /// What this node says of its configuration.
    profile: Option<Profile>,
    /// The page of the next probes.
    page: u8,
    /// What the kernel says for this node: its status, and to whom it grants.
    offered: Option<(Status, Option<NodeId>)>,
    offer_trouble: Trouble,
    read_trouble: Trouble,
}

impl Peers {
    /// Peers that are probed from now on.
    #[must_use]
    pub fn new(
        instance: &str,
        list: Vec<Peer>,
        own: Own,
        liveness: &Liveness,
        now: Instant,
    ) -> Self {
        Self {
            list,
            own,
            interval: liveness.probe_interval,
            lease: liveness.lease,
            next_probe: now,
            sequence: 0,
            sent: VecDeque::with_capacity(REMEMBERED),
            profile: None,
            page: 0,
            offered: None,
            offer_trouble: Trouble::new(instance, "update the probe status (map SELF)"),
            read_trouble: Trouble::new(instance, "read the status of the peers (map PEERS)"),
        }
    }

    /// What the last agent has heard is no news to this one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self, ports: &impl Ports) -> anyhow::Result<()> {
        let granted_until = ports.now() + self.lease;
        for peer in &mut self.list {
            peer.start(ports.peer(peer.node)?, granted_until);
        }
        Ok(())
    }

    /// From now on the probes say this of the configuration.
    pub fn introduce(&mut self, profile: Profile) {
        self.profile = Some(profile);
    }

    /// What this node says of its configuration.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// The database's identifier was learnt. What was known stays while it cannot be asked.
    pub fn note_system(&mut self, system: Option<u64>) {
        if let Some(profile) = &mut self.profile {
            profile.system = system.or(profile.system);
        }
    }

    /// This node, as its peers know it.
    pub fn identity(&self) -> &Own {
        &self.own
    }

    /// Whether this agent has sent a probe of that number lately.
    pub fn has_sent(&self, sequence: u64) -> bool {
        self.sent.contains(&sequence)
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
    pub fn tick(&mut self, ports: &impl Ports) {
        let now = ports.now();
        for peer in &mut self.list {
            if peer.next_timer().is_none_or(|due| now >= due) {
                peer.tick(now, ports.monotonic_ns());
            }
        }
    }

    /// An active check of a peer's database has ended.
    pub fn checked(&mut self, now: Instant, node: NodeId, began: Instant, outcome: CheckOutcome) {
        if let Some(peer) = self.list.iter_mut().find(|peer| peer.node == node) {
            peer.checked(now, began, outcome);
        }
    }

    /// Has the kernel tell the peers this status, if it is another one than before.
    pub fn offer(&mut self, status: &Status, grant: Option<NodeId>, ports: &mut impl Ports) {
        if self.offered != Some((*status, grant)) {
            self.beat(status, grant, ports);
        }
    }

    /// A heartbeat: the kernel tells its age to the peers.
    fn beat(&mut self, status: &Status, grant: Option<NodeId>, ports: &mut impl Ports) {
        self.offered = None;
        match ports.set_self(self.offer_of(status, grant, ports.now())) {
            Ok(()) => {
                self.offered = Some((*status, grant));
                self.offer_trouble.worked();
            }
            // The next heartbeat tries again.
            Err(e) => drop(self.offer_trouble.failed(ports.now(), &format!("{e:#}"))),
        }
    }

    fn offer_of(&self, status: &Status, grant: Option<NodeId>, now: Instant) -> Offer {
        let (key, boot_id) = (self.own.key, self.own.boot_id);
        let (first, last) = boot_id.split_at(8);
        let word = |octets: &[u8]| u64::from_ne_bytes(std::array::from_fn(|i| octets[i]));
        Offer {
            vrid: u32::from(self.own.vrid.get()),
            database_port: u32::from(self.own.database_port),
            key0: key.k0,
            key1: key.k1,
            node: self.own.node.get(),
            boot_id: [word(first), word(last)],
            heartbeat_ns: now.ns(),
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

    /// The end of the last lease grant to any peer: what the kernel has given by its answers, and this agent by its
    /// probes. `None` while the kernel may be giving more, or can't be asked.
    pub fn granted_until(&mut self, ports: &impl Ports) -> Option<Instant> {
        if !matches!(self.offered, Some((_, None))) {
            return None;
        }
        let mut until = Instant::default();
        for peer in &self.list {
            match ports.peer(peer.node) {
                Ok(seen) => {
                    let answered = Instant::from_ns(seen.promised_until_ns);
                    until = until.max(answered).max(peer.granted_until());
                }
                Err(e) => {
                    self.read_trouble.failed(ports.now(), &format!("{}: {e:#}", peer.name));
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
    pub fn probe(&mut self, status: &Status, grant: Option<NodeId>, ports: &mut impl Ports) {
        self.beat(status, grant, ports);
        self.next_probe = ports.now() + self.interval;
        self.page = if self.page >= LAST_PAGE { 0 } else { self.page + 1 };
        for index in 0..self.list.len() {
            for path in 0..self.list[index].addresses.len() {
                self.send(index, path, status, grant, ports);
            }
        }
    }

    /// What is new of a peer since the last look.
    pub fn news(&mut self, index: usize, ports: &impl Ports) -> Option<(NodeId, News)> {
        let peer = self.list.get_mut(index)?;
        let now = ports.now();
        let heard = match ports.peer(peer.node) {
            Ok(heard) => heard,
            Err(e) => {
                self.read_trouble.failed(now, &format!("{}: {e:#}", peer.name));
                return None;
            }
        };
        self.read_trouble.worked();
        let news = peer.poll(now, heard, self.own.database_port != 0, self.lease);
        (news != News::default()).then_some((peer.node, news))
    }

    /// The peers whose hosts are lost. Whether it is our own end of a path that is, is asked first:
    /// a node whose cable was pulled must not take itself for the last one alive.
    pub fn lost(&mut self, ports: &impl Ports) -> Vec<NodeId> {
        let now = ports.now();
        for peer in self.list.iter_mut().filter(|peer| peer.is_lost()) {
            peer.look_at_paths(now, ports);
        }
        self.list.iter().filter(|peer| peer.is_lost()).map(|peer| peer.node).collect()
    }

    /// Whether paths whose end here could not be used can be again.
    pub fn look_at_paths(&mut self, now: Instant, ports: &impl Ports) {
        for peer in self.list.iter_mut().filter(|peer| !peer.verdict().is_good()) {
            peer.look_at_paths(now, ports);
        }
    }

    fn send(
        &mut self,
        index: usize,
        path: usize,
        status: &Status,
        grant: Option<NodeId>,
        ports: &mut impl Ports,
    ) {
        // Nanoseconds since boot, so that a restarted agent goes on above its predecessor.
        let now = ports.now();
        self.sequence = now.ns().max(self.sequence + 1);
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(self.sequence);
        let number = self.page;
        let page = self.profile.map(|own| Page { number, value: own.pages()[number as usize] });
        let grant_ms = grant.map_or(0, |_| self.grant_ms());
        let peer = &mut self.list[index];
        let grant_ms = if grant == Some(peer.node) { grant_ms } else { 0 };
        if grant_ms > 0 {
            peer.note_grant(now + Duration::from_millis(grant_ms.into()));
        }
        let path_number = path as u8;
        let probe = Probe {
            vrid: self.own.vrid,
            kind: ProbeKind::Probe,
            sequence: self.sequence,
            boot_id: self.own.boot_id,
            time_ns: now.ns(),
            echo_ns: peer.their_time_ns(),
            node: self.own.node,
            to: peer.node,
            path: path_number,
            grant_ms,
            status: *status,
            facts: None,
            page,
        };
        match ports.send_probe(peer.sockets[path], peer.addresses[path], &probe) {
            Ok(()) => peer.sent(now, path_number),
            // Our own link, then; that says nothing of the peer.
            Err(e) => {
                debug!(peer = peer.name, path, "cannot send a probe: {e:#}");
                peer.look_at_paths(now, ports);
            }
        }
    }
}
