//! What was believed and is not so: settings changed by hand, standbys that are missed for the wrong
//! reason, orders that fail, terms that leap, forces that wait.

use super::*;

fn follower(node: &Node) -> Input {
    let status = probe::Status {
        primary: Some(ME),
        role: Role::Standby,
        ..status(probe::Phase::Standby, node.core.term().get())
    };
    Input::Peer { node: PEER, status, at: JUST_NOW }
}

/// The primary's view: the peer streams, and commits wait for it or not.
fn observed(streams: bool, waits: bool) -> Input {
    let set = |yes| if yes { NodeSet::of(PEER) } else { NodeSet::EMPTY };
    let Database::Primary(primary) = PRIMARY else { unreachable!() };
    let (streaming, awaited) = (set(streams), set(waits));
    let confirmed = set(streams && waits);
    Input::Database(Database::Primary(Primary { streaming, awaited, confirmed, ..primary }))
}

/// A node that serves, its peer in sync.
fn pair() -> Node {
    let mut node = Node::serving();
    heartbeat(&mut node);
    assert!(in_sync(&node));
    node.done.clear();
    node
}

fn in_sync(node: &Node) -> bool {
    node.core.record().unwrap().in_sync.contains(PEER)
}

fn synchronizes(node: &Node) -> usize {
    let order = Action::Database(Order::Synchronize(NodeSet::of(PEER)));
    node.done.iter().filter(|&action| *action == order).count()
}

fn told(node: &Node, notice: Notice) -> usize {
    node.done.iter().filter(|&action| *action == Action::Notice(notice)).count()
}

#[test]
fn a_setting_that_was_changed_by_hand_is_set_right_at_once() {
    let mut node = pair();
    node.input(observed(true, false));
    assert_eq!((synchronizes(&node), told(&node, Notice::NotAwaited(PEER))), (1, 1));
    node.input(observed(true, true));
    assert!(in_sync(&node), "it was set right in time");
    node.pass(Duration::from_secs(5));
    assert!(in_sync(&node));
}

#[test]
fn a_member_for_whom_commits_cannot_be_made_to_wait_leaves() {
    let mut node = pair();
    for _ in 0..30 {
        node.input(follower(&node));
        node.input(observed(true, false));
        node.pass(Duration::from_millis(50));
    }
    assert!(!in_sync(&node), "it would be promoted without what was acknowledged");
    node.assert_serving();
}

#[test]
fn an_order_that_fails_is_repeated_with_growing_pauses() {
    let mut node = pair();
    node.held_back = |a| matches!(a, Action::Database(Order::Synchronize(_)));
    node.input(observed(true, false));
    let order = Order::Synchronize(NodeSet::of(PEER));
    for _ in 0..100 {
        node.input(Input::DatabaseDid { order, ok: false });
        node.input(follower(&node));
        node.input(observed(true, false));
        node.pass(Duration::from_millis(4));
    }
    let told: Vec<_> = node.done.iter().filter(|a| !matches!(a, Action::SendAdvert(_))).collect();
    assert!((2..=3).contains(&synchronizes(&node)), "{told:?}");
}

#[test]
fn nobody_leaves_while_the_own_database_takes_no_commits() {
    for recovers in [Database::Unresponsive, Database::Unknown] {
        let mut node = pair();
        for _ in 0..100 {
            node.input(follower(&node));
            node.input(Input::Database(recovers));
            node.pass(Duration::from_millis(100));
        }
        assert!(in_sync(&node), "a crash recovery is no fault of the standby");
        node.input(observed(false, true));
        node.pass(Duration::from_secs(1));
        node.input(follower(&node));
        node.input(observed(false, true));
        assert!(in_sync(&node), "it has the time to connect again");
        for _ in 0..3 {
            node.pass(Duration::from_secs(1));
            node.input(follower(&node));
            node.input(observed(false, true));
        }
        assert!(!in_sync(&node));
    }
}

