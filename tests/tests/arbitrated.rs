//! A pair whose nodes ask an arbiter: the lease is granted by the other node, and the record changes only
//! with the arbiter's word.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{net::Ipv4Addr, time::Duration};

use ogha_tests::lab::{
    Etcd, Pair, Watcher,
    agent::{Kind, Settings},
    clock,
    pair::GENEROUS,
};
use serde_json::Value;

const ARBITER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);
const WRITES: usize = 50;

/// A pair that serves, with these keys of `[instance.arbiter]`.
fn start(pair: &Pair, keys: &str) {
    for node in &pair.nodes {
        node.agent.edit_config("kind = \"none\"", keys).unwrap();
    }
    pair.start_agents().unwrap();
}

/// The second node dies: the first goes on alone, by the arbiter's word. It comes back and is in sync. Then
/// the first one's power fails, and the second serves. No write is lost, and never are two gates open.
fn both_fail_in_turn(pair: &Pair) {
    let [first, second] = &pair.nodes;
    let watcher = Watcher::start(&pair.hosts());
    let writer = pair.writer();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    second.database.kill().unwrap();
    until_alone(pair);
    writer.wait_for(WRITES, GENEROUS).unwrap();
    second.database.start().unwrap();
    pair.wait_until_in_sync(0).unwrap();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    first.host.power_off().unwrap();
    let serving = pair.wait_until_serving(1).unwrap();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    assert_eq!(record.lost(&second.database).unwrap(), Vec::<i64>::new());
    assert_eq!(watcher.stop().unwrap().two_holders, Duration::ZERO);
    assert_eq!(serving["primary"], "db2", "{serving}");
}

fn until_alone(pair: &Pair) -> Value {
    let agent = &pair.nodes[0].agent;
    clock::wait_until("the first node to go on alone", GENEROUS, Duration::from_millis(20), || {
        let instance = agent.instance()?;
        let alone = instance["peers"][0]["in_sync"] == false && instance["gate"] == "open";
        anyhow::ensure!(alone, "{instance}\n{}", agent.log());
        Ok(Some(instance))
    })
    .unwrap()
}

/// With a record in etcd.
#[test]
fn etcd_lets_either_node_go_on() {
    let pair = Pair::without_agents("with-etcd", &Settings::patient(Kind::Postgresql)).unwrap();
    let host = pair.lab.host("etcd", &pair.switch, ARBITER).unwrap();
    let etcd = Etcd::start(&[host]).unwrap();
    start(&pair, &format!("kind = \"etcd\"\nendpoints = {:?}", etcd.endpoints()));
    both_fail_in_turn(&pair);
}

/// With an address that both see.
#[test]
fn a_gateway_lets_either_node_go_on() {
    let pair = Pair::without_agents("with-gateway", &Settings::patient(Kind::Postgresql)).unwrap();
    let _gateway = pair.lab.host("gateway", &pair.switch, ARBITER).unwrap();
    start(&pair, &format!("kind = \"gateway\"\naddresses = [\"{ARBITER}\"]"));
    both_fail_in_turn(&pair);
}
