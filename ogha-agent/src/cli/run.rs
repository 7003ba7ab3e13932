//! `ogha-agent run`

use std::path::PathBuf;

use super::Failure;
use crate::{
    config::{Config, DEFAULT_FILE},
    logging,
    run::signals,
};

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
    signals::survive().map_err(Failure::failed)?;
    logging::start(args.log.as_deref()).map_err(Failure::start_up)?;
    let config = Config::load(&args.config)?;
    config.check_start(&args.config)?;
    logging::follow(&config.node.log);
    Ok(crate::run::run(&config, &args.config)?)
}
