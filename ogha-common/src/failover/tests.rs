//! Each rule by its name, on one core whose effects the test carries out.

extern crate std;

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

#[test]
fn gate_opens_only_on_a_writable_primary() {
    let mut node = Node::standby();
    node.input(peer(probe::Phase::Fenced, 4));
    assert_eq!(node.ordered(GateOrder::Open), None, "the database is still a standby");
    node.input(Input::Database(Database { role: Role::Primary, ..STANDBY }));
    assert_eq!(node.ordered(GateOrder::Open), None, "a primary that is read-only");
    node.input(Input::Database(PRIMARY));
    assert!(node.ordered(GateOrder::Open).is_some());
    node.assert_serving();
    assert_eq!(node.core.record().unwrap().primary, ME);
    assert_eq!(node.core.term(), Term::new(5));
}

#[test]
fn the_steps_of_a_takeover_come_in_their_order() {
    let mut node = Node::standby();
    node.input(peer(probe::Phase::Fenced, 4));
    node.input(Input::Database(PRIMARY));
    let order = [
        node.index(|a| matches!(a, Action::Begin { cause: Cause::PeerFenced(PEER), .. })),
        node.index(|a| matches!(a, Action::Persist(_))),
        node.ordered(GateOrder::Claim),
        node.index(|a| matches!(a, Action::Promote(_))),
        node.index(|a| matches!(a, Action::Announce)),
        node.ordered(GateOrder::Open),
        node.index(|a| matches!(a, Action::End(Outcome::Serving))),
        node.index(|a| matches!(a, Action::AfterFailover)),
    ];
    assert!(order.iter().all(Option::is_some), "{order:?}: {:#?}", node.done);
    assert!(order.is_sorted(), "{order:?}: {:#?}", node.done);
    let announced = |a: &&Action| matches!(a, Action::Announce);
    assert_eq!(node.done.iter().filter(announced).count(), 2, "early, and when the gate opens");
}

#[test]
fn nothing_is_claimed_before_the_record_is_on_disk() {
    let mut node = Node::standby();
    node.held_back = |a| matches!(a, Action::Persist(_));
    node.input(peer(probe::Phase::Fenced, 4));
    assert_eq!(node.ordered(GateOrder::Claim), None);
    assert_eq!(node.index(|a| matches!(a, Action::Promote(_))), None);
    node.input(Input::PersistFailed(Term::new(5)));
    node.assert_fenced(Cause::DiskFailed);
    assert_eq!(node.index(|a| matches!(a, Action::Promote(_))), None);
}