#[test]
fn a_term_that_leaps_is_refused() {
    for mut node in [pair(), Node::standby()] {
        let (phase, record) = (node.core.phase(), node.core.record());
        let last = status(probe::Phase::Serving, u64::MAX);
        node.input(Input::Peer { node: PEER, status: last, at: JUST_NOW });
        let term = Term::new(u64::MAX);
        assert_eq!(told(&node, Notice::ImplausibleTerm(term)), 1);
        let store = Record { term, primary: PEER, in_sync: NodeSet::of(PEER) };
        node.input(Input::Consulted(Some(store)));
        assert_eq!((node.core.phase(), node.core.record()), (phase, record));
    }
}

fn force(node: &mut Node) -> Result<(), Refusal> {
    let mut actions = vec![];
    let result = node.core.command(node.now, Command::Force, &mut |action| actions.push(action));
    node.done.append(&mut actions);
    result
}

fn unheard(arbiter: Arbiter) -> Node {
    let mut node = Node::with(|config| config.arbiter = arbiter);
    node.held_back = |a| *a == Action::Consult;
    node.input(started(None, None));
    node.pass(AGENT_TIMEOUT * 2);
    node.input(Input::Database(STANDBY));
    node
}

#[test]
fn a_force_that_waits_for_the_arbiter_has_an_end() {
    let mut node = unheard(Arbiter::Etcd);
    force(&mut node).unwrap();
    node.pass(Duration::from_secs(11));
    assert_eq!(told(&node, Notice::ForceExpired), 1);
    node.input(Input::Consulted(None));
    node.pass(LEASE * 3);
    assert!(!promoted(&node), "the arbiter's answer comes too late for it");
}

#[test]
fn a_force_that_waited_is_checked_again() {
    let mut node = unheard(Arbiter::Etcd);
    force(&mut node).unwrap();
    node.input(peer(probe::Phase::Serving, 4));
    node.input(Input::Consulted(None));
    assert_eq!(told(&node, Notice::ForceRefused(Refusal::Serves(PEER))), 1);
    assert!(!promoted(&node));
    assert_eq!(node.core.phase(), PhaseName::Standby);
}

#[test]
fn a_standby_that_receives_from_a_living_primary_is_not_forced() {
    let mut node = unheard(Arbiter::None);
    node.input(Input::Database(Database::Standby { lsn: Lsn::new(7), receives: true }));
    assert_eq!(node.core.waits_for(node.now), Some(Wait::PrimaryAgent));
    assert_eq!(force(&mut node), Err(Refusal::PrimaryLives));
    node.input(Input::Database(STANDBY));
    assert!(matches!(node.core.waits_for(node.now), Some(Wait::Others(_))));
    assert_eq!(force(&mut node), Ok(()));
}

#[test]
fn no_rejoin_is_advised_for_a_database_that_does_not_answer() {
    let mut node = Node::with(|config| config.rejoin = true).into_standby();
    for _ in 0..20 {
        node.input(peer(probe::Phase::Serving, 4));
        node.input(Input::Database(Database::Unresponsive));
        let order = Order::Follow(PEER);
        node.input(Input::DatabaseDid { order, ok: true });
        node.pass(Duration::from_secs(1));
    }
    assert_eq!(node.core.waits_for(node.now), Some(Wait::Answer));
    let rejoins = |a: &Action| matches!(a, Action::Database(Order::Rejoin(_)));
    assert_eq!(node.index(rejoins), None);
}

/// It may only be slow, or its order may have had no effect: it is told again, less and less often.
#[test]
fn who_follows_and_is_not_in_sync_is_told_again_ever_later() {
    let mut node = Node::with(|config| config.rejoin = true);
    node.input(started(None, None));
    let alone = NodeSet::of(PEER).members();
    let status = probe::Status { in_sync: alone, ..status(probe::Phase::Serving, 5) };
    let told = |a: &Action| *a == Action::Database(Order::Follow(PEER));
    let mut pauses = Vec::new();
    let mut last = None;
    for _ in 0..200 {
        node.input(Input::Peer { node: PEER, status, at: JUST_NOW });
        node.input(Input::Database(Database::Standby { lsn: Lsn::new(7), receives: true }));
        node.pass(Duration::from_secs(1));
        if node.index(told).is_some() {
            node.done.clear();
            node.input(Input::DatabaseDid { order: Order::Follow(PEER), ok: true });
            pauses.extend(last.replace(node.now).map(|last| node.now.since(last).as_secs()));
        }
    }
    assert!(pauses.len() >= 4, "{pauses:?}");
    for (pause, expected) in pauses.iter().zip([10, 20, 40, 80]) {
        assert!((expected - 1..=expected + 2).contains(pause), "{pauses:?}");
    }
}

