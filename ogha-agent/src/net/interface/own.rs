//! The addresses of an interface that are the node's own, and so none of those that move.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::ifaddrs::getifaddrs;
use tokio::time::{Instant, sleep};

use super::Interface;
use crate::net::Family;

/// Longer than duplicate address detection takes, which is about a second after the link is up.
const DETECTION: Duration = Duration::from_secs(5);
const OFTEN: Duration = Duration::from_millis(50);

/// The kernel's list of IPv6 addresses; the thread's, for `/proc/net` is that of the process's first.
const IPV6_TABLE: &str = "/proc/thread-self/net/if_inet6";

/// Scopes and flags as the list has them (`IPV6_ADDR_LINKLOCAL`, `IFA_F_*`).
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_LINK: u8 = 0x20;
const TEMPORARY: u8 = 0x01;
const DUPLICATE: u8 = 0x08;
const DEPRECATED: u8 = 0x20;
const TENTATIVE: u8 = 0x40;

impl Interface {
    /// The address that peers know this node by: `wanted`, or the interface's first that is none of
    /// `virtual_addresses`. Of IPv6 only a global one that lasts, neither temporary nor deprecated.
    /// One that the kernel still checks for duplicates is waited for.
    ///
    /// # Errors
    /// When the interface has none.
    pub async fn own_address(
        &self,
        family: Family,
        wanted: Option<IpAddr>,
        virtual_addresses: &[IpAddr],
    ) -> anyhow::Result<IpAddr> {
        let suits = |address: &IpAddr| match wanted {
            Some(wanted) => *address == wanted,
            None => !virtual_addresses.contains(address),
        };
        let found = match family {
            Family::V4 => self.own_ipv4()?.into_iter().find(suits),
            Family::V6 => self.own_ipv6(wanted.is_some(), suits).await?,
        };
        found.with_context(|| match wanted {
            Some(wanted) => format!(
                "the interface {} does not have the address {wanted}; `address` in [[instance]] \
                 is this node's own",
                self.name
            ),
            None => format!(
                "the interface {} has no {family} address of its own; give it one",
                self.name
            ),
        })
    }

    /// The link-local address of IPv6, from which adverts to a group must come (RFC 9568 section
    /// 5.1.2.1).
    ///
    /// # Errors
    /// When the interface has none.
    pub fn link_local(&self, virtual_addresses: &[IpAddr]) -> anyhow::Result<IpAddr> {
        let own = |held: &Held| {
            held.scope == SCOPE_LINK
                && held.settled()
                && !virtual_addresses.contains(&held.address.into())
        };
        let found = self.ipv6()?.into_iter().find(own);
        found.map(|held| held.address.into()).with_context(|| {
            format!(
                "the interface {} has no link-local address, from which adverts to a group must \
                 come; give it one, or set transport = \"unicast\"",
                self.name
            )
        })
    }

    fn own_ipv4(&self) -> anyhow::Result<Vec<IpAddr>> {
        let all = getifaddrs().context("cannot list the network interfaces")?;
        let own = all.filter(|entry| entry.interface_name == self.name);
        Ok(own.filter_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip().into())).collect())
    }

    async fn own_ipv6(
        &self,
        named: bool,
        suits: impl Fn(&IpAddr) -> bool,
    ) -> anyhow::Result<Option<IpAddr>> {
        let patience = Instant::now() + DETECTION;
        loop {
            let mut own = self.ipv6()?;
            own.retain(|held| suits(&held.address.into()) && (named || held.lasts()));
            if let Some(settled) = own.iter().find(|held| held.settled()) {
                return Ok(Some(settled.address.into()));
            }
            let Some(held) = own.first() else { return Ok(None) };
            if own.iter().all(|held| held.flags & DUPLICATE != 0) {
                bail!("another host has {} too; give each its own", held.address);
            }
            if Instant::now() >= patience {
                bail!("{} is still being checked for duplicates; is the link up?", held.address);
            }
            sleep(OFTEN).await;
        }
    }

    fn ipv6(&self) -> anyhow::Result<Vec<Held>> {
        // Without IPv6 there is no such file, and no address.
        let table = fs::read_to_string(IPV6_TABLE).unwrap_or_default();
        let parsed: Option<Vec<_>> = table.lines().map(Held::parse).collect();
        let all = parsed.with_context(|| format!("cannot understand {IPV6_TABLE}"))?;
        Ok(all.into_iter().filter(|held| held.index == self.index).collect())
    }
}

/// An IPv6 address that an interface holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    address: Ipv6Addr,
    index: u32,
    scope: u8,
    flags: u8,
}

impl Held {
    /// A line: address, index, length of the prefix, scope, flags, name; numbers in hexadecimal.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?.into();
        let index = u32::from_str_radix(fields.next()?, 16).ok()?;
        let mut octet = || u8::from_str_radix(fields.next()?, 16).ok();
        let (_prefix, scope, flags) = (octet()?, octet()?, octet()?);
        Some(Self { address, index, scope, flags })
    }

    /// A virtual address that a former configuration has left is deprecated, too.
    const fn lasts(&self) -> bool {
        self.scope == SCOPE_GLOBAL && self.flags & (TEMPORARY | DEPRECATED) == 0
    }

    const fn settled(&self) -> bool {
        self.flags & (TENTATIVE | DUPLICATE) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_list_is_read() {
        let line = "fd0000000000000000000000000000ab 1f 40 00 80     eth0";
        let held = Held::parse(line).unwrap();
        let address = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xab);
        assert_eq!(held, Held { address, index: 31, scope: SCOPE_GLOBAL, flags: 0x80 });
        assert!(held.lasts() && held.settled());
        assert_eq!(Held::parse("fd00 1"), None);
        assert_eq!(Held::parse(""), None);
    }

    #[test]
    fn an_address_that_goes_again_is_no_nodes_own() {
        let with = |scope, flags| Held { address: Ipv6Addr::LOCALHOST, index: 1, scope, flags };
        assert!(!with(SCOPE_LINK, 0x80).lasts(), "link-local");
        assert!(!with(SCOPE_GLOBAL, TEMPORARY).lasts());
        assert!(!with(SCOPE_GLOBAL, 0x80 | DEPRECATED).lasts());
        assert!(!with(SCOPE_GLOBAL, TENTATIVE).settled());
        assert!(!with(SCOPE_GLOBAL, DUPLICATE | TENTATIVE).settled());
    }
}
