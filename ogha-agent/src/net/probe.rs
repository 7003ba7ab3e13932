//! The socket over which nodes probe each other, and the key that proves who they are.

use std::{
    collections::HashMap,
    fmt, fs,
    hash::Hasher as _,
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Mutex,
};

use anyhow::{Context as _, bail, ensure};
use ogha_common::{
    units::{NodeId, Vrid},
    wire::{
        probe::{self, Probe},
        replay::Replay,
    },
};
use siphasher::sip::SipHasher24;
use thiserror::Error;
use tokio::io::{Interest, unix::AsyncFd};

/// More than any key file has, in octets.
const LONGEST_KEY_FILE: u64 = 64;

/// The cluster's key: 16 octets that all nodes share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads a key file: 16 octets as they are, or as 32 hexadecimal digits.
    ///
    /// # Errors
    /// When it is not there, when others than its owner may read it, when somebody else owns it,
    /// or when it is no key.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let make = || {
            format!(
                "cannot read the cluster's key {shown}; make one with `openssl rand -hex 16 \
                 >{shown}`, `chmod 600 {shown}`, and copy it to the other nodes"
            )
        };
        let mut file = fs::File::open(path).with_context(make)?;
        let metadata = file.metadata().with_context(make)?;
        ensure!(metadata.is_file(), "the cluster's key {shown} is no file");
        let mode = metadata.mode();
        ensure!(
            mode & 0o077 == 0,
            "the cluster's key {shown} may be read by others (mode {:o}); `chmod 600 {shown}`",
            mode & 0o777
        );
        let owner = metadata.uid();
        ensure!(
            owner == 0 || owner == nix::unistd::geteuid().as_raw(),
            "the cluster's key {shown} belongs to user {owner}; `chown root {shown}`"
        );
        let mut bytes = Vec::new();
        file.by_ref().take(LONGEST_KEY_FILE).read_to_end(&mut bytes).with_context(make)?;
        match Self::parse(&bytes) {
            Some(key) => Ok(key),
            None => bail!(
                "the cluster's key {shown} is neither 16 octets nor 32 hexadecimal digits; make \
                 one with `openssl rand -hex 16`"
            ),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if let Ok(raw) = bytes.try_into() {
            return Some(Self(raw));
        }
        let digits = bytes.trim_ascii();
        let mut key = [0; 16];
        if digits.len() != 32 {
            return None;
        }
        for (octet, pair) in key.iter_mut().zip(digits.as_chunks::<2>().0) {
            let digit = |d: u8| char::from(d).to_digit(16);
            *octet = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(Self(key))
    }

    fn tag(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish()
    }
}

/// Why [`ProbeSocket::receive`] gives no probe. (Anybody can send a bad datagram, so this must
/// cost little: no allocation, no backtrace.)
#[derive(Debug, Error)]
pub enum Refused {
    /// The socket's error.
    #[error("the probes' socket: {0}")]
    Socket(#[from] io::Error),
    /// A datagram that breaks a rule.
    #[error("from {0}: {1}")]
    Probe(SocketAddr, probe::Error),
    /// Authentic, but for somebody else.
    #[error("from {0}: it is for another node or instance")]
    NotForUs(SocketAddr),
    /// Authentic, but heard before.
    #[error("from {0}: it is a replay")]
    Replay(SocketAddr),
}

/// The UDP socket of one instance.
#[derive(Debug)]
pub struct ProbeSocket {
    socket: AsyncFd<UdpSocket>,
    key: Key,
    boot_id: [u8; 16],
    node: NodeId,
    vrid: Vrid,
    heard: Mutex<HashMap<NodeId, Replay>>,
}

impl ProbeSocket {
    /// Binds the port on this node's own address.
    ///
    /// # Errors
    /// When the port is taken, or the kernel tells no boot id.
    pub fn bind(
        address: Ipv4Addr,
        port: u16,
        key: Key,
        node: NodeId,
        vrid: Vrid,
    ) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(SocketAddrV4::new(address, port))
            .and_then(|socket| {
                socket.set_nonblocking(true)?;
                // SAFETY: the `UdpSocket` owns its descriptor, and the `AsyncFd` owns the
                // `UdpSocket`.
                unsafe { Ok(AsyncFd::register(socket)?) }
            })
            .with_context(|| {
                format!(
                    "cannot use UDP port {port} on {address}; `ss -ulpn sport = {port}` tells who \
                     has it, `port` in [instance.liveness] chooses another"
                )
            })?;
        Ok(Self { socket, key, boot_id: boot_id()?, node, vrid, heard: Mutex::default() })
    }

