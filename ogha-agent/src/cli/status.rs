//! `ogha-agent status`

use std::path::PathBuf;

use anyhow::anyhow;

use super::{Failure, output};
use crate::control::{
    DEFAULT_SOCKET, client,
    protocol::{Request, Response},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One line of JSON instead of a page for people
    #[arg(long)]
    json: bool,
    /// The agent's control socket: `agent.sock` in its run_dir
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    match client::ask(&args.socket, &Request::Status)? {
        Response::Status(status) if args.json => output::json(&status),
        Response::Status(status) => output::print(&status.to_string()),
        Response::Error(why) => Err(Failure::failed(anyhow!(why))),
        other => Err(Failure::failed(anyhow!("the agent answered with its {}", other.kind()))),
    }
}
