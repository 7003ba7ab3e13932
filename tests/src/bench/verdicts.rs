//! How long the standby's agent takes to know what has happened to the primary, fault by fault.

use std::{
    fmt::{self, Display},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::report::Results;
use crate::lab::{
    Pair,
    agent::{Kind, Settings},
    clock,
    pair::GENEROUS,
};

/// The default of `probe_interval`.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);
const OFTEN: Duration = Duration::from_millis(10);

/// What is done to the primary's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    HostPowerOff,
    DatabaseKilled,
    AgentKilled,
    AgentStopped,
    DatabaseStopped,
}

const FAULTS: [Fault; 5] = [
    Fault::HostPowerOff,
    Fault::DatabaseKilled,
    Fault::AgentKilled,
    Fault::AgentStopped,
    Fault::DatabaseStopped,
];

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::HostPowerOff => "host-power-off",
            Self::DatabaseKilled => "database-killed",
            Self::AgentKilled => "agent-killed",
            Self::AgentStopped => "agent-stopped",
            Self::DatabaseStopped => "database-stopped",
        }
    }

    /// How the verdict begins in the agent's log, and what its evidence must say.
    const fn verdict(self) -> [&'static str; 2] {
        match self {
            Self::HostPowerOff => ["host dead", "probes missed"],
            Self::DatabaseKilled => ["database dead", "nobody listens"],
            Self::AgentKilled => ["agent dead", "its process is gone"],
            Self::AgentStopped => ["agent dead", "its process is there"],
            Self::DatabaseStopped => ["hung", "a check was not answered"],
        }
    }

    fn strike(self, pair: &Pair) -> Result<()> {
        let node = &pair.nodes[0];
        match self {
            Self::HostPowerOff => node.host.power_off(),
            Self::DatabaseKilled => node.database.kill(),
            Self::AgentKilled => node.agent.kill(),
            Self::AgentStopped => node.agent.signal(Signal::SIGSTOP),
            Self::DatabaseStopped => node.database.pause(),
        }
    }
}

/// What was seen of one fault.
#[derive(Clone, Debug)]
struct Line {
    fault: Fault,
    /// From the fault to the verdict, sorted.
    times: Vec<Duration>,
    /// What the verdict said the last time.
    evidence: String,
}

impl Line {
    fn median(&self) -> Duration {
        self.times.get(self.times.len() / 2).copied().unwrap_or_default()
    }
}

/// What was seen of all faults.
#[derive(Clone, Debug)]
pub struct Report(Vec<Line>);

/// Strikes a pair with each fault so many times, and reads in the standby's log when it knew.
///
/// # Errors
/// If a pair does not come up, or a verdict does not come within a minute.
pub fn run(rounds: usize) -> Result<Report> {
    let mut lines = Vec::new();
    for fault in FAULTS {
        let mut line = Line { fault, times: Vec::new(), evidence: String::new() };
        for _ in 0..rounds {
            let (time, evidence) =
                strike(fault).with_context(|| format!("the fault {}", fault.name()))?;
            line.times.push(time);
            line.evidence = evidence;
        }
        line.times.sort_unstable();
        lines.push(line);
    }
    Ok(Report(lines))
}

fn strike(fault: Fault) -> Result<(Duration, String)> {
    let settings = Settings { kind: Kind::Postgresql, ..Settings::default() };
    let pair = Pair::start("bench-verdicts", &settings)?;
    let standby = &pair.nodes[1].agent;
    clock::wait_until("the standby to find the primary healthy", GENEROUS, OFTEN, || {
        Ok((standby.instance()?["peers"][0]["verdict"] == "healthy").then_some(()))
    })?;
    let seen = standby.log().lines().count();
    let struck = SystemTime::now();
    fault.strike(&pair)?;
    clock::wait_until("the standby's verdict", GENEROUS, OFTEN, || {
        let log = standby.log();
        let [verdict, evidence] = fault.verdict();
        let told = |line: &&str| line.contains(verdict) && line.contains(evidence);
        Ok(log.lines().skip(seen).find(told).map(str::to_owned))
    })
    .and_then(|line| {
        let at = line.split_whitespace().next().unwrap_or_default();
        let at = humantime::parse_rfc3339(at).with_context(|| format!("no time in {line:?}"))?;
        let [verdict, _] = fault.verdict();
        let told = line.find(verdict).map_or("", |start| &line[start..]);
        let (evidence, _) = told.split_once(" peer=").unwrap_or((told, ""));
        Ok((at.duration_since(struck).unwrap_or_default(), evidence.to_owned()))
    })
}

impl Results for Report {
    /// `{"probe_interval_ms":10,"verdicts":[{"fault":..,"ms":..,"lowest_ms":..,"highest_ms":..,
    /// "evidence":..},..]}`.
    fn json(&self) -> Value {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let line = |line: &Line| {
            json!({
                "fault": line.fault.name(),
                "ms": ms(line.median()),
                "lowest_ms": line.times.first().copied().map(ms),
                "highest_ms": line.times.last().copied().map(ms),
                "evidence": line.evidence,
            })
        };
        let verdicts: Vec<_> = self.0.iter().map(line).collect();
        json!({ "probe_interval_ms": ms(PROBE_INTERVAL), "verdicts": verdicts })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
        writeln!(f, "from the fault to the standby's verdict, probes every 10 ms\n")?;
        writeln!(f, "| fault | median | lowest | highest | probe intervals | evidence |")?;
        write!(f, "| --- | ---: | ---: | ---: | ---: | --- |")?;
        for line in &self.0 {
            let median = line.median();
            let intervals = median.as_secs_f64() / PROBE_INTERVAL.as_secs_f64();
            let lowest = line.times.first().map(ms).unwrap_or_default();
            let highest = line.times.last().map(ms).unwrap_or_default();
            let (name, evidence) = (line.fault.name(), &line.evidence);
            write!(
                f,
                "\n| {name} | {:.1} ms | {lowest:.1} | {highest:.1} | {intervals:.1} | {evidence} |",
                ms(&median)
            )?;
        }
        Ok(())
    }
}
