//! The in-sync set: how a peer joins and leaves it.

use super::*;

fn follower(term: u64) -> Input {
    let status = probe::Status {
        primary: Some(ME),
        in_sync: NodeSet::of(ME).members(),
        role: Role::Standby,
        ..status(probe::Phase::Standby, term)
    };
    Input::Peer { node: PEER, status, at: JUST_NOW }
}

fn streaming(confirmed: bool) -> Input {
    let peer = NodeSet::of(PEER);
    let confirmed = if confirmed { peer } else { NodeSet::EMPTY };
    Input::Database(primary(peer, confirmed))
}

/// A grant is anchored at a moment that has passed.
fn granted(node: &Node) -> Input {
    let until = node.now + LEASE - Duration::from_millis(1);
    Input::Granted { node: PEER, term: node.core.term(), until }
}

fn in_sync(node: &Node) -> NodeSet {
    node.core.record().unwrap().in_sync
}

const BOTH: fn() -> NodeSet = || NodeSet::of(ME).with(PEER);

/// A node that serves, with its peer in sync, under that arbiter.
fn pair(arbiter: Arbiter) -> Node {
    let mut node = Node::with(|config| config.arbiter = arbiter).into_serving();
    for _ in 0..30 {
        node.pass(LEASE / 10);
        node.input(follower(node.core.term().get()));
        node.input(granted(&node));
        node.input(streaming(true));
    }
    assert_eq!(in_sync(&node), BOTH());
    node.assert_serving();
    node.done.clear();
    node
}

#[test]
fn a_peer_joins_only_when_commits_wait_for_it_and_it_has_confirmed() {
    let mut node = Node::serving();
    node.held_back = |a| matches!(a, Action::Database(Order::Synchronize(_)));
    node.input(follower(1));
    node.input(streaming(true));
    let order = Order::Synchronize(NodeSet::of(PEER));
    assert!(node.done.contains(&Action::Database(order)));
    assert_eq!(in_sync(&node), NodeSet::of(ME), "commits do not wait for it yet");
    node.input(streaming(false));
    node.input(Input::DatabaseDid { order, ok: true });
    assert_eq!(in_sync(&node), NodeSet::of(ME), "it has not confirmed all before");
    node.input(streaming(true));
    assert_eq!(in_sync(&node), BOTH());
    assert_eq!(node.core.term(), Term::new(2));
}

#[test]
fn a_peer_that_is_lost_leaves_and_only_then_commits_go_on() {
    let mut node = pair(Arbiter::None);
    node.held_back = |a| matches!(a, Action::Persist(_));
    node.input(Input::Unanswered { node: PEER });
    node.pass(LEASE);
    let release = Action::Database(Order::Synchronize(NodeSet::EMPTY));
    assert!(
        node.index(|a| matches!(a, Action::Persist(r) if r.in_sync == NodeSet::of(ME))).is_some()
    );
    assert!(!node.done.contains(&release), "it may still be promoted");
    node.input(Input::Persisted(node.core.term().next()));
    assert!(!node.done.contains(&release), "it may have been promoted, and has said so");
    node.input(Input::Polled { at: node.now });
    assert!(node.done.contains(&release));
    assert_eq!(in_sync(&node), NodeSet::of(ME));
}

#[test]
fn a_setting_is_set_right_while_the_arbiter_is_silent() {
    let mut node = pair(Arbiter::Gateway);
    node.held_back = |a| matches!(a, Action::Propose(_));
    node.input(Input::Unanswered { node: PEER });
    node.pass(LEASE * 2 / 3);
    assert!(node.index(|a| matches!(a, Action::Propose(_))).is_some(), "{:?}", node.done);
    node.input(Input::Database(primary(NodeSet::EMPTY, NodeSet::EMPTY)));
    let order = Action::Database(Order::Synchronize(NodeSet::of(PEER)));
    assert!(node.done.contains(&order), "nobody has let it go: {:?}", node.done);
}

#[test]
fn a_peer_is_not_taken_in_while_commits_are_being_let_go() {
    let mut node = pair(Arbiter::None);
    node.input(Input::Unanswered { node: PEER });
    node.held_back = |a| matches!(a, Action::Database(Order::Synchronize(_)));
    node.pass(LEASE);
    assert_eq!(in_sync(&node), NodeSet::of(ME));
    node.input(answered(Duration::ZERO));
    for _ in 0..3 {
        node.input(follower(node.core.term().get()));
        node.input(streaming(true));
    }
    assert_eq!(in_sync(&node), NodeSet::of(ME), "the database may wait for nobody by now");
}

#[test]
fn a_peer_whose_database_is_gone_leaves_at_once() {
    let mut node = pair(Arbiter::None);
    let status = probe::Status {
        primary: Some(ME),
        role: Role::Unknown,
        ..status(probe::Phase::Standby, node.core.term().get())
    };
    node.input(Input::Peer { node: PEER, status, at: JUST_NOW });
    node.input(streaming(true));
    assert_eq!(in_sync(&node), NodeSet::of(ME));
}

