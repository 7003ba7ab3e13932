//! `ogha-agent unload`

use std::{io, path::PathBuf};

use super::{
    Failure,
    load::{BPF_DIR, refuse_under_an_agent},
    output,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where maps and links are pinned
    #[arg(long, value_name = "DIR", default_value = BPF_DIR)]
    bpf_dir: PathBuf,
    /// Even under an agent that runs
    #[arg(long)]
    force: bool,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    refuse_under_an_agent(&args.bpf_dir, args.force)?;
    // The addresses first: without programs nothing keeps them from being claimed on the LAN.
    let addresses = crate::kernel::pinned_addresses(&args.bpf_dir);
    let addresses = crate::net::addresses::remove_all(&addresses)?;
    let removed = crate::kernel::unload(&args.bpf_dir).map_err(|error| {
        let denied = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        if denied { Failure::start_up(error.context("run as root")) } else { error.into() }
    })?;
    let shown = args.bpf_dir.display();
    output::print(&match removed {
        0 => format!("nothing is loaded in {shown}\n"),
        pins => format!("removed {pins} pins from {shown}; the data plane is detached\n"),
    })?;
    match addresses {
        0 => Ok(()),
        1 => output::print("removed 1 virtual address from this host\n"),
        more => output::print(&format!("removed {more} virtual addresses from this host\n")),
    }
}
