//! `ogha-agent doctor`

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::{Failure, output};
use crate::{
    config::{Config, DEFAULT_FILE},
    doctor::{self, Level},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// One line of JSON instead of a page for people
    #[arg(long)]
    json: bool,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let findings = runtime.block_on(doctor::examine(&config));
    if args.json {
        output::json(&findings)?;
    } else {
        let lines: Vec<_> = findings.iter().map(|finding| format!("{finding}\n")).collect();
        output::print(&lines.concat())?;
    }
    match findings.iter().filter(|finding| finding.level == Level::Fail).count() {
        0 => Ok(()),
        count => Err(Failure::failed(anyhow!("{count} of the checks failed"))),
    }
}
