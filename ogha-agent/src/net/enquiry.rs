//! Asks addresses whether they are there: by ARP or neighbour solicitation those of an own network,
//! by ICMP echo all. Either answer will do.
//!
//! An answer counts only if it came after the question: the sockets are opened for one enquiry, and
//! an echo carries a nonce of it. An answer to ARP carries nothing of the question, so that one to
//! another's, which comes at the same moment, counts too; it proves as much.

use std::{
    fs::File,
    io::{self, IoSliceMut, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    cmsg_space,
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg},
};
use ogha_common::wire::{
    arp,
    echo::{self, Echo, Version},
    ndp::{self, Neighbour},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    announce, packet,
    path::{self, Path},
};

/// When each address is asked, after the beginning.
const ROUNDS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(40), Duration::from_millis(80)];
/// How long answers are taken.
pub const LIMIT: Duration = Duration::from_millis(150);

/// Where ICMPv6 begins in a frame.
const ICMPV6_AT: usize = 14 + 40;
/// Longer than any answer that counts.
const ROOM: usize = 256;

/// Whom to ask, and by which ways.
#[derive(Clone, Debug)]
pub struct Enquiry {
    /// The addresses to be asked.
    pub targets: Vec<IpAddr>,
    /// The interface to ask by in any case.
    pub interface: String,
    /// The ways to these are tried too.
    pub towards: Vec<IpAddr>,
    /// Addresses that must not be asked from, for they move.
    pub moving: Vec<IpAddr>,
}

impl Enquiry {
    /// Whether one of the targets is an address of this host, which would always answer.
    ///
    /// # Errors
    /// When the kernel does not tell its addresses.
    pub fn own(&self) -> anyhow::Result<Option<IpAddr>> {
        for &target in &self.targets {
            if path::is_own(target)? {
                return Ok(Some(target));
            }
        }
        Ok(None)
    }

    /// Asks all, until `enough` have answered or [`LIMIT`] is over, and blocks meanwhile. For each
    /// target, how long it took.
    ///
    /// # Errors
    /// When no socket can be opened: nobody was asked. A way that is closed is no error.
    pub fn ask(&self, enough: usize) -> anyhow::Result<Vec<Option<Duration>>> {
        let towards: Vec<_> = self.targets.iter().chain(&self.towards).copied().collect();
        let paths = path::paths(&[&self.interface], &towards, &self.moving)?;
        let echo = question()?;
        let (ears, closed) = Ear::open_all(&paths, &self.targets);
        if let (true, Some(reason)) = (ears.is_empty(), closed) {
            return Err(reason);
        }
        let begin = Instant::now();
        let mut answered = vec![None; self.targets.len()];
        let mut rounds = ROUNDS.iter().enumerate().peekable();
        loop {
            let passed = begin.elapsed();
            if let Some((round, _)) = rounds.next_if(|(_, at)| **at <= passed) {
                let echo = Echo { sequence: round as u16, ..echo };
                for ear in &ears {
                    for (target, _) in self.open(&answered) {
                        ear.ask(target, &echo);
                    }
                }
            }
            let until = rounds.peek().map_or(LIMIT, |(_, at)| **at);
            wait(&ears, until.saturating_sub(begin.elapsed()))?;
            // Before what has come is read: this thread's own delay is nobody's silence.
            let over = begin.elapsed() >= LIMIT;
            for ear in &ears {
                ear.listen(|message, from| {
                    for (at, target) in self.targets.iter().enumerate() {
                        if answered[at].is_none() && ear.answers(*target, &echo, message, from) {
                            answered[at] = Some(begin.elapsed());
                        }
                    }
                });
            }
            if over || answered.iter().flatten().count() >= enough {
                return Ok(answered);
            }
        }
    }

    /// Those that have not answered.
    fn open<'a>(
        &'a self,
        answered: &'a [Option<Duration>],
    ) -> impl Iterator<Item = (IpAddr, usize)> + 'a {
        let open = self.targets.iter().zip(answered).enumerate();
        open.filter(|(_, (_, answer))| answer.is_none()).map(|(at, (target, _))| (*target, at))
    }
}

