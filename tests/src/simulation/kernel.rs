//! A kernel's side of ogha: the gate, the lease, and the answers to probes, as `ogha-ebpf` has them,
//! with or without an agent. The rules themselves are those of `ogha_common::maps`.

use ogha_common::{
    maps::{GATE_CLOSED, GATE_OPEN, Gate, LeaseGrants, NS_PER_MS, Passage, Peer, Said},
    wire::{probe::Kind, replay::Novelty},
};

use super::{MAX, Mutation};

/// How old the echo of a time of ours may be, nanoseconds.
const FRESH_NS: u64 = 10_000 * NS_PER_MS;

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
    /// What it offers (`SELF`).
    pub offer: Offer,
    /// What it heard (`PEERS`).
    pub peers: [Peer; MAX],
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
            offer: Offer::default(),
            peers: [Peer::default(); MAX],
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

    /// The agent's order.
    pub fn set_gate(&mut self, open: bool, claimed: bool, term: u64, until: u64) {
        let state = if open { GATE_OPEN } else { GATE_CLOSED };
        self.gate = Gate { state, claimed: u32::from(claimed), term, lease_until_ns: until };
    }

    /// The end of the last promise to any peer.
    pub fn promised_until(&self) -> u64 {
        self.peers.iter().map(|peer| peer.promised_until_ns).max().unwrap_or(0)
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
        let fresh = probe.echo != 0 && probe.echo <= local && local - probe.echo < FRESH_NS;
        if probe.kind == ProbeKind::Reply && !fresh {
            return Received::default();
        }
        let Some((believed, news)) = self.record(local, probe, fresh, mutation) else {
            return Received::default();
        };
        if believed {
            self.heard.term(probe.said.term);
            if probe.grant_ms != 0 {
                self.granted(probe.said.term, mutation);
            }
        }
        let reply = (probe.kind == ProbeKind::Probe).then(|| {
            let grant_ms = if believed { self.promise(local, probe) } else { 0 };
            self.reply(local, probe, grant_ms, database)
        });
        Received { reply, news }
    }

    /// Whether it is believed and whether it is news; `None`: it was heard before.
    fn record(
        &mut self,
        local: u64,
        probe: &Probe,
        fresh: bool,
        mutation: Option<Mutation>,
    ) -> Option<(bool, bool)> {
        let peer = &mut self.peers[probe.from];
        let boot = [probe.boot, 1];
        let rebooted = peer.replay.boot_id != boot;
        match peer.replay.accept(boot, probe.kind, 0, probe.sequence, fresh) {
            Novelty::Old => return None,
            Novelty::Unproven => return Some((false, false)),
            Novelty::New => {}
        }
        let mut news = false;
        if rebooted || probe.time > peer.their_time_ns {
            news = rebooted || peer.said.differs(&probe.said);
            peer.their_time_ns = probe.time;
            peer.said = probe.said;
        }
        if fresh && probe.grant_ms != 0 {
            let anchor = if mutation == Some(Mutation::StaleAnchor) { local } else { probe.echo };
            peer.grant(probe.said.term, anchor + probe.grant_ms * NS_PER_MS);
        }
        match probe.kind {
            ProbeKind::Probe => peer.last_probe_ns = local,
            ProbeKind::Reply => {
                let (gate, heartbeat_ms, exited, listening) = probe.facts;
                news |= peer.listening != u32::from(listening) || peer.exited != u32::from(exited);
                peer.last_reply_ns = local;
                peer.answered_ns[0] = probe.echo;
                peer.rtt_ns = local - probe.echo;
                peer.told = 1;
                peer.listening = u32::from(listening);
                peer.exited = u32::from(exited);
                peer.gate = u32::from(gate);
                peer.heartbeat_ms = heartbeat_ms;
            }
        }
        Some((true, news))
    }

    fn granted(&mut self, term: u64, mutation: Option<Mutation>) {
        if term != self.gate.term {
            return;
        }
        let counted = self.peers.iter().zip(&self.granters).filter(|&(_, &counts)| counts);
        let ends = counted
            .map(|(peer, _)| if peer.granted_term == term { peer.granted_until_ns } else { 0 });
        let end = if mutation == Some(Mutation::LatestGrant) { ends.max() } else { ends.min() };
        if let Some(end) = end {
            self.heard.grant(term, end);
        }
    }

    fn promise(&mut self, local: u64, probe: &Probe) -> u64 {
        if self.offer.grant_to != self.ids[probe.from] || self.offer.said.term != probe.said.term {
            return 0;
        }
        let until = local + self.lease_ms * NS_PER_MS;
        let peer = &mut self.peers[probe.from];
        peer.promised_until_ns = peer.promised_until_ns.max(until);
        self.lease_ms
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
        }
    }
}