#[test]
fn a_peers_grant_is_needed_before_the_record_counts_it_in() {
    let mut node = Node::with(|config| config.arbiter = Arbiter::Etcd).into_serving();
    node.input(follower(1));
    node.input(granted(&node));
    node.input(streaming(true));
    let widened = node.index(|a| *a == Action::SetGranters(NodeSet::of(PEER))).unwrap();
    let end = node.now + LEASE - Duration::from_millis(1);
    let cut = node.done[widened..].iter().find_map(|a| match a {
        Action::SetGate { order: GateOrder::Open, until, .. } => Some(*until),
        _ => None,
    });
    assert_eq!(cut, Some(end), "its own lease ends when the peer's does");
    assert_eq!(node.index(|a| matches!(a, Action::Propose(r) if r.in_sync == BOTH())), None);
    for _ in 0..11 {
        node.pass(LEASE / 10);
        node.input(granted(&node));
        node.input(follower(1));
        node.input(streaming(true));
    }
    assert_eq!(in_sync(&node), BOTH());
    node.done.clear();
    node.pass(LEASE / 2);
    let renewed = node.index(|a| matches!(a, Action::Renew { .. }));
    assert_eq!(renewed, None, "the peer renews it: {:?}", node.done);
}

#[test]
fn whose_grant_is_to_count_is_said_until_the_kernel_has_it() {
    let mut node = Node::with(|config| config.arbiter = Arbiter::Etcd).into_serving();
    let says = |node: &Node| node.done.contains(&Action::SetGranters(NodeSet::of(PEER)));
    node.held_back = |a| matches!(a, Action::SetGranters(_));
    for round in 0..24 {
        if round == 12 {
            assert!(says(&node));
            node.held_back = |_| false;
        }
        node.input(granted(&node));
        node.input(follower(node.core.term().get()));
        node.input(streaming(true));
        node.pass(LEASE / 10);
    }
    assert_eq!(in_sync(&node), BOTH());
}

#[test]
fn a_member_is_not_missed_before_its_words_are_read() {
    let mut node = pair(Arbiter::Gateway);
    node.now = node.now + AGENT_TIMEOUT * 4;
    let silent = |node: &Node| node.index(|a| matches!(a, Action::Propose(_))).is_some();
    node.input(streaming(true));
    assert!(!silent(&node), "this agent hung, and what the peer said meanwhile waits");
    node.input(Input::Polled { at: node.now });
    node.input(streaming(true));
    assert!(silent(&node), "it said nothing");
}

#[test]
fn a_primary_goes_on_alone_only_by_the_record() {
    for arbiter in [Arbiter::Gateway, Arbiter::Etcd] {
        let mut node = pair(arbiter);
        node.held_back = |a| matches!(a, Action::Propose(_));
        node.input(Input::Unanswered { node: PEER });
        node.pass(LEASE * 3);
        let term = node.core.term().next();
        let alone = Record { term, primary: ME, in_sync: NodeSet::of(ME) };
        assert!(node.done.contains(&Action::Propose(alone)));
        let longer = |a: &Action| matches!(a, Action::Renew { .. } | Action::SetGate { .. });
        assert_eq!(node.index(longer), None, "its lease ends");
        node.input(Input::Ruled(Ruling::Unknown(term)));
        node.pass(Duration::from_secs(1));
        let asked = node.done.iter().filter(|&a| *a == Action::Propose(alone)).count();
        assert!(asked > 1, "it asks again");
        node.input(Input::Ruled(Ruling::Granted(term)));
        let opened = node.index(|a| {
            matches!(a, Action::SetGate { order: GateOrder::Open, until, .. } if *until > node.now)
        });
        let narrowed = node.index(|a| *a == Action::SetGranters(NodeSet::EMPTY));
        assert!(opened.is_some() && opened < narrowed, "{:?}", node.done);
    }
}

#[test]
fn a_primary_whose_place_was_taken_fences() {
    let mut node = pair(Arbiter::Etcd);
    node.held_back = |a| matches!(a, Action::Propose(_));
    node.input(Input::Unanswered { node: PEER });
    node.pass(LEASE);
    let term = node.core.term().next();
    let stands = Record { term, primary: PEER, in_sync: NodeSet::of(PEER) };
    node.input(Input::Ruled(Ruling::Refused { term, record: Some(stands) }));
    node.assert_fenced(Cause::HigherTerm(term));
}

#[test]
fn a_peer_that_grants_no_more_is_taken_out_before_the_lease_ends() {
    let mut node = pair(Arbiter::Etcd);
    let end = node.now + LEASE;
    node.held_back = |a| matches!(a, Action::Propose(_));
    // Its kernel answers still, for an agent that never heard of our term.
    while node.index(|a| matches!(a, Action::Propose(_))).is_none() {
        node.pass(LEASE / 20);
        node.input(answered(Duration::from_millis(1)));
        assert!(node.now < end);
    }
}
