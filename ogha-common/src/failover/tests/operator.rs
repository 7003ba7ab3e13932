//! What operators order.

use super::*;

fn command(node: &mut Node, command: Command) -> Result<(), Refusal> {
    let now = node.now;
    let mut actions = vec![];
    let answer = node.core.command(now, command, &mut |action| actions.push(action));
    node.done.append(&mut actions);
    answer
}

/// A node that serves, its peer in sync.
fn pair() -> Node {
    let mut node = Node::serving();
    heartbeat(&mut node);
    assert!(node.core.record().unwrap().in_sync.contains(PEER));
    node.done.clear();
    node
}

#[test]
fn a_switchover_closes_and_stops_before_it_reports() {
    let mut node = pair();
    assert_eq!(command(&mut node, Command::Switchover { to: None }), Ok(()));
    assert_eq!(command(&mut node, Command::Switchover { to: None }), Err(Refusal::Busy));
    assert_eq!(node.done, [Action::Database(Order::Checkpoint)], "it serves meanwhile");
    node.input(Input::DatabaseDid { order: Order::Checkpoint, ok: true });
    assert!(node.ordered(GateOrder::Close) < node.index(|a| *a == Action::Database(Order::Demote)));
    assert_eq!(node.core.status().phase, probe::Phase::Serving, "not reported yet");
    node.input(Input::DatabaseDid { order: Order::Demote, ok: true });
    node.assert_fenced(Cause::Switchover(PEER));
    node.input(Input::Database(Database::Stopped));
    let term = node.core.term().next().get();
    node.input(peer(probe::Phase::Serving, term));
    node.input(Input::Database(Database::Stopped));
    let rejoin = Action::Database(Order::Rejoin(PEER));
    assert!(node.done.contains(&rejoin), "by itself, for nothing is lost: {:?}", node.done);
}

#[test]
fn a_switchover_that_nobody_takes_up_is_undone() {
    let mut node = pair();
    command(&mut node, Command::Switchover { to: Some(PEER) }).unwrap();
    node.input(Input::DatabaseDid { order: Order::Checkpoint, ok: true });
    node.input(Input::DatabaseDid { order: Order::Demote, ok: true });
    node.pass(AGENT_TIMEOUT * 2);
    assert!(node.done.contains(&Action::Database(Order::Start)), "{:?}", node.done);
    assert!(node.done.contains(&Action::Notice(Notice::SwitchoverUndone)));
    node.input(Input::DatabaseDid { order: Order::Start, ok: true });
    heartbeat(&mut node);
    node.assert_serving();
}

#[test]
fn a_database_that_does_not_stop_goes_on_where_it_was() {
    let mut node = pair();
    command(&mut node, Command::Switchover { to: Some(PEER) }).unwrap();
    node.input(Input::DatabaseDid { order: Order::Checkpoint, ok: true });
    node.input(Input::DatabaseDid { order: Order::Demote, ok: false });
    assert!(node.done.contains(&Action::Database(Order::Start)));
    node.input(process_exit(node.now));
    assert_eq!(node.core.phase(), PhaseName::Restarting, "it ended before it is started");
    node.input(Input::DatabaseDid { order: Order::Start, ok: true });
    heartbeat(&mut node);
    node.assert_serving();
}

#[test]
fn a_database_that_accepts_writes_is_up_whatever_its_start_came_to() {
    for (seen, phase) in
        [(PRIMARY, PhaseName::Restarting), (Database::Unresponsive, PhaseName::Fenced)]
    {
        let mut node = pair();
        command(&mut node, Command::Switchover { to: Some(PEER) }).unwrap();
        node.input(Input::DatabaseDid { order: Order::Checkpoint, ok: true });
        node.input(Input::DatabaseDid { order: Order::Demote, ok: false });
        node.held_back = |a| matches!(a, Action::Database(Order::Synchronize(_)));
        node.input(Input::Database(seen));
        node.input(Input::DatabaseDid { order: Order::Start, ok: false });
        assert_eq!(node.core.phase(), phase, "{seen:?}");
    }
}

#[test]
fn a_switchover_goes_to_a_node_that_is_in_sync_and_there() {
    let mut node = pair();
    let to = |node| Command::Switchover { to: Some(NodeId::new(node)) };
    assert_eq!(command(&mut node, to(1)), Err(Refusal::UnknownNode), "this node itself");
    assert_eq!(command(&mut node, to(9)), Err(Refusal::UnknownNode));
    node.pass(AGENT_TIMEOUT);
    assert_eq!(command(&mut node, to(2)), Err(Refusal::NotReady(PEER)));
    let mut standby = Node::standby();
    assert_eq!(command(&mut standby, to(1)), Err(Refusal::Serves(PEER)));
}

#[test]
fn a_pause_holds_a_failover_back_till_it_ends() {
    let mut node = Node::standby();
    command(&mut node, Command::Pause).unwrap();
    assert!(
        node.done.contains(&Action::PersistMarks(Marks { paused: true, handed_over: false }))
            && node.core.status().paused
    );
    node.input(peer(probe::Phase::Fenced, 4));
    assert!(!promoted(&node));
    command(&mut node, Command::Resume).unwrap();
    node.input(peer(probe::Phase::Fenced, 4));
    assert!(promoted(&node));
}

