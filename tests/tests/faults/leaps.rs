//! Terms that leap: who has the key can say any term, and none may use them up.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    thread,
    time::Duration,
};

use ogha_common::{
    units::Term,
    wire::{probe, siphash},
};
use ogha_tests::lab::{Host, Pair, Watcher, clock};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::stage::{Undisturbed, pair, seconds};

/// As the lab's agents have it, in hexadecimal there.
const KEY: siphash::Key = siphash::Key::new(*b"ogha the lab key");

/// Prints some datagrams of the second node, questions and answers.
const RECORD: &str = r#"
import sys
from scapy.all import UDP, conf, sniff
interface, peer = sys.argv[1:]
conf.verb = 0
found = sniff(iface=interface, count=20, timeout=30,
              filter="udp dst port 26112 and src host " + peer)
print("\n".join(bytes(packet[UDP].payload).hex() for packet in found))
"#;

/// Where probes go, and come from.
const PORT: u16 = 26112;
/// So far ahead of its peer's clock a datagram is, so that no true one makes it a replay.
const AHEAD: Duration = Duration::from_millis(50);

fn python(host: &Host, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).args(arguments).env("HOME", host.directory());
    let output = host.output(command, None).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn bytes(line: &str) -> Vec<u8> {
    let line = line.trim();
    (0..line.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
        .collect()
}

/// Probes that were refused, for whatever reason.
fn refused(instance: &Value) -> u64 {
    let counters = instance["probes"].as_object().unwrap();
    let taken = ["probes", "answered", "replies"];
    let others = counters.iter().filter(|(name, _)| !taken.contains(&name.as_str()));
    others.map(|(_, count)| count.as_u64().unwrap()).sum()
}

/// An IPv4 packet with a UDP datagram, both without a checksum: the kernel makes the one, and the other may
/// be absent.
fn packet(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| ((header + payload.len()) as u16).to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.octets().into_iter().chain(to.octets()));
    packet.extend(PORT.to_be_bytes().into_iter().chain(PORT.to_be_bytes()));
    packet.extend(length(8).into_iter().chain([0, 0]));
    packet.extend(payload);
    packet
}

/// A datagram with a true tag and this term reaches the node that serves, from its peer's host.
fn say_term(pair: &Pair, term: u64) {
    let [first, second] = &pair.nodes;
    let (to, from) = (first.host.address(), second.host.address());
    let tag = |body: &probe::Body| siphash::tag(KEY, body);
    let seen = python(&second.host, RECORD, &["eth0", &from.to_string()]);
    let mut datagrams = seen.lines().map(|line| probe::parse(&bytes(line), tag).unwrap());
    let mut said = datagrams.rfind(|said| said.kind == probe::ProbeKind::Probe).unwrap();
    let protocol = Some(Protocol::from(libc::IPPROTO_RAW));
    let open = || Socket::new(Domain::IPV4, Type::RAW, protocol).unwrap();
    let socket = second.host.namespace().enter(open);
    said.sequence = (clock::now() + AHEAD).ns();
    said.status.term = Term::new(term);
    let packet = packet(from, to, &probe::encode(&said, tag));
    socket.send_to(&packet, &SocketAddr::new(to.into(), 0).into()).unwrap();
}

/// It is the last that there is: nobody could ever follow it. It is refused and counted, the gate stays
/// open, and no term begins.
#[test]
fn the_last_term_in_a_true_probe_is_refused() {
    let pair = pair("last-term");
    let before = Undisturbed::now(&pair);
    let instance = pair.nodes[0].agent.instance().unwrap();
    let watcher = Watcher::start(&pair.hosts());
    thread::sleep(seconds(1));
    let begun = clock::now();
    say_term(&pair, u64::MAX);
    thread::sleep(seconds(2));
    let seen = watcher.stop().unwrap();
    let changes: Vec<_> = seen.changes.iter().filter(|change| change.at > begun).collect();
    assert!(changes.is_empty(), "{changes:?}\n{}", pair.agents_last_words());
    let after = pair.nodes[0].agent.instance().unwrap();
    let counters = (&instance["probes"], &after["probes"]);
    assert!(refused(&after) > refused(&instance), "{counters:?}");
    println!("{counters:?}");
    before.assert(&pair);
}
