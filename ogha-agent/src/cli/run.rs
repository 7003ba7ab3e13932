//! `ogha-agent run`

use std::path::PathBuf;

use super::{Failure, log};
use crate::config::{Config, DEFAULT_FILE};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// What to log: error, warn, info, debug, trace, or a list by module; before RUST_LOG
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    log::start(args.log.as_deref())?;
    let config = Config::load(&args.config)?;
    config.check_start(&args.config)?;
    Ok(crate::run::run(&config)?)
}
