//! A firewall of this host that drops what ogha sends. What comes in passes the programs before any
//! firewall sees it; what goes out does not.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Findings;
use crate::{
    config::{Instance, Transport},
    net::Family,
};

/// VRRP among the protocols of IP.
const VRRP: i32 = 112;
/// No router's advert has this: whoever gets the datagram drops it (RFC 9568 section 5.1.1.3).
const TTL: u32 = 1;

/// Sends to each peer a datagram that says nothing, and is refused by its length or its TTL: the kernel
/// tells whether it was let out.
pub(super) fn examine(findings: &mut Findings, instance: &Instance) {
    let targets = || instance.peers.iter().flat_map(|peer| &peer.addresses).copied();
    let before = findings.all.len();
    let port = instance.liveness.port;
    if instance.database.server().is_some() {
        for target in targets() {
            let sent = send(Type::DGRAM, Protocol::UDP, SocketAddr::new(target, port), instance);
            report(findings, &format!("probes (UDP port {port})"), target, sent);
        }
    }
    let groups = [IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18)), IpAddr::V6(GROUP_V6)];
    let adverts: Vec<_> = match instance.vrrp.transport {
        Transport::Unicast => targets().collect(),
        Transport::Multicast => {
            groups.into_iter().filter(|group| Family::of(*group) == instance.family()).collect()
        }
    };
    for target in adverts {
        let sent = send(Type::RAW, Protocol::from(VRRP), SocketAddr::new(target, 0), instance);
        report(findings, "adverts (IP protocol 112)", target, sent);
    }
    if findings.all.len() == before {
        findings.ok("no firewall here drops probes or adverts");
    }
}

/// `ff02::12`
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

fn send(kind: Type, protocol: Protocol, to: SocketAddr, instance: &Instance) -> io::Result<()> {
    let socket =
        Socket::new(Domain::for_address(to), kind.nonblocking().cloexec(), Some(protocol))?;
    socket.bind_device(Some(instance.interface.as_bytes()))?;
    if to.is_ipv4() {
        socket.set_ttl_v4(TTL)?;
    } else {
        socket.set_unicast_hops_v6(TTL)?;
    }
    socket.send_to(&[], &SockAddr::from(to)).map(drop)
}

/// Only a refusal is told: a host that is away is found elsewhere.
fn report(findings: &mut Findings, what: &str, target: IpAddr, sent: io::Result<()>) {
    if sent.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        findings.fail(format!(
            "a firewall of this host drops {what} to {target}: let them out in its output rules \
             (`nft list ruleset`, `iptables -S OUTPUT`)"
        ));
    }
}
