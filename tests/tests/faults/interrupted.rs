//! An agent is killed in the middle of a switchover: whoever has stopped a database starts it again.

use std::{thread, time::Duration};

use ogha_tests::lab::{
    Pair,
    agent::Settings,
    clock,
    pair::{GENEROUS, Node},
};

use crate::stage::{
    OFTEN, assert_gate_is_of_who_serves, order, seconds, settings, wait_until_one_serves,
};

const SOON: Duration = Duration::from_secs(30);

/// Switchovers, each with the agent of one of the two killed after a while, and started again a second
/// later. Within half a minute a node serves, and both databases run.
fn agents_are_killed(name: &str, runs: u64) {
    let pair = Pair::start(name, &Settings { rejoin: true, ..settings() }).unwrap();
    for run in 0..runs {
        let serving = wait_until_one_serves(&pair, SOON).unwrap();
        // All moments of a second and a half, in no order, at either agent.
        let moment = Duration::from_millis(50 + run * 619 % 1500);
        let victim = &pair.nodes[if run % 3 == 2 { 1 - serving } else { serving }];
        let from = pair.nodes[serving].host.name();
        let about = format!(
            "run {run}: {from} switches over, {} is killed after {moment:?}",
            victim.host.name()
        );
        println!("{about}");
        thread::scope(|scope| {
            scope.spawn(|| order(&pair.nodes[serving].agent, &["switchover"]));
            thread::sleep(moment);
            victim.agent.kill().unwrap();
        });
        thread::sleep(seconds(1));
        victim.agent.start().unwrap();
        wait_until_one_serves(&pair, SOON).unwrap_or_else(|error| panic!("{about}: {error:#}"));
        for node in &pair.nodes {
            runs_again(node, &about);
            assert_gate_is_of_who_serves(node);
        }
        let back = clock::wait_until("the other to be in sync", GENEROUS, OFTEN, || {
            in_sync(&pair).map(|at| at.then_some(()))
        });
        back.unwrap_or_else(|error| panic!("{about}: {error:#}\n{}", pair.agents_last_words()));
    }
    pair.writer().wait_for(5, GENEROUS).unwrap();
}

fn runs_again(node: &Node, about: &str) {
    let runs =
        clock::wait_until("its database to run", SOON, OFTEN, || node.database.session().map(Some));
    let log = || node.host.last_words("agent");
    runs.unwrap_or_else(|error| panic!("{about}: {}: {error:#}\n{}", node.host.name(), log()));
}

fn in_sync(pair: &Pair) -> anyhow::Result<bool> {
    let mut found = false;
    for node in &pair.nodes {
        let instance = node.agent.instance()?;
        found |= instance["phase"] == "serving" && instance["peers"][0]["in_sync"] == true;
    }
    Ok(found)
}

/// Four of them.
#[test]
fn an_agent_that_dies_in_a_switchover_leaves_no_database_stopped() {
    agents_are_killed("interrupted", 4);
}

/// Fourteen.
#[test]
#[ignore = "slow: fourteen switchovers"]
fn agents_that_die_in_switchovers_leave_no_database_stopped() {
    agents_are_killed("interrupted-often", 14);
}
