//! Transactions a second of PostgreSQL's own benchmark: through the virtual address with agents at work, and
//! to the node's own address with no agent and no data plane.

use std::{
    fmt::{self, Display},
    net::Ipv4Addr,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use ogha_agent::kernel;
use serde_json::{Value, json};

use super::report::{Results, median};
use crate::lab::{
    Pair,
    agent::Settings,
    pair::{FIRST, VIP},
    postgres::{BIN, PORT},
};

const CLIENTS: &str = "4";

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often each.
    pub rounds: usize,
    /// Seconds each time.
    pub seconds: u16,
}

/// What the clients do.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// One look-up by key a transaction.
    Reads,
    /// The mixture that is like TPC-B. Each commit waits for the standby.
    Writes,
}

const WORKS: [Work; 2] = [Work::Reads, Work::Writes];

/// Transactions a second, one value a round.
#[derive(Clone, Debug, Default)]
struct Rates {
    without: Vec<f64>,
    with: Vec<f64>,
}

/// For each work.
#[derive(Clone, Debug, Default)]
pub struct Report([Rates; WORKS.len()]);

/// Measures by turns.
///
/// # Errors
/// Without root, and if the pair does not come to work.
pub fn run(plan: Plan) -> Result<Report> {
    let pair = Pair::without_agents("bench-pgbench", &Settings::patient(Default::default()))?;
    initialize(&pair, FIRST)?;
    let mut report = Report::default();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for (work, rates) in WORKS.iter().zip(&mut report.0) {
            rates.without.push(work.rate(&pair, FIRST, plan.seconds.into())?);
        }
        pair.start_agents()?;
        for (work, rates) in WORKS.iter().zip(&mut report.0) {
            rates.with.push(work.rate(&pair, VIP, plan.seconds.into())?);
        }
        for node in &pair.nodes {
            node.agent.stop()?;
            kernel::unload(&node.host.bpf_dir())?;
        }
    }
    Ok(report)
}

/// Fills its tables.
///
/// # Errors
/// If the database refuses.
pub(super) fn initialize(pair: &Pair, address: Ipv4Addr) -> Result<()> {
    pgbench(pair, address, &["--initialize", "--quiet", "--scale=5"]).map(drop)
}

/// Writes for so many seconds; transactions a second.
///
/// # Errors
/// If a client was thrown out.
pub(super) fn writes(pair: &Pair, address: Ipv4Addr, seconds: u64) -> Result<f64> {
    Work::Writes.rate(pair, address, seconds)
}

impl Work {
    fn rate(self, pair: &Pair, address: Ipv4Addr, seconds: u64) -> Result<f64> {
        let time = format!("--time={seconds}");
        let script = match self {
            Self::Reads => "--builtin=select-only",
            Self::Writes => "--builtin=tpcb-like",
        };
        let said = pgbench(
            pair,
            address,
            &["--no-vacuum", "--client", CLIENTS, "--jobs=2", script, &time],
        )?;
        rate_in(&said).with_context(|| format!("pgbench says {said}"))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
        }
    }
}

/// On the client, to its end.
fn pgbench(pair: &Pair, address: Ipv4Addr, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(Path::new(BIN).join("pgbench"));
    command.args(["--host", &address.to_string(), "--port", &PORT.to_string()]);
    command.args(["--username", "postgres"]).args(arguments).arg("postgres");
    let output = pair.client.output(command, None)?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench: {}", error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Of the line `tps = 123.4 (without initial connection time)`.
fn rate_in(said: &str) -> Option<f64> {
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    rate.split(' ').next()?.parse().ok()
}

impl Rates {
    /// The median over the rounds of the rate with ogha to that without, in the same round.
    fn ratio(&self) -> f64 {
        median(&self.with.iter().zip(&self.without).map(|(a, b)| a / b).collect::<Vec<_>>())
    }
}

impl Results for Report {
    /// `{"pgbench":[{"work":"reads","without_tps":..,"with_tps":..,"ratio":..,"rounds":..},..]}`:
    /// medians over the rounds.
    fn json(&self) -> Value {
        let line = |(work, rates): (&Work, &Rates)| {
            json!({
                "work": work.name(),
                "without_tps": median(&rates.without).round(),
                "with_tps": median(&rates.with).round(),
                "ratio": (rates.ratio() * 100.0).round() / 100.0,
                "rounds": rates.with.len(),
            })
        };
        json!({ "pgbench": WORKS.iter().zip(&self.0).map(line).collect::<Vec<_>>() })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.0[0].with.len();
        writeln!(f, "transactions a second of {CLIENTS} clients, median of {rounds} rounds\n")?;
        writeln!(f, "| work | without ogha | with ogha | ratio |")?;
        write!(f, "| --- | ---: | ---: | ---: |")?;
        for (work, rates) in WORKS.iter().zip(&self.0) {
            let (without, with) = (median(&rates.without), median(&rates.with));
            let (name, ratio) = (work.name(), rates.ratio());
            write!(f, "\n| {name} | {without:.0} | {with:.0} | {ratio:.2} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_pgbench_says() {
        let said =
            "latency average = 0.3 ms\ntps = 12345.678901 (without initial connection time)\n";
        assert!((rate_in(said).unwrap() - 12_345.678_901).abs() < 1e-6);
        assert_eq!(rate_in("latency average = 0.3 ms\n"), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let rates = Rates { without: vec![10.0, 20.0, 40.0], with: vec![9.0, 20.0, 20.0] };
        assert!((rates.ratio() - 0.9).abs() < 1e-9);
    }
}
