//! What operators order, on a pair of real databases: the role moves without loss, waits, is forced,
//! and a database that lost it comes back.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output, time::Duration};

use nix::sys::signal::Signal;
use ogha_common::maps::Passage;
use ogha_tests::lab::{
    Pair, Watcher,
    agent::{Agent, Kind, Settings},
    clock,
    pair::{GENEROUS, Node},
    watcher,
};
use serde_json::Value;

const OFTEN: Duration = Duration::from_millis(20);
const WRITES: usize = 50;

fn settings() -> Settings {
    Settings::patient(Kind::Postgresql)
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

/// Runs a command of the agent, which must end with this code.
fn order(agent: &Agent, arguments: &[&str], code: i32) -> String {
    let output = agent.command(arguments).unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}\n{}", agent.log());
    text
}

/// Waits until what an agent says of its instance is so.
fn until(node: &Node, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    clock::wait_until(what, GENEROUS, OFTEN, || {
        let instance = node.agent.instance()?;
        anyhow::ensure!(so(&instance), "{instance}\n{}", node.agent.log());
        Ok(Some(instance))
    })
    .unwrap()
}

fn waits_for(instance: &Value) -> &str {
    instance["waits_for"].as_str().unwrap_or_default()
}

/// While a client writes, the role goes to the other node and comes back. No acknowledged write is
/// lost, no two gates are open at once, the old primary is an in-sync standby each time, and the hooks
/// have heard of it in order.
#[test]
fn a_switchover_loses_nothing() {
    let pair = Pair::without_agents("switchover", &settings()).unwrap();
    for node in &pair.nodes {
        let hook = node.host.directory().join("hook");
        let log = node.host.directory().join("hook.log");
        let line = "$OGHA_INSTANCE $OGHA_NODE $OGHA_EVENT $OGHA_TERM $OGHA_PRIMARY";
        fs::write(&hook, format!("#!/bin/sh\necho {line} >>{}\n", log.display())).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o700)).unwrap();
        let hooks = format!("[instance.hooks]\ncommand = \"{}\"\n", hook.display());
        let arbiter = "[instance.arbiter]";
        node.agent.edit_config(arbiter, &format!("{hooks}\n{arbiter}")).unwrap();
    }
    pair.start_agents().unwrap();
    let [first, second] = &pair.nodes;
    let wrong = order(&second.agent, &["switchover"], 1);
    assert!(wrong.contains("db1 serves") && wrong.contains("order it at db1"), "{wrong}");
    let unknown = order(&first.agent, &["switchover", "--to", "db9"], 1);
    assert!(unknown.contains("db2"), "{unknown}");

    let watcher = Watcher::start(&pair.hosts());
    let writer = pair.writer();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    let done = order(&first.agent, &["switchover"], 0);
    assert!(done.contains("db2 serves; db1 is its standby, in sync"), "{done}");
    writer.wait_for(WRITES, GENEROUS).unwrap();
    assert!(first.database.is_in_recovery().unwrap());
    assert!(!second.database.is_in_recovery().unwrap());
    let back = order(&second.agent, &["switchover", "--to", "db1", "--json"], 0);
    let json = back.lines().find(|line| line.starts_with('{')).unwrap();
    let instance: Value = serde_json::from_str(json).unwrap();
    assert_eq!((&instance["primary"], &instance["phase"]), (&"db1".into(), &"standby".into()));
    writer.wait_for(WRITES, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    assert_eq!(record.lost(&first.database).unwrap(), Vec::<i64>::new(), "{:?}", record.failures);
    assert_eq!(watcher.stop().unwrap().two_holders, Duration::ZERO);
    assert_eq!(watcher::passage(&first.host, 0).unwrap(), Passage::Open);

    let heard = || fs::read_to_string(second.host.directory().join("hook.log"));
    clock::wait_until("the hooks to have run", GENEROUS, OFTEN, || {
        let text = heard()?;
        let events: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
        let places = ["listening", "standby", "serving", "fenced", "standby"];
        let mut seen = events.iter().filter(|event| places.contains(event));
        let in_order = places.iter().all(|place| seen.next() == Some(place));
        anyhow::ensure!(in_order && events.contains(&"in-sync"), "{text}");
        Ok(Some(()))
    })
    .unwrap();
}

