//! The socket that sends probes, and the key that proves who sent them. What comes back is the
//! kernel's business: its programs take it before any socket sees it.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
};

use anyhow::{Context as _, bail};
use ogha_common::wire::{
    probe::{self, Body, Probe},
    siphash,
};

use super::{interface::Interface, path::source_towards};
use crate::secret;

/// More than any key file has, in octets.
const LONGEST_KEY_FILE: u64 = 64;

/// The cluster's key: 16 octets that all nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(siphash::Key);

impl Key {
    /// Reads a key file: 16 octets as they are, or as 32 hexadecimal digits.
    ///
    /// # Errors
    /// When it is not there, when others than its owner may read it, when somebody else owns it,
    /// or when it is no key.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let remedy = format!(
            "make one with `openssl rand -hex 16 >{shown}`, `chmod 600 {shown}`, and copy it to \
             the other nodes"
        );
        let bytes = secret::read("the cluster's key", path, LONGEST_KEY_FILE, &remedy)?;
        match Self::parse(&bytes) {
            Some(key) => Ok(key),
            None => bail!(
                "the cluster's key {shown} is neither 16 octets nor 32 hexadecimal digits; make \
                 one with `openssl rand -hex 16`"
            ),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let raw = bytes.try_into().ok();
        raw.or_else(|| hexadecimal(bytes)).map(|octets| Self(siphash::Key::new(octets)))
    }

    /// The key as the kernel's programs take it.
    #[must_use]
    pub const fn words(self) -> siphash::Key {
        self.0
    }

    fn tag(self, body: &Body) -> u64 {
        siphash::tag(self.0, body)
    }
}

fn hexadecimal(text: &[u8]) -> Option<[u8; 16]> {
    let digits = text.trim_ascii();
    let mut octets = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(digits.as_chunks::<2>().0) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *octet = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(octets)
}

/// The UDP sockets of one instance, one for each of this node's addresses that a path to a peer
/// begins at. They reserve the port that the kernel answers on, and so that the peers' kernels know
/// the way back, probes come from there.
#[derive(Debug)]
pub struct ProbeSockets {
    port: u16,
    key: Key,
    boot_id: [u8; 16],
    sockets: Vec<ProbeSocket>,
}

/// A socket, and where it is.
#[derive(Debug)]
struct ProbeSocket {
    address: IpAddr,
    interface: Interface,
    socket: UdpSocket,
}

impl ProbeSockets {
    /// Binds the port on this node's own address: socket 0.
    ///
    /// # Errors
    /// When the port is taken, or the kernel tells no boot id.
    pub fn bind(address: IpAddr, port: u16, key: Key) -> anyhow::Result<Self> {
        let sockets = vec![ProbeSocket::bind(address, port)?];
        Ok(Self { port, key, boot_id: boot_id()?, sockets })
    }

    /// The number of the socket on the address from which the kernel's routes reach a peer. It is
    /// bound, if none is there yet.
    ///
    /// # Errors
    /// When there is no route, or the port is taken.
    pub fn towards(&mut self, peer: IpAddr) -> anyhow::Result<usize> {
        let address = source_towards(peer)
            .with_context(|| format!("there is no route to the peer's address {peer}"))?;
        if let Some(known) = self.sockets.iter().position(|own| own.address == address) {
            return Ok(known);
        }
        self.sockets.push(ProbeSocket::bind(address, self.port)?);
        Ok(self.sockets.len() - 1)
    }

    /// Moves the socket on the address `from` to another of this node's addresses.
    ///
    /// # Errors
    /// When the port is taken there.
    pub fn rebind(&mut self, from: IpAddr, to: IpAddr) -> anyhow::Result<()> {
        let port = self.port;
        for own in self.sockets.iter_mut().filter(|own| own.address == from) {
            *own = ProbeSocket::bind(to, port)?;
        }
        Ok(())
    }

    /// The addresses that they are bound to, the node's own first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.sockets.iter().map(|own| own.address)
    }

    /// The interfaces that have these addresses.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> + '_ {
        self.sockets.iter().map(|own| &own.interface)
    }

    /// Whether this end of a path can be used: the socket's interface is up and has a carrier.
    #[must_use]
    pub fn is_usable(&self, socket: usize) -> bool {
        self.sockets.get(socket).is_some_and(|own| own.interface.is_running())
    }

    /// The UDP port, of this node and of its peers.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The kernel's boot id.
    #[must_use]
    pub fn boot_id(&self) -> [u8; 16] {
        self.boot_id
    }

    /// The cluster's key.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Sends a probe by a socket, at once.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&self, socket: usize, to: IpAddr, probe: &Probe) -> io::Result<()> {
        let ProbeSocket { socket, .. } = self.sockets.get(socket).ok_or(io::ErrorKind::NotFound)?;
        let datagram = probe::encode(probe, |body| self.key.tag(body));
        socket.send_to(&datagram, SocketAddr::new(to, self.port)).map(drop)
    }
}

impl ProbeSocket {
    fn bind(address: IpAddr, port: u16) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(address, port))
        .and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .with_context(|| {
            format!(
                "cannot use UDP port {port} on {address}; `ss -ulpn sport = {port}` shows who has \
                 it, `port` in [instance.liveness] chooses another"
            )
        })?;
        Ok(Self { address, interface: Interface::having(address)?, socket })
    }
}

fn boot_id() -> anyhow::Result<[u8; 16]> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    hexadecimal(&digits).with_context(|| format!("{path} holds no boot id"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_key_is_16_octets_or_32_digits() {
        let octets: [u8; 16] = std::array::from_fn(|i| i as u8);
        let hex = Key::parse(b"000102030405060708090a0b0c0d0E0F\n").unwrap();
        assert_eq!(hex.words(), siphash::Key::new(octets));
        assert_eq!(Key::parse(&octets), Some(hex));
        for refused in [&b""[..], b"short", &[b'0'; 31], &[b'g'; 32], &[b'0'; 33]] {
            assert_eq!(Key::parse(refused), None);
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.key");
        assert!(format!("{:#}", Key::load(&path).unwrap_err()).contains("openssl rand"));
        fs::write(&path, [7; 16]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(format!("{:#}", Key::load(&path).unwrap_err()).contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Key::load(&path).unwrap().words(), siphash::Key::new([7; 16]));
        fs::write(&path, "not a key").unwrap();
        assert!(Key::load(&path).is_err());
    }
}