#[test]
fn a_pause_of_one_node_is_everybodys() {
    let mut node = Node::standby();
    let paused = |phase| {
        let status = probe::Status { paused: true, ..status(phase, 4) };
        Input::Peer { node: PEER, status, at: JUST_NOW }
    };
    node.input(paused(probe::Phase::Serving));
    lose_host(&mut node);
    node.pass(LEASE * 2);
    assert!(!promoted(&node));
    assert_eq!(command(&mut node, Command::Resume), Err(Refusal::PausedAt(PEER)));
    node.pass(AGENT_TIMEOUT);
    assert_eq!(command(&mut node, Command::Resume), Ok(()), "it is gone, and can't resume");
    node.input(Input::Unanswered { node: PEER });
    node.pass(LEASE * 2);
    assert!(promoted(&node));
}

#[test]
fn force_overrides_what_stands_against_it_but_not_one_who_serves() {
    let mut node = Node::new();
    node.input(started(None, None));
    node.input(Input::Database(STANDBY));
    node.pass(AGENT_TIMEOUT * 2);
    assert!(!promoted(&node));
    assert_eq!(command(&mut node, Command::Force), Ok(()));
    node.pass(LEASE * 2);
    assert!(promoted(&node));
    let forced = Action::Notice(Notice::Forced(Blocker::NeverHeardPrimary));
    assert!(node.done.contains(&forced), "and says so");

    let mut node = Node::standby();
    assert_eq!(command(&mut node, Command::Force), Err(Refusal::Serves(PEER)));
}

#[test]
fn an_old_primary_waits_for_a_word_unless_it_may_rejoin() {
    for rejoin in [false, true] {
        let mut node = Node::with(|config| config.rejoin = rejoin).into_serving();
        heartbeat(&mut node);
        let order = Action::Database(Order::Rejoin(PEER));
        node.input(peer(probe::Phase::Serving, 9));
        for _ in 0..3 {
            node.input(Input::Database(Database::Stopped));
        }
        assert_eq!(node.done.iter().filter(|&a| *a == order).count(), usize::from(rejoin));
        if !rejoin {
            assert_eq!(node.core.waits_for(node.now), Some(Wait::Rejoin));
            assert_eq!(command(&mut node, Command::Pause), Ok(()));
            assert_eq!(command(&mut node, Command::Rejoin), Ok(()));
            assert!(node.done.contains(&order), "a pause is for what is done without an operator");
        }
        node.input(Input::DatabaseDid { order: Order::Rejoin(PEER), ok: true });
        node.input(Input::Database(STANDBY));
        assert_eq!(node.core.phase(), PhaseName::Standby);
    }
}

#[test]
fn after_a_split_brain_nothing_rejoins_by_itself() {
    let mut node = Node::with(|config| config.rejoin = true).into_serving();
    let rival = probe::Status {
        in_sync: NodeSet::of(PEER).members(),
        priority: Priority::new(200),
        ..status(probe::Phase::Serving, node.core.term().get())
    };
    node.input(Input::Peer { node: PEER, status: rival, at: JUST_NOW });
    node.assert_fenced(Cause::SplitBrain(PEER));
    let rejoins = |node: &Node| node.index(|a| matches!(a, Action::Database(Order::Rejoin(_))));
    let term = node.core.term().next().get();
    for _ in 0..3 {
        node.pass(Duration::from_secs(11));
        node.input(peer(probe::Phase::Serving, term));
        node.input(Input::Database(Database::Stopped));
    }
    assert_eq!(rejoins(&node), None);
    assert_eq!(command(&mut node, Command::Rejoin), Ok(()));
    assert!(rejoins(&node).is_some());
}

#[test]
fn a_database_that_died_is_started_again_as_often_as_is_allowed() {
    let mut node = Node::with(|config| config.restart_attempts = 1).into_serving();
    node.input(process_exit(node.now));
    assert!(node.done.contains(&Action::Database(Order::Start)));
    assert_eq!(node.core.status().phase, probe::Phase::TakingOver, "the peers wait");
    node.input(Input::DatabaseDid { order: Order::Start, ok: true });
    node.input(Input::Database(PRIMARY));
    node.assert_serving();
    assert_eq!(node.core.term(), Term::new(1), "nothing has changed hands");
    node.input(process_exit(node.now));
    node.assert_fenced(Cause::DatabaseDied(Sign::ProcessExit));
}

#[test]
fn a_hung_database_is_stopped_before_its_node_reports_itself_fenced() {
    let mut node = Node::serving();
    node.input(Input::DatabaseHung { at: node.now });
    assert!(node.ordered(GateOrder::Close) < node.index(|a| *a == Action::Database(Order::Stop)));
    assert_eq!(node.core.status().phase, probe::Phase::Serving);
    node.input(Input::DatabaseDid { order: Order::Stop, ok: true });
    node.assert_fenced(Cause::DatabaseHung);
    assert_eq!(node.core.status().phase, probe::Phase::Fenced);
}
