//! A kernel's side of ogha: the gate, the lease, and the answers to probes, with or without an agent.
//! The rules are those of `ogha_common::maps`, which `ogha-ebpf` runs too; here are only the maps and the
//! reply.

use ogha_common::{
    maps::{
        self, Datagram, GATE_OPEN, Gate, Granters, Hearing, LeaseGrants, NS_PER_MS, Passage, Peer,
        PortCounters, Said, Tables, Watch, earliest, is_fresh,
    },
    wire::probe::{KernelFacts, Page, ProbeKind, facts_words, page_words},
};

use super::{MAX, Mutation};

/// A probe or its reply on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Question or answer.
    pub kind: ProbeKind,
    /// Who sends it.
    pub from: usize,
    /// The sender's boot.
    pub boot: u64,
    /// Its number.
    pub sequence: u64,
    /// The sender's clock.
    pub time: u64,
    /// The receiver's clock, as the sender last heard it; of a reply, as the question said it.
    pub echo: u64,
    /// What the sender says of itself.
    pub said: Said,
    /// The lease that it grants, milliseconds.
    pub grant_ms: u64,
    /// Of a reply: the sender's gate, the age of its agent's heartbeat in milliseconds, whether its
    /// agent has exited, whether its database listens.
    pub facts: (u8, u32, bool, bool),
    /// Of a probe: what it says of its sender's configuration.
    pub page: Option<Page>,
}

impl Probe {
    /// As the kernel reads it.
    fn datagram(&self, node: u64) -> Datagram {
        let (gate, heartbeat_ms, exited, listening) = self.facts;
        let gate = Passage::from_wire(gate);
        let facts = KernelFacts { listening, gate, queue: 0, queue_limit: 0, exited, heartbeat_ms };
        Datagram {
            kind: self.kind,
            path: 0,
            node,
            boot_id: [self.boot, 1],
            sequence: self.sequence,
            time_ns: self.time,
            echo_ns: self.echo,
            grant_ms: self.grant_ms as u16,
            said: self.said,
            facts: match (self.kind, self.page) {
                (ProbeKind::Probe, Some(page)) => page_words(page.number, page.value),
                (ProbeKind::Probe, None) => (0, 0),
                (ProbeKind::Reply, _) => facts_words(&facts),
            },
        }
    }
}

/// What came of a datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// The answer.
    pub reply: Option<Probe>,
    /// The agent is to be woken.
    pub news: bool,
}

/// What a kernel offers to its peers (`SELF`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Offer {
    /// What the node says of itself.
    pub said: Said,
    /// To whom it grants: the node's identity, 0 for nobody.
    pub grant_to: u64,
    /// When the agent last showed that it lives.
    pub heartbeat_ns: u64,
    /// The agent has exited.
    pub exited: bool,
    /// There is an endpoint to answer at.
    pub listens: bool,
}

/// The kernel of one host, since its boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The gate (`GATES`).
    pub gate: Gate,
    /// What the peers have said of it (`LEASES`).
    pub heard: LeaseGrants,
    /// Whose grants count (`GRANTERS`), as places in the list of nodes.
    pub granters: [bool; MAX],
    /// When they were last set.
    pub granters_set_ns: u64,
    /// What it offers (`SELF`).
    pub offer: Offer,
    /// What it heard (`PEERS`).
    pub peers: [Peer; MAX],
    /// What the tracepoints watch (`WATCHES`).
    pub watch: Watch,
    /// TCP on the database's port (`PORT_COUNTERS`).
    pub counters: PortCounters,
    me: usize,
    ids: [u64; MAX],
    boot: u64,
    lease_ms: u64,
}

impl Kernel {
    /// A kernel that has just booted.
    pub fn new(me: usize, ids: [u64; MAX], boot: u64, lease_ms: u64) -> Self {
        Self {
            gate: Gate::default(),
            heard: LeaseGrants::default(),
            granters: [false; MAX],
            granters_set_ns: 0,
            offer: Offer::default(),
            peers: [Peer::default(); MAX],
            watch: Watch::default(),
            counters: PortCounters::default(),
            me,
            ids,
            boot,
            lease_ms,
        }
    }

    /// What passes now.
    pub fn passage(&self, local: u64) -> Passage {
        self.gate.passage(&self.heard, local)
    }

    /// The gate is open, as the last agent left it.
    pub fn open_gate(&mut self, term: u64, until: u64) {
        self.gate = Gate { state: GATE_OPEN, claimed: 1, term, lease_until_ns: until };
    }

