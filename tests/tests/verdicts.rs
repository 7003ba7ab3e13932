//! What a node thinks of its peer, and why: each fault by its own name.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{process::Command, time::Duration};

use nix::sys::signal::Signal;
use ogha_tests::lab::{
    Pair,
    agent::{Kind, Settings},
    clock,
    host::{Host, INTERFACE},
    pair::GENEROUS,
};
use serde_json::Value;

const OFTEN: Duration = Duration::from_millis(20);

fn pair(name: &str) -> Pair {
    let pair = Pair::start(name, &Settings::patient(Kind::Postgresql)).unwrap();
    wait_for_verdict(&pair, 1, "healthy", "healthy");
    pair
}

/// Waits until that node thinks so of the other, and returns what it says of it.
fn wait_for_verdict(pair: &Pair, node: usize, verdict: &str, evidence: &str) -> Value {
    let agent = &pair.nodes[node].agent;
    clock::wait_until(&format!("the verdict {verdict:?}: {evidence:?}"), GENEROUS, OFTEN, || {
        let peer = agent.instance()?["peers"][0].clone();
        let told = peer["evidence"].as_str().unwrap_or_default();
        anyhow::ensure!(peer["verdict"] == verdict && told.contains(evidence), "{peer}");
        Ok(Some(peer))
    })
    .unwrap()
}

/// The primary's host loses its power: the standby's probes are missed one after another.
#[test]
fn a_dark_host_is_dead() {
    let pair = pair("verdict-host");
    pair.nodes[0].host.power_off().unwrap();
    let peer = wait_for_verdict(&pair, 1, "host dead", "3 probes missed on path 0");
    assert_eq!((&peer["host"], &peer["agent"]), (&"silent".into(), &"alive".into()), "{peer}");
}

/// The primary's agent is killed: its kernel says at once that the process is gone, and when it has
/// been for `agent_timeout`, the agent is dead. Its host is not.
#[test]
fn a_killed_agent_is_dead_and_its_host_is_not() {
    let pair = pair("verdict-killed");
    pair.nodes[0].agent.kill().unwrap();
    wait_for_verdict(&pair, 1, "suspect", "its agent's process is gone");
    let peer = wait_for_verdict(&pair, 1, "agent dead", "its process is gone");
    assert_eq!(peer["host"], "alive", "{peer}");
}

/// The primary's agent is stopped: it is slow, and then dead, and its process is there.
#[test]
fn a_stopped_agent_is_slow_and_then_dead() {
    let pair = pair("verdict-stopped");
    pair.nodes[0].agent.signal(Signal::SIGSTOP).unwrap();
    wait_for_verdict(&pair, 1, "agent slow", "no heartbeat for");
    let peer = wait_for_verdict(&pair, 1, "agent dead", "its process is there");
    assert_eq!(peer["host"], "alive", "{peer}");
    pair.nodes[0].agent.signal(Signal::SIGCONT).unwrap();
}

/// An agent is stopped for less than `agent_timeout`, again and again: it is slow, and nothing moves.
#[test]
fn an_agent_that_is_stopped_now_and_then_is_no_failure() {
    let pair = pair("verdict-slow");
    let before = pair.nodes[0].agent.instance().unwrap();
    for _ in 0..3 {
        pair.nodes[0].agent.signal(Signal::SIGSTOP).unwrap();
        wait_for_verdict(&pair, 1, "agent slow", "no heartbeat for");
        pair.nodes[0].agent.signal(Signal::SIGCONT).unwrap();
        wait_for_verdict(&pair, 1, "healthy", "");
    }
    let after = pair.nodes[0].agent.instance().unwrap();
    assert_eq!((&after["phase"], &after["term"]), (&"serving".into(), &before["term"]), "{after}");
    assert_eq!(after["failovers"], before["failovers"]);
}

/// An agent that is told to stop says that it comes back: nobody takes it for gone.
#[test]
fn an_agent_that_says_goodbye_is_not_suspect() {
    let pair = pair("verdict-goodbye");
    pair.nodes[1].agent.stop().unwrap();
    let peer = wait_for_verdict(&pair, 0, "agent slow", "no heartbeat for");
    assert_eq!(peer["host"], "alive", "{peer}");
}

/// The primary's database is killed: the next answer of its kernel says that nobody listens.
#[test]
fn a_killed_database_is_dead_and_its_host_is_not() {
    let pair = pair("verdict-database");
    pair.nodes[0].database.kill().unwrap();
    let peer = wait_for_verdict(&pair, 1, "database dead", "nobody listens on its port");
    assert_eq!((&peer["host"], &peer["agent"]), (&"alive".into(), &"alive".into()), "{peer}");
}

