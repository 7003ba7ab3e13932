//! The arbiter `gateway`: hosts that answer, that do not, and one that lies.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ogha_common::wire::echo;
use ogha_tests::lab::Host;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::node::{A, Node, Stage, VIP, granted, refused};

/// Behind `c0`, which is its router.
const BEYOND: Ipv4Addr = Ipv4Addr::new(10, 60, 0, 1);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 200);
/// Where an IPv4 header without options ends.
const HEADER: usize = 20;

fn keys(addresses: &[IpAddr]) -> String {
    format!(
        "kind = \"gateway\"\naddresses = {:?}",
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    )
}

fn set(host: &Host, name: &str, value: &str) {
    host.namespace().enter(|| fs::write(Path::new("/proc/sys/net").join(name), value)).unwrap();
}

fn ip(host: &Host, words: &str) {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    let output = host.output(command, None).unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `c0` has [`BEYOND`] too, and `a` goes there by way of it.
fn put_one_beyond(stage: &Stage) {
    ip(&stage.others[0], &format!("address add {BEYOND}/32 dev lo"));
    ip(&stage.a, &format!("route add {BEYOND}/32 via {}", stage.others[0].address()));
}

/// More than half must answer, as of now.
#[test]
fn more_than_half_must_answer() {
    let stage = Stage::set("arbiter-majority", 3);
    let addresses: Vec<IpAddr> = stage.others.iter().map(|host| host.address().into()).collect();
    let node = Node::open(&stage.a, &keys(&addresses));
    assert_eq!(node.consult().unwrap(), None);
    assert_eq!(node.stand(1), granted(1));
    assert!(node.probe().iter().all(|(_, answer)| answer.is_ok()), "{:?}", node.probe());
    stage.others[0].link().cut().unwrap();
    assert_eq!(node.stand(2), granted(2));
    stage.others[2].link().cut().unwrap();
    // What was answered a moment ago counts for nothing.
    assert_eq!(node.stand(3), refused(3, None));
    let there: Vec<_> =
        node.probe().into_iter().map(|(name, answer)| (name, answer.is_ok())).collect();
    let expected = [false, true, false];
    let expected = addresses.iter().map(ToString::to_string).zip(expected);
    assert_eq!(there, expected.collect::<Vec<_>>());
    stage.others[2].link().restore().unwrap();
    assert_eq!(node.stand(3), granted(3));
    // The node's own link: it is the one that is cut off.
    stage.a.link().cut().unwrap();
    assert_eq!(node.stand(4), refused(4, None));
    // Half is not more than half.
    let two = Node::open(&stage.b, &keys(&[addresses[1], NOBODY.into()]));
    assert_eq!(two.stand(4), refused(4, None));
}

/// An own or a virtual address says nothing of the network.
#[test]
fn nobody_asks_itself() {
    let stage = Stage::set("arbiter-self", 0);
    let error = Node::try_open(&stage.a, &keys(&[A.into()])).err().unwrap();
    assert!(format!("{error:#}").contains("10.59.0.11 is this host's own"), "{error:#}");
    let error = Node::try_open(&stage.a, &keys(&[stage.a.ipv6().into()])).err().unwrap();
    assert!(format!("{error:#}").contains("is this host's own"), "{error:#}");
}

/// Many gateways answer ARP and drop pings, some the other way round.
#[test]
fn arp_will_do_and_so_will_icmp() {
    let stage = Stage::set("arbiter-either", 1);
    let gateway = &stage.others[0];
    put_one_beyond(&stage);
    let near = Node::open(&stage.a, &keys(&[gateway.address().into()]));
    let beyond = Node::open(&stage.a, &keys(&[BEYOND.into()]));
    assert_eq!((near.stand(1), beyond.stand(1)), (granted(1), granted(1)));
    set(gateway, "ipv4/icmp_echo_ignore_all", "1");
    // Nobody can ask by ARP across a router.
    assert_eq!((near.stand(2), beyond.stand(2)), (granted(2), refused(2, None)));
    set(gateway, "ipv4/icmp_echo_ignore_all", "0");
    // It answers no ARP, and knows how to send what it answers.
    set(gateway, "ipv4/conf/eth0/arp_ignore", "8");
    let (a, c) = (stage.a.mac(), gateway.mac());
    let mac = |mac: [u8; 6]| mac.map(|octet| format!("{octet:02x}")).join(":");
    ip(gateway, &format!("neigh replace {A} lladdr {} dev eth0 nud permanent", mac(a)));
    ip(&stage.a, &format!("neigh replace {} lladdr {} dev eth0", gateway.address(), mac(c)));
    assert_eq!(near.stand(3), granted(3));
    set(gateway, "ipv4/icmp_echo_ignore_all", "1");
    assert_eq!(near.stand(4), refused(4, None));
}

/// The same over IPv6: a neighbour's advertisement, or an echo.
#[test]
fn ipv6_is_asked_by_neighbour_discovery_and_icmp() {
    let stage = Stage::set("arbiter-ipv6", 2);
    let addresses = [stage.others[0].ipv6().into(), stage.others[1].ipv6().into()];
    let node = Node::open(&stage.a, &keys(&addresses));
    assert_eq!(node.stand(1), granted(1));
    for host in &stage.others {
        set(host, "ipv6/icmp/echo_ignore_all", "1");
    }
    assert_eq!(node.stand(2), granted(2));
    stage.others[1].link().cut().unwrap();
    assert_eq!(node.stand(3), refused(3, None));
}

/// What a liar does with a question.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    None,
    /// As if somebody else had asked, or this node before.
    Nonce,
    Identifier,
    /// From another address.
    Source,
}

