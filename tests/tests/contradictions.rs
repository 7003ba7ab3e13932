//! Two nodes whose configurations contradict each other: both name it, in `status`, `doctor` and the
//! log, and nobody fails over by it.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use ogha_tests::lab::{
    Pair,
    agent::{Kind, Settings},
    clock, pair,
};

const OFTEN: Duration = Duration::from_millis(100);

/// Waits until that node names this of its peer.
fn wait_until_named(pair: &Pair, node: usize, words: &str) {
    let agent = &pair.nodes[node].agent;
    let named = || -> Result<Option<()>> {
        let instance = agent.instance()?;
        let all = instance["contradictions"].as_array().cloned().unwrap_or_default();
        let found = all.iter().any(|c| c["what"].as_str().is_some_and(|what| what.contains(words)));
        ensure!(found, "{all:?}");
        Ok(Some(()))
    };
    let what = format!("node {node} to name {words:?}");
    clock::wait_until(&what, pair::GENEROUS, OFTEN, named)
        .unwrap_or_else(|e| panic!("{e:#}\n{}", pair.agents_last_words()));
    let page = agent.command(&["status"]).unwrap();
    assert!(String::from_utf8_lossy(&page.stdout).contains("DIFFERS"));
}

/// Waits until neither names anything any more.
fn wait_until_agreed(pair: &Pair) {
    for node in &pair.nodes {
        let agrees = || -> Result<Option<()>> {
            let all = node.agent.instance()?["contradictions"].clone();
            ensure!(all.as_array().is_some_and(Vec::is_empty), "{all}");
            Ok(Some(()))
        };
        clock::wait_until("the nodes to agree", pair::GENEROUS, OFTEN, agrees).unwrap();
    }
}

/// The second node comes back with something changed, and later as it was.
fn with_second_node(pair: &Pair, change: impl FnOnce(&Pair), checks: impl FnOnce(&Pair)) {
    let agent = &pair.nodes[1].agent;
    let before = fs::read_to_string(agent.config_path()).unwrap();
    let key = fs::read(agent.key_path()).unwrap();
    agent.stop().unwrap();
    change(pair);
    agent.start().unwrap();
    checks(pair);
    let served = pair.nodes[0].agent.instance().unwrap();
    assert_eq!(served["phase"], "serving", "{served}");
    agent.stop().unwrap();
    fs::write(agent.config_path(), before).unwrap();
    fs::write(agent.key_path(), key).unwrap();
    agent.start().unwrap();
    wait_until_agreed(pair);
}

fn edit(pair: &Pair, from: &str, to: &str) {
    pair.nodes[1].agent.edit_config(from, to).unwrap();
}

/// Settings that the probes tell: each of both nodes names each.
#[test]
fn settings_that_differ_are_named_by_both() {
    let pair = Pair::start("contra-set", &Settings::patient(Kind::Postgresql)).unwrap();
    wait_until_agreed(&pair);
    let change = |pair: &Pair| {
        edit(pair, "192.0.2.10", "192.0.2.99");
        edit(pair, "agent_timeout = \"5000ms\"", "agent_timeout = \"6s\"");
    };
    with_second_node(&pair, change, |pair| {
        for node in [0, 1] {
            wait_until_named(pair, node, "other virtual addresses");
            wait_until_named(pair, node, "has agent_timeout");
        }
        let config = pair.nodes[0].agent.config_path();
        let doctor = ["doctor", "--config", config.to_str().unwrap()];
        let found = pair.nodes[0].agent.run(&doctor).unwrap();
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(found.contains("db2 has other virtual addresses"), "{found}");
    });
    let log = pair.nodes[0].agent.log();
    assert_eq!(log.matches("has agent_timeout = 6s").count(), 2, "its begin and its end: {log}");
    let history = pair.nodes[1].agent.history().unwrap();
    assert_eq!(history["failovers"].as_array().map(Vec::len), Some(0), "{history}");
}

/// What keeps the nodes from hearing each other: each says why.
#[test]
fn nodes_that_do_not_hear_each_other_say_why() {
    let pair = Pair::start("contra-deaf", &Settings::patient(Kind::Postgresql)).unwrap();
    let key = |pair: &Pair| {
        let other = "00112233445566778899aabbccddeeff\n";
        fs::write(pair.nodes[1].agent.key_path(), other).unwrap();
    };
    with_second_node(&pair, key, |pair| {
        wait_until_named(pair, 0, "another key");
        wait_until_named(pair, 1, "another key");
    });
    let router = |pair: &Pair| edit(pair, "virtual_router_id = 59", "virtual_router_id = 60");
    with_second_node(&pair, router, |pair| {
        wait_until_named(pair, 0, "virtual router 60");
        wait_until_named(pair, 1, "virtual router 59");
    });
    let name = |pair: &Pair| edit(pair, "name = \"db2\"", "name = \"db9\"");
    with_second_node(&pair, name, |pair| {
        wait_until_named(pair, 0, "calls itself db9");
        wait_until_named(pair, 1, "calls this node by another name");
    });
    let same = |pair: &Pair| {
        edit(pair, "name = \"db1\"", "name = \"dbx\"");
        edit(pair, "name = \"db2\"", "name = \"db1\"");
    };
    with_second_node(&pair, same, |pair| {
        wait_until_named(pair, 0, "this node's name");
        wait_until_named(pair, 1, "this node's name");
    });
}