    /// The kernel's boot id.
    #[must_use]
    pub fn boot_id(&self) -> [u8; 16] {
        self.boot_id
    }

    /// Sends a probe or a reply, at once: it does not wait for the runtime to look whether the
    /// socket is ready.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&self, to: SocketAddrV4, probe: &Probe) -> io::Result<()> {
        let datagram = probe::encode(probe, |bytes| self.key.tag(bytes));
        self.socket.get_ref().send_to(&datagram, to).map(drop)
    }

    /// The next datagram that is authentic, new, and for this instance on this node. A datagram
    /// that is refused is an error, after which the next may be read.
    ///
    /// # Errors
    /// The reason for which a datagram was refused, or the socket's error.
    pub async fn receive(&self) -> Result<Probe, Refused> {
        let mut datagram = [0; probe::LEN + 1];
        let (length, from) = self
            .socket
            .async_io(Interest::READABLE, |socket| socket.recv_from(&mut datagram))
            .await?;
        let probe = probe::parse(&datagram[..length], |bytes| self.key.tag(bytes))
            .map_err(|e| Refused::Probe(from, e))?;
        if probe.to != self.node || probe.vrid != self.vrid {
            return Err(Refused::NotForUs(from));
        }
        let mut heard = self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !heard.entry(probe.node).or_default().accept(probe.boot_id, probe.sequence) {
            return Err(Refused::Replay(from));
        }
        Ok(probe)
    }
}

fn boot_id() -> anyhow::Result<[u8; 16]> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    Key::parse(&digits).map(|id| id.0).with_context(|| format!("{path} holds no boot id"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_16_octets_or_32_digits() {
        let hex = Key::parse(b"000102030405060708090a0b0c0d0E0F\n").unwrap();
        assert_eq!(hex.0, std::array::from_fn(|i| i as u8));
        assert_eq!(Key::parse(&hex.0), Some(hex));
        for refused in [&b""[..], b"short", &[b'0'; 31], &[b'g'; 32], &[b'0'; 33]] {
            assert_eq!(Key::parse(refused), None);
        }
    }

    /// The first of the reference vectors: the key 00 01 .. 0f over the octets 00 01 .. 0e.
    #[test]
    fn the_tag_is_siphash_2_4() {
        let key = Key(std::array::from_fn(|i| i as u8));
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(key.tag(&message), 0xa129_ca61_49be_45e5);
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
        assert_eq!(Key::load(&path).unwrap(), Key([7; 16]));
        fs::write(&path, "not a key").unwrap();
        assert!(Key::load(&path).is_err());
    }

    #[tokio::test]
    async fn only_new_authentic_datagrams_for_this_node_come_through() {
        let (me, peer) = (NodeId::of("a"), NodeId::of("b"));
        let vrid = Vrid::new(59).unwrap();
        let home = Ipv4Addr::LOCALHOST;
        let key = Key([7; 16]);
        let receiver = ProbeSocket::bind(home, 0, key, me, vrid).unwrap();
        let std::net::SocketAddr::V4(to) = receiver.socket.get_ref().local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        let sender = ProbeSocket::bind(home, 0, key, peer, vrid).unwrap();
        let forger = ProbeSocket::bind(home, 0, Key([8; 16]), peer, vrid).unwrap();
        let probe = |sequence, to| Probe {
            vrid,
            kind: probe::Kind::Probe,
            sequence,
            boot_id: sender.boot_id(),
            time_ns: 1,
            echo_ns: 0,
            node: peer,
            to,
            status: probe::Status {
                term: ogha_common::units::Term::new(1),
                primary: None,
                phase: probe::Phase::Standby,
                role: probe::Role::Standby,
                restarting: false,
                priority: ogha_common::units::Priority::DEFAULT,
                lsn: ogha_common::units::Lsn::new(0),
            },
        };
        forger.send(to, &probe(9, me)).unwrap();
        sender.send(to, &probe(1, me)).unwrap();
        sender.send(to, &probe(1, me)).unwrap();
        sender.send(to, &probe(2, peer)).unwrap();
        sender.send(to, &probe(3, me)).unwrap();
        let mut heard = Vec::new();
        for _ in 0..5 {
            heard.push(match receiver.receive().await {
                Ok(probe) => probe.sequence.to_string(),
                Err(e) => format!("{e:#}").rsplit(": ").next().unwrap().to_owned(),
            });
        }
        assert_eq!(heard[1], "1");
        assert_eq!(heard[4], "3");
        assert_eq!(heard[2], "it is a replay");
        assert_eq!(heard[3], "it is for another node or instance");
        assert!(heard[0].contains("key file"), "{}", heard[0]);
    }
}
