//! `ogha-agent import-keepalived`

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::{Failure, output};
use crate::keepalived;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The keepalived.conf of this node
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let file = args.file.display();
    let bytes = std::fs::read(&args.file)
        .with_context(|| format!("cannot read {file}"))
        .map_err(Failure::start_up)?;
    let text = String::from_utf8_lossy(&bytes);
    let imported =
        keepalived::import(&text).map_err(|error| Failure::start_up(anyhow!("{file}: {error}")))?;
    output::print(&imported)
}
