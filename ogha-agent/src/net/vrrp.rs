//! The socket of VRRP: IP protocol 112 on one interface.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use anyhow::Context as _;
use ogha_common::{
    units::Priority,
    wire::vrrp::{self, Advert, Expected, Ip},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::io::{Interest, unix::AsyncFd};

use super::interface::Interface;

/// An IPv4 header without options.
const IP_HEADER: usize = 20;
/// The class of routing protocols (RFC 4594 section 3.1): a full queue drops other packets first.
const INTERNETWORK_CONTROL: u32 = 0xc0;

/// Where adverts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// To 224.0.0.18, and from anyone on the link.
    Multicast,
    /// To these routers, and from them only.
    Unicast(Vec<Ipv4Addr>),
}

/// Why [`VrrpSocket::receive`] gives no advert. (Anybody can send a bad packet, so this must cost
/// little: no allocation, no backtrace.)
#[derive(Debug, Error)]
pub enum Refused {
    /// The socket's error.
    #[error("the VRRP socket: {0}")]
    Socket(#[from] io::Error),
    /// An advert that breaks a rule.
    #[error("an advert of {0}: {1}")]
    Advert(Ipv4Addr, vrrp::Error),
}

/// The socket of one virtual router.
#[derive(Debug)]
pub struct VrrpSocket {
    socket: AsyncFd<Socket>,
    source: Ipv4Addr,
    transport: Transport,
    expected: Expected,
    checksum: vrrp::Checksum,
}

impl VrrpSocket {
    /// Opens the socket on an interface, sending from `source`.
    ///
    /// # Errors
    /// When the kernel refuses; it asks for `CAP_NET_RAW`.
    pub fn open(
        interface: &Interface,
        source: Ipv4Addr,
        transport: Transport,
        expected: Expected,
    ) -> anyhow::Result<Self> {
        let socket = open(interface, source, &transport)
            // SAFETY: the `Socket` owns its descriptor, and the `AsyncFd` owns the `Socket`.
            .and_then(|socket| unsafe { Ok(AsyncFd::register(socket)?) })
            .with_context(|| format!("cannot open the VRRP socket on {}", interface.name))?;
        let checksum = match expected.version {
            vrrp::Version::V2 => vrrp::Checksum::Plain,
            vrrp::Version::V3 => vrrp::Checksum::PseudoHeader,
        };
        Ok(Self { socket, source, transport, expected, checksum })
    }

    /// Sends an advert to whom it may concern.
    ///
    /// # Errors
    /// The first that could not be sent; the others were still tried.
    pub fn send(&self, priority: Priority, addresses: &[Ipv4Addr]) -> io::Result<()> {
        let multicast = [vrrp::MULTICAST];
        let destinations = match &self.transport {
            Transport::Multicast => &multicast[..],
            Transport::Unicast(peers) => peers,
        };
        let mut sent = Ok(());
        for &destination in destinations {
            sent = sent.and(self.send_to(destination, priority, addresses));
        }
        sent
    }

    fn send_to(
        &self,
        destination: Ipv4Addr,
        priority: Priority,
        addresses: &[Ipv4Addr],
    ) -> io::Result<()> {
        let advert = Advert {
            version: self.expected.version,
            vrid: self.expected.vrid,
            priority,
            interval: self.expected.interval,
            auth: self.expected.auth,
            checksum: self.checksum,
        };
        let ip = Ip { source: self.source, destination, ttl: vrrp::TTL };
        let mut packet = [0; vrrp::MAX_LEN];
        let length = vrrp::encode(&advert, addresses, ip, &mut packet).map_err(io::Error::other)?;
        let to = SockAddr::from(SocketAddrV4::new(destination, 0));
        self.socket.get_ref().send_to(&packet[..length], &to).map(drop)
    }

    /// The next advert for this virtual router from somebody else, and who sent it. Adverts that
    /// the RFC or the configuration refuses are an error, after which the next may be read.
    ///
    /// # Errors
    /// The reason for which an advert was refused, or the socket's error.
    pub async fn receive(&self) -> Result<(Ipv4Addr, Advert), Refused> {
        loop {
            let mut packet = [0; IP_HEADER + 40 + vrrp::MAX_LEN];
            let length = self
                .socket
                .async_io(Interest::READABLE, |socket| io::Read::read(&mut &*socket, &mut packet))
                .await?;
            let Some((ip, message)) = split(&packet[..length]) else { continue };
            let stranger = match &self.transport {
                Transport::Multicast => ip.source == self.source,
                Transport::Unicast(peers) => !peers.contains(&ip.source),
            };
            // Other virtual routers share the link; their adverts are none of our business.
            let ours = message.get(1) == Some(&self.expected.vrid.get());
            if stranger || !ours {
                continue;
            }
            let refused = |e: vrrp::Error| Refused::Advert(ip.source, e);
            let (advert, _) = vrrp::parse(message, ip).map_err(refused)?;
            self.expected.check(&advert).map_err(refused)?;
            return Ok((ip.source, advert));
        }
    }
}

fn open(interface: &Interface, source: Ipv4Addr, transport: &Transport) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(vrrp::IP_PROTOCOL));
    let socket = Socket::new(Domain::IPV4, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    socket.set_ttl_v4(u32::from(vrrp::TTL))?;
    socket.set_tos_v4(INTERNETWORK_CONTROL)?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(
        if *transport == Transport::Multicast { Ipv4Addr::UNSPECIFIED } else { source },
        0,
    )))?;
    if *transport == Transport::Multicast {
        socket.set_multicast_ttl_v4(u32::from(vrrp::TTL))?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_multicast_if_v4(&source)?;
        socket.join_multicast_v4(&vrrp::MULTICAST, &source)?;
    }
    Ok(socket)
}

/// Splits what a raw socket reads: an IPv4 header, then the message.
fn split(packet: &[u8]) -> Option<(Ip, &[u8])> {
    let header = packet.first_chunk::<IP_HEADER>()?;
    let message = packet.get(usize::from(header[0] & 0xf) * 4..)?;
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    Some((Ip { source: address(12), destination: address(16), ttl: header[8] }, message))
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
        let (ip, message) = split(&packet).unwrap();
        assert_eq!(ip.source, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(ip.destination, Ipv4Addr::new(192, 0, 2, 2));
        assert_eq!((ip.ttl, message), (255, &[7, 8][..]));
        assert!(split(&packet[..23]).is_none());
        assert!(split(&packet[..19]).is_none());
    }
}
