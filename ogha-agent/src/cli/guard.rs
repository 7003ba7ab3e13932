//! `ogha-agent guard`

use std::path::PathBuf;

use anyhow::anyhow;

use super::{Failure, order, output};
use crate::{
    config::{Config, DEFAULT_FILE, Instance},
    database::{self, Guarded, Unit},
    store::Store,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// Only the database of this unit; without it, all of this host
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    let wanted = match &args.unit {
        Some(name) => Some(Unit::parse(name).ok_or_else(|| {
            Failure::start_up(anyhow!("{name:?} is no name of a service; use for example %n"))
        })?),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::failed)?;
    let mut guarded = 0;
    for instance in &config.instances {
        let Some(server) = instance.database.server() else { continue };
        if wanted.is_some() && wanted != server.unit {
            continue;
        }
        guarded += 1;
        let primary = || is_to_be_primary(&config, instance);
        let done = runtime.block_on(database::guard(&instance.database, primary)).map_err(|error| {
            Failure::failed(error.context(format!(
                "cannot make sure that the database of {} starts as a standby, so it must not start",
                instance.name
            )))
        })?;
        output::print(&format!("{}: {}\n", instance.name, sentence(done)))?;
    }
    match (&wanted, guarded) {
        (Some(unit), 0) => Err(Failure::start_up(anyhow!(
            "no instance of {} has unit = \"{unit}\" in [instance.database]; add it, or remove this \
             guard from the unit",
            args.config.display()
        ))),
        _ => Ok(()),
    }
}

fn sentence(guarded: Guarded) -> &'static str {
    match guarded {
        Guarded::NoDatabase => "there is no database yet",
        Guarded::Unsupported => "only PostgreSQL can be guarded; nothing was done",
        Guarded::Standby => "the database starts as a standby",
        Guarded::Ordered => "the agent has ordered this start",
        Guarded::Primary => "the database may start as primary: no other node can have replaced it",
        Guarded::Fenced => {
            "the database starts as a standby (standby.signal written), for another node may be \
             primary by now; the agent promotes it if none is"
        }
    }
}

/// Whether no other node can be primary: this node has never been in a cluster, or the record counts
/// nobody else in sync.
fn is_to_be_primary(config: &Config, instance: &Instance) -> bool {
    let me = ogha_common::units::NodeId::of(&config.node.name);
    match Store::peek(&config.node.state_dir, &instance.name) {
        Ok(None) => true,
        Ok(Some(record)) if record.primary != me => false,
        Ok(Some(record)) => record.others().is_empty(),
        Err(error) => {
            order::tell(&format!("ogha-agent: {error:#}"));
            false
        }
    }
}
