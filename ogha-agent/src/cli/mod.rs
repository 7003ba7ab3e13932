//! The command line: one file a subcommand.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1
//! refused or failed, 2 something that the operator must put right first: the usage, the
//! configuration, or what the agent needs of the host.

mod check;
mod doctor;
mod failover;
mod history;
mod import_keepalived;
mod load;
mod log;
mod order;
mod output;
mod pause;
mod rejoin;
mod run;
mod status;
mod switchover;
mod top;
mod unload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Keeps a virtual IP on the node whose database accepts writes.
#[derive(Debug, Parser)]
#[command(name = "ogha-agent", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent, in the foreground; the log goes to standard error
    Run(run::Args),
    /// Check the configuration and this host; change nothing
    Check(check::Args),
    /// Show what the running agent is doing
    Status(status::Args),
    /// Show the failovers, each as a timeline
    History(history::Args),
    /// Hand the role to another node, without losing a write; ordered at the node that serves
    Switchover(switchover::Args),
    /// Take over here though the rules forbid it; asks for --force
    Failover(failover::Args),
    /// Let nobody take over until `resume`
    Pause(order::Args),
    /// Failovers again
    Resume(order::Args),
    /// Make the database here a standby of the node that serves
    Rejoin(rejoin::Args),
    /// Show what the running agent is doing, again each second
    Top(top::Args),
    /// Check all that a failover needs on this node, and say what to do
    Doctor(doctor::Args),
    /// Write a configuration from a keepalived.conf, with blanks for what only you know
    ImportKeepalived(import_keepalived::Args),
    /// Attach the data plane without an agent, for looking at it with bpftool
    Load(load::Args),
    /// Remove the data plane
    Unload(unload::Args),
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::command(&args),
        Command::Check(args) => check::command(&args),
        Command::Status(args) => status::command(&args),
        Command::History(args) => history::command(&args),
        Command::Switchover(args) => switchover::command(&args),
        Command::Failover(args) => failover::command(&args),
        Command::Pause(args) => pause::pause(&args),
        Command::Resume(args) => pause::resume(&args),
        Command::Rejoin(args) => rejoin::command(&args),
        Command::Top(args) => top::command(&args),
        Command::Doctor(args) => doctor::command(&args),
        Command::ImportKeepalived(args) => import_keepalived::command(&args),
        Command::Load(args) => load::command(&args),
        Command::Unload(args) => unload::command(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
