//! One fault, on a fresh pair, and what the client and the gates saw of it.

use std::{collections::BTreeMap, fmt, net::IpAddr, thread, time::Duration};

use anyhow::{Result, ensure};
use ogha_common::{maps::Passage, units::Instant};
use serde_json::Value;

use super::millis;
use crate::lab::{
    Pair, Watcher,
    agent::Settings,
    client, clock,
    pair::VIP,
    watcher::{self, Change},
    writer::{Failure, Record, Writer},
};

/// How long the client writes before the fault.
const BEFORE: Duration = Duration::from_secs(1);
/// How many writes it does at least before and after the fault.
const WRITES: usize = 50;
/// When a failover has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the primary's main process.
    DatabaseKilled,
    /// The primary's link goes down and everything on its host is killed.
    HostPowerOff,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::DatabaseKilled, Self::HostPowerOff];

    /// As the report and the command line have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DatabaseKilled => "database-killed",
            Self::HostPowerOff => "host-power-off",
        }
    }

    /// For people.
    #[must_use]
    pub const fn story(self) -> &'static str {
        match self {
            Self::DatabaseKilled => "kill -9 of the primary's postmaster",
            Self::HostPowerOff => "the primary's link goes down, everything on its host is killed",
        }
    }

    fn strike(self, pair: &Pair) -> Result<()> {
        match self {
            Self::DatabaseKilled => pair.nodes[0].database.kill(),
            Self::HostPowerOff => pair.nodes[0].host.power_off(),
        }
    }

    /// Whose gate changes first, and so tells when the fault was noticed.
    const fn first_to_react(self) -> usize {
        match self {
            Self::DatabaseKilled => 0,
            Self::HostPowerOff => 1,
        }
    }
}

/// What was seen when the failover was over.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Last acknowledged write before the fault to the first after it.
    pub outage: Duration,
    /// Acknowledged writes that the new primary does not have.
    pub lost: Vec<i64>,
    /// How long two hosts had an open gate.
    pub two_holders: Duration,
    /// From the fault to the first change of a gate.
    pub reaction: Option<Duration>,
    /// What the client met meanwhile.
    pub failures: BTreeMap<Failure, u64>,
    /// Each change of a gate with its time after the fault.
    pub gates: Vec<(Duration, Change)>,
    /// The history of the new primary's agent.
    pub history: Value,
    /// The history of the old primary's agent, if it lives.
    pub old_history: Option<Value>,
}

/// A fault and how it ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// What went wrong.
    pub fault: Fault,
    /// `None` if writes did not come back.
    pub outcome: Option<Outcome>,
    /// What must not be: empty if all went well.
    pub problems: Vec<String>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Some(outcome) => write!(f, "outage {:.1} ms", millis(outcome.outage))?,
            None => f.write_str("no failover")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  PROBLEM: {problem}"))
    }
}

/// Builds a pair, lets a client write, strikes, and looks.
///
/// # Errors
/// If the pair cannot be built. What goes wrong after that is part of the answer.
pub fn run(fault: Fault, settings: &Settings) -> Result<Run> {
    let pair = Pair::start(fault.name(), settings)?;
    let mut run = Run { fault, outcome: None, problems: Vec::new() };
    match show(&pair, &mut run) {
        Ok(outcome) => run.outcome = Some(outcome),
        Err(error) => run.problems.push(format!("{error:#}")),
    }
    if !run.problems.is_empty() {
        run.problems.push(format!("the agents' logs\n{}", pair.agents_last_words()));
    }
    Ok(run)
}

fn show(pair: &Pair, run: &mut Run) -> Result<Outcome> {
    let watcher = Watcher::start(&pair.hosts());
    let writer = pair.writer();
    thread::sleep(BEFORE);
    writer.wait_for(WRITES, DEADLINE)?;
    let struck = clock::now();
    run.fault.strike(pair)?;
    failed_over(pair, &writer, struck)?;
    run.check(the_address_moved(pair));
    let record = writer.stop()?;
    let outcome = look(pair, run.fault, struck, &record, watcher)?;
    run.judge(&outcome);
    Ok(outcome)
}

/// Waits until writes flow on the second node.
fn failed_over(pair: &Pair, writer: &Writer, struck: Instant) -> Result<()> {
    // Only the client's own record is looked at in the outage: other questions would lengthen it.
    let later = struck + Duration::from_millis(20);
    clock::wait_until("a write after the fault", DEADLINE, Duration::from_millis(5), || {
        let record = writer.record();
        let last = record.acknowledged.last().map(|write| write.at);
        ensure!(last > Some(later), "the client met {:?}", record.failures);
        Ok(Some(()))
    })?;
    pair.wait_until_serving(1)?;
    ensure!(!pair.nodes[1].database.is_in_recovery()?, "the new primary is in recovery");
    writer.wait_for(WRITES, DEADLINE)
}

/// The second node's gate is open, the first's is not, and the client's kernel knows.
fn the_address_moved(pair: &Pair) -> Result<()> {
    let [first, second] = &pair.nodes;
    let gate = watcher::passage(&second.host, 0)?;
    ensure!(gate == Passage::Open, "the gate of {} is {gate:?}", second.host.name());
    if first.host.is_powered() {
        let gate = watcher::passage(&first.host, 0)?;
        ensure!(gate != Passage::Open, "the gate of {} is still open", first.host.name());
    }
    let mac = client::neighbour(&pair.client, IpAddr::V4(VIP))?;
    ensure!(mac == Some(second.host.mac()), "the client sends to {mac:x?} for {VIP}");
    Ok(())
}

fn look(
    pair: &Pair,
    fault: Fault,
    struck: Instant,
    record: &Record,
    watcher: Watcher,
) -> Result<Outcome> {
    let [first, second] = &pair.nodes;
    let seen = watcher.stop()?;
    ensure!(seen.samples > 0, "nobody looked at the gates");
    let reacts = pair.nodes[fault.first_to_react()].host.name();
    let after = seen.changes.iter().filter(|change| change.at > struck);
    Ok(Outcome {
        outage: record.outage(struck).unwrap_or(DEADLINE),
        lost: record.lost(&second.database)?,
        two_holders: seen.two_holders,
        reaction: seen.first_change(reacts, struck).map(|change| change.at.since(struck)),
        failures: record.failures.clone(),
        gates: after.map(|change| (change.at.since(struck), change.clone())).collect(),
        history: second.agent.history()?,
        old_history: first.agent.history().ok(),
    })
}

impl Run {
    fn check(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.problems.push(format!("{error:#}"));
        }
    }

    fn judge(&mut self, outcome: &Outcome) {
        if !outcome.lost.is_empty() {
            let lost = &outcome.lost;
            self.problems.push(format!("{} acknowledged writes are lost: {lost:?}", lost.len()));
        }
        if !outcome.two_holders.is_zero() {
            let time = millis(outcome.two_holders);
            self.problems.push(format!("two hosts had an open gate for {time:.1} ms"));
        }
    }
}
