//! Failovers of a pair: the virtual address and the primary role move together.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{net::IpAddr, time::Duration};

use ogha_tests::{
    demo::{Fault, Measured, fail_over, steps},
    lab::{
        Families, Pair, Watcher,
        agent::{Kind, Settings},
        clock,
        pair::GENEROUS,
    },
};
use serde_json::Value;

/// The same pair with addresses of these families.
fn with(families: Families) -> Settings {
    Settings { families, ..Settings::patient(Kind::Postgresql) }
}

fn failed_over(fault: Fault, settings: &Settings) -> Measured {
    let run = fail_over(fault, settings).unwrap();
    assert!(run.problems.is_empty(), "{}", run.problems.join("\n"));
    run.outcome.unwrap()
}

/// The offset of a step in the last failover of a history, in microseconds.
fn offset(history: &Value, name: &str) -> u64 {
    let steps = steps(history);
    let step = steps.iter().find(|step| step["step"] == name);
    let step = step.unwrap_or_else(|| panic!("no step {name:?} in {history}"));
    step["offset_us"].as_u64().unwrap()
}

/// Each of the steps comes not before the one named before it.
fn assert_in_order(history: &Value, names: &[&str]) {
    let offsets: Vec<_> = names.iter().map(|name| offset(history, name)).collect();
    assert!(offsets.is_sorted(), "{names:?} at {offsets:?}");
}

const TAKEOVER: [&str; 5] =
    ["record written", "addresses claimed", "promotion ordered", "database writable", "gate open"];

fn the_database_is_killed(settings: &Settings) {
    let outcome = failed_over(Fault::DatabaseKilled, settings);
    assert_in_order(&outcome.history, &TAKEOVER[2..]);
    assert_in_order(&outcome.history, &[TAKEOVER[0], TAKEOVER[2]]);
    let old = outcome.old_history.expect("its agent lives");
    assert_in_order(&old, &["gate closed", "reported fenced to peers"]);
}

/// The primary's main process is killed: its agent closes the gate and says so, the standby is
/// promoted and serves, the client's writes go on there, and none that was acknowledged is lost.
#[test]
fn a_killed_database_is_replaced() {
    the_database_is_killed(&with(Families::V4));
}

/// The same where openGauss's tools stand in front of the databases.
#[test]
fn a_killed_database_is_replaced_opengauss() {
    the_database_is_killed(&Settings::patient(Kind::Opengauss));
}

/// The same over IPv6.
#[test]
fn a_killed_database_is_replaced_ipv6() {
    the_database_is_killed(&with(Families::V6));
}

/// An instance with an address of each family: both move, though its adverts tell of the one only.
#[test]
fn a_killed_database_is_replaced_mixed() {
    the_database_is_killed(&with(Families::Both));
}

/// The primary's host loses its power: nobody says goodbye. The standby waits until the old
/// primary can hold no open gate, is promoted and serves.
#[test]
fn a_dark_host_is_replaced() {
    the_host_goes_dark(&with(Families::V4));
}

/// The same over IPv6.
#[test]
fn a_dark_host_is_replaced_ipv6() {
    the_host_goes_dark(&with(Families::V6));
}

fn the_host_goes_dark(settings: &Settings) {
    let outcome = failed_over(Fault::HostPowerOff, settings);
    assert_in_order(&outcome.history, &TAKEOVER);
    assert_eq!(outcome.old_history, None);
}

/// The same where openGauss's tools stand in front of the databases.
#[test]
fn a_dark_host_is_replaced_opengauss() {
    the_host_goes_dark(&Settings::patient(Kind::Opengauss));
}

/// The primary's database is stopped in the middle of everything: it is there, and answers nothing. Its
/// agent finds that out, shuts the gate, and kills it before it says that it is fenced; then the other
/// node serves, and no acknowledged write is lost.
#[test]
fn a_hung_database_is_stopped_and_replaced() {
    let pair = Pair::start("hung-database", &Settings::patient(Kind::Postgresql)).unwrap();
    let watcher = Watcher::start(&pair.hosts());
    let writer = pair.writer();
    writer.wait_for(50, GENEROUS).unwrap();
    pair.nodes[0].database.pause().unwrap();
    pair.wait_until_serving(1).unwrap();
    writer.wait_for(50, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    assert_eq!(record.lost(&pair.nodes[1].database).unwrap(), Vec::<i64>::new());
    assert_eq!(watcher.stop().unwrap().two_holders, Duration::ZERO);
    let history = pair.nodes[0].agent.history().unwrap();
    assert_in_order(&history, &["gate closed", "database stopped", "reported fenced to peers"]);
    let last = history["failovers"].as_array().unwrap().last().unwrap();
    assert_eq!(last["cause"], "the database hangs", "{history}");
}

/// An address as the file would have it, with its longest prefix.
fn prefixed(address: &IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 })
}

