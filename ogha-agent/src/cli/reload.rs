//! `ogha-agent reload`

use std::path::PathBuf;

use anyhow::anyhow;

use super::{Failure, output};
use crate::control::{
    DEFAULT_SOCKET, client,
    protocol::{Request, Response},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One line of JSON instead of text for people
    #[arg(long)]
    json: bool,
    /// The agent's control socket: `agent.sock` in its run_dir
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let reloaded = match client::ask(&args.socket, &Request::Reload)? {
        Response::Reloaded(reloaded) => reloaded,
        Response::Error(why) => return Err(Failure::failed(anyhow!(why))),
        other => {
            return Err(Failure::failed(anyhow!("the agent answered with its {}", other.kind())));
        }
    };
    if args.json {
        output::json(&reloaded)?;
    }
    if !reloaded.problems.is_empty() {
        let problems = reloaded.problems.join("\n");
        let what = "the configuration was not reloaded and nothing was changed";
        return Err(Failure::failed(anyhow!("{what}:\n{problems}")));
    }
    if args.json {
        return Ok(());
    }
    let mut text = match reloaded.changed.is_empty() {
        true => "reloaded: nothing changed\n".to_owned(),
        false => format!("reloaded; changed: {}\n", reloaded.changed.join(", ")),
    };
    if !reloaded.needs_restart.is_empty() {
        let keys = reloaded.needs_restart.join(", ");
        text += &format!("only a restart of the agent takes on: {keys}\n");
    }
    output::print(&text)
}
