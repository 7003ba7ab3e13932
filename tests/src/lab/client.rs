//! What a client sees of an address: who says that they have it, what TCP says.

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use ogha_common::wire::ndp::{self, Neighbour, NeighbourKind};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Host, host::INTERFACE, netlink};

/// How a server meets a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is open.
    Accepted,
    /// RST.
    Refused,
    /// Nothing came.
    Silence,
}

/// Tries to connect from `client`.
#[must_use]
pub fn connect(client: &Host, server: SocketAddr, within: Duration) -> Answer {
    let result = client.namespace().enter(|| TcpStream::connect_timeout(&server, within));
    match result {
        Ok(_) => Answer::Accepted,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused,
        Err(_) => Answer::Silence,
    }
}

/// The MAC by which `client`'s kernel reaches the address, if it knows one.
///
/// # Errors
/// If the kernel does not answer.
pub fn neighbour(client: &Host, address: IpAddr) -> Result<Option<[u8; 6]>> {
    netlink::neighbour(client.namespace(), address)
}

/// Asks the network who has the address, and returns every MAC that claims it within the time,
/// once for each answer.
///
/// # Errors
/// If the client cannot send, as when its link is down.
pub fn who_has(
    client: &Host,
    address: impl Into<IpAddr>,
    within: Duration,
) -> Result<Vec<[u8; 6]>> {
    match address.into() {
        IpAddr::V4(wanted) => {
            let own = client.address();
            let question = arp_request(client.mac(), own, wanted);
            ask(client, ETHERTYPE_ARP, &question, within, |frame| arp_reply(frame, wanted, own))
        }
        IpAddr::V6(wanted) => solicit(client, client.ipv6(), wanted, within),
    }
}

/// Asks the network who has the address, as a host does that is about to take it (RFC 4862 section
/// 5.4): from nobody's address. Returns every MAC that says no, once for each time.
///
/// # Errors
/// If the client cannot send.
pub fn detect_duplicates(
    client: &Host,
    address: Ipv6Addr,
    within: Duration,
) -> Result<Vec<[u8; 6]>> {
    solicit(client, Ipv6Addr::UNSPECIFIED, address, within)
}

fn solicit(
    client: &Host,
    own: Ipv6Addr,
    wanted: Ipv6Addr,
    within: Duration,
) -> Result<Vec<[u8; 6]>> {
    let mut frame = [0; ndp::LEN];
    let question = Neighbour::solicitation(own, client.mac(), wanted);
    let destination = ndp::group_mac(question.destination);
    let question = question.encode(destination, client.mac(), &mut frame);
    ask(client, ndp::ETHERTYPE, question, within, |frame| advertisement(frame, wanted, own))
}

/// Sends the question, and collects what `read` makes of the frames that come within the time.
fn ask(
    client: &Host,
    ethertype: u16,
    question: &[u8],
    within: Duration,
    read: impl Fn(&[u8]) -> Option<[u8; 6]>,
) -> Result<Vec<[u8; 6]>> {
    let socket = client.namespace().enter(|| packet_socket(ethertype))?;
    socket.send(question).context("cannot send a question")?;
    let end = Instant::now() + within;
    let mut answers = Vec::new();
    loop {
        // What has arrived is read, also when this thread got no processor in time.
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let mut buffer = [MaybeUninit::new(0_u8); 128];
        match socket.recv(&mut buffer) {
            Ok(length) => {
                // SAFETY: every byte was initialised above.
                let frame = buffer[..length].iter().map(|byte| unsafe { byte.assume_init() });
                answers.extend(read(&frame.collect::<Vec<_>>()));
            }
            Err(_) if Instant::now() >= end => return Ok(answers),
            Err(_) => {}
        }
    }
}

const ETHERTYPE_ARP: u16 = 0x0806;

/// A socket of this thread's namespace that sends and receives whole frames of that type.
pub(super) fn packet_socket(ethertype: u16) -> Result<Socket> {
    let protocol = i32::from(ethertype.to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(protocol)))?;
    let index = if_nametoindex(INTERFACE)?;
    // SAFETY: all zero is a valid sockaddr_ll; the length given is its size.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = &mut *storage.cast::<libc::sockaddr_ll>();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ethertype.to_be();
            address.sll_ifindex = index as i32;
            *length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    socket.bind(&address)?;
    Ok(socket)
}

/// An Ethernet frame with an ARP request (RFC 826), to everybody.
fn arp_request(mac: [u8; 6], own: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(own.octets());
    frame.extend([0; 6]);
    frame.extend(wanted.octets());
    frame
}

/// The sender's MAC, if the frame is a reply to us about `wanted`.
fn arp_reply(frame: &[u8], wanted: Ipv4Addr, own: Ipv4Addr) -> Option<[u8; 6]> {
    let arp = frame.get(14..42)?;
    let is_reply = arp[6..8] == [0, 2];
    let about = arp[14..18] == wanted.octets() && arp[24..28] == own.octets();
    if is_reply && about { arp[8..14].try_into().ok() } else { None }
}

/// The MAC in an advertisement of `wanted` that answers us: solicited, or to all nodes where we
/// asked without an address (RFC 4861 section 7.2.4).
fn advertisement(frame: &[u8], wanted: Ipv6Addr, own: Ipv6Addr) -> Option<[u8; 6]> {
    let message = ndp::parse(frame).ok()?;
    let answers = match message.kind {
        NeighbourKind::Solicitation => false,
        NeighbourKind::Advertisement { solicited: true, .. } => message.destination == own,
        NeighbourKind::Advertisement { solicited: false, .. } => {
            own.is_unspecified() && message.destination == ndp::ALL_NODES
        }
    };
    if answers && message.target == wanted { message.link_layer } else { None }
}
