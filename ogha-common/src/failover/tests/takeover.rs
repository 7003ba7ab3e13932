//! Taking over: who may, when, and in which order.

use super::*;
use crate::profile::Danger;

#[test]
fn gate_opens_only_on_a_writable_primary() {
    let mut node = Node::standby();
    node.input(peer(probe::Phase::Fenced, 4));
    assert_eq!(node.ordered(GateOrder::Open), None, "the database is still a standby");
    node.input(Input::Database(Database::Primary(Primary::default())));
    assert_eq!(node.ordered(GateOrder::Open), None, "a primary that is read-only");
    node.input(Input::Database(PRIMARY));
    assert!(node.ordered(GateOrder::Open).is_some());
    node.assert_serving();
    assert_eq!(node.core.record().unwrap().primary, ME);
    // The old primary may have written term 5, as it changed the set.
    assert_eq!(node.core.term(), Term::new(6));
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
        node.index(|a| *a == Action::Database(Order::Promote)),
        node.index(|a| matches!(a, Action::Announce)),
        node.ordered(GateOrder::Open),
        node.index(|a| matches!(a, Action::End(Outcome::Serving))),
        node.index(|a| matches!(a, Action::Database(Order::AfterFailover))),
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
    assert_eq!(node.index(|a| *a == Action::Database(Order::Promote)), None);
    node.input(Input::PersistFailed(Term::new(6)));
    node.assert_fenced(Cause::DiskFailed);
    assert_eq!(node.index(|a| *a == Action::Database(Order::Promote)), None);
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

#[test]
fn what_was_observed_before_a_stall_opens_no_gate() {
    let mut node = Node::standby();
    node.held_back = |a| matches!(a, Action::HoldAddresses);
    node.input(peer(probe::Phase::Fenced, 4));
    node.input(Input::Database(PRIMARY));
    let stall = AGENT_TIMEOUT * 2;
    node.now = node.now + stall;
    node.input(Input::Stalled(stall));
    node.input(Input::AddressesHeld);
    assert_eq!(node.ordered(GateOrder::Open), None, "it may have died meanwhile");
    assert_eq!(node.core.blocker(), Some(Blocker::NotWritable));
    node.input(Input::Database(PRIMARY));
    node.assert_serving();
}

#[test]
fn promotion_waits_for_the_grant() {
    let mut node = Node::standby();
    let heard = node.now;
    lose_host(&mut node);
    assert_eq!(node.core.phase(), PhaseName::Waiting);
    node.pass(LEASE / 2);
    assert!(!promoted(&node), "what the old primary was promised is not over");
    node.pass(Duration::from_millis(10));
    assert!(promoted(&node));
    let first_sign = node.index(|a| matches!(a, Action::Begin { at, .. } if *at == heard));
    assert!(first_sign.is_some(), "the timeline begins with the last sign of the primary");
}

#[test]
fn a_host_is_not_lost_while_its_adverts_arrive() {
    let mut node = Node::standby();
    for _ in 0..100 {
        node.input(Input::Unanswered { node: PEER });
        node.input(peer(probe::Phase::Serving, 4));
        node.pass(Duration::from_millis(10));
    }
    assert_eq!(node.core.phase(), PhaseName::Standby);
}

#[test]
fn a_primary_that_speaks_or_answers_ends_the_wait() {
    for word in [peer(probe::Phase::Serving, 4), answered(Duration::ZERO)] {
        let mut node = Node::standby();
        lose_host(&mut node);
        assert_eq!(node.core.phase(), PhaseName::Waiting);
        node.input(word);
        assert_eq!(node.core.phase(), PhaseName::Standby);
        assert!(node.done.contains(&Action::End(Outcome::Standby)));
    }
}

#[test]
fn a_slow_agent_is_no_failure() {
    let mut node = Node::standby();
    for age in 1..AGENT_TIMEOUT.as_millis() as u64 / 10 {
        node.pass(Duration::from_millis(10));
        node.input(answered(Duration::from_millis(age * 10)));
        assert_eq!(node.core.phase(), PhaseName::Standby);
    }
    node.input(peer(probe::Phase::Serving, 4));
    node.pass(Duration::from_secs(1));
    assert!(!promoted(&node));
    assert!(!node.done.iter().any(|a| matches!(a, Action::Begin { .. })), "no timeline begins");
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
    assert_ne!(node.core.phase(), PhaseName::Standby, "without it, the host is given up");
    let mut node = Node::standby();
    for _ in 0..100 {
        node.pass(Duration::from_millis(10));
        node.input(Input::AdvertStamped { node: PEER, at: node.now });
        node.input(Input::Unanswered { node: PEER });
    }
    assert_eq!(node.core.phase(), PhaseName::Standby);
}

#[test]
fn own_stall_is_never_blamed_on_the_peer() {
    let mut node = Node::standby();
    let stall = Duration::from_secs(10);
    node.now = node.now + stall;
    node.input(Input::Stalled(stall));
    node.input(Input::Tick);
    assert_eq!(node.core.phase(), PhaseName::Standby);
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
    node.input(started(None, None));
    node.input(Input::Database(STANDBY));
    node.pass(Duration::from_secs(60));
    assert!(!promoted(&node));
    let told = Action::Notice(Notice::CannotTakeOver(Blocker::NeverHeardPrimary));
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
            node.input(Input::Peer { node: NodeId::new(3), status: old, at: JUST_NOW });
        } else {
            node.input(Input::Peer { node: PEER, status: old, at: JUST_NOW });
        }
    }
    assert_eq!(node.core.phase(), PhaseName::Standby);
    assert_eq!(node.done, []);
}

