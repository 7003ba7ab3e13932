//! `ogha-agent check`

use std::path::PathBuf;

use super::{Failure, output};
use crate::{
    config::{Config, DEFAULT_FILE},
    doctor,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    config.check_host(&args.config)?;
    let mut text = summary(&args.config.display().to_string(), &config);
    for instance in &config.instances {
        for what in doctor::outside(instance) {
            text.push_str(&format!("warning: instance {}: {what}\n", instance.name));
        }
    }
    output::print(&text)
}

fn summary(file: &str, config: &Config) -> String {
    let mut text = format!("{file}: good; node {}\n", config.node.name);
    for instance in &config.instances {
        let addresses: Vec<_> =
            instance.virtual_addresses.iter().map(ToString::to_string).collect();
        let peers: Vec<_> = instance.peers.iter().map(|peer| peer.name.as_str()).collect();
        text.push_str(&format!(
            "instance {}: {} on {}, virtual router {}, database {}, peers: {}\n",
            instance.name,
            addresses.join(", "),
            instance.interface,
            instance.vrid,
            instance.database.name(),
            if peers.is_empty() { "none".to_owned() } else { peers.join(", ") },
        ));
    }
    text
}
