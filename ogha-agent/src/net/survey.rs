//! What the kernel has of interfaces and addresses at one moment, in the current network namespace.

use std::net::IpAddr;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use ogha_common::units::Instant;
use rtnetlink::{
    Handle,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressMessage},
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};

use crate::clock;

/// The mark of the addresses that ogha has put on an interface (`IFA_PROTO`, Linux 5.18): the number of
/// VRRP among the protocols of IP. `ip address` shows it as `proto 112`.
pub const PROTOCOL: u8 = 112;

/// All interfaces and their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// When it began: what happened later may be missing.
    pub at: Instant,
    /// The interfaces.
    pub links: Vec<LinkFacts>,
    /// Their addresses.
    pub addresses: Vec<HeldAddress>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// The kernel's number for it.
    pub index: u32,
    /// As `ip link` shows it.
    pub name: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// It was set up.
    pub up: bool,
    /// It is up and has a carrier.
    pub running: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldAddress {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// It can be used: it is neither being checked for duplicates nor was found to be one.
    pub settled: bool,
    /// Who has added it ([`PROTOCOL`]); 0 if it was not said, as by `ip address add`.
    pub protocol: u8,
}

impl Survey {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn take(netlink: &Handle) -> anyhow::Result<Self> {
        let at = clock::now();
        let mut links = Vec::new();
        let mut all = netlink.link().get().execute();
        while let Some(link) = all.try_next().await.context("cannot list the interfaces")? {
            links.extend(LinkFacts::of(&link));
        }
        let addresses = addresses(netlink).await?;
        Ok(Self { at, links, addresses })
    }

    /// The interface of that name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&LinkFacts> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The name of the interface with that number.
    #[must_use]
    pub fn name_of(&self, index: u32) -> Option<&str> {
        self.links.iter().find(|link| link.index == index).map(|link| link.name.as_str())
    }

    /// Where an address is, and how.
    pub fn holders(&self, address: IpAddr) -> impl Iterator<Item = &HeldAddress> {
        self.addresses.iter().filter(move |held| held.address == address)
    }
}

/// All addresses of all interfaces.
///
/// # Errors
/// When the kernel does not answer.
pub async fn addresses(netlink: &Handle) -> anyhow::Result<Vec<HeldAddress>> {
    let mut held = Vec::new();
    let mut all = netlink.address().get().execute();
    while let Some(message) = all.try_next().await.context("cannot list the addresses")? {
        held.extend(HeldAddress::of(&message));
    }
    Ok(held)
}

impl LinkFacts {
    fn of(message: &LinkMessage) -> Option<Self> {
        let (mut name, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(text.clone()),
                LinkAttribute::Address(octets) => {
                    mac = <[u8; 6]>::try_from(&octets[..]).ok().filter(|mac| *mac != [0; 6]);
                }
                _ => {}
            }
        }
        let flags = message.header.flags;
        Some(Self {
            index: message.header.index,
            name: name?,
            mac,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Up | LinkFlags::Running),
        })
    }
}

impl HeldAddress {
    /// Over IPv6 the kernel tells `IFA_LOCAL` only where the link has two ends.
    fn of(message: &AddressMessage) -> Option<Self> {
        let (mut local, mut address, mut protocol) = (None, None, 0);
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(is) => local = Some(*is),
                AddressAttribute::Address(is) => address = Some(*is),
                AddressAttribute::Flags(all) => flags = *all,
                AddressAttribute::Protocol(by) => protocol = (*by).into(),
                _ => {}
            }
        }
        let unsettled = AddressFlags::Tentative | AddressFlags::Dadfailed;
        Some(Self {
            index: message.header.index,
            address: local.or(address)?,
            prefix: message.header.prefix_len,
            settled: !flags.intersects(unsettled),
            protocol,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_its_flags_and_its_mark() {
        let mut message = AddressMessage::default();
        message.header.index = 7;
        message.header.prefix_len = 32;
        let vip: IpAddr = [192, 0, 2, 10].into();
        message.attributes = vec![
            AddressAttribute::Address([192, 0, 2, 99].into()),
            AddressAttribute::Local(vip),
            AddressAttribute::Flags(AddressFlags::Permanent),
            AddressAttribute::Protocol(PROTOCOL.into()),
        ];
        let held = HeldAddress::of(&message).unwrap();
        let wanted =
            HeldAddress { index: 7, address: vip, prefix: 32, settled: true, protocol: PROTOCOL };
        assert_eq!(held, wanted);
        let failed = AddressFlags::Dadfailed | AddressFlags::Tentative;
        message.attributes[2] = AddressAttribute::Flags(failed);
        assert!(!HeldAddress::of(&message).unwrap().settled);
        message.attributes.clear();
        assert_eq!(HeldAddress::of(&message), None);
    }

    #[test]
    fn a_link_without_an_ethernet_address_has_none() {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.attributes = vec![LinkAttribute::IfName("lo".into())];
        let link = |message: &LinkMessage| LinkFacts::of(message).unwrap();
        assert_eq!(
            (link(&message).mac, link(&message).up, link(&message).running),
            (None, true, false)
        );
        message.attributes.push(LinkAttribute::Address(vec![0; 6]));
        assert_eq!(link(&message).mac, None);
        message.attributes.push(LinkAttribute::Address(vec![2; 6]));
        assert_eq!(link(&message).mac, Some([2; 6]));
        message.attributes.clear();
        assert_eq!(LinkFacts::of(&message), None);
    }
}
