//! By which interfaces, and from which of its addresses, this node reaches others.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
};

use anyhow::Context as _;
use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

use super::{Family, interface::Interface};

/// An interface with those of its addresses that may be spoken from.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub interface: Interface,
    own: Vec<OwnAddress>,
}

/// An address and the mask of its network.
#[derive(Clone, Copy, Debug)]
struct OwnAddress {
    address: IpAddr,
    mask: IpAddr,
}

impl OwnAddress {
    fn is_neighbour(&self, target: IpAddr) -> bool {
        match (self.address, self.mask, target) {
            (IpAddr::V4(own), IpAddr::V4(mask), IpAddr::V4(target)) => {
                own.to_bits() & mask.to_bits() == target.to_bits() & mask.to_bits()
            }
            (IpAddr::V6(own), IpAddr::V6(mask), IpAddr::V6(target)) => {
                own.to_bits() & mask.to_bits() == target.to_bits() & mask.to_bits()
            }
            _ => false,
        }
    }
}

impl Path {
    /// The own address in whose network the target is: it can be asked without a router.
    pub fn neighbourly(&self, target: IpAddr) -> Option<IpAddr> {
        self.own.iter().find(|own| own.is_neighbour(target)).map(|own| own.address)
    }

    /// The own address from which the target is asked.
    pub fn source(&self, target: IpAddr) -> Option<IpAddr> {
        let family = Family::of(target);
        let any = || self.own.iter().find(|own| Family::of(own.address) == family);
        self.neighbourly(target).or_else(|| any().map(|own| own.address))
    }
}

/// The interfaces called `names`, and those by which the kernel would go to `towards`: each once,
/// without the addresses in `moving`, which are no node's own. One that has gone is left out.
pub(super) fn paths(
    names: &[&str],
    towards: &[IpAddr],
    moving: &[IpAddr],
) -> anyhow::Result<Vec<Path>> {
    let mut held = Vec::new();
    for entry in getifaddrs().context("cannot list the network interfaces")? {
        let address = entry.address.as_ref().and_then(ip);
        let mask = entry.netmask.as_ref().and_then(ip);
        if let Some((address, mask)) = address.zip(mask) {
            held.push((entry.interface_name, OwnAddress { address, mask }));
        }
    }
    let by_route = towards.iter().filter_map(|&target| {
        let source = source_towards(target).ok()?;
        let holder = held.iter().find(|(_, own)| own.address == source);
        holder.map(|(name, _)| name.as_str())
    });
    let mut paths: Vec<Path> = Vec::new();
    for name in names.iter().copied().chain(by_route) {
        if paths.iter().any(|path| path.interface.name == name) {
            continue;
        }
        let Ok(interface) = Interface::find(name) else { continue };
        let own = held.iter().filter(|(on, own)| on == name && !moves(own.address, moving));
        paths.push(Path { interface, own: own.map(|(_, own)| *own).collect() });
    }
    Ok(paths)
}

/// Whether this host has the address, on whatever interface.
///
/// # Errors
/// When the kernel does not tell.
pub(super) fn is_own(address: IpAddr) -> anyhow::Result<bool> {
    let mut all = getifaddrs().context("cannot list the network interfaces")?;
    Ok(all.any(|entry| entry.address.as_ref().and_then(ip) == Some(address)))
}

/// A link-local address reaches no other link.
fn moves(address: IpAddr, moving: &[IpAddr]) -> bool {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    link_local || moving.contains(&address)
}

fn ip(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

/// A connected socket of UDP sends nothing; the kernel only chooses its way (udp(7)).
pub(crate) fn source_towards(peer: IpAddr) -> io::Result<IpAddr> {
    const ANY_PORT: u16 = 9;
    let unspecified: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((unspecified, 0))?;
    socket.connect((peer, ANY_PORT))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(address: &str, mask: &str) -> OwnAddress {
        OwnAddress { address: address.parse().unwrap(), mask: mask.parse().unwrap() }
    }

    #[test]
    fn a_neighbour_is_asked_from_its_own_network() {
        let interface = Interface { name: "eth0".to_owned(), index: 2, mac: [2; 6] };
        let path = Path {
            interface,
            own: vec![
                own("192.0.2.1", "255.255.255.0"),
                own("198.51.100.1", "255.255.255.128"),
                own("fd00::1", "ffff:ffff:ffff:ffff::"),
            ],
        };
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(path.neighbourly(at("198.51.100.127")), Some(at("198.51.100.1")));
        assert_eq!(path.neighbourly(at("198.51.100.128")), None);
        assert_eq!(path.source(at("198.51.100.128")), Some(at("192.0.2.1")));
        assert_eq!(path.neighbourly(at("fd00::2")), Some(at("fd00::1")));
        assert_eq!(path.neighbourly(at("fd00:0:0:1::2")), None);
        assert_eq!(path.source(at("fd01::2")), Some(at("fd00::1")));
        let bare = Path { own: Vec::new(), ..path };
        assert_eq!(bare.source(at("192.0.2.2")), None);
    }
}
