//! A pair of agents that hardly get a processor, and a pair of keepalived beside it, under the same load
//! and with adverts as often: who takes over although nobody has failed? And: agents that are stopped
//! again and again, each time for less than `agent_timeout`.

use std::{
    fmt::{self, Display},
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use ogha_common::units;
use serde_json::{Value, json};

use super::{load::Load, report::Results};
use crate::lab::{
    Keepalived, Pair, Watcher,
    agent::Settings,
    clock,
    pair::{FIRST, GENEROUS, SECOND, VIP},
};

/// Between two adverts, and between two probes.
const INTERVAL: Duration = Duration::from_millis(10);
/// The default.
const AGENT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an agent is stopped. The lease may be a quarter of `agent_timeout` old when that begins.
const STOP: Duration = Duration::from_secs(2);
/// How long it may go on before it, or the other, is stopped.
const BREATH: Duration = Duration::from_secs(1);

/// How long, and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Under load.
    pub time: Duration,
    /// Busy loops meanwhile.
    pub loops: usize,
    /// How often each agent is stopped after that.
    pub stops: usize,
}

/// What was seen of a pair of agents.
#[derive(Clone, Debug)]
pub struct Calm {
    /// Changes of the active node: so many terms have begun.
    pub failovers: u64,
    /// Changes of any gate, as a look at it every millisecond has seen.
    pub gate_changes: usize,
    /// The agents' last words, if there was any of either.
    pub log: String,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Report {
    plan: Plan,
    starved: Calm,
    keepalived: usize,
    stopped: Calm,
}

/// Starves both pairs, then stops the agents.
///
/// # Errors
/// Without root, if keepalived is not installed, and if a pair does not come to work.
pub fn run(plan: Plan) -> Result<Report> {
    let pair = start("bench-starve")?;
    let rivals = Rivals::start(&pair)?;
    let (starved, keepalived) = {
        eprintln!("{} busy loops for {} s", plan.loops, plan.time.as_secs());
        let _load = Load::start(plan.loops, None);
        let before = rivals.takeovers()?;
        let starved = watch(&pair, || {
            thread::sleep(plan.time);
            Ok(())
        })?;
        (starved, rivals.takeovers()? - before)
    };
    drop(rivals);
    eprintln!("each agent is stopped {} times for {} s", plan.stops, STOP.as_secs());
    let stopped = watch(&pair, || stop_again_and_again(&pair, plan.stops))?;
    Ok(Report { plan, starved, keepalived, stopped })
}

/// A pair of agents without real-time priority.
///
/// # Errors
/// If it does not come to work.
pub fn start(name: &str) -> Result<Pair> {
    let settings = Settings {
        realtime: false,
        advert_interval: INTERVAL,
        agent_timeout: AGENT_TIMEOUT,
        ..Settings::default()
    };
    Pair::start(name, &settings)
}

/// Looks at the pair while `work` is done, and for a while after it.
///
/// # Errors
/// If the agents do not answer, or the work fails.
pub fn watch(pair: &Pair, work: impl FnOnce() -> Result<()>) -> Result<Calm> {
    let before = term(pair)?;
    let watcher = Watcher::start(&pair.hosts());
    let begun = clock::now();
    work()?;
    let seen = watcher.stop()?;
    // The first look at each gate counts as a change of it.
    let changed = |at: units::Instant| at > begun + Duration::from_millis(500);
    let gate_changes = seen.changes.iter().filter(|change| changed(change.at)).count();
    let failovers = term(pair)? - before;
    let quiet = failovers == 0 && gate_changes == 0;
    let log = if quiet { String::new() } else { pair.agents_last_words() };
    Ok(Calm { failovers, gate_changes, log })
}

/// The higher one of what the nodes say.
fn term(pair: &Pair) -> Result<u64> {
    let of = |node: usize| {
        clock::wait_until("the agent to answer", GENEROUS, INTERVAL, || {
            Ok(pair.nodes[node].agent.instance()?["term"].as_u64())
        })
    };
    Ok(of(0)?.max(of(1)?))
}

/// Stops one agent after the other for less than `agent_timeout`.
///
/// # Errors
/// If one has ended.
pub fn stop_again_and_again(pair: &Pair, times: usize) -> Result<()> {
    for _ in 0..times {
        for node in &pair.nodes {
            node.agent.signal(Signal::SIGSTOP)?;
            let stopped = Instant::now();
            thread::sleep(STOP);
            node.agent.signal(Signal::SIGCONT)?;
            let took = stopped.elapsed();
            ensure!(took < AGENT_TIMEOUT * 3 / 4, "the machine stood still: {took:?}");
            thread::sleep(BREATH);
        }
    }
    Ok(())
}

/// Two keepalived at a switch of their own.
struct Rivals([Keepalived; 2]);

impl Rivals {
    fn start(pair: &Pair) -> Result<Self> {
        let switch = pair.lab.switch("switch2")?;
        let start = |name: &str, address: Ipv4Addr, priority| {
            let host = pair.lab.host(name, &switch, address)?;
            Keepalived::start(&host, VIP, priority, INTERVAL)
        };
        let rivals = Self([start("keepalived1", FIRST, 100)?, start("keepalived2", SECOND, 90)?]);
        clock::wait_until("a keepalived to take the address", GENEROUS, INTERVAL, || {
            Ok((rivals.takeovers()? > 0).then_some(()))
        })?;
        // The election is over when the higher priority has spoken.
        thread::sleep(BREATH);
        Ok(rivals)
    }

    fn takeovers(&self) -> Result<usize> {
        let [first, second] = &self.0;
        Ok(first.takeovers()? + second.takeovers().context("the second")?)
    }
}

impl Results for Report {
    /// `{"starvation":{"seconds":..,"loops":..,"ogha_failovers":..,"ogha_gate_changes":..,
    /// "keepalived_failovers":..},"stopped":{"stops":..,"ms":..,"failovers":..,"gate_changes":..}}`.
    fn json(&self) -> Value {
        let Self { plan, starved, keepalived, stopped } = self;
        json!({
            "starvation": {
                "seconds": plan.time.as_secs(),
                "loops": plan.loops,
                "ogha_failovers": starved.failovers,
                "ogha_gate_changes": starved.gate_changes,
                "keepalived_failovers": keepalived,
            },
            "stopped": {
                "stops": 2 * plan.stops,
                "ms": STOP.as_millis() as u64,
                "failovers": stopped.failovers,
                "gate_changes": stopped.gate_changes,
            },
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, starved, keepalived, stopped } = self;
        let (seconds, loops) = (plan.time.as_secs(), plan.loops);
        writeln!(f, "adverts and probes every 10 ms, no real-time priority, no fault\n")?;
        writeln!(f, "| what | who | failovers | changes of a gate |")?;
        writeln!(f, "| --- | --- | ---: | ---: |")?;
        let load = format!("{loops} busy loops for {seconds} s");
        writeln!(f, "| {load} | ogha | {} | {} |", starved.failovers, starved.gate_changes)?;
        writeln!(f, "| {load} | keepalived | {keepalived} | - |")?;
        let stops = format!("{} stops of {} s", 2 * plan.stops, STOP.as_secs());
        write!(f, "| {stops} | ogha | {} | {} |", stopped.failovers, stopped.gate_changes)?;
        for calm in [starved, stopped].iter().filter(|calm| !calm.log.is_empty()) {
            write!(f, "\n\n{}", calm.log)?;
        }
        Ok(())
    }
}
