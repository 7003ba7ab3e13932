//! `ogha-agent load`

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{Failure, output};
use crate::{
    kernel::{self, Kernel},
    net::interface::Interface,
};

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
    /// Even under an agent that runs
    #[arg(long)]
    force: bool,
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
    refuse_under_an_agent(&args.bpf_dir, args.force)?;
    Kernel::start(&args.bpf_dir, &interfaces).map_err(Failure::start_up)?;
    let shown = args.bpf_dir.display();
    output::print(&format!(
        "attached to {}; maps are pinned in {shown}\n\
         to look:   bpftool map dump pinned {shown}/PORT_COUNTERS\n\
         to remove: ogha-agent unload --bpf-dir {shown}\n",
        args.interfaces.join(", ")
    ))
}

/// What an agent works on is not to be changed under its feet.
pub(super) fn refuse_under_an_agent(bpf_dir: &Path, force: bool) -> Result<(), Failure> {
    if !force && let Some(agent) = kernel::claimed(bpf_dir) {
        // One that is starting, or that stands still, gives no sign of life.
        let alive = kernel::resident(bpf_dir)?.is_some();
        if !alive {
            return Err(Failure::failed(anyhow!(
                "an agent ({agent}) works on {}; stop its service first, or do it all the same with \
                 --force",
                bpf_dir.display()
            )));
        }
    }
    let resident = if force { None } else { kernel::resident(bpf_dir)? };
    let Some(kernel::Resident { pid, instance, heartbeat }) = resident else { return Ok(()) };
    Err(Failure::failed(anyhow!(
        "an agent (process {pid}) works on {}: its instance {instance} gave a sign of life \
         {heartbeat:.1?} ago; stop its service first, or do it all the same with --force",
        bpf_dir.display()
    )))
}
