//! IPv6 on the wire and on the interface, as the agent sets and says it: without its kernel programs.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use ogha_agent::net::{
    Family,
    addresses::Addresses,
    announce::Announcer,
    interface::Interface,
    vrrp::{Refused, Transport, VrrpSocket},
};
use ogha_common::{
    units::{Centis, Priority, Vrid},
    wire::vrrp::{self, Advert, Auth, Checksum, Expected, Ip, Version},
};
use ogha_tests::lab::{Host, Lab, client, clock};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::{runtime::Runtime, time::timeout};

const A: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 11);
const B: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 12);
const C: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 51);
/// Nearer to [`C`]'s IPv6 address than [`A`]'s is: the kernel would prefer it as a source.
const VIP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x59, 0, 0, 0, 0, 0x0a3b, 0x0032);
const GENEROUS: Duration = Duration::from_secs(30);
const A_WHILE: Duration = Duration::from_millis(300);
const EXPECTED: Expected = Expected {
    version: Version::V3,
    vrid: Vrid::new(59).unwrap(),
    interval: Centis::ONE_SECOND,
    auth: Auth::None,
};

struct Stage {
    runtime: Runtime,
    hosts: [Arc<Host>; 3],
    _lab: Lab,
}

impl Stage {
    fn new(name: &str) -> Self {
        let lab = Lab::new(name).unwrap();
        let switch = lab.switch("switch").unwrap();
        let host = |name, address| lab.host(name, &switch, address).unwrap();
        let hosts = [host("a", A), host("b", B), host("c", C)];
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { runtime: runtime.unwrap(), hosts, _lab: lab }
    }

    /// Does something on a host with its interface.
    fn on<T: Send>(&self, host: usize, work: impl FnOnce(Interface) -> T + Send) -> T {
        self.hosts[host].namespace().enter(|| {
            let _context = self.runtime.enter();
            work(Interface::find("eth0").unwrap())
        })
    }

    fn addresses(&self, host: usize) -> Addresses {
        self.on(host, |eth0| {
            Addresses::open(&eth0.name, eth0.index, self.runtime.handle()).unwrap()
        })
    }

    fn vrrp(&self, host: usize, transport: Transport, source: IpAddr) -> VrrpSocket {
        let addresses = [VIP.into(), Ipv4Addr::new(10, 59, 0, 50).into()];
        self.on(host, |eth0| {
            VrrpSocket::open(&eth0, source, transport, EXPECTED, &addresses).unwrap()
        })
    }

    fn receive(&self, socket: &VrrpSocket) -> Result<(IpAddr, Advert), Refused> {
        let heard = self.runtime.block_on(async { timeout(GENEROUS, socket.receive()).await });
        heard.expect("a packet")
    }

    fn hears_nothing(&self, socket: &VrrpSocket) -> bool {
        self.runtime.block_on(async { timeout(A_WHILE, socket.receive()).await.is_err() })
    }

    /// An own link-local address for a host, as the kernel would give it one at home.
    fn link_local(&self, host: usize) -> IpAddr {
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host as u16 + 1).into();
        self.runtime.block_on(self.addresses(host).add(address, 64)).unwrap();
        assert_eq!(self.on(host, |eth0| eth0.link_local(&[]).unwrap()), address);
        address
    }
}

fn own(host: &Host) -> IpAddr {
    host.ipv6().into()
}

/// The flags of an address in the kernel's list; `None`: the host does not have it.
fn flags(host: &Host, address: Ipv6Addr) -> Option<u8> {
    let table = host.namespace().enter(|| fs::read_to_string("/proc/thread-self/net/if_inet6"));
    let wanted = format!("{:032x}", address.to_bits());
    let table = table.unwrap();
    let line = table.lines().find(|line| line.starts_with(&wanted))?;
    u8::from_str_radix(line.split_ascii_whitespace().nth(4)?, 16).ok()
}

/// Unicast adverts over IPv6 reach the peer, who knows their sender by its address; a router that is
/// no peer is not heard.
#[test]
fn adverts_over_ipv6_reach_the_peers_and_come_from_them() {
    let stage = Stage::new("vrrp6");
    let [a, b, c] = stage.hosts.each_ref().map(|host| own(host));
    let sender = stage.vrrp(0, Transport::Unicast(vec![c, b]), a);
    let stranger = stage.vrrp(2, Transport::Unicast(vec![b]), c);
    let receiver = stage.vrrp(1, Transport::Unicast(vec![a]), b);
    stranger.send(Priority::HIGHEST).unwrap();
    assert!(stage.hears_nothing(&receiver));
    sender.send(Priority::DEFAULT).unwrap();
    let (source, advert) = stage.receive(&receiver).unwrap();
    assert_eq!((source, advert.priority), (a, Priority::DEFAULT));
}

/// Adverts to ff02::12 are heard by everybody but their sender, and come from a link-local address.
#[test]
fn adverts_over_ipv6_reach_the_group() {
    let stage = Stage::new("group6");
    assert!(stage.on(0, |eth0| eth0.link_local(&[]).is_err()), "the lab gives none");
    let [a, b] = [0, 1].map(|host| stage.link_local(host));
    let sender = stage.vrrp(0, Transport::Multicast, a);
    let receiver = stage.vrrp(1, Transport::Multicast, b);
    sender.send(Priority::DEFAULT).unwrap();
    let (source, advert) = stage.receive(&receiver).unwrap();
    assert_eq!((source, advert.vrid), (a, EXPECTED.vrid));
    assert!(stage.hears_nothing(&sender));
}