#[test]
fn the_gate_waits_for_the_addresses() {
    let mut node = Node::standby();
    node.held_back = |a| matches!(a, Action::HoldAddresses);
    node.input(peer(probe::Phase::Fenced, 4));
    node.input(Input::Database(PRIMARY));
    assert_eq!(node.ordered(GateOrder::Open), None);
    node.input(Input::AddressesHeld);
    node.assert_serving();
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

#[test]
fn promotion_waits_for_the_promise() {
    let mut node = Node::standby();
    let heard = node.now;
    lose_host(&mut node);
    assert!(matches!(node.core.phase(), Phase::Waiting { .. }));
    node.pass(LEASE / 2);
    assert!(!promoted(&node), "what the old primary was promised is not over");
    node.pass(Duration::from_millis(10));
    assert!(promoted(&node));
    let first_sign = node.index(|a| matches!(a, Action::Begin { at, .. } if *at == heard));
    assert!(first_sign.is_some(), "the story begins with the last word of the primary");
}

#[test]
fn a_host_is_not_lost_while_its_adverts_arrive() {
    let mut node = Node::standby();
    for _ in 0..100 {
        node.input(Input::Unanswered { node: PEER });
        node.input(peer(probe::Phase::Serving, 4));
        node.pass(Duration::from_millis(10));
    }
    assert_eq!(node.core.phase(), Phase::Standby);
}

#[test]
fn a_primary_that_speaks_or_answers_ends_the_wait() {
    for word in [peer(probe::Phase::Serving, 4), answered(Duration::ZERO)] {
        let mut node = Node::standby();
        lose_host(&mut node);
        assert!(matches!(node.core.phase(), Phase::Waiting { .. }));
        node.input(word);
        assert_eq!(node.core.phase(), Phase::Standby);
        assert!(node.done.contains(&Action::End(Outcome::Standby)));
    }
}

#[test]
fn a_slow_agent_is_no_failure() {
    let mut node = Node::standby();
    for age in 1..AGENT_TIMEOUT.as_millis() as u64 / 10 {
        node.pass(Duration::from_millis(10));
        node.input(answered(Duration::from_millis(age * 10)));
        assert_eq!(node.core.phase(), Phase::Standby);
    }
    node.input(peer(probe::Phase::Serving, 4));
    node.pass(Duration::from_secs(1));
    assert!(!promoted(&node));
    assert!(!node.done.iter().any(|a| matches!(a, Action::Begin { .. })), "no story to tell");
}

#[test]
fn a_dead_agent_is_replaced_after_its_gate_has_lapsed() {
    let mut node = Node::standby();
    let died = node.now;
    while !promoted(&node) {
        node.pass(Duration::from_millis(10));
        node.input(answered(node.now.since(died)));
        assert!(node.now.since(died) < AGENT_TIMEOUT * 2);
    }
    assert!(node.now.since(died) > AGENT_TIMEOUT, "{:?}", node.now.since(died));
    let cause = Cause::AgentDead(PEER);
    assert!(node.done.contains(&Action::Begin { cause, at: died }));
}

#[test]
fn silence_without_lost_probes_is_nobodys_death() {
    let mut node = Node::standby();
    node.pass(AGENT_TIMEOUT * 3);
    assert!(!promoted(&node), "this node may be the one that is cut off");
    node.input(answered(AGENT_TIMEOUT * 3));
    assert!(promoted(&node), "now the agent is known to be dead");
}

#[test]
fn an_advert_that_waits_to_be_read_is_no_silence() {
    let mut node = Node::standby();
    lose_host(&mut node);
    assert_ne!(node.core.phase(), Phase::Standby, "without it, the host is given up");
    let mut node = Node::standby();
    for _ in 0..100 {
        node.pass(Duration::from_millis(10));
        node.input(Input::AdvertStamped { node: PEER, at: node.now });
        node.input(Input::Unanswered { node: PEER });
    }
    assert_eq!(node.core.phase(), Phase::Standby);
}

#[test]
fn own_stall_is_never_blamed_on_the_peer() {
    let mut node = Node::standby();
    let stall = Duration::from_secs(10);
    node.now = node.now + stall;
    node.input(Input::Stalled(stall));
    node.input(Input::Tick);
    assert_eq!(node.core.phase(), Phase::Standby);
    node.input(answered(Duration::from_millis(1)));
    node.pass(AGENT_TIMEOUT / 2);
    assert!(!promoted(&node));
}

#[test]
fn a_fenced_report_ends_the_wait() {
    let mut node = Node::standby();
    lose_host(&mut node);
    node.input(peer(probe::Phase::Fenced, 4));
    assert!(promoted(&node));
}

#[test]
fn a_node_that_never_heard_a_primary_does_not_promote() {
    let mut node = Node::new();
    node.input(Input::Started { record: None, open: None });
    node.input(Input::Database(STANDBY));
    node.pass(Duration::from_secs(60));
    assert!(!promoted(&node));
    let told = Action::Notice(Notice::CannotTakeOver(Hindrance::NeverHeardPrimary));
    assert_eq!(node.done.iter().filter(|&a| *a == told).count(), 1, "told once");
}

#[test]
fn a_fenced_report_of_someone_else_promotes_nobody() {
    let mut node = Node::standby();
    for (term, primary) in [(3, PEER), (4, ME)] {
        let mut old = status(probe::Phase::Fenced, term);
        old.primary = Some(primary);
        if term == 4 {
            // The record names the peer; a third node's word is not the primary's.
            node.input(Input::Peer { node: NodeId::new(3), status: old });
        } else {
            node.input(Input::Peer { node: PEER, status: old });
        }
    }
    assert_eq!(node.core.phase(), Phase::Standby);
    assert_eq!(node.done, []);
}

#[test]
fn a_dead_database_fences_at_once() {
    let mut node = Node::serving();
    node.held_back = |a| matches!(a, Action::SetGate { .. });
    let seen = node.now - Duration::from_micros(300);
    node.input(process_exit(seen));
    assert!(node.ordered(GateOrder::Close).is_some());
    let cause = Cause::DatabaseDied(Sign::ProcessExit);
    assert!(node.done.contains(&Action::Begin { cause, at: seen }));
}

#[test]
fn closed_is_reported_after_the_kernel_has_it() {
    let mut node = Node::serving();
    node.held_back = |a| matches!(a, Action::SetGate { .. });
    node.input(process_exit(node.now));
    assert_eq!(node.core.status().phase, probe::Phase::Serving);
    assert_eq!(node.index(|a| matches!(a, Action::Publish)), None);
    node.input(Input::GateFailed(GateOrder::Close));
    assert_eq!(node.core.status().phase, probe::Phase::Serving, "refused: not closed");
    node.input(Input::GateSet(GateOrder::Close));
    assert_eq!(node.core.status().phase, probe::Phase::Fenced);
    let publish = node.index(|a| matches!(a, Action::Publish));
    let released = node.index(|a| *a == Action::SendAdvert(Priority::RELEASE));
    assert!(publish.is_some() && released.is_some());
}

#[test]
fn a_higher_term_fences() {
    for taking in [false, true] {
        let mut node = if taking { Node::standby() } else { Node::serving() };
        if taking {
            node.input(peer(probe::Phase::Fenced, 4));
        }
        node.input(peer(probe::Phase::TakingOver, 9));
        node.assert_fenced(Cause::HigherTerm(Term::new(9)));
        assert_eq!(node.core.term(), Term::new(9));
        assert!(node.done.contains(&Action::StopDatabase));
        node.done.clear();
        node.input(Input::Database(PRIMARY));
        node.pass(Duration::from_secs(60));
        assert_eq!(node.ordered(GateOrder::Open), None, "never again before it has rejoined");
        assert!(node.done.contains(&Action::StopDatabase), "nor may anyone write to it");
        node.input(Input::Database(STANDBY));
        assert_eq!(node.core.phase(), Phase::Standby, "rejoined");
    }
}

#[test]
fn an_old_primary_that_comes_back_is_fenced_and_stopped() {
    let record =
        Record { term: Term::new(3), primary: ME, in_sync: NodeSet::new(&[ME, PEER]).unwrap() };
    let mut node = Node::new();
    node.input(Input::Started { record: Some(record), open: None });
    node.input(peer(probe::Phase::Serving, 4));
    node.input(Input::Database(PRIMARY));
    node.assert_fenced(Cause::HigherTerm(Term::new(4)));
    assert!(node.done.contains(&Action::StopDatabase));
    node.pass(Duration::from_secs(60));
    assert_eq!(node.ordered(GateOrder::Open), None);
}

#[test]
fn two_primaries_of_one_term_are_a_split_brain_and_the_lower_priority_fences() {
    for (theirs, fences) in [(200, true), (10, false)] {
        let mut node = Node::serving();
        let rival = probe::Status {
            priority: Priority::new(theirs),
            ..status(probe::Phase::Serving, node.core.term().get())
        };
        node.input(Input::Peer { node: PEER, status: rival });
        if fences {
            node.assert_fenced(Cause::SplitBrain(PEER));
            node.input(Input::Database(PRIMARY));
            node.pass(Duration::from_secs(60));
            node.assert_fenced(Cause::SplitBrain(PEER));
        } else {
            node.assert_serving();
            assert!(node.done.contains(&Action::Notice(Notice::SplitBrain(PEER))));
        }
    }
}

#[test]
fn a_lower_term_is_not_obeyed() {
    let mut node = Node::standby();
    node.input(peer(probe::Phase::Fenced, 4));
    node.input(Input::Database(PRIMARY));
    node.input(peer(probe::Phase::Serving, 4));
    node.assert_serving();
    assert_eq!(node.core.term(), Term::new(5));
}

#[test]
fn a_node_listens_before_it_serves() {
    let mut node = Node::new();
    node.input(Input::Started { record: None, open: None });
    node.input(Input::Database(PRIMARY));
    node.pass(AGENT_TIMEOUT);
    assert_eq!(node.ordered(GateOrder::Open), None);
    node.pass(AGENT_TIMEOUT);
    node.assert_serving();
}

#[test]
fn a_primary_beside_a_serving_peer_does_not_serve() {
    let mut node = Node::new();
    node.input(Input::Started { record: None, open: None });
    node.input(peer(probe::Phase::Serving, 1));
    node.input(Input::Database(PRIMARY));
    node.pass(Duration::from_millis(50));
    node.input(peer(probe::Phase::Serving, 1));
    assert_eq!(node.ordered(GateOrder::Open), None);
    assert!(!node.done.contains(&Action::StopDatabase), "the two may never have been a pair");
}

#[test]
fn a_restarted_agent_goes_on_where_the_last_one_left() {
    let record = Record { term: Term::new(3), primary: ME, in_sync: NodeSet::new(&[ME]).unwrap() };
    let mut node = Node::new();
    node.input(Input::Started { record: Some(record), open: Some(Term::new(3)) });
    node.assert_serving();
    assert_eq!(node.ordered(GateOrder::Close), None);

    let mut node = Node::new();
    node.input(Input::Started { record: Some(record), open: Some(Term::new(2)) });
    assert!(node.ordered(GateOrder::Close).is_some(), "another term's gate is not ours");
}

#[test]
fn the_lease_is_renewed_four_times_while_it_lasts() {
    let mut node = Node::serving();
    node.pass(AGENT_TIMEOUT * 10);
    let ends: Vec<_> = node
        .done
        .iter()
        .filter_map(|a| if let Action::Renew { until } = a { Some(*until) } else { None })
        .collect();
    assert!(ends.len() >= 40, "{}", ends.len());
    assert!(ends.is_sorted());
    assert!(*ends.last().unwrap() <= node.now + AGENT_TIMEOUT);
}

#[test]
fn a_lapsed_lease_is_not_renewed() {
    for told_by_the_kernel in [false, true] {
        let mut node = Node::serving();
        if told_by_the_kernel {
            node.input(Input::Lapsed);
        } else {
            // The agent was stopped, and goes on.
            node.now = node.now + AGENT_TIMEOUT * 2;
            node.input(Input::Tick);
        }
        assert_eq!(node.index(|a| matches!(a, Action::Renew { .. })), None);
        assert!(node.ordered(GateOrder::Close).is_some());
        assert!(matches!(node.core.phase(), Phase::Listening { .. }));
        assert!(!node.done.contains(&Action::StopDatabase), "nobody has replaced it yet");
        node.input(peer(probe::Phase::TakingOver, 9));
        node.input(Input::Database(PRIMARY));
        node.assert_fenced(Cause::HigherTerm(Term::new(9)));
        assert!(node.done.contains(&Action::StopDatabase));
    }
}

#[test]
fn a_database_that_was_restarted_in_place_serves_again_when_nobody_took_over() {
    let mut node = Node::serving();
    node.input(process_exit(node.now));
    node.input(Input::Database(PRIMARY));
    assert_eq!(node.ordered(GateOrder::Open), None, "a peer may be about to take over");
    node.pass(AGENT_TIMEOUT);
    node.input(Input::Database(PRIMARY));
    node.assert_serving();
    assert_eq!(node.core.term(), Term::new(2), "in a term of its own");
}

#[test]
fn a_promotion_that_fails_leaves_the_addresses() {
    let mut node = Node::standby();
    node.input(peer(probe::Phase::Fenced, 4));
    node.input(Input::PromotionRefused);
    node.assert_fenced(Cause::PromotionFailed);
    assert!(node.done.contains(&Action::DropAddresses));
    assert!(!node.done.contains(&Action::StopDatabase), "a standby harms nobody");
}

#[test]
fn a_database_that_does_not_answer_is_not_dead() {
    let mut node = Node::serving();
    let silent = Database { role: Role::Unknown, writable: false, alive: true, lsn: Lsn::new(0) };
    node.input(Input::Database(silent));
    node.assert_serving();
    node.input(Input::Database(Database { alive: false, ..silent }));
    node.assert_fenced(Cause::DatabaseDied(Sign::Observed));
}

#[test]
fn an_orderly_stop_keeps_the_gate_and_says_so_first() {
    let mut node = Node::serving();
    node.input(Input::Stopping);
    let publish = node.index(|a| *a == Action::Publish);
    let renew = node.index(|a| *a == Action::Renew { until: node.now + AGENT_TIMEOUT });
    assert!(publish.is_some() && publish < renew, "{:?}", node.done);
    assert_eq!(node.ordered(GateOrder::Close), None);
}

#[test]
fn an_address_without_a_database_goes_where_vrrp_elects() {
    let mut node = Node::of(false);
    node.input(Input::Started { record: None, open: None });
    node.pass(AGENT_TIMEOUT);
    assert_eq!(node.ordered(GateOrder::Open), None, "it listens first");
    node.pass(Duration::from_secs(1));
    node.assert_serving();
    assert!(!promoted(&node));
}
