//! A host's interface, frame by frame.

use std::{
    io,
    mem::size_of,
    time::{Duration, Instant},
};

use ogha_tests::lab::{Host, host::INTERFACE};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// How long a frame may take that must come.
pub const GENEROUS: Duration = Duration::from_secs(10);

/// A packet socket: sends any frame, and sees all that the host receives.
pub struct Wire {
    socket: Socket,
    mac: [u8; 6],
}

impl Wire {
    /// Opens the interface of a host.
    pub fn open(host: &Host) -> Self {
        Self::open_at(host, INTERFACE, host.mac())
    }

    /// Opens an interface of a host, which has that MAC.
    pub fn open_at(host: &Host, interface: &str, mac: [u8; 6]) -> Self {
        let every = (libc::ETH_P_ALL as u16).to_be();
        let socket = host.namespace().enter(|| {
            let protocol = Protocol::from(i32::from(every));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
            let index = nix::net::if_::if_nametoindex(interface).unwrap();
            socket.bind(&link_address(every, index)).unwrap();
            socket
        });
        Self { socket, mac }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        self.try_send(frame).unwrap();
    }

    /// Sends a frame that may be dropped before it leaves.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        assert_eq!(self.socket.send(frame)?, frame.len());
        Ok(())
    }

    /// The first frame from others of which `read` makes something; `None` if none has come in time.
    pub fn receive<T>(
        &self,
        within: Duration,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + within;
        let mut buffer = [0; 65536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            let length = match io::Read::read(&mut &self.socket, &mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            };
            let frame = &buffer[..length];
            if frame[6..12] != self.mac
                && let Some(found) = read(frame)
            {
                return Some(found);
            }
        }
    }

    /// The same, for a frame that must come.
    pub fn expect<T>(&self, what: &str, read: impl FnMut(&[u8]) -> Option<T>) -> T {
        self.receive(GENEROUS, read).unwrap_or_else(|| panic!("{what} has not come"))
    }
}

fn link_address(protocol: u16, index: u32) -> SockAddr {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is larger than any socket address, and both are plain bytes.
    unsafe {
        *storage.view_as::<libc::sockaddr_ll>() = address;
        SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32)
    }
}
