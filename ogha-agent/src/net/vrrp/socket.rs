//! The raw socket below adverts. The two families differ in what the kernel tells of a packet: over
//! IPv4 it hands out the header, over IPv6 what it is asked for beside the message.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    ops::Range,
    os::fd::AsRawFd as _,
};

use nix::{
    cmsg_space,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt,
        sockopt::Ipv6RecvPacketInfo,
    },
};
use ogha_common::wire::vrrp::{self, Ip};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::net::{Family, interface::Interface};

/// An IPv4 header without options, and the most that options may add, in octets.
const IPV4_HEADER: usize = 20;
const IPV4_OPTIONS: usize = 40;
/// The class of routing protocols (RFC 4594 section 3.1): a full queue drops other packets first.
const INTERNETWORK_CONTROL: u32 = 0xc0;

/// Opens the socket. It hears what is for `source`, and for the group if that is joined.
pub(super) fn open(interface: &Interface, source: IpAddr, multicast: bool) -> io::Result<Socket> {
    match source {
        IpAddr::V4(source) => open_v4(interface, source, multicast),
        IpAddr::V6(source) => open_v6(interface, source, multicast),
    }
}

fn raw(domain: Domain, interface: &Interface) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(vrrp::IP_PROTOCOL));
    let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    Ok(socket)
}

fn open_v4(interface: &Interface, source: Ipv4Addr, multicast: bool) -> io::Result<Socket> {
    let socket = raw(Domain::IPV4, interface)?;
    socket.set_ttl_v4(u32::from(vrrp::TTL))?;
    socket.set_tos_v4(INTERNETWORK_CONTROL)?;
    let heard = if multicast { Ipv4Addr::UNSPECIFIED } else { source };
    socket.bind(&SockAddr::from(SocketAddr::new(heard.into(), 0)))?;
    if multicast {
        socket.set_multicast_ttl_v4(u32::from(vrrp::TTL))?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_multicast_if_v4(&source)?;
        socket.join_multicast_v4(&vrrp::MULTICAST, &source)?;
    }
    Ok(socket)
}

fn open_v6(interface: &Interface, source: Ipv6Addr, multicast: bool) -> io::Result<Socket> {
    let socket = raw(Domain::IPV6, interface)?;
    socket.set_unicast_hops_v6(u32::from(vrrp::TTL))?;
    socket.set_tclass_v6(INTERNETWORK_CONTROL)?;
    socket.set_recv_hoplimit_v6(true)?;
    setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    // Bound to its source, a socket of IPv6 still hears the groups that it has joined.
    socket.bind(&SockAddr::from(SocketAddrV6::new(source, 0, 0, interface.index)))?;
    if multicast {
        socket.set_multicast_hops_v6(u32::from(vrrp::TTL))?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_if_v6(interface.index)?;
        socket.join_multicast_v6(&vrrp::MULTICAST_V6, interface.index)?;
    }
    Ok(socket)
}

/// Room for a packet and what the kernel says of it.
pub(super) struct Buffer {
    packet: [u8; IPV4_HEADER + IPV4_OPTIONS + vrrp::MAX_LEN],
    control: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            packet: [0; IPV4_HEADER + IPV4_OPTIONS + vrrp::MAX_LEN],
            control: cmsg_space!(libc::in6_pktinfo, libc::c_int),
        }
    }
}

impl Buffer {
    /// A part of the packet.
    pub(super) fn get(&self, range: Range<usize>) -> &[u8] {
        &self.packet[range]
    }
}

/// Reads a packet: what its header says, and where the message is. `None` for one that is not whole.
pub(super) fn receive(
    socket: &Socket,
    family: Family,
    buffer: &mut Buffer,
) -> io::Result<Option<(Ip, Range<usize>)>> {
    match family {
        Family::V4 => {
            let length = io::Read::read(&mut &*socket, &mut buffer.packet)?;
            Ok(header_v4(&buffer.packet[..length]))
        }
        Family::V6 => receive_v6(socket, buffer),
    }
}

/// What stands in the IPv4 header, and where the message behind it is.
fn header_v4(packet: &[u8]) -> Option<(Ip, Range<usize>)> {
    let header = packet.first_chunk::<IPV4_HEADER>()?;
    let start = usize::from(header[0] & 0xf) * 4;
    let address =
        |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let ip = Ip { source: address(12), destination: address(16), ttl: header[8] };
    (start <= packet.len()).then_some((ip, start..packet.len()))
}

fn receive_v6(socket: &Socket, buffer: &mut Buffer) -> io::Result<Option<(Ip, Range<usize>)>> {
    let mut parts = [IoSliceMut::new(&mut buffer.packet)];
    let control = Some(&mut buffer.control[..]);
    let read = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, control, MsgFlags::empty())?;
    let (mut destination, mut ttl) = (None, None);
    for said in read.cmsgs()? {
        match said {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            ControlMessageOwned::Ipv6HopLimit(limit) => ttl = u8::try_from(limit).ok(),
            _ => {}
        }
    }
    let source = read.address.map(|address| address.ip().into());
    let ip = source.zip(destination).zip(ttl);
    let ip = ip.map(|((source, destination), ttl)| Ip { source, destination, ttl });
    Ok(ip.map(|ip| (ip, 0..read.bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_split_off_with_its_options() {
        let mut packet = vec![0; 26];
        packet[0] = 0x46;
        packet[8] = 255;
        packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
        packet[16..20].copy_from_slice(&[192, 0, 2, 2]);
        packet[24..].copy_from_slice(&[7, 8]);
        let (ip, message) = header_v4(&packet).unwrap();
        assert_eq!(ip.source, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(ip.destination, IpAddr::from([192, 0, 2, 2]));
        assert_eq!((ip.ttl, &packet[message]), (255, &[7, 8][..]));
        assert!(header_v4(&packet[..23]).is_none());
        assert!(header_v4(&packet[..19]).is_none());
    }
}
