//! How long it takes to find that a database hangs, and to have another serve; and that a debugger is no
//! hang.

use std::{
    fmt::{self, Display},
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ogha_common::units::Instant;
use serde_json::{Value, json};

use super::{
    alarms::{Alarms, HUNG},
    report::Results,
};
use crate::lab::{
    Pair,
    agent::Settings,
    cgroup::{Cgroup, Version},
    clock,
    frozen::Freezer,
    pair::GENEROUS,
};

const OFTEN: Duration = Duration::from_millis(10);
/// How long a debugger holds the main process.
const DEBUGGED: Duration = Duration::from_secs(10);

/// How the primary's database hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    MainStopped,
    AllStopped,
    Frozen(Version),
    Storage,
}

const FAULTS: [Fault; 5] = [
    Fault::MainStopped,
    Fault::AllStopped,
    Fault::Frozen(Version::Two),
    Fault::Frozen(Version::One),
    Fault::Storage,
];

/// What must be there before the agents start, and what lets all go on when it is dropped.
enum Means {
    Nothing,
    Cgroup(Cgroup),
    Disk(Freezer),
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::MainStopped => "main process stopped",
            Self::AllStopped => "all processes stopped",
            Self::Frozen(Version::Two) => "frozen, cgroup v2",
            Self::Frozen(Version::One) => "frozen, cgroup v1",
            Self::Storage => "storage hangs",
        }
    }

    /// `None`: this machine has not what it takes.
    fn prepare(self, pair: &Pair) -> Result<Option<Means>> {
        let [first, second] = &pair.nodes;
        Ok(match self {
            Self::MainStopped | Self::AllStopped => Some(Means::Nothing),
            Self::Frozen(version) => Cgroup::new(version)?.map(Means::Cgroup),
            Self::Storage => {
                first.database.stop()?;
                let disk = Freezer::under(&first.database)?;
                first.database.start()?;
                first.database.wait_for_standby(second.host.name())?;
                Some(Means::Disk(disk))
            }
        })
    }

    /// Returns when, by both clocks.
    fn strike(self, pair: &Pair, means: &Means) -> Result<(Instant, SystemTime)> {
        let database = &pair.nodes[0].database;
        if let Means::Cgroup(group) = means {
            group.take(database)?;
        }
        let struck = (clock::now(), SystemTime::now());
        match means {
            Means::Cgroup(group) => group.freeze()?,
            Means::Disk(disk) => disk.freeze()?,
            Means::Nothing if self == Self::MainStopped => {
                kill(Pid::from_raw(database.main_pid()?), Signal::SIGSTOP)?;
            }
            Means::Nothing => database.pause()?,
        }
        Ok(struck)
    }
}

