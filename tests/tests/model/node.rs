//! A node of the model: the real core, the kernel's real rules, and as little around them as can be.

mod tables;

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use ogha_common::{
    election,
    failover::{
        Action, Arbiter, Config, Core, Database, GateOrder, Input, Marks, NodeSet, Order, Primary,
        Record, Role, Ruling, Sign,
    },
    maps::{self, GATE_CLOSED, GATE_OPEN, Gate, LeaseGrants, NS_PER_MS, Passage, Peer, Said},
    units::{Centis, Instant, Lsn, NodeId, Priority, Term},
    wire::{
        probe::{ProbeKind, Status},
        vrrp::Version,
    },
};

use super::cluster::Parcel;

/// How long a step is, nanoseconds.
const STEP: u64 = 20_000_000;
/// Clocks do not begin at nothing: some time was before.
const BEFORE: u64 = 50;
/// A lease, in steps.
const LEASE: u64 = 6;
/// The same as it goes over the wire, milliseconds.
const GRANT_MS: u16 = (LEASE * STEP / NS_PER_MS) as u16;
/// `agent_timeout`, in steps.
const AGENT_TIMEOUT: u64 = 8;
/// So many steps without a word make a host lost.
const LOST: u64 = 2;

/// The two nodes.
pub fn ids() -> [NodeId; 2] {
    [NodeId::of("a"), NodeId::of("b")]
}

/// A probe, or a reply to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    kind: ProbeKind,
    boot: u64,
    sequence: u64,
    /// When it was sent.
    time: u64,
    /// The receiver's time that it echoes.
    echo: u64,
    status: Status,
    grants: bool,
    agent_at: u64,
    /// The sender's gate is open or claimed.
    holds: bool,
}

/// A rule that both nodes break: what the core does about it is undone at its boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// A node withdraws its lease grant before it reads what it had granted.
    Withdraw,
    /// The arbiter is asked for the next term.
    AskArbiter,
    /// Whose grant is needed is narrowed after the record.
    NarrowAfterRecord,
}

/// What a node's kernel and host hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    place: usize,
    /// The agent, if it lives.
    pub core: Option<Core>,
    /// What the database is; `None`: it does not run.
    pub database: Option<Role>,
    synchronized: bool,
    up: bool,
    returns: u64,
    gate: Gate,
    heard: LeaseGrants,
    counts: bool,
    offer: Option<(Status, bool)>,
    agent_at: u64,
    peer: Peer,
    boot: u64,
    heard_at: u64,
    inbox: Vec<Input>,
    disk: Record,
    was_primary: bool,
    broken: Option<Broken>,
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.core, self.database, self.synchronized, self.up, self.returns).hash(state);
        let gate = &self.gate;
        (gate.state, gate.claimed, gate.term, gate.lease_until_ns).hash(state);
        let heard = &self.heard;
        (heard.highest_term, heard.granted_term, heard.granted_until_ns).hash(state);
        (self.counts, &self.offer, self.agent_at, self.boot).hash(state);
        let peer = &self.peer;
        (peer.replay.boot_id, peer.replay.probe, peer.replay.reply).hash(state);
        (peer.their_time_ns, peer.said.term, peer.said.phase).hash(state);
        (peer.granted_term, peer.granted_until_ns, peer.promised_until_ns).hash(state);
        (self.heard_at, &self.inbox, self.disk, self.was_primary).hash(state);
    }
}

const fn time(step: u64) -> u64 {
    (BEFORE + step) * STEP
}

