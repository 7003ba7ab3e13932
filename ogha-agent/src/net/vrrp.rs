//! The socket of VRRP: IP protocol 112 on one interface, over IPv4 or IPv6.

mod socket;

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use anyhow::Context as _;
use ogha_common::{
    units::Priority,
    wire::vrrp::{self, Advert, Expected, Ip},
};
use socket2::{SockAddr, Socket};
use thiserror::Error;
use tokio::io::{Interest, unix::AsyncFd};

use super::{Family, interface::Interface};

/// Where adverts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// To 224.0.0.18 or ff02::12, and from anyone on the link.
    Multicast,
    /// To these routers, and from them only.
    Unicast(Vec<IpAddr>),
}

/// Why [`VrrpSocket::receive`] gives no advert. (Anybody can send a bad packet, so this must cost
/// little: no backtrace.)
#[derive(Debug, Error)]
pub enum Refused {
    /// The socket's error.
    #[error("the VRRP socket: {0}")]
    Socket(#[from] io::Error),
    /// An advert that breaks a rule.
    #[error("an advert of {0}: {1}")]
    Advert(IpAddr, vrrp::Error),
}

/// The socket of one virtual router.
#[derive(Debug)]
pub struct VrrpSocket {
    socket: AsyncFd<Socket>,
    source: IpAddr,
    transport: Transport,
    expected: Expected,
    addresses: Vec<IpAddr>,
}

impl VrrpSocket {
    /// Opens the socket on an interface, sending from `source`. Of `addresses` the adverts name those
    /// of the source's family.
    ///
    /// # Errors
    /// When the kernel refuses; it asks for `CAP_NET_RAW`.
    pub fn open(
        interface: &Interface,
        source: IpAddr,
        transport: Transport,
        expected: Expected,
        addresses: &[IpAddr],
    ) -> anyhow::Result<Self> {
        let multicast = transport == Transport::Multicast;
        let socket = socket::open(interface, source, multicast)
            // SAFETY: the `Socket` owns its descriptor, and the `AsyncFd` owns the `Socket`.
            .and_then(|socket| unsafe { Ok(AsyncFd::register(socket)?) })
            .with_context(|| format!("cannot open the VRRP socket on {}", interface.name))?;
        let of_family = |address: &&IpAddr| Family::of(**address) == Family::of(source);
        let addresses = addresses.iter().filter(of_family).copied().collect();
        Ok(Self { socket, source, transport, expected, addresses })
    }

    /// Sends an advert to whom it may concern.
    ///
    /// # Errors
    /// The first that could not be sent; the others were still tried.
    pub fn send(&self, priority: Priority) -> io::Result<()> {
        let group = [match Family::of(self.source) {
            Family::V4 => IpAddr::V4(vrrp::MULTICAST),
            Family::V6 => IpAddr::V6(vrrp::MULTICAST_V6),
        }];
        let destinations = match &self.transport {
            Transport::Multicast => &group[..],
            Transport::Unicast(peers) => peers,
        };
        let mut sent = Ok(());
        for &destination in destinations {
            sent = sent.and(self.send_to(destination, priority));
        }
        sent
    }

    fn send_to(&self, destination: IpAddr, priority: Priority) -> io::Result<()> {
        let advert = Advert {
            version: self.expected.version,
            vrid: self.expected.vrid,
            priority,
            interval: self.expected.interval,
            auth: self.expected.auth,
            checksum: match self.expected.version {
                vrrp::Version::V2 => vrrp::Checksum::Plain,
                vrrp::Version::V3 => vrrp::Checksum::PseudoHeader,
            },
        };
        let ip = Ip { source: self.source, destination, ttl: vrrp::TTL };
        let mut packet = [0; vrrp::MAX_LEN];
        let length =
            vrrp::encode(&advert, &self.addresses, ip, &mut packet).map_err(io::Error::other)?;
        let to = SockAddr::from(SocketAddr::new(destination, 0));
        self.socket.get_ref().send_to(&packet[..length], &to).map(drop)
    }

    /// The next advert for this virtual router from somebody else, and who sent it. Adverts that
    /// the RFC or the configuration refuses are an error, after which the next may be read.
    ///
    /// # Errors
    /// The reason for which an advert was refused, or the socket's error.
    pub async fn receive(&self) -> Result<(IpAddr, Advert), Refused> {
        let mut buffer = socket::Buffer::default();
        loop {
            let read = self.socket.async_io(Interest::READABLE, |socket| {
                socket::receive(socket, Family::of(self.source), &mut buffer)
            });
            let Some((ip, range)) = read.await? else { continue };
            if let Some(advert) = self.understand(ip, buffer.get(range))? {
                return Ok((ip.source, advert));
            }
        }
    }

    /// The next advert that has arrived already, as [`receive`](Self::receive) gives it; `None` if
    /// there is none. It asks the kernel, whatever the runtime has noticed so far.
    ///
    /// # Errors
    /// The reason for which an advert was refused, or the socket's error.
    pub fn waiting(&self) -> Result<Option<(IpAddr, Advert)>, Refused> {
        let mut buffer = socket::Buffer::default();
        loop {
            let family = Family::of(self.source);
            let read = socket::receive(self.socket.get_ref(), family, &mut buffer);
            let (ip, range) = match read {
                Ok(Some(packet)) => packet,
                Ok(None) => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e.into()),
            };
            if let Some(advert) = self.understand(ip, buffer.get(range))? {
                return Ok(Some((ip.source, advert)));
            }
        }
    }

    /// `None` for a packet that is not for this virtual router, or from nobody that it listens to.
    fn understand(&self, ip: Ip, message: &[u8]) -> Result<Option<Advert>, Refused> {
        let stranger = match &self.transport {
            Transport::Multicast => ip.source == self.source,
            Transport::Unicast(peers) => !peers.contains(&ip.source),
        };
        // Other virtual routers share the link; their adverts are none of our business.
        let ours = message.get(1) == Some(&self.expected.vrid.get());
        if stranger || !ours {
            return Ok(None);
        }
        let refused = |e: vrrp::Error| Refused::Advert(ip.source, e);
        let (advert, _) = vrrp::parse(message, ip).map_err(refused)?;
        self.expected.check(&advert).map_err(refused)?;
        Ok(Some(advert))
    }
}
