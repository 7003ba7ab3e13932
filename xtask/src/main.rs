//! `cargo xtask`: ogha's chores, one file a command.
//!
//! Each command first sets up what it needs itself, so a fresh clone needs no other preparation
//! than a Rust toolchain. Exit codes: 0 done, 1 failed, 2 bad usage; `bench`, `demo`, `load` and
//! `unload` end with the exit code of the program that they run.

mod bench;
mod build;
mod cargo;
mod ci;
#[cfg(test)]
mod circles;
mod demo;
#[cfg(test)]
mod guest;
mod load;
mod root;
mod setup;
mod test;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

/// ogha's chores. Each sets up what it needs by itself.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing, and say what and why
    Setup {
        /// Only say what would be done
        #[arg(long, visible_alias = "check")]
        dry_run: bool,
    },
    /// Build the agent with its BPF object
    Build {
        /// Optimise
        #[arg(long)]
        release: bool,
    },
    /// Attach the data plane without an agent: --interface IF [--bpf-dir DIR]
    #[command(disable_help_flag = true)]
    Load(Rest),
    /// Remove the data plane: [--bpf-dir DIR]
    #[command(disable_help_flag = true)]
    Unload(Rest),
    /// Show failovers of real databases: [--json FILE] [--runs N] ..; `demo --help` tells the rest
    #[command(disable_help_flag = true)]
    Demo(Rest),
    /// Measure: xdp, probes, throughput, pgbench, starvation, verdicts, faults [--json FILE] ..; `bench --help` tells the rest
    #[command(disable_help_flag = true)]
    Bench(Rest),
    /// Run the tests (as root, for the scenarios)
    Test {
        /// Only the tests whose name contains this
        name: Option<String>,
        /// Also the slow ones and the long simulation: what a release has to pass
        #[arg(long)]
        all: bool,
        /// Scenarios at a time
        #[arg(long, value_name = "N", default_value_t = test::JOBS)]
        jobs: usize,
        /// Simulated runs, instead of 20,000 (with --all: of 1,000,000)
        #[arg(long, visible_alias = "stories", value_name = "N")]
        runs: Option<u64>,
    },
    /// Everything that a change must pass: formatting, lints, documentation, tests
    Ci,
}

/// What the program behind the command gets as it is.
#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Setup { dry_run } => setup::command(dry_run),
        Command::Build { release } => build::command(release),
        Command::Load(rest) => load::command("load", &rest.arguments),
        Command::Unload(rest) => load::command("unload", &rest.arguments),
        Command::Demo(rest) => demo::command(&rest.arguments),
        Command::Bench(rest) => bench::command(&rest.arguments),
        Command::Test { name, all, jobs, runs } => {
            test::command(&test::Options { name, all, jobs, runs })
        }
        Command::Ci => ci::command(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
