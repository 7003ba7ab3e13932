//! Measures what the data plane costs.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use ogha_tests::bench::xdp;

/// Benchmarks of the data plane. They run in a network namespace and on BPF maps of their own, and
/// leave those of a running agent alone. Need root.
#[derive(Parser)]
#[command(name = "ogha-bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds a packet for each path through the XDP program
    Xdp {
        /// Also write the results to this file, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// How often each path is measured; the table shows the median
        #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// Packets each time
        #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..1_000_000_000))]
        repeat: u32,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: &What) -> Result<()> {
    let What::Xdp { json, rounds, repeat } = what;
    let report = xdp::run(xdp::Plan { rounds: usize::from(*rounds), repeat: *repeat })?;
    println!("{report}");
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report.json())?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
