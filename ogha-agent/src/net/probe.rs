//! The socket that sends probes, and the key that proves who sent them. What comes back is the
//! kernel's business: its programs take it before any socket sees it.

use std::{
    fs,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use ogha_common::wire::{
    probe::{self, Body, Probe},
    siphash,
};

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

/// The UDP socket of one instance. It reserves the port that the kernel answers on, and so that
/// the peers' kernels know the way back, probes come from there.
#[derive(Debug)]
pub struct ProbeSocket {
    socket: UdpSocket,
    key: Key,
    boot_id: [u8; 16],
}

impl ProbeSocket {
    /// Binds the port on this node's own address.
    ///
    /// # Errors
    /// When the port is taken, or the kernel tells no boot id.
    pub fn bind(address: IpAddr, port: u16, key: Key) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(address, port))
            .and_then(|socket| {
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .with_context(|| {
                format!(
                    "cannot use UDP port {port} on {address}; `ss -ulpn sport = {port}` tells who \
                     has it, `port` in [instance.liveness] chooses another"
                )
            })?;
        Ok(Self { socket, key, boot_id: boot_id()? })
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

    /// Sends a probe, at once.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&self, to: SocketAddr, probe: &Probe) -> io::Result<()> {
        let datagram = probe::encode(probe, |body| self.key.tag(body));
        self.socket.send_to(&datagram, to).map(drop)
    }
}

fn boot_id() -> anyhow::Result<[u8; 16]> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    hexadecimal(&digits).with_context(|| format!("{path} holds no boot id"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
