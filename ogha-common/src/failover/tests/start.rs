//! Start, the lease while a node serves, and stop.

use super::*;

#[test]
fn a_node_listens_before_it_serves() {
    let mut node = Node::new();
    node.input(started(None, None));
    node.input(Input::Database(PRIMARY));
    node.pass(AGENT_TIMEOUT);
    assert_eq!(node.ordered(GateOrder::Open), None);
    node.pass(AGENT_TIMEOUT);
    node.assert_serving();
}

#[test]
fn a_primary_beside_a_serving_peer_does_not_serve() {
    let mut node = Node::new();
    node.input(started(None, None));
    node.input(peer(probe::Phase::Serving, 1));
    node.input(Input::Database(PRIMARY));
    node.pass(Duration::from_millis(50));
    node.input(peer(probe::Phase::Serving, 1));
    assert_eq!(node.ordered(GateOrder::Open), None);
    assert!(
        !node.done.contains(&Action::Database(Order::Stop)),
        "the two may never have been a pair"
    );
}

#[test]
fn a_restarted_agent_goes_on_where_the_last_one_left() {
    let record = Record { term: Term::new(3), primary: ME, in_sync: NodeSet::new(&[ME]).unwrap() };
    let mut node = Node::new();
    node.input(started(Some(record), Some(Term::new(3))));
    node.assert_serving();
    assert_eq!(node.ordered(GateOrder::Close), None);

    let mut node = Node::new();
    node.input(started(Some(record), Some(Term::new(2))));
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
fn what_was_said_while_this_agent_hung_is_no_word_about_now() {
    let in_sync = NodeSet::new(&[ME, PEER]).unwrap();
    let record = Record { term: Term::new(3), primary: ME, in_sync };
    let mut node = Node::new();
    node.input(started(Some(record), Some(Term::new(3))));
    node.assert_serving();
    node.done.clear();
    let status = probe::Status { role: Role::Standby, ..status(probe::Phase::Standby, 3) };
    let at = node.now;
    node.now = node.now + AGENT_TIMEOUT * 4;
    node.input(Input::Stalled(AGENT_TIMEOUT * 4));
    node.input(Input::Lapsed);
    node.input(Input::Peer { node: PEER, status, at });
    node.input(Input::Database(PRIMARY));
    node.pass(AGENT_TIMEOUT * 4);
    assert_eq!(node.ordered(GateOrder::Open), None, "the peer may have been promoted since");
    assert_eq!(node.core.waits_for(node.now), Some(Wait::Others(NodeSet::of(PEER))));
    node.input(Input::Peer { node: PEER, status, at: JUST_NOW });
    node.input(Input::Database(PRIMARY));
    node.assert_serving();
}

/// What this agent missed is made up for where it waits for others, and is no word of theirs.
#[test]
fn a_stall_makes_nobody_heard() {
    let in_sync = NodeSet::new(&[ME, PEER]).unwrap();
    let record = Record { term: Term::new(3), primary: ME, in_sync };
    let mut node = Node::new();
    node.input(started(Some(record), Some(Term::new(3))));
    let status = probe::Status { role: Role::Standby, ..status(probe::Phase::Standby, 3) };
    node.input(Input::Peer { node: PEER, status, at: node.now });
    node.assert_serving();
    node.done.clear();
    node.now = node.now + AGENT_TIMEOUT * 4;
    node.input(Input::Stalled(AGENT_TIMEOUT * 4));
    node.input(Input::Lapsed);
    for _ in 0..20 {
        node.pass(AGENT_TIMEOUT / 10);
        node.input(Input::Stalled(AGENT_TIMEOUT / 10));
        node.input(Input::Database(PRIMARY));
    }
    assert_eq!(node.ordered(GateOrder::Open), None, "the peer may have been promoted since");
    assert_eq!(node.core.waits_for(node.now), Some(Wait::Others(NodeSet::of(PEER))));
}

/// The others were heard, and fell silent before the database here was observed: what they said is too
/// old by then, and the status says so.
#[test]
fn who_was_heard_and_fell_silent_is_waited_for_aloud() {
    let in_sync = NodeSet::new(&[ME, PEER]).unwrap();
    let record = Record { term: Term::new(3), primary: ME, in_sync };
    let mut node = Node::new();
    node.input(started(Some(record), Some(Term::new(3))));
    node.assert_serving();
    node.input(Input::Stalled(AGENT_TIMEOUT * 4));
    node.input(Input::Lapsed);
    let status = probe::Status { role: Role::Standby, ..status(probe::Phase::Standby, 3) };
    node.input(Input::Peer { node: PEER, status, at: node.now });
    node.pass(AGENT_TIMEOUT * 4);
    node.done.clear();
    node.input(Input::Database(PRIMARY));
    node.pass(AGENT_TIMEOUT);
    assert_eq!(node.ordered(GateOrder::Open), None, "the peer may have been promoted since");
    assert_eq!(node.core.waits_for(node.now), Some(Wait::Others(NodeSet::of(PEER))));
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
