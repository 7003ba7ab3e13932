//! Fencing: the gate closes, and what is said about it.

use super::*;

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
        } else {
            heartbeat(&mut node);
        }
        node.input(peer(probe::Phase::TakingOver, 9));
        node.assert_fenced(Cause::HigherTerm(Term::new(9)));
        assert_eq!(node.core.term(), Term::new(9));
        assert!(node.done.contains(&Action::Database(Order::Stop)));
        node.done.clear();
        node.input(Input::Database(PRIMARY));
        node.pass(Duration::from_secs(60));
        assert_eq!(node.ordered(GateOrder::Open), None, "never again before it has rejoined");
        assert!(node.done.contains(&Action::Database(Order::Stop)), "nor may anyone write to it");
        node.input(Input::Database(STANDBY));
        assert_eq!(node.core.phase(), PhaseName::Fenced, "it is about to stop");
        node.input(Input::DatabaseDid { order: Order::Stop, ok: true });
        node.input(Input::Database(STANDBY));
        assert_eq!(node.core.phase(), PhaseName::Standby, "rejoined");
    }
}

#[test]
fn an_old_primary_that_comes_back_is_fenced_and_stopped() {
    let record =
        Record { term: Term::new(3), primary: ME, in_sync: NodeSet::new(&[ME, PEER]).unwrap() };
    let mut node = Node::new();
    node.input(started(Some(record), None));
    node.input(peer(probe::Phase::Serving, 4));
    node.input(Input::Database(PRIMARY));
    node.assert_fenced(Cause::HigherTerm(Term::new(4)));
    assert!(node.done.contains(&Action::Database(Order::Stop)));
    node.pass(Duration::from_secs(60));
    assert_eq!(node.ordered(GateOrder::Open), None);
}

#[test]
fn two_primaries_of_one_term_are_a_split_brain_and_the_lower_priority_fences() {
    for (theirs, fences) in [(200, true), (10, false)] {
        let mut node = Node::serving();
        let rival = probe::Status {
            in_sync: NodeSet::of(PEER).members(),
            priority: Priority::new(theirs),
            ..status(probe::Phase::Serving, node.core.term().get())
        };
        node.input(Input::Peer { node: PEER, status: rival, at: JUST_NOW });
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
    assert_eq!(node.core.term(), Term::new(6));
}

#[test]
fn a_higher_term_of_one_that_was_out_of_sync_is_a_split_brain() {
    let mut node = Node::with(|config| config.rejoin = true).into_serving();
    assert_eq!(node.core.record().unwrap().in_sync, NodeSet::of(ME));
    node.input(peer(probe::Phase::Serving, 9));
    node.assert_fenced(Cause::SplitBrain(PEER));
    node.input(Input::Database(Database::Stopped));
    let rejoin = Action::Database(Order::Rejoin(PEER));
    assert!(!node.done.contains(&rejoin), "which history is worth more a person says");

    let mut node = Node::standby();
    node.input(peer(probe::Phase::Fenced, 4));
    node.input(Input::Database(PRIMARY));
    node.assert_serving();
    let told = Action::Notice(Notice::SplitBrain(PEER));
    node.input(peer(probe::Phase::Serving, 4));
    assert!(!node.done.contains(&told), "it may not have heard yet that it was replaced");
    let alone = NodeSet::of(PEER).members();
    let status = probe::Status { in_sync: alone, ..status(probe::Phase::Serving, 5) };
    node.done.clear();
    node.pass(Duration::from_millis(60));
    node.input(Input::Peer { node: PEER, status, at: JUST_NOW });
    assert!(node.done.contains(&told), "it went on without this node");
    assert!(node.done.iter().filter(|&a| *a == Action::Announce).count() >= 2, "{:?}", node.done);
    node.assert_serving();
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
        assert_eq!(node.core.phase(), PhaseName::Listening);
        assert!(!node.done.contains(&Action::Database(Order::Stop)), "nobody has replaced it yet");
        node.input(peer(probe::Phase::TakingOver, 9));
        node.input(Input::Database(PRIMARY));
        node.assert_fenced(Cause::HigherTerm(Term::new(9)));
        assert!(node.done.contains(&Action::Database(Order::Stop)));
    }
}

#[test]
fn a_database_that_does_not_answer_is_not_dead() {
    let mut node = Node::serving();
    for silent in [Database::Unknown, Database::Unresponsive] {
        for _ in 0..9 {
            node.input(Input::Database(silent));
            node.pass(AGENT_TIMEOUT);
            node.assert_serving();
        }
    }
    node.input(Input::Database(Database::Stopped));
    node.assert_serving();
    node.input(Input::Database(Database::Unknown));
    node.input(Input::Database(Database::Stopped));
    node.assert_serving();
    node.input(Input::Database(Database::Stopped));
    node.assert_fenced(Cause::DatabaseDied(Sign::Observed));
}

/// No fence without programs: with nothing on the interface that enforces the gate, this node serves no
/// longer, and reports itself fenced, so that another one may serve.
#[test]
fn without_programs_on_the_interface_a_node_fences() {
    let mut node = Node::serving();
    node.input(Input::Unguarded);
    assert!(node.ordered(GateOrder::Close).is_some());
    node.assert_fenced(Cause::Unguarded);
    assert!(node.done.contains(&Action::DropAddresses));
    assert!(!node.done.contains(&Action::Database(Order::Stop)), "nobody has replaced it yet");
    for _ in 0..3 {
        node.pass(AGENT_TIMEOUT);
        node.input(Input::Database(PRIMARY));
    }
    node.assert_fenced(Cause::Unguarded);
    node.input(Input::Guarded);
    for _ in 0..3 {
        node.pass(AGENT_TIMEOUT);
        node.input(Input::Database(PRIMARY));
    }
    node.assert_serving();
}

#[test]
fn an_interface_that_is_up_again_announces_the_addresses_of_who_serves() {
    let mut node = Node::serving();
    node.pass(AGENT_TIMEOUT * 2);
    let announced = |node: &Node| node.done.iter().filter(|a| **a == Action::Announce).count();
    let before = announced(&node);
    node.input(Input::Risen);
    assert_eq!(announced(&node), before + 1);
    node.assert_serving();
}
