//! One fault under one arbiter, from the fresh pair to the state that remains.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use ogha_common::units::Instant;
use serde_json::{Value, json};

use super::{
    fault::Fault,
    place::{Arbiter, Place},
};
use crate::lab::{Pair, Watcher, clock, pair::Node, watcher::Seen, writer::Record};

/// How long the client writes before the fault.
const BEFORE: Duration = Duration::from_millis(500);
/// How long it is waited for that all is well again after everything was mended.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long it must stay so.
const STAYS: Duration = Duration::from_millis(500);
const OFTEN: Duration = Duration::from_millis(20);

/// What was seen of a fault under an arbiter.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What went wrong.
    pub fault: Fault,
    /// Who decided.
    pub arbiter: Arbiter,
    /// Last acknowledged write before the fault to the first after it; `None`: none came.
    pub outage: Option<Duration>,
    /// Acknowledged writes that the last primary does not have; `None`: there is no last primary.
    pub lost: Option<usize>,
    /// How long two hosts had an open gate.
    pub two_holders: Duration,
    /// `serving`, or what is waited for.
    pub last: String,
    /// The gates' changes after the fault, for who wonders.
    pub gates: Vec<String>,
}

impl Cell {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "fault": self.fault.name(),
            "arbiter": self.arbiter.name(),
            "outage_ms": self.outage.map(super::millis),
            "lost_writes": self.lost,
            "two_holders_ms": super::millis(self.two_holders),
            "final": self.last,
            "gates": self.gates,
        })
    }
}

pub(super) fn run(fault: Fault, arbiter: Arbiter) -> Result<Cell> {
    let mut place = Place::new(fault.name(), arbiter, 0)?;
    fault.prepare(&place)?;
    place.pair.start_agents()?;
    let watcher = Watcher::start(&place.pair.hosts());
    let writer = place.pair.writer();
    thread::sleep(BEFORE);
    writer.wait_for(20, PATIENCE)?;
    let struck = clock::now();
    fault.strike(&mut place).context("the fault could not be brought about")?;
    fault.mend(&mut place).context("the fault could not be mended")?;
    // Before anybody has noticed anything all seem well.
    let flows = writer.wait_for(20, PATIENCE).is_ok();
    let (last, server) = settle(&place.pair);
    let record = writer.stop()?;
    let seen = watcher.stop()?;
    // A database that does not answer is not known to have lost anything.
    let lost = server.and_then(|node| record.lost(&node.database).ok());
    let last = if flows { last } else { format!("{last}, but no writes") };
    if last != "serving" {
        eprintln!("{}", place.pair.agents_last_words());
    }
    Ok(Cell {
        fault,
        arbiter,
        outage: record.outage(struck).filter(|_| wrote_after(&record, struck)),
        lost: lost.map(|ids| ids.len()),
        two_holders: seen.two_holders,
        last,
        gates: gates(&seen, struck),
    })
}

fn wrote_after(record: &Record, struck: Instant) -> bool {
    record.acknowledged.last().is_some_and(|write| write.at > struck)
}

fn gates(seen: &Seen, struck: Instant) -> Vec<String> {
    let after = seen.changes.iter().filter(|change| change.at > struck);
    let line = |change: &crate::lab::watcher::Change| {
        let gate = change.passage.map_or_else(|| "gone".into(), |gate| format!("{gate:?}"));
        let offset = super::millis(change.at.since(struck));
        format!("{offset:.1} ms {} {}", change.host, gate.to_lowercase())
    };
    after.map(line).collect()
}

/// Waits until exactly one node serves, and every other that lives is in sync with it; else says
/// what is waited for.
fn settle(pair: &Pair) -> (String, Option<&Node>) {
    let mut since = None;
    let settled = clock::wait_until("all to be well", PATIENCE, OFTEN, || {
        let Some(server) = well(pair)? else {
            since = None;
            return Ok(None);
        };
        let began = *since.get_or_insert_with(clock::now);
        Ok((clock::now().since(began) >= STAYS).then_some(server))
    });
    match settled {
        Ok(server) => ("serving".to_owned(), Some(&pair.nodes[server])),
        Err(_) => (words(pair), serving(pair).ok().flatten().map(|node| &pair.nodes[node])),
    }
}

fn serving(pair: &Pair) -> Result<Option<usize>> {
    let mut servers = Vec::new();
    for (index, node) in pair.nodes.iter().enumerate() {
        let instance = node.agent.instance().ok().filter(|_| node.host.is_powered());
        if instance.is_some_and(|i| i["phase"] == "serving" && i["gate"] == "open") {
            servers.push(index);
        }
    }
    ensure!(servers.len() <= 1, "both serve");
    Ok(servers.first().copied())
}

fn well(pair: &Pair) -> Result<Option<usize>> {
    let Some(server) = serving(pair)? else { return Ok(None) };
    let other = &pair.nodes[1 - server];
    let in_sync = pair.nodes[server].agent.instance()?["peers"][0]["in_sync"] == true;
    Ok((in_sync || !other.host.is_powered()).then_some(server))
}

/// What each node says of itself.
fn words(pair: &Pair) -> String {
    let word = |node: &Node| {
        let name = node.host.name();
        match node.agent.instance() {
            _ if !node.host.is_powered() => format!("{name}: off"),
            Ok(instance) => {
                let waits = instance["waits_for"].as_str().unwrap_or("nothing");
                let phase = instance["phase"].as_str().unwrap_or("?");
                format!("{name}: {phase}, waits for {waits}")
            }
            Err(_) => format!("{name}: no agent"),
        }
    };
    pair.nodes.iter().map(word).collect::<Vec<_>>().join("; ")
}
