//! The command line: one file a subcommand.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1
//! refused or failed, 2 something that the operator must put right first: the usage, the
//! configuration, or what the agent needs of the host.

mod check;
mod doctor;
mod explain;
mod failover;
mod guard;
mod history;
mod import_keepalived;
mod load;
mod order;
mod output;
mod pause;
mod rejoin;
mod reload;
mod run;
mod status;
mod switchover;
mod top;
mod unload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{failure::Failure, logging};

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
    /// Planned switchover, without losing a write (run on the node that serves)
    Switchover(switchover::Args),
    /// Force promotion here, bypassing safety checks; asks for --force
    Failover(failover::Args),
    /// Pause automatic failover until `resume`
    Pause(order::Args),
    /// Resume automatic failover
    Resume(order::Args),
    /// Make the database here a standby of the node that serves
    Rejoin(rejoin::Args),
    /// Read the configuration again: what may change takes effect, the rest is named
    Reload(reload::Args),
    /// Show what the running agent is doing, again each second
    Top(top::Args),
    /// Check all that a failover needs on this node, and say what to do
    Doctor(doctor::Args),
    /// Before a database is started: let it start as a standby, unless no other node can be primary
    Guard(guard::Args),
    /// Write a configuration from a keepalived.conf, with blanks for what only you know
    ImportKeepalived(import_keepalived::Args),
    /// Print the phases of an instance, and why each is left for which
    Explain(explain::Args),
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
        Command::Reload(args) => reload::command(&args),
        Command::Top(args) => top::command(&args),
        Command::Doctor(args) => doctor::command(&args),
        Command::Guard(args) => guard::command(&args),
        Command::ImportKeepalived(args) => import_keepalived::command(&args),
        Command::Explain(args) => explain::command(&args),
        Command::Load(args) => load::command(&args),
        Command::Unload(args) => unload::command(&args),
    };
    match done {
        Ok(()) => {
            logging::finish();
            ExitCode::SUCCESS
        }
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