/// A pair at work and nothing wrong with it: both agents tell who serves, in which term, with
/// which database, and that the other is alive. Told to stop, an agent is not there to be asked.
#[test]
fn status_tells_who_serves() {
    tells_who_serves("status", Families::V4);
}

/// The same where the virtual addresses are of both families, and the peers' of IPv6.
#[test]
fn status_tells_who_serves_mixed() {
    tells_who_serves("status6", Families::Both);
}

fn tells_who_serves(name: &str, families: Families) {
    let pair = Pair::start(name, &with(families)).unwrap();
    let [first, second] = &pair.nodes;
    let active = first.agent.instance().unwrap();
    let backup = second.agent.instance().unwrap();
    for (instance, vrrp, gate, role) in
        [(&active, "active", "open", "primary"), (&backup, "backup", "closed", "standby")]
    {
        assert_eq!(instance["vrrp"], vrrp, "{instance}");
        assert_eq!(instance["gate"], gate, "{instance}");
        assert_eq!(instance["name"], "VI_1");
        assert_eq!(instance["vrid"], 59);
        let vips: Vec<_> = pair.vips.iter().map(prefixed).collect();
        assert_eq!(instance["vips"], Value::from(vips));
        assert_eq!(instance["database"]["kind"], "postgresql");
        assert_eq!(instance["database"]["role"], role, "{instance}");
        assert_eq!(instance["database"]["listening"], true, "{instance}");
        assert_eq!(instance["term"], active["term"]);
        assert_eq!(instance["peers"][0]["host"], "alive", "{instance}");
    }
    assert!(active["term"].as_u64().unwrap() >= 1);
    assert!(active["lease_ms"].as_u64().unwrap() > 0, "{active}");
    assert!(active["counters"]["syn_in"].as_u64().unwrap() >= 1, "a client has written: {active}");
    assert_eq!(first.agent.status().unwrap()["node"], first.host.name());

    let people = first.agent.command(&["status"]).unwrap();
    let text = String::from_utf8(people.stdout).unwrap();
    assert!(
        text.contains("VI_1") && pair.vips.iter().all(|vip| text.contains(&vip.to_string())),
        "{text}"
    );

    second.agent.stop().unwrap();
    let nobody = second.agent.command(&["status"]).unwrap();
    let complaint = String::from_utf8(nobody.stderr).unwrap();
    assert_eq!(nobody.status.code(), Some(1), "{complaint}");
    let socket = second.agent.socket_path();
    assert!(complaint.contains(socket.to_str().unwrap()), "{complaint}");
}

/// The standby's agent is killed; its host and its database go on. The primary's agent tells the
/// one from the other, for the standby's kernel still answers, and nothing moves.
#[test]
fn a_dead_agent_is_no_dead_host() {
    is_no_dead_host("dead-agent", Families::V4);
}

/// The same over IPv6.
#[test]
fn a_dead_agent_is_no_dead_host_ipv6() {
    is_no_dead_host("dead-agent6", Families::V6);
}

fn is_no_dead_host(name: &str, families: Families) {
    let pair = Pair::start(name, &with(families)).unwrap();
    let before = pair.nodes[0].agent.instance().unwrap();
    assert_eq!(before["peers"][0]["agent"], "alive", "{before}");
    assert!(before["probes"]["replies"].as_u64().unwrap() > 0, "{before}");
    pair.nodes[1].agent.kill().unwrap();
    let silent = || {
        let instance = pair.nodes[0].agent.instance()?;
        Ok((instance["peers"][0]["agent"] == "silent").then_some(instance))
    };
    let interval = Duration::from_millis(20);
    let seen = clock::wait_until("the dead agent", GENEROUS, interval, silent).unwrap();
    let peer = &seen["peers"][0];
    assert_eq!((&peer["host"], &peer["listening"]), (&"alive".into(), &true.into()), "{seen}");
    assert!(peer["rtt_us"].as_u64().unwrap() > 0, "{seen}");
    assert_eq!((&seen["phase"], &seen["term"]), (&"serving".into(), &before["term"]));
}