/// What was seen of one fault.
#[derive(Clone, Debug)]
struct Line {
    fault: Fault,
    /// From the fault to the finding, sorted.
    found: Vec<Duration>,
    /// From the last write before the fault to the first after it, sorted.
    outage: Vec<Duration>,
    lost: usize,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Report {
    lines: Vec<Line>,
    /// What was made of a database that a debugger held.
    debugged: Alarms,
}

/// Has each fault strike so many times, each time a fresh pair.
///
/// # Errors
/// If a pair does not come up, or a hang is not found within a minute.
pub fn run(rounds: usize) -> Result<Report> {
    let mut lines = Vec::new();
    for fault in FAULTS {
        let mut line = Line { fault, found: Vec::new(), outage: Vec::new(), lost: 0 };
        for _ in 0..rounds {
            let struck = strike(fault).with_context(|| fault.name())?;
            let Some((found, outage, lost)) = struck else { break };
            eprintln!("{}: found after {found:?}, outage {outage:?}", fault.name());
            line.found.push(found);
            line.outage.push(outage);
            line.lost += lost;
        }
        line.found.sort_unstable();
        line.outage.sort_unstable();
        lines.push(line);
    }
    Ok(Report { lines, debugged: debug()? })
}

fn strike(fault: Fault) -> Result<Option<(Duration, Duration, usize)>> {
    let settings = Settings { agent_timeout: Duration::from_secs(3), ..Settings::default() };
    let pair = Pair::without_agents("bench-hangs", &settings)?;
    // Dropped before the pair, whose processes could not end else.
    let Some(means) = fault.prepare(&pair)? else { return Ok(None) };
    pair.start_agents()?;
    let writer = pair.writer();
    writer.wait_for(20, GENEROUS)?;
    let (at, struck) = fault.strike(&pair, &means)?;
    let found = clock::wait_until("the hang to be found", GENEROUS, OFTEN, || {
        let log = pair.nodes[0].agent.log();
        Ok(log.lines().find(|line| line.contains(HUNG)).map(str::to_owned))
    })?;
    pair.wait_until_serving(1).with_context(|| pair.agents_last_words())?;
    let outage =
        clock::wait_until("writes to go on", GENEROUS, OFTEN, || Ok(writer.record().outage(at)))?;
    let lost = writer.stop()?.lost(&pair.nodes[1].database)?.len();
    drop(means);
    let stamp = found.split_whitespace().next().unwrap_or_default();
    let stamp = humantime::parse_rfc3339(stamp).with_context(|| format!("no time in {found:?}"))?;
    Ok(Some((stamp.duration_since(struck).unwrap_or_default(), outage, lost)))
}

/// A debugger holds the main process.
fn debug() -> Result<Alarms> {
    let settings = Settings { agent_timeout: Duration::from_secs(3), ..Settings::default() };
    let pair = Pair::start("bench-hangs", &settings)?;
    let before = Alarms::of(&pair)?;
    let main = pair.nodes[0].database.main_pid()?.to_string();
    let nap = format!("shell sleep {}", DEBUGGED.as_secs());
    let held = Command::new("gdb")
        .args(["-q", "-batch", "-nx", "-p", &main, "-ex", &nap, "-ex", "detach"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot run gdb")?;
    ensure!(held.success(), "gdb could not hold process {main}");
    thread::sleep(Duration::from_millis(500));
    Ok(Alarms::of(&pair)?.since(before))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Lowest, median and highest of what is sorted.
fn figures(times: &[Duration]) -> Option<[f64; 3]> {
    let (lowest, highest) = (times.first()?, times.last()?);
    Some([ms(*lowest), ms(times[times.len() / 2]), ms(*highest)])
}

impl Results for Report {
    /// `{"hangs":[{"fault":..,"rounds":..,"found_ms":[lowest,median,highest],"outage_ms":[..],
    /// "lost":..},..],"debugged":{"seconds":..,"hung":..,"failovers":..}}`; null where this machine
    /// cannot make the fault.
    fn json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "fault": line.fault.name(),
                "rounds": line.found.len(),
                "found_ms": figures(&line.found),
                "outage_ms": figures(&line.outage),
                "lost": line.lost,
            })
        };
        json!({
            "hangs": self.lines.iter().map(line).collect::<Vec<_>>(),
            "debugged": {
                "seconds": DEBUGGED.as_secs(),
                "hung": self.debugged.hung,
                "failovers": self.debugged.term,
            },
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| fault | rounds | found after | lowest | highest | outage | lost writes |")?;
        write!(f, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for line in &self.lines {
            let name = line.fault.name();
            let (Some([low, found, high]), Some([_, outage, _])) =
                (figures(&line.found), figures(&line.outage))
            else {
                write!(f, "\n| {name} | 0 | - | - | - | - | - |")?;
                continue;
            };
            let (rounds, lost) = (line.found.len(), line.lost);
            write!(
                f,
                "\n| {name} | {rounds} | {found:.0} ms | {low:.0} | {high:.0} | {outage:.0} ms | {lost} |"
            )?;
        }
        let Alarms { hung, term, .. } = self.debugged;
        let seconds = DEBUGGED.as_secs();
        write!(f, "\n\nheld by a debugger for {seconds} s: found hung {hung}, failovers {term}")
    }
}
