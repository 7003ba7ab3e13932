//! Gratuitous ARP and unsolicited neighbour advertisements: tell the LAN which MAC a virtual address
//! is at now.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
};

use anyhow::Context as _;
use ogha_common::wire::{
    arp,
    ndp::{self, ALL_NODES, Neighbour},
};

use super::{interface::Interface, packet};

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Announcer {
    socket: OwnedFd,
    interface: Interface,
}

impl Announcer {
    /// Opens the socket. It sends only: nothing is queued for it.
    ///
    /// # Errors
    /// When the kernel refuses; it asks for `CAP_NET_RAW`.
    pub fn open(interface: &Interface) -> anyhow::Result<Self> {
        let socket = packet::open(interface, 0)?;
        Ok(Self { socket, interface: interface.clone() })
    }

    /// Announces each address once. An IPv4 address as a request and as a reply: some neighbours
    /// heed only the one, some only the other (RFC 5227 section 3). An IPv6 address to all nodes,
    /// to override what they know (RFC 4861 section 7.2.6): from the address itself, as a whole
    /// frame, since it may not be on the interface yet.
    ///
    /// # Errors
    /// The first that could not be sent; the others were still tried.
    pub fn announce(&self, addresses: &[IpAddr]) -> anyhow::Result<()> {
        let mac = self.interface.mac;
        let mut sent = Ok(());
        for address in addresses {
            match *address {
                IpAddr::V4(address) => {
                    for frame in arp::gratuitous(mac, address) {
                        sent = sent.and(self.send(&frame));
                    }
                }
                IpAddr::V6(address) => {
                    let mut frame = [0; ndp::LEN];
                    let message = Neighbour::unsolicited(address, mac);
                    let frame = message.encode(ndp::group_mac(ALL_NODES), mac, &mut frame);
                    sent = sent.and(self.send(frame));
                }
            }
        }
        sent.with_context(|| format!("on {}", self.interface.name))
    }

    /// Asks everybody for the MAC of `address`, as `own`.
    ///
    /// # Errors
    /// If the question could not be sent.
    pub fn ask(&self, own: Ipv4Addr, address: Ipv4Addr) -> anyhow::Result<()> {
        let mac = self.interface.mac;
        self.send(&question(mac, own, address).encode([0xff; 6], mac))
            .with_context(|| format!("asking for {address} on {}", self.interface.name))
    }

    fn send(&self, frame: &[u8]) -> nix::Result<()> {
        nix::unistd::write(&self.socket, frame).map(drop)
    }
}

/// Asks who has `address`.
pub(super) const fn question(mac: [u8; 6], own: Ipv4Addr, address: Ipv4Addr) -> arp::Arp {
    arp::Arp {
        operation: arp::Operation::Request,
        sender_mac: mac,
        sender_ip: own,
        target_mac: [0; 6],
        target_ip: address,
    }
}