/// An echo that nobody can know.
fn question() -> anyhow::Result<Echo> {
    let mut random = [0; 2 + echo::NONCE];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context("reading /dev/urandom")?;
    let [high, low, nonce @ ..] = random;
    Ok(Echo { identifier: u16::from_be_bytes([high, low]), sequence: 0, nonce })
}

fn wait(ears: &[Ear<'_>], at_most: Duration) -> anyhow::Result<()> {
    let mut fds: Vec<_> = ears.iter().map(|ear| PollFd::new(ear.fd(), PollFlags::POLLIN)).collect();
    // Rounded up, so that the end of the wait is not before the time waited for.
    let at_most = at_most + Duration::from_micros(999);
    let limit = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
    match poll(&mut fds, limit) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("waiting for answers"),
    }
}

/// A socket that asks in one way, on one interface.
struct Ear<'p> {
    path: &'p Path,
    socket: Way,
}

enum Way {
    Arp(OwnedFd),
    /// From that address of the node.
    Icmp(Socket, Ipv4Addr),
    /// Echo and neighbour discovery, from that address of the node.
    Icmpv6(Socket, Ipv6Addr),
}

impl<'p> Ear<'p> {
    /// Those that the targets need, and why another could not be had.
    fn open_all(paths: &'p [Path], targets: &[IpAddr]) -> (Vec<Self>, Option<anyhow::Error>) {
        let (mut ears, mut closed) = (Vec::new(), None);
        for path in paths {
            let near = |target: &&IpAddr| target.is_ipv4() && path.neighbourly(**target).is_some();
            let arp = targets.iter().find(near).map(|_| arp(path));
            let mut sources: Vec<_> = targets.iter().filter_map(|&to| path.source(to)).collect();
            sources.sort_unstable();
            sources.dedup();
            for socket in arp.into_iter().chain(sources.into_iter().map(|own| icmp(path, own))) {
                match socket {
                    Ok(socket) => ears.push(Self { path, socket }),
                    Err(reason) => closed = Some(reason),
                }
            }
        }
        (ears, closed)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Way::Arp(socket) => socket.as_fd(),
            Way::Icmp(socket, _) | Way::Icmpv6(socket, _) => socket.as_fd(),
        }
    }

    /// Asks, if this is a way to the target. A question that cannot be sent is one that is not
    /// answered: there is no route, or the link is down.
    fn ask(&self, target: IpAddr, echo: &Echo) {
        let interface = &self.path.interface;
        let source = self.path.source(target);
        match (&self.socket, target) {
            (Way::Arp(socket), IpAddr::V4(v4)) => {
                if let Some(IpAddr::V4(own)) = self.path.neighbourly(target) {
                    let question = announce::question(interface.mac, own, v4);
                    let _ = nix::unistd::write(socket, &question.encode([0xff; 6], interface.mac));
                }
            }
            (Way::Icmp(socket, own), IpAddr::V4(_)) if source == Some((*own).into()) => {
                let _ = socket.send_to(&echo.encode(Version::V4), &whole(target));
            }
            (Way::Icmpv6(socket, own), IpAddr::V6(v6)) if source == Some((*own).into()) => {
                if self.path.neighbourly(target).is_some() {
                    let mut frame = [0; ndp::LEN];
                    let question = Neighbour::solicitation(*own, interface.mac, v6);
                    let group = ndp::solicited_node(v6);
                    let frame = question.encode(ndp::group_mac(group), interface.mac, &mut frame);
                    let to = SocketAddrV6::new(group, 0, 0, interface.index).into();
                    let _ = socket.send_to(&frame[ICMPV6_AT..], &to);
                }
                let _ = socket.send_to(&echo.encode(Version::V6), &whole(target));
            }
            _ => {}
        }
    }

    /// Hands out what has come: the ICMP message or the frame, and who sent it.
    fn listen(&self, mut heard: impl FnMut(&[u8], Receipt)) {
        let mut room = [0; ROOM];
        loop {
            let read = match &self.socket {
                Way::Arp(socket) => nix::unistd::read(socket, &mut room)
                    .map(|length| (0..length, Receipt { from: None, hops: None })),
                Way::Icmp(socket, _) => read_v4(socket, &mut room),
                Way::Icmpv6(socket, _) => read_v6(socket, &mut room),
            };
            match read {
                Ok((message, from)) => heard(&room[message], from),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn answers(&self, target: IpAddr, echo: &Echo, message: &[u8], heard: Receipt) -> bool {
        match (&self.socket, target) {
            (Way::Arp(_), IpAddr::V4(v4)) => arp::parse(message).is_ok_and(|reply| {
                reply.operation == arp::Operation::Reply
                    && reply.sender_ip == v4
                    && reply.target_mac == self.path.interface.mac
            }),
            (Way::Icmp(..), IpAddr::V4(_)) => {
                heard.from == Some(target) && echo.is_answered_by(Version::V4, message)
            }
            (Way::Icmpv6(..), IpAddr::V6(v6)) => {
                let echoed =
                    heard.from == Some(target) && echo.is_answered_by(Version::V6, message);
                echoed || heard.hops == Some(ndp::HOP_LIMIT) && advertises(v6, message)
            }
            _ => false,
        }
    }
}

/// What the kernel says of a message.
#[derive(Clone, Copy)]
struct Receipt {
    from: Option<IpAddr>,
    hops: Option<u8>,
}

fn whole(target: IpAddr) -> SockAddr {
    SocketAddr::new(target, 0).into()
}

fn arp(path: &Path) -> anyhow::Result<Way> {
    packet::open(&path.interface, arp::ETHERTYPE).map(Way::Arp)
}

/// Bound to the node's own address: the kernel's choice could be one that moves.
fn icmp(path: &Path, own: IpAddr) -> anyhow::Result<Way> {
    let raw = |domain, protocol| {
        let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        socket.bind_device(Some(path.interface.name.as_bytes()))?;
        socket.bind(&whole(own))?;
        Ok::<_, io::Error>(socket)
    };
    let open = || match own {
        IpAddr::V4(v4) => Ok(Way::Icmp(raw(Domain::IPV4, Protocol::ICMPV4)?, v4)),
        IpAddr::V6(v6) => {
            let socket = raw(Domain::IPV6, Protocol::ICMPV6)?;
            let hops = u32::from(ndp::HOP_LIMIT);
            socket.set_multicast_if_v6(path.interface.index)?;
            socket.set_multicast_hops_v6(hops)?;
            socket.set_unicast_hops_v6(hops)?;
            socket.set_recv_hoplimit_v6(true)?;
            Ok::<_, io::Error>(Way::Icmpv6(socket, v6))
        }
    };
    let on = &path.interface.name;
    open().with_context(|| format!("cannot open an ICMP socket on {on} for {own}"))
}

/// An answer to a solicitation (RFC 4861 section 4.4): type 136, code 0, the flag S, the target.
fn advertises(target: Ipv6Addr, message: &[u8]) -> bool {
    message.first_chunk::<24>().is_some_and(|message| {
        message[..2] == [136, 0] && message[4] & 0x40 != 0 && message[8..] == target.octets()
    })
}

type Read = Result<(std::ops::Range<usize>, Receipt), Errno>;

/// Of IPv4 the kernel hands out the header too.
fn read_v4(socket: &Socket, room: &mut [u8; ROOM]) -> Read {
    let length = nix::unistd::read(socket, room)?;
    let header = usize::from(room[0] & 0xf) * 4;
    let from = IpAddr::from([room[12], room[13], room[14], room[15]]);
    Ok((header.min(length)..length, Receipt { from: Some(from), hops: None }))
}

fn read_v6(socket: &Socket, room: &mut [u8; ROOM]) -> Read {
    let mut control = cmsg_space!(libc::c_int);
    let mut parts = [IoSliceMut::new(room)];
    let fd = socket.as_raw_fd();
    let read = recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
    let hops = read.cmsgs()?.find_map(|said| match said {
        ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
        _ => None,
    });
    let from = read.address.map(|address| address.ip().into());
    Ok((0..read.bytes, Receipt { from, hops }))
}
