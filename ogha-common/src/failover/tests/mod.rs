//! Each rule by its name, on one core whose effects the test carries out.

extern crate std;

mod fence;
mod start;
mod takeover;

use std::{vec, vec::Vec};

use super::*;
use crate::units::Centis;

const ME: NodeId = NodeId::new(1);
const PEER: NodeId = NodeId::new(2);
const LEASE: Duration = Duration::from_millis(100);
const AGENT_TIMEOUT: Duration = Duration::from_secs(3);

const STANDBY: Database =
    Database { role: Role::Standby, writable: false, alive: true, lsn: Lsn::new(7) };
const PRIMARY: Database =
    Database { role: Role::Primary, writable: true, alive: true, lsn: Lsn::new(7) };

/// A core, its clock, and what it did.
struct Node {
    core: Core,
    now: Instant,
    done: Vec<Action>,
    /// Effects whose outcome the test gives by hand.
    held_back: fn(&Action) -> bool,
}

impl Node {
    fn new() -> Self {
        Self::of(true)
    }

    fn of(database: bool) -> Self {
        let election = election::Config {
            priority: Priority::DEFAULT,
            advert_interval: Centis::new(1).unwrap(),
            preempt: false,
            version: crate::wire::vrrp::Version::V3,
            address: [192, 0, 2, 1].into(),
        };
        let core = Core::new(Config {
            node: ME,
            nodes: NodeSet::new(&[ME, PEER]).unwrap(),
            priority: Priority::DEFAULT,
            database,
            lease: LEASE,
            agent_timeout: AGENT_TIMEOUT,
            promotion_timeout: Duration::from_secs(60),
            election,
        });
        let now = Instant::from_ns(1_000_000_000);
        Self { core, now, done: vec![], held_back: |_| false }
    }

    /// A backup that hears its peer serve in term 4.
    fn standby() -> Self {
        let mut node = Self::new();
        node.input(Input::Started { record: None, open: None });
        node.input(Input::Database(STANDBY));
        node.input(peer(probe::Phase::Serving, 4));
        assert_eq!(node.core.phase(), Phase::Standby);
        node.done.clear();
        node
    }

    /// A node that serves in term 1.
    fn serving() -> Self {
        let mut node = Self::new();
        node.input(Input::Started { record: None, open: None });
        node.input(Input::Database(PRIMARY));
        node.pass(AGENT_TIMEOUT * 2);
        node.assert_serving();
        node.done.clear();
        node
    }

    /// Puts the input in and carries the effects out, as the agent does.
    fn input(&mut self, input: Input) {
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
                    Action::Persist(record) => inputs.push_back(Input::Persisted(record.term)),
                    Action::HoldAddresses => inputs.push_back(Input::AddressesHeld),
                    _ => {}
                }
            }
        }
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.core.next_timer().filter(|&due| due <= end) {
            self.now = self.now.max(due);
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
        assert!(matches!(self.core.phase(), Phase::Serving(_)), "{:?}", self.core.phase());
    }

    fn assert_fenced(&self, cause: Cause) {
        assert!(
            matches!(self.core.phase(), Phase::Fenced { cause: c, .. } if c == cause),
            "{:?}",
            self.core.phase()
        );
    }
}

fn status(phase: probe::Phase, term: u64) -> probe::Status {
    probe::Status {
        term: Term::new(term),
        primary: Some(PEER),
        phase,
        role: if phase == probe::Phase::Serving { Role::Primary } else { Role::Unknown },
        restarting: false,
        priority: Priority::DEFAULT,
        lsn: Lsn::new(7),
    }
}

fn peer(phase: probe::Phase, term: u64) -> Input {
    Input::Peer { node: PEER, status: status(phase, term) }
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
    Input::Answered { node: PEER, agent_age }
}

fn promoted(node: &Node) -> bool {
    node.index(|a| matches!(a, Action::Promote(_))).is_some()
}