#[test]
fn of_two_that_take_over_at_once_the_lower_priority_gives_way() {
    for (theirs, gives_way) in [(200, true), (10, false)] {
        let mut node = Node::standby();
        node.input(peer(probe::Phase::Fenced, 4));
        assert!(promoted(&node));
        let rival = probe::Status {
            in_sync: NodeSet::of(PEER).members(),
            priority: Priority::new(theirs),
            ..status(probe::Phase::TakingOver, node.core.term().get())
        };
        node.input(Input::Peer { node: PEER, status: rival, at: JUST_NOW });
        node.input(Input::Database(PRIMARY));
        assert_eq!(node.ordered(GateOrder::Open).is_none(), gives_way);
        let primary = node.core.record().unwrap().primary;
        assert_eq!(primary, if gives_way { PEER } else { ME });
    }
}

#[test]
fn a_promotion_that_fails_leaves_the_addresses() {
    let mut node = Node::standby();
    node.input(peer(probe::Phase::Fenced, 4));
    node.input(Input::DatabaseDid { order: Order::Promote, ok: false });
    node.assert_fenced(Cause::PromotionFailed);
    assert!(node.done.contains(&Action::DropAddresses));
    assert!(!node.done.contains(&Action::Database(Order::Stop)), "a standby harms nobody");
}

/// A contradiction is no failover: the node says why it stands by, and takes over when it has ended.
#[test]
fn nobody_takes_over_while_a_contradiction_lasts() {
    for danger in [Danger::SameName, Danger::OtherDatabase, Danger::OtherNode] {
        let mut node = Node::standby();
        node.input(Input::Contradiction(Some(danger)));
        lose_host(&mut node);
        node.pass(AGENT_TIMEOUT * 2);
        assert_eq!(node.core.phase(), PhaseName::Standby);
        let reported = Action::Notice(Notice::CannotTakeOver(Blocker::Contradiction(danger)));
        assert!(node.index(|action| *action == reported).is_some());
        node.input(Input::Contradiction(None));
        node.input(Input::Unanswered { node: PEER });
        node.pass(LEASE * 2);
        assert!(promoted(&node));
    }
}

/// One that comes to light while the last grant is waited out ends the takeover; a forced one it does
/// not end.
#[test]
fn a_contradiction_ends_a_takeover_that_waits() {
    let mut node = Node::standby();
    lose_host(&mut node);
    assert_eq!(node.core.phase(), PhaseName::Waiting);
    node.input(Input::Contradiction(Some(Danger::OtherNode)));
    assert_eq!(node.core.phase(), PhaseName::Standby);
    node.pass(AGENT_TIMEOUT);
    assert!(!promoted(&node));
}

#[test]
fn a_contradiction_stops_no_primary() {
    let mut node = Node::serving();
    node.input(Input::Contradiction(Some(Danger::OtherDatabase)));
    node.assert_serving();
}