/// An advert that a router has passed on has lost its hop limit of 255, and is refused (RFC 9568
/// section 5.1.2.3).
#[test]
fn an_advert_with_another_hop_limit_is_refused() {
    let stage = Stage::new("hops6");
    let (a, b) = (own(&stage.hosts[0]), own(&stage.hosts[1]));
    let receiver = stage.vrrp(1, Transport::Unicast(vec![a]), b);
    let advert = Advert {
        version: EXPECTED.version,
        vrid: EXPECTED.vrid,
        priority: Priority::HIGHEST,
        interval: EXPECTED.interval,
        auth: EXPECTED.auth,
        checksum: Checksum::PseudoHeader,
    };
    let ip = Ip { source: a, destination: b, ttl: vrrp::TTL };
    let mut packet = [0; vrrp::MAX_LEN];
    let length = vrrp::encode(&advert, &[VIP.into()], ip, &mut packet).unwrap();
    let socket = stage.on(0, |_| {
        let protocol = Protocol::from(i32::from(vrrp::IP_PROTOCOL));
        Socket::new(Domain::IPV6, Type::RAW, Some(protocol)).unwrap()
    });
    for hops in [254, 255] {
        socket.set_unicast_hops_v6(hops).unwrap();
        let to = SockAddr::from(SocketAddr::new(b, 0));
        socket.send_to(&packet[..length], &to).unwrap();
        let heard = stage.receive(&receiver);
        match heard {
            Err(Refused::Advert(source, vrrp::Error::Ttl)) => assert_eq!((source, hops), (a, 254)),
            Ok((source, _)) => assert_eq!((source, hops), (a, 255)),
            Err(refused) => panic!("{refused}"),
        }
    }
}

/// A virtual IPv6 address can be used at once though the host looks for duplicates of others, and is
/// never the source of a connection that the host itself makes. It goes as it came.
#[test]
fn a_virtual_ipv6_address_is_there_at_once_and_is_no_source() {
    const DEPRECATED: u8 = 0x20;
    const TENTATIVE: u8 = 0x40;
    let stage = Stage::new("vip6");
    let host = &stage.hosts[0];
    host.namespace().enter(|| {
        fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "1").unwrap();
    });
    let addresses = stage.addresses(0);
    for _again in 0..2 {
        stage.runtime.block_on(addresses.add(VIP.into(), 64)).unwrap();
    }
    let flags_now = flags(host, VIP).unwrap();
    assert_eq!(flags_now & (DEPRECATED | TENTATIVE), DEPRECATED, "{flags_now:x}");
    host.namespace().enter(|| UdpSocket::bind((VIP, 0)).unwrap());
    let source = host.namespace().enter(|| {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect((stage.hosts[2].ipv6(), 9)).unwrap();
        socket.local_addr().unwrap().ip()
    });
    assert_eq!(source, own(host));
    // Another prefix is another address.
    stage.runtime.block_on(addresses.remove(VIP.into(), 128)).unwrap();
    assert!(flags(host, VIP).is_some());
    for _again in 0..2 {
        stage.runtime.block_on(addresses.remove(VIP.into(), 64)).unwrap();
    }
    assert_eq!(flags(host, VIP), None);
}

/// An unsolicited neighbour advertisement moves a virtual address in the cache of a neighbour that
/// talks to its old holder, whether or not the new one has the address on its interface yet.
#[test]
fn an_unsolicited_advertisement_moves_a_neighbours_cache() {
    let stage = Stage::new("announce6");
    let [a, b, c] = &stage.hosts;
    stage.runtime.block_on(stage.addresses(0).add(VIP.into(), 64)).unwrap();
    c.namespace().enter(|| {
        let socket = UdpSocket::bind((c.ipv6(), 0)).unwrap();
        socket.send_to(b"x", (VIP, 9)).unwrap();
    });
    let knows = |mac| move || Ok((client::neighbour(c, VIP.into())? == Some(mac)).then_some(()));
    let often = Duration::from_millis(10);
    clock::wait_until("the old holder in the cache", GENEROUS, often, knows(a.mac())).unwrap();
    stage.on(1, |eth0| Announcer::open(&eth0).unwrap().announce(&[VIP.into()]).unwrap());
    clock::wait_until("the new holder in the cache", GENEROUS, often, knows(b.mac())).unwrap();
}

/// The own address is none of the virtual ones, the one that the configuration names if it names
/// one, and a good one: an address that is still checked for duplicates is waited for.
#[test]
fn the_own_ipv6_address_is_one_that_stays() {
    let stage = Stage::new("own6");
    let host = &stage.hosts[0];
    let ask = |wanted, vips: &[IpAddr]| {
        stage.on(0, |eth0| stage.runtime.block_on(eth0.own_address(Family::V6, wanted, vips)))
    };
    assert_eq!(ask(None, &[VIP.into()]).unwrap(), own(host));
    let refused = ask(None, &[own(host)]).unwrap_err().to_string();
    assert!(refused.contains("no IPv6 address"), "{refused}");
    let refused = ask(Some(VIP.into()), &[]).unwrap_err().to_string();
    assert!(refused.contains(&VIP.to_string()), "{refused}");

    host.namespace().enter(|| {
        fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "1").unwrap();
    });
    let late: IpAddr = Ipv6Addr::new(0xfd00, 0x59, 0, 0, 0, 0, 0, 1).into();
    stage.on(0, |eth0| {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        stage.runtime.spawn(connection);
        let add = handle.address().add(eth0.index, late, 64).execute();
        stage.runtime.block_on(add).unwrap();
    });
    assert_eq!(ask(Some(late), &[]).unwrap(), late);
    let IpAddr::V6(late) = late else { unreachable!() };
    assert_eq!(flags(host, late).unwrap() & 0x40, 0, "it was not waited for");
    host.namespace().enter(|| UdpSocket::bind((late, 0)).unwrap());
}