impl Node {
    /// A node of a pair that has served till now, the first as its primary.
    pub fn new(place: usize, record: Record, broken: Option<Broken>) -> Self {
        let lease = time(0) + LEASE * STEP;
        let primary = place == 0;
        let mut gate = Gate::default();
        let mut heard = LeaseGrants::default();
        if primary {
            gate = Gate { state: GATE_OPEN, claimed: 1, term: 1, lease_until_ns: lease };
            heard.grant(1, lease);
        }
        let mut peer = Peer { their_time_ns: time(0) - STEP, ..Peer::default() };
        peer.replay.boot_id = [1, 1];
        if primary {
            peer.grant(1, lease);
        } else {
            peer.note_grant(lease);
        }
        let mut node = Self {
            place,
            core: None,
            database: Some(if primary { Role::Primary } else { Role::Standby }),
            synchronized: primary,
            up: true,
            returns: 0,
            gate,
            heard,
            counts: primary,
            offer: None,
            agent_at: 0,
            peer,
            boot: 1,
            heard_at: 0,
            inbox: vec![],
            disk: record,
            was_primary: primary,
            broken,
        };
        node.start(0);
        node
    }

    fn holds(&self, step: u64) -> bool {
        matches!(self.passage(step), Passage::Open | Passage::Claimed)
    }

    /// What its gate does.
    pub fn passage(&self, step: u64) -> Passage {
        if self.up { self.gate.passage(&self.heard, time(step)) } else { Passage::Closed }
    }

    fn config(&self) -> Config {
        let ids = ids();
        let priority = Priority::new(100 + self.place as u8);
        Config {
            node: ids[self.place],
            nodes: NodeSet::of(ids[0]).with(ids[1]),
            priority,
            arbiter: Arbiter::Etcd,
            lease: Duration::from_nanos(LEASE * STEP),
            agent_timeout: Duration::from_nanos(AGENT_TIMEOUT * STEP),
            promotion_timeout: Duration::from_secs(60),
            switchover_timeout: Duration::from_secs(60),
            max_lag: None,
            rejoin: true,
            restart_attempts: 0,
            election: election::Config {
                priority,
                advert_interval: Centis::new(2).unwrap_or(Centis::ONE_SECOND),
                preempt: false,
                version: Version::V3,
                address: [192, 0, 2, 1 + self.place as u8].into(),
            },
        }
    }

    fn start(&mut self, step: u64) {
        self.core = Some(Core::new(self.config()));
        self.inbox.clear();
        let open = (self.passage(step) == Passage::Open).then(|| Term::new(self.gate.term));
        if self.peer.granted_until_ns > 0 {
            let until = Instant::from_ns(self.peer.granted_until_ns);
            let term = Term::new(self.peer.granted_term);
            self.inbox.push(Input::Granted { node: ids()[1 - self.place], term, until });
        }
        self.inbox.push(Input::Started { record: Some(self.disk), open, marks: Marks::default() });
        self.heard_at = step;
    }

    /// The agent dies.
    pub fn die(&mut self, returns: u64) {
        self.core = None;
        self.returns = returns;
    }

    /// The host does.
    pub fn power_off(&mut self, returns: u64) {
        self.die(returns);
        self.up = false;
        self.database = None;
        self.gate = Gate::default();
        self.heard = LeaseGrants::default();
        self.offer = None;
        self.peer = Peer::default();
        self.boot += 1;
        self.counts = false;
    }

    /// The database does.
    pub fn lose_database(&mut self, step: u64) {
        self.database = None;
        let at = Instant::from_ns(time(step));
        self.inbox.push(Input::DatabaseDied { at, sign: Sign::ProcessExit });
    }

    /// The arbiter's word, or that there was none.
    pub fn hear_ruling(&mut self, ruling: Ruling) {
        if self.core.is_some() {
            self.inbox.push(Input::Ruled(ruling));
        }
    }

    /// What stands at the arbiter.
    pub fn consulted(&mut self, record: Record) {
        if self.core.is_some() {
            self.inbox.push(Input::Consulted(Some(record)));
        }
    }

