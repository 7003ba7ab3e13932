//! Measures what the data plane costs, and how the agents bear trouble.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, value_parser};
use ogha_tests::bench::{
    Results, calm, faults, hangs, pgbench, probes, starvation, storm, throughput, verdicts, xdp,
};

/// Benchmarks. They run in network namespaces and on BPF maps of their own, and
/// leave those of a running agent alone. Need root.
#[derive(Parser)]
#[command(name = "ogha-bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Output {
    /// Also write the results to this file, as JSON
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds a packet for each path through the XDP program
    Xdp {
        /// How often each path is measured; the table shows the median
        #[arg(long, value_name = "N", default_value_t = 11, value_parser = value_parser!(u16).range(1..))]
        rounds: u16,
        /// Packets each time
        #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = value_parser!(u32).range(1..1_000_000_000))]
        repeat: u32,
    },
    /// Round trips of probes, beside those of datagrams that a program sends back
    Probes {
        /// Questions to each, under each load
        #[arg(long, value_name = "N", default_value_t = 3000, value_parser = value_parser!(u32).range(1..))]
        questions: u32,
    },
    /// TCP through an interface: with nothing, with XDP_PASS, with ogha
    Throughput {
        /// How often each is measured; the table shows the median
        #[arg(long, value_name = "N", default_value_t = 9, value_parser = value_parser!(u16).range(1..))]
        rounds: u16,
        /// How long each time
        #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = value_parser!(u32).range(10..))]
        time: u32,
    },
    /// PostgreSQL's benchmark through the virtual address, beside the same without ogha
    Pgbench {
        /// How often each is measured; the table shows the median
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u16).range(1..))]
        rounds: u16,
        /// How long each time
        #[arg(long, value_name = "S", default_value_t = 5, value_parser = value_parser!(u16).range(1..))]
        seconds: u16,
    },
    /// From a fault of the primary's node to the standby's verdict
    Verdicts {
        /// How often each fault strikes; the table shows the median
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u16).range(1..))]
        rounds: u16,
    },
    /// Every fault under every arbiter: outage, lost writes, two holders, what remains
    Faults {
        /// Only these faults (`none`: no fault at all)
        #[arg(long, value_name = "NAME")]
        fault: Vec<String>,
        /// Only under these arbiters
        #[arg(long, value_name = "KIND")]
        arbiter: Vec<faults::Arbiter>,
        /// How often everything is killed at once, after that
        #[arg(long, value_name = "N", default_value_t = 0)]
        mayhem: usize,
    },
    /// Failovers without a fault on a machine that is busy with other things, beside keepalived's
    Starvation {
        /// How long
        #[arg(long, value_name = "N", default_value_t = 5.0)]
        minutes: f32,
        /// Busy loops meanwhile
        #[arg(long, value_name = "N", default_value_t = 10)]
        loops: usize,
        /// How often each agent is stopped after that
        #[arg(long, value_name = "N", default_value_t = 10)]
        stops: usize,
    },
    /// From a hang of the primary's database to its finding, and to the next write
    Hangs {
        /// How often each strikes; the table shows the median
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u16).range(1..))]
        rounds: u16,
    },
    /// Storms of connections by a client without a login: is a database stopped?
    Storm {
        /// How many of each form, at each number of connections
        #[arg(long, value_name = "N", default_value_t = 20)]
        runs: usize,
        /// How long each
        #[arg(long, value_name = "S", default_value_t = 6.0)]
        seconds: f32,
        /// Busy loops meanwhile
        #[arg(long, value_name = "N", default_value_t = 10)]
        loops: usize,
        /// Only at this number, once for each
        #[arg(long, value_name = "N", default_values_t = [100, 500, 1000])]
        max_connections: Vec<u16>,
    },
    /// pgbench, checkpoints, sorts and load, with nothing that fails: is the database taken for hung?
    Calm {
        /// How long
        #[arg(long, value_name = "N", default_value_t = 60.0)]
        minutes: f32,
        /// Busy loops meanwhile
        #[arg(long, value_name = "N", default_value_t = 2)]
        loops: usize,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let results = measure(&arguments.what)?;
    println!("{results}");
    if let Some(path) = &arguments.output.json {
        let text = serde_json::to_string_pretty(&results.json())?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(what: &What) -> Result<Box<dyn Results>> {
    Ok(match *what {
        What::Faults { ref fault, ref arbiter, mayhem } => {
            let (faults, arbiters) = (fault.clone(), arbiter.clone());
            Box::new(faults::run(&faults::Plan { faults, arbiters, mayhem })?)
        }
        What::Xdp { rounds, repeat } => {
            Box::new(xdp::run(xdp::Plan { rounds: rounds.into(), repeat })?)
        }
        What::Probes { questions } => Box::new(probes::run(questions as usize)?),
        What::Throughput { rounds, time } => Box::new(throughput::run(throughput::Plan {
            rounds: rounds.into(),
            time: Duration::from_millis(time.into()),
        })?),
        What::Pgbench { rounds, seconds } => {
            Box::new(pgbench::run(pgbench::Plan { rounds: rounds.into(), seconds })?)
        }
        What::Verdicts { rounds } => Box::new(verdicts::run(rounds.into())?),
        What::Starvation { minutes, loops, stops } => {
            let time = Duration::from_secs_f32(60.0 * minutes.max(0.0));
            Box::new(starvation::run(starvation::Plan { time, loops, stops })?)
        }
        What::Hangs { rounds } => Box::new(hangs::run(rounds.into())?),
        What::Storm { runs, seconds, loops, ref max_connections } => {
            let time = Duration::from_secs_f32(seconds.max(0.0));
            let max_connections = max_connections.clone();
            Box::new(storm::run(storm::Plan { runs, time, loops, max_connections })?)
        }
        What::Calm { minutes, loops } => {
            let time = Duration::from_secs_f32(60.0 * minutes.max(0.0));
            Box::new(calm::run(calm::Plan { time, loops })?)
        }
    })
}
