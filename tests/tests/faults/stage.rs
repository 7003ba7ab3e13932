//! What the scenarios have in common.

use std::{
    process::Output,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use ogha_common::maps::Passage;
use ogha_tests::lab::{
    Agent, Pair,
    agent::{Kind, Settings},
    clock,
    pair::{GENEROUS, Node},
    watcher,
    writer::Record,
};
use serde_json::Value;

pub const OFTEN: Duration = Duration::from_millis(20);
/// How many rows are written while something is wrong.
pub const ROWS: usize = 5;

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn settings() -> Settings {
    Settings::patient(Kind::Postgresql)
}

pub fn pair(name: &str) -> Pair {
    Pair::start(name, &settings()).unwrap()
}

pub fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

/// Runs a command of the agent: its exit code and what it said.
pub fn order(agent: &Agent, arguments: &[&str]) -> (Option<i32>, String) {
    let output = agent.command(arguments).unwrap();
    (output.status.code(), said(&output))
}

/// Waits until what an agent says of its instance is so.
pub fn until(node: &Node, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    clock::wait_until(what, GENEROUS, OFTEN, || {
        let instance = node.agent.instance()?;
        ensure!(so(&instance), "{instance}\n{}", node.agent.log());
        Ok(Some(instance))
    })
    .unwrap()
}

/// Looks again and again for so long; fails at the first look that does.
pub fn throughout(time: Duration, mut look: impl FnMut()) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        look();
        thread::sleep(OFTEN);
    }
}

pub fn waits_for(instance: &Value) -> &str {
    instance["waits_for"].as_str().unwrap_or_default()
}

/// Whether the instance's record counts that node in sync.
pub fn has_in_sync(instance: &Value, name: &str) -> bool {
    let set = instance["in_sync"].as_array().into_iter().flatten();
    set.into_iter().any(|node| node == name)
}

/// A client tries to write some rows through the virtual address. What it has seen; it need not have been
/// acknowledged anything.
pub fn try_to_write(pair: &Pair, within: Duration) -> Record {
    let writer = pair.writer();
    let _ = writer.wait_for(ROWS, within);
    writer.stop().unwrap()
}

/// Whoever serves in the end has every row that was acknowledged. If nobody serves, they are where they
/// were acknowledged: at the first node, which is started.
pub fn assert_nothing_is_lost(pair: &Pair, record: &Record) {
    let end = Instant::now() + seconds(20);
    let serves = |node: &&Node| {
        node.agent.instance().is_ok_and(|i| i["phase"] == "serving" && i["gate"] == "open")
    };
    let said =
        || format!("{} acknowledged\n{}", record.acknowledged.len(), pair.agents_last_words());
    while Instant::now() < end {
        let served = pair.nodes.iter().find(serves).map(|node| record.lost(&node.database));
        // The one whose database was killed a moment ago may not know it yet.
        if let Some(Ok(lost)) = served {
            return assert_eq!(lost, Vec::<i64>::new(), "{}", said());
        }
        thread::sleep(OFTEN);
    }
    let first = &pair.nodes[0].database;
    if first.session().is_err() {
        first.start().unwrap();
    }
    assert_eq!(record.lost(first).unwrap(), Vec::<i64>::new(), "{}", said());
}

/// Waits until one of the two serves, and returns which.
pub fn wait_until_one_serves(pair: &Pair, within: Duration) -> Result<usize> {
    clock::wait_until("a node to serve", within, OFTEN, || {
        let serves = |node: &Node| {
            let said = node.agent.instance().unwrap_or_default();
            said["phase"] == "serving" && said["gate"] == "open" && node.database.session().is_ok()
        };
        let found = pair.nodes.iter().position(serves);
        ensure!(found.is_some(), "{}", pair.agents_last_words());
        Ok(found)
    })
}

/// Nobody but a node that says that it serves, or that it closes, has an open gate. Two looks must agree,
/// for status and gate are not read in one.
pub fn assert_gate_is_of_who_serves(node: &Node) {
    let mismatch = || {
        let open = watcher::passage(&node.host, 0).is_ok_and(|passage| passage == Passage::Open);
        let said = node.agent.instance().ok().filter(|_| open)?;
        let phase = said["phase"].as_str().unwrap_or_default();
        (!phase.starts_with("serving") && !phase.starts_with("closing")).then_some(said)
    };
    let mut wrong = None;
    for _ in 0..3 {
        wrong = mismatch();
        if wrong.is_none() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("an open gate at {}: {}\n{}", node.host.name(), wrong.unwrap(), node.agent.log());
}

/// The first node serves, and what is behind it is what was there before.
#[derive(Debug, PartialEq, Eq)]
pub struct Undisturbed {
    term: Value,
    failovers: Value,
    database: i32,
}

impl Undisturbed {
    pub fn now(pair: &Pair) -> Self {
        let first = &pair.nodes[0];
        let said = pair.wait_until_serving(0).unwrap();
        Self {
            term: said["term"].clone(),
            failovers: said["failovers"].clone(),
            database: first.database.main_pid().unwrap(),
        }
    }

    /// Nothing has moved, clients can write, and the standby is one.
    pub fn assert(&self, pair: &Pair) {
        let [first, second] = &pair.nodes;
        let now = first.agent.instance().unwrap();
        assert_eq!(now["phase"], "serving", "{now}\n{}", first.agent.log());
        assert_eq!(*self, Self::now(pair), "{}", first.agent.log());
        pair.writer().wait_for(1, GENEROUS).unwrap();
        assert!(second.database.is_in_recovery().unwrap(), "{}", second.agent.log());
    }
}
