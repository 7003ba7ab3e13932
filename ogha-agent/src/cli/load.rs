//! `ogha-agent load`

use std::path::PathBuf;

use super::{Failure, output};
use crate::{kernel::Kernel, net::interface::Interface};

/// Where maps and links are pinned unless told otherwise.
pub(super) const BPF_DIR: &str = "/sys/fs/bpf/ogha";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The interface to attach to; may be given several times
    #[arg(long = "interface", value_name = "IF", required = true)]
    interfaces: Vec<String>,
    /// Where to pin maps and links
    #[arg(long, value_name = "DIR", default_value = BPF_DIR)]
    bpf_dir: PathBuf,
}

/// The data plane stays when this process ends, for its links are pinned. It knows no address
/// and all its gates are closed, so it changes nothing for the host's traffic.
pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let interfaces = args
        .interfaces
        .iter()
        .map(|name| Interface::find(name))
        .collect::<anyhow::Result<Vec<_>>>()
        .map_err(Failure::start_up)?;
    Kernel::start(&args.bpf_dir, &interfaces).map_err(Failure::start_up)?;
    let shown = args.bpf_dir.display();
    output::print(&format!(
        "attached to {}; maps are pinned in {shown}\n\
         to look:   bpftool map dump pinned {shown}/PORT_COUNTERS\n\
         to remove: ogha-agent unload --bpf-dir {shown}\n",
        args.interfaces.join(", ")
    ))
}