/// The standby's receiver hangs, so that the old primary can't stop in order: the switchover is undone, the
/// old primary serves again, and nothing is lost.
#[test]
fn a_switchover_that_can_not_complete_is_undone() {
    let pair = Pair::without_agents("undone", &settings()).unwrap();
    for node in &pair.nodes {
        let timeout = "[instance.failover]\nswitchover_timeout = \"2s\"";
        node.agent.edit_config("[instance.failover]", timeout).unwrap();
    }
    pair.start_agents().unwrap();
    let [first, second] = &pair.nodes;
    let writer = pair.writer();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    second.database.signal_receiver(Signal::SIGSTOP).unwrap();
    let undone = order(&first.agent, &["switchover"], 1);
    assert!(undone.contains("undone: db1 continues to serve"), "{undone}");
    assert!(
        first.agent.log().contains("it was stopped by an immediate shutdown"),
        "{}",
        first.agent.log()
    );
    assert!(second.database.is_in_recovery().unwrap(), "{}", second.agent.log());
    second.database.signal_receiver(Signal::SIGCONT).unwrap();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    assert_eq!(record.lost(&first.database).unwrap(), Vec::<i64>::new(), "{:?}", record.failures);
    pair.wait_until_in_sync(0).unwrap();
}

/// Failovers are paused: the primary's database dies, and nobody takes over, which the standby says. An
/// agent that is restarted has not forgotten it. Once an operator lets it, the standby takes over.
#[test]
fn a_pause_holds_a_failover_back() {
    let pair = Pair::start("pause", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    order(&second.agent, &["pause"], 0);
    until(first, "the first node to hear of the pause", |i| i["peers"][0]["paused"] == true);
    second.agent.stop().unwrap();
    second.agent.start().unwrap();
    until(second, "the second node to be back", |i| {
        i["phase"] == "standby" && i["paused"] == true && i["peers"][0]["agent"] == "alive"
    });
    // A slow restart may have cost it its place in the set for a moment.
    until(first, "the second node to be in sync", |i| i["peers"][0]["in_sync"] == true);
    first.database.kill().unwrap();
    let held = until(second, "the second node to wait", |i| waits_for(i).contains("resume"));
    assert_eq!(held["phase"], "standby", "{held}");
    assert!(second.database.is_in_recovery().unwrap());
    order(&second.agent, &["resume"], 0);
    pair.wait_until_serving(1).unwrap();
}

/// The standby was away when the primary's host died: it may not take over by itself, for it can't know
/// what it has missed. It says so, asks for the word `--force`, and with it takes over.
#[test]
fn a_failover_is_forced() {
    let pair = Pair::start("forced", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    second.database.stop().unwrap();
    until(first, "the second node to leave the set", |i| i["peers"][0]["in_sync"] == false);
    let writer = pair.writer();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    writer.stop().unwrap();
    let refused = order(&second.agent, &["failover", "--force"], 1);
    assert!(refused.contains("db1 serves"), "{refused}");
    first.host.power_off().unwrap();
    second.database.start().unwrap();
    let waits = until(second, "the second node to wait", |i| waits_for(i).contains("--force"));
    assert_eq!(waits["phase"], "standby", "{waits}");
    let asks = order(&second.agent, &["failover"], 2);
    assert!(asks.contains("--force") && asks.contains("lost"), "{asks}");
    let forced = order(&second.agent, &["failover", "--force"], 0);
    assert!(forced.contains("db2 serves"), "{forced}");
    assert!(!second.database.is_in_recovery().unwrap());
}

/// The primary's database is killed, and the other node serves. The old primary stays fenced until an
/// operator orders it to rejoin: then it is a standby in sync, with all that was written.
#[test]
fn an_old_primary_rejoins() {
    let pair = Pair::start("rejoin", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    let writer = pair.writer();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    let early = order(&first.agent, &["rejoin"], 1);
    assert!(early.contains("this node serves"), "{early}");
    first.database.kill().unwrap();
    pair.wait_until_serving(1).unwrap();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    until(first, "the first node to wait", |i| waits_for(i).contains("ogha-agent rejoin"));
    let done = order(&first.agent, &["rejoin"], 0);
    assert!(done.contains("standby of db2"), "{done}");
    assert!(first.database.is_in_recovery().unwrap());
    pair.wait_until_in_sync(1).unwrap();
    writer.wait_for(WRITES, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    assert_eq!(record.lost(&second.database).unwrap(), Vec::<i64>::new());
    // Commits wait for it, so it has them all.
    clock::wait_until("the standby to show all writes", GENEROUS, OFTEN, || {
        Ok(record.lost(&first.database)?.is_empty().then_some(()))
    })
    .unwrap();
}

/// Doctor on a node of a pair at work finds nothing that fails; with its agent stopped and the peer's
/// host dark, it names the peer and ends with 1.
#[test]
fn doctor_tells_what_is_wrong() {
    let pair = Pair::start("doctor", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    let config = first.agent.config_path();
    let doctor = || first.agent.run(&["doctor", "--config", config.to_str().unwrap()]).unwrap();
    let good = doctor();
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    let text = said(&good);
    for words in ["arbiter none", "db2 and its agent are alive", "db2 receives the log"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    first.agent.stop().unwrap();
    second.host.power_off().unwrap();
    let bad = doctor();
    assert_eq!(bad.status.code(), Some(1), "{}", said(&bad));
    assert!(said(&bad).contains("the host of db2 does not answer"), "{}", said(&bad));
}
