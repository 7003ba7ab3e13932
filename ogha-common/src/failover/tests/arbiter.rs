//! Takeovers that need the word of an arbiter, and gates that live by the peers' grants.

use super::*;

fn with(arbiter: Arbiter) -> Node {
    Node::with(|config| config.arbiter = arbiter)
}

fn proposed(node: &Node) -> Option<Record> {
    node.done.iter().rev().find_map(|a| if let Action::Propose(r) = a { Some(*r) } else { None })
}

#[test]
fn promotion_waits_for_the_last_word_that_was_given() {
    let mut node = with(Arbiter::Etcd).into_standby();
    assert_eq!(node.core.grant(), Some(PEER));
    node.held_back = |a| *a == Action::Withdraw;
    lose_host(&mut node);
    assert_eq!(node.core.grant(), None, "the word is taken back before it is read");
    node.pass(AGENT_TIMEOUT);
    assert_eq!(proposed(&node), None, "what was promised is not known yet");
    let granted_until = node.now + LEASE;
    node.input(Input::Withdrawn { granted_until });
    node.pass(LEASE);
    assert_eq!(proposed(&node), None, "the margin for the clocks' rates");
    node.pass(LEASE);
    assert!(proposed(&node).is_some() && promoted(&node));
}

#[test]
fn a_primary_that_is_fenced_is_not_waited_for() {
    let mut node = with(Arbiter::Etcd).into_standby();
    node.granted_until = node.now + LEASE;
    node.input(peer(probe::Phase::Fenced, 4));
    assert!(promoted(&node));
}

#[test]
fn the_arbiter_comes_before_the_record_and_the_record_before_the_claim() {
    for arbiter in [Arbiter::Gateway, Arbiter::Etcd] {
        let mut node = with(arbiter).into_standby();
        node.input(peer(probe::Phase::Fenced, 4));
        let order = [
            node.index(|a| *a == Action::Withdraw),
            node.index(|a| matches!(a, Action::Propose(_))),
            node.index(|a| matches!(a, Action::Persist(r) if r.primary == ME)),
            node.ordered(GateOrder::Claim),
        ];
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?}");
    }
}

#[test]
fn who_is_refused_stands_by_and_grants_again() {
    for (arbiter, unknown) in
        [(Arbiter::Gateway, false), (Arbiter::Gateway, true), (Arbiter::Etcd, true)]
    {
        let mut node = with(arbiter).into_standby();
        node.held_back = |a| matches!(a, Action::Propose(_));
        lose_host(&mut node);
        node.pass(LEASE * 2);
        let term = proposed(&node).unwrap().term;
        assert_eq!(node.core.grant(), None);
        let ruling =
            if unknown { Ruling::Unknown(term) } else { Ruling::Refused { term, record: None } };
        node.input(Input::Ruled(ruling));
        assert_eq!((node.core.phase(), node.core.grant()), (PhaseName::Standby, Some(PEER)));
        assert!(!promoted(&node));
        node.done.clear();
        node.pass(LEASE * 4);
        assert!(proposed(&node).is_some(), "the peer is still lost: it asks again");
    }
}

#[test]
fn who_lost_the_race_goes_by_the_winners_record() {
    let mut node = with(Arbiter::Etcd).into_standby();
    node.held_back = |a| matches!(a, Action::Propose(_));
    lose_host(&mut node);
    node.pass(LEASE * 2);
    let stands = Record { term: Term::new(5), primary: PEER, in_sync: NodeSet::of(PEER) };
    node.input(Input::Ruled(Ruling::Refused { term: Term::new(5), record: Some(stands) }));
    assert_eq!((node.core.phase(), node.core.record()), (PhaseName::Standby, Some(stands)));
    node.done.clear();
    node.pass(AGENT_TIMEOUT * 2);
    assert_eq!(proposed(&node), None, "it is not in sync any more");
}

#[test]
fn a_record_that_was_granted_though_no_answer_came_is_taken_up() {
    let mut node = with(Arbiter::Etcd).into_standby();
    node.held_back = |a| matches!(a, Action::Propose(_));
    lose_host(&mut node);
    node.pass(LEASE * 2);
    let record = proposed(&node).unwrap();
    node.input(Input::Ruled(Ruling::Unknown(record.term)));
    assert!(node.done.contains(&Action::Consult));
    node.held_back = |_| false;
    node.input(Input::Consulted(Some(record)));
    node.pass(AGENT_TIMEOUT * 2);
    assert!(promoted(&node), "{:?}", node.core);
}

#[test]
fn with_a_register_nothing_begins_before_it_has_answered() {
    let mut node = with(Arbiter::Etcd);
    node.input(started(None, None));
    assert!(node.done.contains(&Action::Consult));
    node.input(Input::Database(PRIMARY));
    node.pass(AGENT_TIMEOUT * 3);
    node.input(Input::Database(PRIMARY));
    assert_eq!(proposed(&node), None);
    assert_eq!(node.core.waits_for(node.now), Some(Wait::Arbiter));
    let stands = Record { term: Term::new(9), primary: PEER, in_sync: NodeSet::of(PEER) };
    node.input(Input::Consulted(Some(stands)));
    node.input(Input::Database(PRIMARY));
    node.pass(AGENT_TIMEOUT * 3);
    assert_eq!((node.ordered(GateOrder::Open), proposed(&node)), (None, None));
}

#[test]
fn a_node_that_the_register_counts_in_sync_takes_over_from_one_that_never_comes_back() {
    let mut node = with(Arbiter::Etcd);
    node.input(started(None, None));
    node.input(Input::Database(STANDBY));
    let in_sync = NodeSet::of(ME).with(PEER);
    let stands = Record { term: Term::new(9), primary: PEER, in_sync };
    node.input(Input::Consulted(Some(stands)));
    node.pass(AGENT_TIMEOUT * 2);
    assert!(!promoted(&node), "its host may answer yet");
    node.input(Input::Unanswered { node: PEER });
    node.pass(LEASE * 2);
    assert!(promoted(&node));
}
