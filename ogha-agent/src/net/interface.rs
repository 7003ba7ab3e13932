//! Network interfaces, as the kernel tells them in the current network namespace.

mod own;

use std::{net::IpAddr, os::fd::AsRawFd as _};

use anyhow::{Context as _, bail};
use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::InterfaceFlags,
};
use socket2::{Domain, Socket, Type};

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

    /// Whether it is up and has a carrier (netdevice(7), `SIOCGIFFLAGS`). One that is gone is not.
    /// Cheap enough for the loop, which asks while a peer is lost.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.flags().is_ok_and(|flags| flags.contains(InterfaceFlags::IFF_RUNNING))
    }

    fn flags(&self) -> std::io::Result<InterfaceFlags> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        // SAFETY: any bytes are a request, and a name of no bytes is one that there is not.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last stays zero: it ends the name.
        let room = libc::IFNAMSIZ - 1;
        for (place, octet) in request.ifr_name[..room].iter_mut().zip(self.name.bytes()) {
            *place = octet.cast_signed();
        }
        // SAFETY: the request lives as long as the call, and holds flags where that has succeeded.
        let flags = unsafe {
            if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            request.ifr_ifru.ifru_flags
        };
        Ok(InterfaceFlags::from_bits_truncate(libc::c_int::from(flags)))
    }

    /// Looks up the interface that has an address.
    ///
    /// # Errors
    /// When none has it, or the one that has it has no Ethernet address.
    pub fn having(address: IpAddr) -> anyhow::Result<Self> {
        let has = |entry: &InterfaceAddress| {
            let storage = entry.address.as_ref();
            storage.is_some_and(|own| match address {
                IpAddr::V4(v4) => own.as_sockaddr_in().is_some_and(|own| own.ip() == v4),
                IpAddr::V6(v6) => own.as_sockaddr_in6().is_some_and(|own| own.ip() == v6),
            })
        };
        let mut all = getifaddrs().context("cannot list the network interfaces")?;
        let entry =
            all.find(has).with_context(|| format!("no interface has the address {address}"))?;
        Self::find(&entry.interface_name)
    }
}
