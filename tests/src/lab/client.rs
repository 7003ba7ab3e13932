//! What a client sees of an address: who answers ARP for it, what TCP says.

use std::{
    fs, io,
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Host, host::INTERFACE};

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
/// If the kernel's table cannot be read.
pub fn neighbour(client: &Host, address: IpAddr) -> Result<Option<[u8; 6]>> {
    // The thread's, for `/proc/net` is that of the process's first thread.
    let table = client.namespace().enter(|| fs::read_to_string("/proc/thread-self/net/arp"))?;
    let wanted = address.to_string();
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&wanted));
    Ok(line.and_then(|line| line.split_whitespace().nth(3)).and_then(parse_mac))
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let octets: Option<Vec<u8>> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    let mac: [u8; 6] = octets?.try_into().ok()?;
    (mac != [0; 6]).then_some(mac)
}

/// Asks the network who has the address, and returns every MAC that claims it within the time,
/// once for each answer.
///
/// # Errors
/// If the client cannot send, as when its link is down.
pub fn who_has(client: &Host, address: Ipv4Addr, within: Duration) -> Result<Vec<[u8; 6]>> {
    let socket = client.namespace().enter(packet_socket)?;
    let (mac, own) = (client.mac(), client.address());
    socket.send(&request(mac, own, address)).context("cannot send an ARP request")?;
    let end = Instant::now() + within;
    let mut answers = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(answers);
        }
        socket.set_read_timeout(Some(left))?;
        let mut buffer = [MaybeUninit::new(0_u8); 64];
        if let Ok(length) = socket.recv(&mut buffer) {
            // SAFETY: every byte was initialised above.
            let frame = buffer[..length].iter().map(|byte| unsafe { byte.assume_init() });
            answers.extend(reply(&frame.collect::<Vec<_>>(), address, own));
        }
    }
}

const ETHERTYPE_ARP: u16 = 0x0806;

/// A socket of this thread's namespace that sends and receives whole ARP frames.
fn packet_socket() -> Result<Socket> {
    let protocol = i32::from(ETHERTYPE_ARP.to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(protocol)))?;
    let index = if_nametoindex(INTERFACE)?;
    // SAFETY: all zero is a valid sockaddr_ll; the length given is its size.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = &mut *storage.cast::<libc::sockaddr_ll>();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ETHERTYPE_ARP.to_be();
            address.sll_ifindex = index as i32;
            *length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    socket.bind(&address)?;
    Ok(socket)
}

/// An Ethernet frame with an ARP request (RFC 826), to everybody.
fn request(mac: [u8; 6], own: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
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
fn reply(frame: &[u8], wanted: Ipv4Addr, own: Ipv4Addr) -> Option<[u8; 6]> {
    let arp = frame.get(14..42)?;
    let is_reply = arp[6..8] == [0, 2];
    let about = arp[14..18] == wanted.octets() && arp[24..28] == own.octets();
    if is_reply && about { arp[8..14].try_into().ok() } else { None }
}
