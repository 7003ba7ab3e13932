//! A forced failover that waits for the consensus store: what was so when it was ordered need not be so when
//! the store answers.

use std::thread::{self, Scope, ScopedJoinHandle};

use ogha_tests::lab::{
    Pair,
    pair::{GENEROUS, Node},
};

use crate::{
    consensus::Arbitrated,
    stage::{
        assert_gate_is_of_who_serves, assert_nothing_is_lost, order, seconds, throughout, until,
        wait_until_one_serves,
    },
};

/// The primary's database is killed, and the second node has heard of it.
fn kill_the_primary(pair: &Pair) {
    pair.nodes[0].database.kill().unwrap();
    until(&pair.nodes[1], "the second node to hear", |i| {
        i["peers"][0]["phase"].as_str().is_some_and(|phase| phase.starts_with("fenced"))
    });
}

/// Orders a forced failover at the second node, which has to wait for the store. Until the order is accepted,
/// failovers are paused, so that the node is not busy with one of its own.
fn force<'scope>(
    scope: &'scope Scope<'scope, '_>,
    node: &'scope Node,
) -> ScopedJoinHandle<'scope, (Option<i32>, String)> {
    let forced = scope.spawn(|| order(&node.agent, &["failover", "--force"]));
    thread::sleep(seconds(1));
    assert!(!forced.is_finished(), "{:?}", forced.join().unwrap());
    assert_eq!(order(&node.agent, &["resume"]).0, Some(0));
    forced
}

fn pause(node: &Node) {
    assert_eq!(order(&node.agent, &["pause"]).0, Some(0));
}

/// The store is away, the primary's database is killed, and an operator forces a failover at the second
/// node, which waits for the store. The store is back, and the second node takes over by itself in the
/// same moment. It serves, and says so: an open gate is that of a node that serves.
#[test]
fn a_force_that_comes_late_leaves_no_gate_behind_a_standby() {
    let mut stage = Arbitrated::start("force-late");
    stage.etcd.kill(0).unwrap();
    let pair = &stage.pair;
    pause(&pair.nodes[1]);
    kill_the_primary(pair);
    thread::scope(|scope| {
        force(scope, &pair.nodes[1]);
        thread::sleep(seconds(2));
        stage.etcd.launch(0).unwrap();
        throughout(seconds(15), || pair.nodes.iter().for_each(assert_gate_is_of_who_serves));
    });
    pair.wait_until_serving(1).unwrap();
    throughout(seconds(3), || pair.nodes.iter().for_each(assert_gate_is_of_who_serves));
    let instance = pair.nodes[1].agent.instance().unwrap();
    assert_eq!((&instance["phase"], &instance["gate"]), (&"serving".into(), &"open".into()));
}

/// The second node is cut off both the store and the first node, and an operator, who believes that the first
/// is dead, forces a failover there. The first serves on alone, and clients write. The cut heals: the order
/// is void, for a node serves. Nothing moves, and no row is lost.
#[test]
fn a_force_is_void_when_another_is_heard_to_serve() {
    let stage = Arbitrated::start("force-void");
    let pair = &stage.pair;
    let [first, second] = &pair.nodes;
    pause(second);
    pair.switch.cut_between(&stage.host, &second.host).unwrap();
    pair.switch.cut_between(&first.host, &second.host).unwrap();
    until(second, "the first node to be silent", |i| i["peers"][0]["agent"] == "silent");
    thread::scope(|scope| {
        let forced = scope.spawn(|| order(&second.agent, &["failover", "--force"]));
        let writer = pair.writer();
        writer.wait_for(20, GENEROUS).unwrap();
        let record = writer.stop().unwrap();
        let serving = pair.wait_until_serving(0).unwrap();
        pair.switch.heal().unwrap();
        throughout(seconds(10), || {
            let now = first.agent.instance().unwrap();
            assert_eq!(now["phase"], "serving", "{now}\n{}", pair.agents_last_words());
            assert_eq!(now["primary"], serving["primary"], "{now}\n{}", pair.agents_last_words());
            pair.nodes.iter().for_each(assert_gate_is_of_who_serves);
        });
        assert!(second.database.is_in_recovery().unwrap());
        assert_nothing_is_lost(pair, &record);
        let (code, text) = forced.join().unwrap();
        assert_eq!(code, Some(1), "{text}");
    });
}

/// The second node can't reach the store when the primary's database is killed, so it can't take over. The
/// first node's database is back, and the first reaches the store: it serves again, and is not held up by
/// one that only tries.
#[test]
fn who_can_not_ask_holds_nobody_up() {
    let stage = Arbitrated::start("holds-up");
    let pair = &stage.pair;
    let [first, second] = &pair.nodes;
    pair.switch.cut_between(&stage.host, &second.host).unwrap();
    kill_the_primary(pair);
    thread::sleep(seconds(1));
    first.database.start().unwrap();
    pair.wait_until_serving(0).unwrap();
    assert!(second.database.is_in_recovery().unwrap());
    pair.switch.heal().unwrap();
    pair.wait_until_in_sync(0).unwrap();
}

/// The store is away for long. The order ends, and the operator is told that it has failed; after that the
/// order is void: when the store is back, and failovers are paused, nothing happens by it.
#[test]
#[ignore = "slow: it waits for a deadline"]
fn a_force_that_has_failed_does_not_happen_later() {
    let mut stage = Arbitrated::start("force-deadline");
    let second = &stage.pair.nodes[1];
    pause(second);
    stage.etcd.kill(0).unwrap();
    kill_the_primary(&stage.pair);
    let (code, text) = order(&second.agent, &["failover", "--force", "--timeout", "90s"]);
    assert_eq!(code, Some(1), "{text}");
    thread::sleep(seconds(2));
    stage.etcd.launch(0).unwrap();
    stage.etcd.wait_until_well().unwrap();
    throughout(seconds(10), || {
        let now = second.agent.instance().unwrap();
        assert_eq!(now["phase"], "standby", "{text}\n{now}\n{}", second.agent.log());
    });
    assert!(second.database.is_in_recovery().unwrap());
    // The operator lets failovers happen again: now it is one.
    assert_eq!(order(&second.agent, &["resume"]).0, Some(0));
    wait_until_one_serves(&stage.pair, GENEROUS).unwrap();
}
