//! What goes wrong, and what was seen of it.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use serde_json::Value;

use super::millis;
use crate::lab::{Pair, watcher::Change, writer::Failure};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// `kill -9` of the primary's main process.
    DatabaseKilled,
    /// The primary's link goes down and everything on its host is killed.
    HostPowerOff,
}

impl Fault {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

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
    pub const fn description(self) -> &'static str {
        match self {
            Self::DatabaseKilled => "kill -9 of the primary's postmaster",
            Self::HostPowerOff => "the primary's link goes down, everything on its host is killed",
        }
    }

    pub(super) fn strike(self, pair: &Pair) -> Result<()> {
        match self {
            Self::DatabaseKilled => pair.nodes[0].database.kill(),
            Self::HostPowerOff => pair.nodes[0].host.power_off(),
        }
    }

    /// Whose gate changes first, and so tells when the fault was noticed.
    pub(super) const fn first_to_react(self) -> usize {
        match self {
            Self::DatabaseKilled => 0,
            Self::HostPowerOff => 1,
        }
    }
}

/// What was seen when the failover was over.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Last acknowledged write before the fault to the first after it.
    pub outage: Duration,
    /// Acknowledged writes that the new primary does not have.
    pub lost: Vec<i64>,
    /// How long two hosts had an open gate.
    pub two_holders: Duration,
    /// From the fault to the first change of a gate.
    pub reaction: Option<Duration>,
    /// The longest time that the machine itself stood still in the outage, which is part of it.
    pub stall: Duration,
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
    pub outcome: Option<Measured>,
    /// What must not be: empty if all went well.
    pub problems: Vec<String>,
    /// How often it was begun again because the machine stood still before the fault.
    pub disturbed: usize,
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

impl Run {
    pub(super) const fn new(fault: Fault, disturbed: usize) -> Self {
        Self { fault, outcome: None, problems: Vec::new(), disturbed }
    }

    pub(super) fn check(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.problems.push(format!("{error:#}"));
        }
    }

    pub(super) fn judge(&mut self, outcome: &Measured) {
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