/// The primary's database hangs: its agent finds its main process stopped and reports it, and a check of
/// the standby is not answered. That is a verdict, and it ends when the database goes on. (Nothing is done about it,
/// for failovers are paused.)
#[test]
fn a_stopped_database_hangs() {
    let pair = pair("verdict-hung");
    let paused = pair.nodes[0].agent.command(&["pause"]).unwrap();
    assert!(paused.status.success(), "{}", String::from_utf8_lossy(&paused.stderr));
    pair.nodes[0].database.pause().unwrap();
    let peer = wait_for_verdict(&pair, 1, "hung", "a check was not answered");
    assert_eq!((&peer["host"], &peer["listening"]), (&"alive".into(), &true.into()), "{peer}");
    let own = |verdict: &str| {
        let seen = || {
            let database = pair.nodes[0].agent.instance()?["database"].clone();
            anyhow::ensure!(database["verdict"] == verdict, "{database}");
            Ok(Some(()))
        };
        clock::wait_until(&format!("its own agent to find it {verdict}"), GENEROUS, OFTEN, seen)
            .unwrap();
    };
    own("hung");
    pair.nodes[0].database.resume().unwrap();
    wait_for_verdict(&pair, 1, "healthy", "healthy");
    own("healthy");
}

/// Somebody connects to the standby's database again and again and says nothing: its accept queue
/// and its counters may look odd, but it answers the checks, and nobody takes it for hung.
#[test]
fn silent_clients_do_not_make_a_database_hang() {
    let pair = pair("verdict-clients");
    let address = (pair.nodes[0].host.address(), ogha_tests::lab::postgres::PORT);
    let silent: Vec<_> = pair
        .client
        .namespace()
        .enter(|| (0..40).filter_map(|_| std::net::TcpStream::connect(address).ok()).collect());
    assert!(!silent.is_empty());
    for _ in 0..100 {
        let instance = pair.nodes[1].agent.instance().unwrap();
        let peer = &instance["peers"][0];
        assert_ne!(peer["verdict"], "hung", "{peer}");
        std::thread::sleep(OFTEN);
    }
    assert_eq!(pair.nodes[0].agent.instance().unwrap()["phase"], "serving");
}

fn ip(host: &Host, arguments: &[&str]) {
    let mut command = Command::new("ip");
    command.args(arguments);
    let output = host.output(command, None).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Two paths lead to each node. One is lost: that is told, and nothing else. Both are: so is the
/// host.
#[test]
fn a_host_is_lost_only_when_all_paths_are() {
    let pair = Pair::without_agents("verdict-paths", &Settings::patient(Kind::Postgresql)).unwrap();
    let second = |node: usize| format!("10.99.0.{}", node + 1);
    for (node, peer) in [(0, 1), (1, 0)] {
        let host = &pair.nodes[node].host;
        ip(host, &["address", "add", &format!("{}/24", second(node)), "dev", INTERFACE]);
        let first = pair.nodes[peer].host.address();
        let both = format!("address = [\"{first}\", \"{}\"]", second(peer));
        pair.nodes[node].agent.edit_config(&format!("address = \"{first}\""), &both).unwrap();
    }
    pair.start_agents().unwrap();
    wait_for_verdict(&pair, 1, "healthy", "healthy");
    let address = format!("{}/24", second(0));
    ip(&pair.nodes[0].host, &["address", "del", &address, "dev", INTERFACE]);
    // Its kernel answers for the address as long as the agent has not said otherwise, but nobody
    // tells the standby's where that address is.
    ip(&pair.nodes[1].host, &["neighbour", "flush", "dev", INTERFACE]);
    let peer = wait_for_verdict(&pair, 1, "suspect", "path 1 is lost");
    assert_eq!(peer["host"], "alive", "{peer}");
    pair.nodes[0].host.power_off().unwrap();
    wait_for_verdict(&pair, 1, "host dead", "missed on path 1");
}

/// The standby's cable is pulled: it cannot know anything about the primary, says so, and does not
/// take over. Plugged in again, it is a healthy standby as before.
#[test]
fn a_pulled_cable_is_nobody_elses_death() {
    let pair = pair("verdict-cable");
    let term = pair.nodes[1].agent.instance().unwrap()["term"].clone();
    ip(&pair.nodes[1].host, &["link", "set", INTERFACE, "down"]);
    wait_for_verdict(&pair, 1, "suspect", "no path to it can be used at this end");
    std::thread::sleep(2 * Settings::patient(Kind::Postgresql).lease);
    let alone = pair.nodes[1].agent.instance().unwrap();
    assert_eq!((&alone["phase"], &alone["term"]), (&"standby".into(), &term), "{alone}");
    ip(&pair.nodes[1].host, &["link", "set", INTERFACE, "up"]);
    wait_for_verdict(&pair, 1, "healthy", "healthy");
    wait_for_verdict(&pair, 0, "healthy", "healthy");
    assert_eq!(pair.nodes[0].agent.instance().unwrap()["phase"], "serving");
}
