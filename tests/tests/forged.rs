//! Whoever can send to a node's probes, but has not the cluster's key, moves a counter and nothing
//! else. scapy makes the datagrams: what it holds for IP and UDP is not what is written here.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{fs, process::Command, thread, time::Duration};

use ogha_tests::lab::{
    Pair, Watcher,
    agent::{Kind, Settings},
    clock,
    pair::GENEROUS,
};
use serde_json::Value;

/// Sends what an attacker could, in the name of the second node to the first. Arguments: interface, file
/// with true datagrams of the second node in hexadecimal, the nodes' addresses.
const ATTACK: &str = r#"
import random, sys
from scapy.all import Ether, IP, UDP, Raw, conf, fragment, get_if_hwaddr, getmacbyip
interface, recorded, victim, peer = sys.argv[1:]
conf.verb = 0
recorded = [bytes.fromhex(line) for line in open(recorded).read().split()]
true = recorded[-1]
random.seed(59)
noise = lambda length: bytes(random.getrandbits(8) for _ in range(length))
flip = lambda data, bit: data[:bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1:]
payloads = {
    "replayed": recorded,
    "flipped": [flip(true, bit) for bit in range(8 * len(true))],
    "truncated": [true[:length] for length in range(len(true))],
    "longer": [true + noise(length) for length in (1, 7, 8, 100, 1200)],
    "forged": [true[:5] + noise(len(true) - 5) for _ in range(200)] + [noise(len(true)) for _ in range(50)],
    # A higher term, and the same from another boot, under a tag of nobody's.
    "higher": [true[:64] + (2 ** 40).to_bytes(8, "big") + true[72:],
               true[:16] + noise(16) + true[32:64] + (2 ** 40).to_bytes(8, "big") + true[72:]],
}
mac = getmacbyip(victim)
sent = 0
socket = conf.L2socket(iface=interface)
for name, datagrams in payloads.items():
    for data in datagrams:
        ip = IP(src=peer, dst=victim)
        packet = Ether(src=get_if_hwaddr(interface), dst=mac) / ip / UDP(sport=26112, dport=26112) / Raw(data)
        socket.send(packet)
        sent += 1
# Lengths that lie, and a datagram in pieces.
frame = Ether(src=get_if_hwaddr(interface), dst=mac)
for ip, udp in ((28, None), (None, 8), (None, 2000), (60, 200), (2000, None)):
    socket.send(frame / IP(src=peer, dst=victim, len=ip) / UDP(sport=26112, dport=26112, len=udp) / Raw(true))
    sent += 1
whole = IP(src=peer, dst=victim) / UDP(sport=26112, dport=26112) / Raw(true)
for piece in fragment(whole, fragsize=64):
    socket.send(frame / piece)
print(sent)
"#;

/// The probes of the second node, as they go over the wire: recorded by the client, to which the switch
/// is made to send everything.
const RECORD: &str = r#"
import sys
from scapy.all import UDP, conf, sniff
interface, peer, count = sys.argv[1:]
conf.verb = 0
found = sniff(iface=interface, count=int(count), timeout=30,
              filter="udp dst port 26112 and src host " + peer)
print("\n".join(bytes(packet[UDP].payload).hex() for packet in found))
"#;

fn python(host: &ogha_tests::lab::Host, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).args(arguments).env("HOME", host.directory());
    let output = host.output(command, None).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(instance: &Value) -> u64 {
    let counters =
        ["length", "magic", "version", "tag", "field", "receiver", "stranger", "replay", "echo"];
    counters.iter().map(|name| instance["probes"][name].as_u64().unwrap()).sum()
}

/// The first node serves. From a third host come datagrams in the name of its peer: recorded ones once
/// more, true ones with a flipped bit, with an octet too few or too many, with a higher term, and noise. Each is
/// refused and counted, no gate changes and no term begins, and the true peer is still believed.
#[test]
fn forged_probes_move_a_counter_and_nothing_else() {
    let pair = Pair::start("forged", &Settings::patient(Kind::Postgresql)).unwrap();
    let [first, second] = &pair.nodes;
    let (victim, peer) = (first.host.address().to_string(), second.host.address().to_string());
    let recorded = python(&second.host, RECORD, &["eth0", &peer, "20"]);
    let file = pair.client.directory().join("recorded");
    fs::write(&file, &recorded).unwrap();
    assert_eq!(recorded.split_whitespace().count(), 20);

    let before = first.agent.instance().unwrap();
    let watcher = Watcher::start(&pair.hosts());
    thread::sleep(Duration::from_millis(200));
    let begun = clock::now();
    let sent = python(&pair.client, ATTACK, &["eth0", file.to_str().unwrap(), &victim, &peer]);
    let sent: u64 = sent.trim().parse().unwrap();
    assert!(sent > 1000);
    let after = clock::wait_until("all to be refused", GENEROUS, Duration::from_millis(50), || {
        let instance = first.agent.instance()?;
        Ok((refused(&instance) - refused(&before) >= sent).then_some(instance))
    });
    let after =
        after.unwrap_or_else(|error| panic!("{error}\n{}", first.agent.instance().unwrap()));
    let seen = watcher.stop().unwrap();
    let changes: Vec<_> = seen.changes.iter().filter(|change| change.at > begun).collect();
    assert!(changes.is_empty(), "{changes:?}\n{}", pair.agents_last_words());
    for field in ["phase", "gate", "term", "vrrp", "failovers"] {
        assert_eq!(before[field], after[field], "{field}\n{}", pair.agents_last_words());
    }
    let probes = |instance: &Value| instance["probes"]["probes"].as_u64().unwrap();
    clock::wait_until("the true peer to be heard", GENEROUS, Duration::from_millis(50), || {
        let now = first.agent.instance()?;
        Ok((probes(&now) > probes(&after) && now["peers"][0]["agent"] == "alive").then_some(()))
    })
    .unwrap();
}
