//! Terms that leap: who has the key can say any term, and none may use them up.

use std::{fs, process::Command, thread};

use ogha_common::{
    units::Term,
    wire::{probe, siphash},
};
use ogha_tests::lab::{Host, Pair, Watcher, clock};
use serde_json::Value;

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

/// Sends each line of a file, in hexadecimal, in the name of the second node to the first.
const SEND: &str = r#"
import sys
from scapy.all import Ether, IP, UDP, Raw, conf, get_if_hwaddr, getmacbyip
interface, lines, victim, peer = sys.argv[1:]
conf.verb = 0
socket = conf.L2socket(iface=interface)
for line in open(lines).read().split():
    ip = IP(src=peer, dst=victim) / UDP(sport=26112, dport=26112)
    socket.send(Ether(src=get_if_hwaddr(interface), dst=getmacbyip(victim)) / ip / Raw(bytes.fromhex(line)))
"#;

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

/// A datagram with a true tag and this term reaches the node that serves, in its peer's name.
fn say_term(pair: &Pair, term: u64) {
    let [first, second] = &pair.nodes;
    let (victim, peer) = (first.host.address().to_string(), second.host.address().to_string());
    let tag = |body: &probe::Body| siphash::tag(KEY, body);
    let seen = python(&second.host, RECORD, &["eth0", &peer]);
    let datagrams = seen.lines().map(|line| probe::parse(&bytes(line), tag).unwrap());
    let mut said = datagrams.filter(|said| said.kind == probe::Kind::Probe).last().unwrap();
    // Later than what the node has sent by then, so that it is no replay.
    said.sequence += 100_000;
    said.status.term = Term::new(term);
    let line: String =
        probe::encode(&said, tag).iter().map(|octet| format!("{octet:02x}")).collect();
    let file = pair.client.directory().join("datagrams");
    fs::write(&file, line).unwrap();
    python(&pair.client, SEND, &["eth0", file.to_str().unwrap(), &victim, &peer]);
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