/// Each stops the database, so that what fails again and again is tried less and less often. Only a
/// person's order begins anew.
#[test]
fn a_rejoin_that_fails_waits_longer_each_time() {
    let mut node = Node::with(|config| config.rejoin = true);
    node.input(started(None, None));
    let tried = |a: &Action| *a == Action::Database(Order::Rejoin(PEER));
    let mut pauses = Vec::new();
    let mut last = None;
    for _ in 0..400 {
        node.input(peer(probe::Phase::Serving, 5));
        node.input(Input::Database(Database::Stopped));
        node.pass(Duration::from_secs(1));
        if node.index(tried).is_some() {
            node.done.clear();
            let order = Order::Rejoin(PEER);
            node.input(Input::DatabaseDid { order, ok: false });
            pauses.extend(last.replace(node.now).map(|last| node.now.since(last).as_secs()));
        }
    }
    let near = |expected: u64| expected - 1..=expected + 2;
    for (pause, expected) in pauses.iter().zip([10, 20, 40, 80, 80]) {
        assert!(near(expected).contains(pause), "{pauses:?}");
    }
    assert!(pauses.len() >= 5, "{pauses:?}");
}

#[test]
fn a_switchover_that_its_agent_did_not_survive_is_ended_by_the_next() {
    let in_sync = NodeSet::of(ME).with(PEER);
    let record = Record { term: Term::new(3), primary: ME, in_sync };
    let mut node = Node::new();
    let marks = Marks { handed_over: true, ..Marks::default() };
    node.input(Input::Started { record: Some(record), open: None, marks });
    for _ in 0..2 {
        node.pass(AGENT_TIMEOUT);
        node.input(Input::Database(Database::Stopped));
    }
    assert!(node.done.contains(&Action::Database(Order::Start)), "{:?}", node.done);
    // Had the peer taken over, this node would have made itself its standby.
    let mut node = Node::new();
    node.input(Input::Started { record: Some(record), open: None, marks });
    node.input(peer(probe::Phase::Serving, 5));
    node.input(Input::Database(Database::Stopped));
    assert!(node.done.contains(&Action::Database(Order::Rejoin(PEER))), "{:?}", node.done);
}

#[test]
fn a_designated_primary_whose_database_is_not_started_lets_the_standby_take_over() {
    let in_sync = NodeSet::of(ME).with(PEER);
    let record = Record { term: Term::new(3), primary: ME, in_sync };
    let mut node = Node::new();
    node.input(started(Some(record), None));
    for _ in 0..6 {
        node.pass(AGENT_TIMEOUT / 2);
        node.input(Input::Database(Database::Stopped));
    }
    assert_eq!(node.core.phase(), PhaseName::Standby, "somebody may be about to start it");
    node.pass(AGENT_TIMEOUT * 2);
    node.assert_fenced(Cause::DatabaseDied(Sign::Observed));
    assert_eq!(node.core.status().phase, probe::Phase::Fenced);
}

#[test]
fn a_gate_that_cannot_be_set_anew_is_no_death() {
    let mut node = pair();
    node.held_back = |a| matches!(a, Action::SetGate { order: GateOrder::Open, .. });
    node.input(Input::Unanswered { node: PEER });
    node.pass(LEASE);
    node.input(Input::GateFailed(GateOrder::Open));
    node.assert_serving();
    node.done.clear();
    node.held_back = |_| false;
    node.pass(Duration::from_secs(1));
    assert!(node.ordered(GateOrder::Open).is_some(), "it is ordered again");
    node.assert_serving();
}
