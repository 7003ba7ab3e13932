//! A switch: a namespace of its own with a bridge in it.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use rtnetlink::LinkBridge;

use super::{Host, Namespace, directory, netlink};

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

    /// Lets nothing pass from the one host to the other, broadcasts among it, before any program of
    /// theirs sees it. What was cut before stays so.
    ///
    /// # Errors
    /// If the kernel has no filter for bridges, or `nft` is missing.
    pub fn cut_one_way(&self, from: &Host, to: &Host) -> Result<()> {
        let rules = format!(
            "add table bridge cuts\n\
             add chain bridge cuts forward {{ type filter hook forward priority 0; }}\n\
             add rule bridge cuts forward iifname \"{}\" oifname \"{}\" drop\n",
            from.name(),
            to.name()
        );
        self.nft(&rules)
    }

    /// Lets nothing pass between the two.
    ///
    /// # Errors
    /// As [`cut_one_way`](Self::cut_one_way).
    pub fn cut_between(&self, one: &Host, other: &Host) -> Result<()> {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// Lets nothing pass between a server's TCP port and the other host, and all else.
    ///
    /// # Errors
    /// As [`cut_one_way`](Self::cut_one_way).
    pub fn cut_port(&self, server: &Host, port: u16, other: &Host) -> Result<()> {
        let (server, other) = (server.name(), other.name());
        self.nft(&format!(
            "add table bridge cuts\n\
             add chain bridge cuts forward {{ type filter hook forward priority 0; }}\n\
             add rule bridge cuts forward iifname \"{server}\" oifname \"{other}\" tcp sport {port} drop\n\
             add rule bridge cuts forward iifname \"{other}\" oifname \"{server}\" tcp dport {port} drop\n",
        ))
    }

    /// Lets everything pass again.
    ///
    /// # Errors
    /// If nothing was cut.
    pub fn heal(&self) -> Result<()> {
        self.nft("delete table bridge cuts\n")
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let rules = rules.to_owned();
        let output = self.namespace.enter(move || Command::new("nft").arg(rules).output())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft refuses: {}", said.trim());
        Ok(())
    }

    /// Where the bridge and the ports are: for looking with a packet socket at what passes.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}