/// Answers pings in the place of its host's kernel.
struct Liar {
    over: Arc<AtomicBool>,
    /// Who asked.
    thread: JoinHandle<Vec<Ipv4Addr>>,
}

impl Liar {
    fn begin(host: &Host, lie: Lie) -> Self {
        set(host, "ipv4/icmp_echo_ignore_all", "1");
        let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        let (ears, mouth) = host.namespace().enter(|| (open(), open()));
        let from = if lie == Lie::Source { host.address() } else { BEYOND };
        mouth.bind(&SockAddr::from(SocketAddr::new(from.into(), 0))).unwrap();
        ears.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut asked = Vec::new();
            let mut packet = [0; 128];
            while !told.load(Ordering::SeqCst) {
                let Ok(length) = std::io::Read::read(&mut &ears, &mut packet) else { continue };
                let Some(question) = packet[..length].get(HEADER..HEADER + echo::LEN) else {
                    continue;
                };
                if question[0] == 8 {
                    let from = Ipv4Addr::from(*packet[12..].first_chunk().unwrap());
                    asked.push(from);
                    let to = SockAddr::from(SocketAddr::new(from.into(), 0));
                    mouth.send_to(&answer(question, lie), &to).unwrap();
                }
            }
            asked
        });
        Self { over, thread }
    }

    fn end(self) -> Vec<Ipv4Addr> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn answer(question: &[u8], lie: Lie) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[0] = 0;
    match lie {
        Lie::Nonce => answer[echo::LEN - 1] ^= 1,
        Lie::Identifier => answer[4] ^= 1,
        Lie::None | Lie::Source => {}
    }
    answer[2..4].fill(0);
    let words = answer.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    answer[2..4].copy_from_slice(&checksum.to_be_bytes());
    answer
}

/// An answer that was asked for by another question, before or elsewhere, is none.
#[test]
fn only_the_answer_to_this_question_counts() {
    let stage = Stage::set("arbiter-liar", 1);
    let gateway = &stage.others[0];
    put_one_beyond(&stage);
    // A node that holds the virtual address must not ask from it: the answer may go elsewhere.
    ip(&stage.a, &format!("address add {VIP}/24 dev eth0"));
    ip(&stage.a, &format!("route replace {BEYOND}/32 via {} src {VIP}", gateway.address()));
    let node = Node::open(&stage.a, &keys(&[BEYOND.into()]));
    for (lie, ruling) in [
        (Lie::None, granted(1)),
        (Lie::Nonce, refused(1, None)),
        (Lie::Identifier, refused(1, None)),
        (Lie::Source, refused(1, None)),
    ] {
        let liar = Liar::begin(gateway, lie);
        assert_eq!(node.stand(1), ruling, "{lie:?}");
        let asked = liar.end();
        assert!(!asked.is_empty() && asked.iter().all(|from| *from == A), "{lie:?}: {asked:?}");
        if lie != Lie::None {
            assert_eq!(asked.len(), 3, "each is asked three times");
        }
    }
}