    /// A turn of the agent's loop; whether it has ordered a promotion.
    pub fn run(&mut self, step: u64, peer: Option<Role>, sent: &mut Vec<Parcel>) -> bool {
        if self.core.is_none() {
            if step < self.returns {
                return false;
            }
            if !self.up {
                self.up = true;
                let role = if self.was_primary { Role::Primary } else { Role::Standby };
                self.database = Some(role);
            }
            self.start(step);
        }
        self.inbox.push(Input::Database(self.look(peer)));
        let inputs = std::mem::take(&mut self.inbox);
        let mut promoted = false;
        for input in inputs {
            promoted |= self.input(step, input, sent);
        }
        let now = Instant::from_ns(time(step));
        promoted |= self.input(step, Input::Polled { at: now }, sent);
        if self.core.as_ref().and_then(Core::next_timer).is_some_and(|due| now >= due) {
            promoted |= self.input(step, Input::Tick, sent);
        }
        if step >= self.heard_at + LOST {
            let node = ids()[1 - self.place];
            promoted |= self.input(step, Input::Unanswered { node }, sent);
        }
        self.agent_at = time(step);
        self.probe(step, sent);
        promoted
    }

    fn look(&self, peer: Option<Role>) -> Database {
        let lsn = Lsn::new(1);
        let Some(role) = self.database else { return Database::Stopped };
        if role == Role::Standby {
            return Database::Standby { lsn, receives: false };
        }
        let streams = peer == Some(Role::Standby);
        let other = NodeSet::of(ids()[1 - self.place]);
        let streaming = if streams { other } else { NodeSet::EMPTY };
        let awaited = if self.synchronized { other } else { NodeSet::EMPTY };
        let confirmed = if streams { awaited } else { NodeSet::EMPTY };
        Database::Primary(Primary { writable: true, lsn, streaming, awaited, confirmed })
    }

    fn input(&mut self, step: u64, input: Input, sent: &mut Vec<Parcel>) -> bool {
        let mut inputs = std::collections::VecDeque::from([input]);
        let mut promoted = false;
        while let Some(input) = inputs.pop_front() {
            let Some(core) = &mut self.core else { return promoted };
            let mut actions = vec![];
            core.handle(Instant::from_ns(time(step)), input, &mut |action| actions.push(action));
            let (status, grant, record) = (core.status(), core.grant(), core.record());
            let grants = grant.is_some() || self.grants_on(record);
            self.offer = Some((status, grants));
            for action in actions {
                promoted |= action == Action::Database(Order::Promote);
                inputs.extend(self.effect(step, action, sent));
            }
        }
        promoted
    }

    /// [`Broken::Withdraw`]: it grants to the primary of its record, whatever it wants itself.
    fn grants_on(&self, record: Option<Record>) -> bool {
        let primary = record.map(|record| record.primary);
        self.broken == Some(Broken::Withdraw)
            && primary.is_some_and(|node| node != ids()[self.place])
    }

