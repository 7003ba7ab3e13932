//! Two nodes whose configurations contradict each other: both name it, in `status`, `doctor` and the
//! log, and nobody fails over by it.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use ogha_tests::lab::{
    Pair, Postgres,
    agent::{Kind, Settings},
    clock, pair,
    postgres::BIN,
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
fn nodes_with_two_keys_say_why_they_do_not_hear_each_other() {
    let pair = Pair::start("contra-key", &Settings::patient(Kind::Postgresql)).unwrap();
    let key = |pair: &Pair| {
        let other = "00112233445566778899aabbccddeeff\n";
        fs::write(pair.nodes[1].agent.key_path(), other).unwrap();
    };
    with_second_node(&pair, key, |pair| {
        wait_until_named(pair, 0, "another key");
        wait_until_named(pair, 1, "another key");
    });
}

/// The same where names or routers differ.
#[test]
#[ignore = "slow: three pairs that do not hear each other"]
fn nodes_with_other_names_or_routers_say_why_they_do_not_hear_each_other() {
    let pair = Pair::start("contra-deaf", &Settings::patient(Kind::Postgresql)).unwrap();
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

/// Puts a standby of another cluster, which a second run of `initdb` made, in the place of one that is
/// stopped.
fn replace_by_a_stranger(database: &Postgres) {
    let (data, kept) = (database.data_dir(), database.host().directory().join("kept"));
    fs::rename(&data, &kept).unwrap();
    let made = database.socket_dir().join("data");
    let mut initdb = Command::new(Path::new(BIN).join("initdb"));
    initdb.args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust"]);
    initdb.args(["--username", "postgres", "--pgdata"]).arg(&made);
    let output = database.host().output(initdb, Some("postgres")).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(made, &data).unwrap();
    for name in ["postgresql.conf", "pg_hba.conf", "standby.signal"] {
        fs::rename(kept.join(name), data.join(name)).unwrap();
    }
}

/// Two databases that are no copies of each other: both nodes name both identities, doctor too, and the
/// standby does not take over, whatever happens to the primary. Who forces it is told what is lost.
#[test]
fn databases_of_two_clusters_are_named_and_never_take_over() {
    let settings = Settings::patient(Kind::Postgresql);
    let pair = Pair::without_agents("contra-system", &settings).unwrap();
    let [first, second] = &pair.nodes;
    second.database.stop().unwrap();
    replace_by_a_stranger(&second.database);
    second.database.start().unwrap();
    assert!(second.database.is_in_recovery().unwrap());
    let identity = |database: &Postgres| {
        let session = database.session().unwrap();
        session.value("select system_identifier from pg_control_system()").unwrap()
    };
    let [own, other] = [identity(&first.database), identity(&second.database)];
    assert_ne!(own, other);
    for node in &pair.nodes {
        node.agent.start().unwrap();
    }
    pair.wait_until_serving(0).unwrap();
    wait_until_named(&pair, 0, &format!("system identifier {other}, this node {own}"));
    wait_until_named(&pair, 1, &format!("system identifier {own}, this node {other}"));
    let config = second.agent.config_path();
    let doctor = second.agent.run(&["doctor", "--config", config.to_str().unwrap()]).unwrap();
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1), "{text}");
    assert!(text.contains("they are no copies of each other"), "{text}");

    first.database.kill().unwrap();
    let stays = |pair: &Pair| {
        let instance = pair.nodes[1].agent.instance().unwrap();
        assert_eq!(instance["phase"], "standby", "{instance}");
        assert!(pair.nodes[1].database.is_in_recovery().unwrap());
    };
    clock::wait_until("the standby to say what it waits for", pair::GENEROUS, OFTEN, || {
        stays(&pair);
        let instance = second.agent.instance()?;
        let waits = instance["waits_for"].as_str().unwrap_or_default();
        Ok(waits.contains("another system identifier").then_some(()))
    })
    .unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(7) {
        stays(&pair);
        thread::sleep(OFTEN);
    }
    let asked = second.agent.command(&["failover"]).unwrap();
    let asked = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.contains("--force"), "{asked}");
    let log = second.agent.log();
    assert!(log.contains("system identifier"), "{log}");
}
