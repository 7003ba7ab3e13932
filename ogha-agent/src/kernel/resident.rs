//! Does an agent live on a data plane?

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use ogha_common::maps::{MAX_INSTANCES, Offer, Watch, name};

use super::{layout, lease::BPF_F_LOCK};
use crate::clock;

/// An agent whose last heartbeat is older is not taken for alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// An agent that lives on a data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its process id.
    pub pid: u32,
    /// The instance that was looked at.
    pub instance: u32,
    /// The age of its heartbeat.
    pub heartbeat: Duration,
}

/// The agent that lives on the data plane pinned in `bpf_dir`. `None` if there is none, or if it has
/// said that it ends, or if the kernel saw it exit; and where the pins are those of a version whose
/// agents cannot be asked.
///
/// # Errors
///
/// If the kernel refuses to read the maps.
pub fn resident(bpf_dir: &Path) -> anyhow::Result<Option<Resident>> {
    let Some(offers) = layout::array::<Offer>(bpf_dir, name::SELF) else { return Ok(None) };
    let watches = layout::array::<Watch>(bpf_dir, name::WATCHES);
    let now = clock::now().ns();
    for instance in 0..MAX_INSTANCES as u32 {
        let offer =
            offers.get(&instance, BPF_F_LOCK).context("reading the probe status (map SELF)")?.0;
        let heartbeat = Duration::from_nanos(now.saturating_sub(offer.heartbeat_ns));
        let gone = offer.heartbeat_ns == 0 || offer.exited != 0 || offer.said.restarting != 0;
        if gone || heartbeat >= HEARTBEAT {
            continue;
        }
        let watch = watches.as_ref().and_then(|watches| watches.get(&instance, 0).ok());
        let pid = watch.map_or(0, |watch| watch.0.agent);
        return Ok(Some(Resident { pid, instance, heartbeat }));
    }
    Ok(None)
}