    /// A client has asked something; `answered`: the database has answered.
    pub fn count(&mut self, local: u64, answered: bool) {
        let counters = &mut self.counters;
        counters.syn_in += 1;
        counters.syn_in_last_ns = local;
        counters.synack_out += 1;
        counters.synack_out_last_ns = local;
        counters.data_in += 1;
        counters.data_in_last_ns = local;
        if answered {
            counters.data_out += 1;
            counters.data_out_last_ns = local;
        }
    }

    /// The boot, as the packets name it.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// A datagram has arrived; `database`: somebody listens on the database's port.
    pub fn receive(
        &mut self,
        local: u64,
        probe: &Probe,
        database: bool,
        mutation: Option<Mutation>,
    ) -> Received {
        if !self.offer.listens {
            return Received::default();
        }
        let datagram = probe.datagram(self.ids[probe.from]);
        let mut entries = Entries { kernel: self, from: probe.from };
        let Ok(received) = maps::receive(&mut entries, &datagram, local) else {
            return Received::default();
        };
        if received.believed
            && datagram.grant_ms != 0
            && let Some(mutation) = mutation
        {
            entries.mutate(mutation, &datagram, local);
        }
        let reply = (probe.kind == ProbeKind::Probe)
            .then(|| self.reply(local, probe, u64::from(received.grant_ms), database));
        Received { reply, news: received.news }
    }

    fn reply(&self, local: u64, probe: &Probe, grant_ms: u64, database: bool) -> Probe {
        let age = local.saturating_sub(self.offer.heartbeat_ns) / NS_PER_MS;
        let gate = self.passage(local) as u8;
        Probe {
            kind: ProbeKind::Reply,
            from: self.me,
            boot: self.boot,
            sequence: local,
            time: local,
            echo: probe.time,
            said: self.offer.said,
            grant_ms,
            facts: (gate, age as u32, self.offer.exited, database),
            page: None,
        }
    }
}

/// The maps, for a datagram of one peer.
struct Entries<'a> {
    kernel: &'a mut Kernel,
    from: usize,
}

impl Entries<'_> {
    /// What a kernel does that breaks a rule about grants.
    fn mutate(&mut self, mutation: Mutation, datagram: &Datagram, local: u64) {
        let term = datagram.said.term;
        if mutation == Mutation::StaleAnchor && is_fresh(datagram.echo_ns, local) {
            let until = local + u64::from(datagram.grant_ms) * NS_PER_MS;
            self.kernel.peers[self.from].grant(term, until);
        }
        if term != self.gate_term() {
            return;
        }
        let nodes = self.granters().nodes.into_iter().filter(|&node| node != 0);
        let latest = nodes.map(|node| match self.granted_by(node) {
            (granted_term, until) if granted_term == term => until,
            _ => 0,
        });
        let end = match mutation {
            Mutation::LatestGrant => latest.max(),
            _ => earliest(self, term),
        };
        if let Some(end) = end {
            self.prolong(term, end);
        }
    }
}

impl Tables for Entries<'_> {
    fn own_term(&self) -> u64 {
        self.kernel.offer.said.term
    }

    fn hear(&mut self, datagram: &Datagram, now_ns: u64, fresh: bool) -> Hearing {
        self.kernel.peers[self.from].hear(datagram, now_ns, fresh)
    }

    fn highest_term(&self) -> u64 {
        self.kernel.heard.highest_term
    }

    fn name_term(&mut self, term: u64) {
        self.kernel.heard.term(term);
    }

    fn gate_term(&self) -> u64 {
        self.kernel.gate.term
    }

    fn granters(&self) -> Granters {
        let mut granters = Granters::default();
        let counting = self.kernel.ids.iter().zip(&self.kernel.granters).filter(|&(_, &c)| c);
        for (place, (&id, _)) in granters.nodes.iter_mut().zip(counting) {
            *place = id;
        }
        granters
    }

    fn granted_by(&self, node: u64) -> (u64, u64) {
        let place = self.kernel.ids.iter().position(|&id| id == node);
        place.map_or((0, 0), |place| {
            let peer = &self.kernel.peers[place];
            (peer.granted_term, peer.granted_until_ns)
        })
    }

    fn prolong(&mut self, term: u64, until_ns: u64) {
        self.kernel.heard.grant(term, until_ns);
    }

    fn offered(&mut self, asker: u64, term: u64) -> u16 {
        let Offer { said, grant_to, .. } = self.kernel.offer;
        let grant_ms = self.kernel.lease_ms as u32;
        maps::Offer { said, grant_to, grant_ms, ..maps::Offer::default() }.grants(asker, term)
    }

    fn note_grant(&mut self, until_ns: u64) {
        self.kernel.peers[self.from].note_grant(until_ns);
    }
}
