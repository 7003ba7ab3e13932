//! Network interfaces, as the kernel tells them in the current network namespace.

mod own;

use anyhow::{Context as _, bail};
use nix::ifaddrs::getifaddrs;

/// An interface of the current network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As `ip link` shows it.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Its address.
    pub mac: [u8; 6],
}

impl Interface {
    /// Looks an interface up by its name.
    ///
    /// # Errors
    /// When there is none, or when it has no Ethernet address.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        let mut seen = Vec::new();
        for entry in getifaddrs().context("cannot list the network interfaces")? {
            let Some(link) = entry.address.as_ref().and_then(|a| a.as_link_addr().copied()) else {
                continue;
            };
            if entry.interface_name != name {
                seen.push(entry.interface_name);
                continue;
            }
            let Some(mac) = link.addr().filter(|mac| *mac != [0; 6]) else {
                bail!("the interface {name} has no Ethernet address; a VIP needs one");
            };
            let index = u32::try_from(link.ifindex()).context("an impossible interface index")?;
            return Ok(Self { name: name.to_owned(), index, mac });
        }
        bail!("there is no network interface {name}; this host has {}", seen.join(", "))
    }
}