    fn effect(&mut self, step: u64, action: Action, sent: &mut Vec<Parcel>) -> Option<Input> {
        match action {
            Action::SetGate { order, term, until } => {
                let state = if order == GateOrder::Open { GATE_OPEN } else { GATE_CLOSED };
                let claimed = u32::from(order != GateOrder::Close);
                self.gate = Gate { state, claimed, term: term.get(), lease_until_ns: until.ns() };
                return Some(Input::GateSet(order));
            }
            Action::Renew { until } => {
                if !self.holds(step) {
                    return Some(Input::Lapsed);
                }
                self.gate.lease_until_ns = until.ns();
            }
            Action::SetGranters(granters) => {
                self.counts = !granters.is_empty();
                return Some(Input::GrantersSet(granters));
            }
            Action::Withdraw => {
                let granted_until = Instant::from_ns(self.peer.promised_until_ns);
                return Some(Input::Withdrawn { granted_until });
            }
            Action::Propose(record) if self.broken == Some(Broken::AskArbiter) => {
                return Some(Input::Ruled(Ruling::Granted(record.term)));
            }
            Action::Propose(record) => {
                if self.broken == Some(Broken::NarrowAfterRecord) {
                    self.counts = record.in_sync.len() > 1;
                    // Nobody has to grant it any more, so it gives itself a lease.
                    self.gate.lease_until_ns = time(step) + AGENT_TIMEOUT * STEP;
                }
                sent.push(Parcel::Propose(self.place, record));
            }
            Action::Consult => sent.push(Parcel::Consult(self.place)),
            Action::Persist(record) => {
                self.disk = record;
                return Some(Input::Persisted(record.term));
            }
            Action::HoldAddresses => self.inbox.push(Input::AddressesHeld),
            Action::Database(order) => {
                let ok = self.obey(order);
                self.inbox.push(Input::DatabaseDid { order, ok });
            }
            _ => {}
        }
        None
    }

    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Promote if self.database.is_some() => self.database = Some(Role::Primary),
            Order::Stop | Order::Demote => self.database = None,
            Order::Start if self.was_primary => self.database = Some(Role::Primary),
            Order::Start | Order::Rejoin(_) => self.database = Some(Role::Standby),
            Order::Synchronize(set) => {
                self.synchronized = !set.is_empty();
                return self.database.is_some();
            }
            _ => return self.database.is_some(),
        }
        if let Some(role) = self.database {
            self.was_primary = role == Role::Primary;
        }
        true
    }

    fn probe(&mut self, step: u64, sent: &mut Vec<Parcel>) {
        let Some((status, grants)) = self.offer else { return };
        let now = time(step);
        if grants {
            self.peer.note_grant(now + LEASE * STEP);
        }
        let datagram = Datagram {
            kind: ProbeKind::Probe,
            boot: self.boot,
            sequence: now,
            time: now,
            echo: self.peer.their_time_ns,
            status,
            grants,
            agent_at: self.agent_at,
            holds: self.holds(step),
        };
        sent.push(Parcel::Datagram(1 - self.place, datagram));
    }

    /// The kernel takes a datagram, and answers a question.
    pub fn receive(&mut self, step: u64, datagram: &Datagram) -> Option<Datagram> {
        let (own, _) = self.offer.filter(|_| self.up)?;
        let now = time(step);
        let read = maps::Datagram {
            kind: datagram.kind,
            path: 0,
            node: self.other().get(),
            boot_id: [datagram.boot, 1],
            sequence: datagram.sequence,
            time_ns: datagram.time,
            echo_ns: datagram.echo,
            grant_ms: if datagram.grants { GRANT_MS } else { 0 },
            said: Said::from(datagram.status),
            facts: (0, 0),
        };
        let received = maps::receive(self, &read, now).ok()?;
        if received.believed {
            self.tell(now, step, datagram);
        }
        (datagram.kind == ProbeKind::Probe).then(|| Datagram {
            kind: ProbeKind::Reply,
            boot: self.boot,
            // Of two answers in one step, that to the later question is the later.
            sequence: now + datagram.time / STEP,
            time: now,
            echo: datagram.time,
            status: own,
            grants: received.grant_ms != 0,
            agent_at: self.agent_at,
            holds: self.holds(step),
        })
    }

    fn other(&self) -> NodeId {
        ids()[1 - self.place]
    }

    /// The agent finds it at its next turn.
    fn tell(&mut self, now: u64, step: u64, datagram: &Datagram) {
        if self.core.is_none() {
            return;
        }
        let node = self.other();
        self.heard_at = step;
        let answers = datagram.kind == ProbeKind::Reply;
        if answers {
            let agent_age = Duration::from_nanos(now - datagram.agent_at);
            self.inbox.push(Input::Answered { node, agent_age, holds: datagram.holds });
        }
        if datagram.grants && datagram.echo > 0 {
            let until = Instant::from_ns(self.peer.granted_until_ns);
            let term = Term::new(self.peer.granted_term);
            self.inbox.push(Input::Granted { node, term, until });
        }
        let status =
            self.peer.said.status().filter(|_| !answers || now - datagram.agent_at < LEASE * STEP);
        if let Some(status) = status {
            let at = Instant::from_ns(datagram.agent_at);
            self.inbox.push(Input::Peer { node, status, at });
        }
    }
}
