//! One database is stopped for a hang; the next one within minutes only after a person has agreed.

use super::*;
use crate::failover::{Command, Wait};

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// A node that serves, and has heard that its peer's database was stopped for a hang.
fn after_a_hang() -> Node {
    let mut node = Node::serving();
    let said = probe::Status { hung: true, ..status(probe::Phase::Fenced, 1) };
    node.input(Input::Peer { node: PEER, status: said, at: node.now });
    node.assert_serving();
    node
}

fn resume(node: &mut Node) {
    node.core.command(node.now, Command::Resume, &mut |_| ()).unwrap();
}

#[test]
fn the_second_stop_within_minutes_waits_for_a_person() {
    let mut node = after_a_hang();
    node.input(Input::DatabaseHung { at: node.now });
    assert!(node.done.contains(&Action::Notice(Notice::HangsAgain)));
    node.assert_serving();
    assert_eq!(node.core.waits_for(node.now), Some(Wait::Hang));
    assert!(node.core.status().hung, "the peers know");
    node.input(Input::DatabaseHung { at: node.now });
    let reports = node.done.iter().filter(|a| **a == Action::Notice(Notice::HangsAgain));
    assert_eq!(reports.count(), 1, "it is reported once");
    resume(&mut node);
    node.input(Input::DatabaseHung { at: node.now });
    assert!(node.ordered(GateOrder::Close) < node.index(|a| *a == Action::Database(Order::Stop)));
}

#[test]
fn a_hang_that_is_over_waits_for_nobody() {
    let mut node = after_a_hang();
    node.input(Input::DatabaseHung { at: node.now });
    node.input(Input::HangOver);
    assert_eq!(node.core.waits_for(node.now), None);
    assert!(!node.core.status().hung);
    resume(&mut node);
    node.input(Input::DatabaseHung { at: node.now });
    assert_eq!(node.core.waits_for(node.now), Some(Wait::Hang), "that agreed to nothing");
}

#[test]
fn a_hang_after_minutes_of_peace_is_the_first_again() {
    let mut node = after_a_hang();
    node.now = node.now + TEN_MINUTES;
    node.input(Input::DatabaseHung { at: node.now });
    assert_eq!(node.core.phase(), PhaseName::Closing);
}

#[test]
fn a_peer_that_only_hangs_was_not_stopped() {
    let mut node = Node::serving();
    let said = probe::Status { hung: true, ..status(probe::Phase::Standby, 1) };
    node.input(Input::Peer { node: PEER, status: said, at: node.now });
    node.input(Input::DatabaseHung { at: node.now });
    assert_eq!(node.core.phase(), PhaseName::Closing);
    assert!(node.core.status().hung);
}
