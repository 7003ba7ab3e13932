//! A switch: a namespace of its own with a bridge in it.

use std::path::Path;

use anyhow::{Context as _, Result};
use rtnetlink::LinkBridge;

use super::{Namespace, directory, netlink};

/// The bridge's name in the switch's namespace.
pub(super) const BRIDGE: &str = "br0";

/// What the hosts' links are plugged into. Its ports are called like the hosts.
///
/// It learns MACs as any bridge does, so it can also be wrong about where a MAC is.
#[derive(Debug)]
pub struct Switch {
    namespace: Namespace,
}

impl Switch {
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let namespace = Namespace::create(&directory.join(directory::NAMESPACE))?;
        netlink::run(&namespace, async |handle| {
            let bridge = LinkBridge::new(BRIDGE).mcast_snooping(false);
            handle.link().add(bridge.build()).execute().await?;
            Ok(())
        })
        .context("cannot make the switch's bridge")?;
        Ok(Self { namespace })
    }

    /// Where the bridge and the ports are: for looking with a packet socket at what passes.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}
