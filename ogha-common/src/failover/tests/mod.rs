//! Each rule by its name, on one core whose effects the test carries out.

extern crate std;

mod arbiter;
mod fence;
mod hangs;
mod members;
mod operator;
mod start;
mod takeover;
mod transitions;
mod verified;

use std::{vec, vec::Vec};

use super::*;
use crate::{
    units::{Centis, Instant, Lsn, Term},
    wire::probe,
};

const ME: NodeId = NodeId::new(1);
const PEER: NodeId = NodeId::new(2);
const LEASE: Duration = Duration::from_millis(100);
const AGENT_TIMEOUT: Duration = Duration::from_secs(3);

const STANDBY: Database = Database::Standby { lsn: Lsn::new(7), receives: false };
const PRIMARY: Database = primary(NodeSet::EMPTY, NodeSet::EMPTY);

/// A primary that accepts writes, with these standbys.
const fn primary(streaming: NodeSet, confirmed: NodeSet) -> Database {
    let (writable, lsn) = (true, Lsn::new(7));
    Database::Primary(Primary { writable, lsn, streaming, awaited: streaming, confirmed })
}

/// A core, its clock, and what it did.
struct Node {
    core: Core,
    now: Instant,
    done: Vec<Action>,
    /// What it has promised to the peer.
    granted_until: Instant,
    /// Effects whose outcome the test gives by hand.
    held_back: fn(&Action) -> bool,
}

impl Node {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let election = election::Config {
            priority: Priority::DEFAULT,
            advert_interval: Centis::new(1).unwrap(),
            preempt: false,
            version: crate::wire::vrrp::Version::V3,
            address: [192, 0, 2, 1].into(),
        };
        let mut config = Config {
            node: ME,
            nodes: NodeSet::new(&[ME, PEER]).unwrap(),
            priority: Priority::DEFAULT,
            arbiter: Arbiter::None,
            lease: LEASE,
            agent_timeout: AGENT_TIMEOUT,
            promotion_timeout: Duration::from_secs(60),
            switchover_timeout: Duration::from_secs(30),
            max_lag: None,
            rejoin: false,
            restart_attempts: 0,
            election,
        };
        change(&mut config);
        let core = Core::new(config);
        let now = Instant::from_ns(1_000_000_000);
        let granted_until = Instant::default();
        Self { core, now, done: vec![], granted_until, held_back: |_| false }
    }

    /// A backup that hears its peer serve in term 4.
    fn standby() -> Self {
        Self::new().into_standby()
    }

    fn into_standby(self) -> Self {
        let mut node = self;
        node.input(started(None, None));
        node.input(Input::Consulted(None));
        node.input(peer(probe::Phase::Serving, 4));
        node.input(Input::Database(STANDBY));
        assert_eq!(node.core.phase(), PhaseName::Standby);
        node.done.clear();
        node
    }

    /// A node that serves in term 1.
    fn serving() -> Self {
        Self::new().into_serving()
    }

    fn into_serving(self) -> Self {
        let mut node = self;
        node.input(started(None, None));
        node.input(Input::Consulted(None));
        node.input(Input::Database(PRIMARY));
        node.pass(AGENT_TIMEOUT * 2);
        node.assert_serving();
        node.done.clear();
        node
    }

    /// Puts the input in and carries the effects out, as the agent does.
    fn input(&mut self, mut input: Input) {
        if let Input::Peer { at, .. } = &mut input {
            *at = self.now.min(*at);
        }
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let first = self.done.len();
            self.core.handle(self.now, input, &mut |action| self.done.push(action));
            for action in &self.done[first..] {
                if (self.held_back)(action) {
                    continue;
                }
                match *action {
                    Action::SetGate { order, .. } => inputs.push_back(Input::GateSet(order)),
                    Action::Persist(record) => {
                        inputs.push_back(Input::Persisted(record.term));
                        inputs.push_back(Input::Polled { at: self.now });
                    }
                    Action::HoldAddresses => inputs.push_back(Input::AddressesHeld),
                    Action::Withdraw => {
                        inputs.push_back(Input::Withdrawn { granted_until: self.granted_until });
                    }
                    Action::SetGranters(granters) => inputs.push_back(Input::GrantersSet(granters)),
                    Action::Propose(record) => {
                        inputs.push_back(Input::Ruled(Ruling::Granted(record.term)));
                    }
                    Action::Database(order @ Order::Synchronize(_)) => {
                        inputs.push_back(Input::DatabaseDid { order, ok: true });
                    }
                    _ => {}
                }
            }
        }
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut at_once = 0;
        while let Some(due) = self.core.next_timer().filter(|&due| due <= end) {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 100, "a timer that is never done: {:#?}", self.core);
            self.now = self.now.max(due);
            self.input(Input::Polled { at: self.now });
            self.input(Input::Tick);
        }
        self.now = end;
    }

    fn index(&self, wanted: impl Fn(&Action) -> bool) -> Option<usize> {
        self.done.iter().position(wanted)
    }

    fn ordered(&self, order: GateOrder) -> Option<usize> {
        self.index(|a| matches!(a, Action::SetGate { order: o, .. } if *o == order))
    }

    fn assert_serving(&self) {
        assert_eq!(self.core.phase(), PhaseName::Serving);
    }

    fn assert_fenced(&self, cause: Cause) {
        assert_eq!((self.core.phase(), self.core.cause()), (PhaseName::Fenced, Some(cause)));
    }
}

fn status(phase: probe::Phase, term: u64) -> probe::Status {
    probe::Status {
        term: Term::new(term),
        primary: Some(PEER),
        in_sync: NodeSet::new(&[ME, PEER]).unwrap().members(),
        phase,
        role: if phase == probe::Phase::Serving { Role::Primary } else { Role::Unknown },
        restarting: false,
        paused: false,
        hung: false,
        priority: Priority::DEFAULT,
        lsn: Lsn::new(7),
    }
}

/// When a peer's agent lived that speaks now.
const JUST_NOW: Instant = Instant::from_ns(u64::MAX);

fn peer(phase: probe::Phase, term: u64) -> Input {
    Input::Peer { node: PEER, status: status(phase, term), at: JUST_NOW }
}

/// The peer is in sync with this node, which serves.
fn heartbeat(node: &mut Node) {
    let term = node.core.term().get();
    let role = Role::Standby;
    let status = probe::Status { primary: Some(ME), role, ..status(probe::Phase::Standby, term) };
    for _ in 0..2 {
        node.input(Input::Peer { node: PEER, status, at: JUST_NOW });
        node.input(Input::Database(primary(NodeSet::of(PEER), NodeSet::of(PEER))));
    }
}

fn started(record: Option<Record>, open: Option<Term>) -> Input {
    Input::Started { record, open, marks: Marks::default() }
}

fn process_exit(at: Instant) -> Input {
    Input::DatabaseDied { at, sign: Sign::ProcessExit }
}

/// The peer's host falls silent altogether: no advert, no probe, no answer.
fn lose_host(node: &mut Node) {
    node.pass(LEASE / 2);
    node.input(Input::Unanswered { node: PEER });
}

fn answered(agent_age: Duration) -> Input {
    Input::Answered { node: PEER, agent_age, holds: false }
}

fn promoted(node: &Node) -> bool {
    node.done.contains(&Action::Database(Order::Promote))
}
