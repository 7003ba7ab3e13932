//! What only IPv6 has: others who look whether an address is free, and instances of both families.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use ogha_agent::net::interface::Interface;
use ogha_tests::lab::{
    Families, Pair, Writer,
    agent::{Kind, Settings},
    client::{self, Answer},
    clock, ipv6_of,
    pair::{GENEROUS, VIP},
    postgres::PORT,
    writer::Patience,
};

const OFTEN: Duration = Duration::from_millis(10);
const A_WHILE: Duration = Duration::from_millis(500);
/// `IFA_F_DADFAILED` and `IFA_F_TENTATIVE`, as the kernel's list has them.
const DUPLICATE: u8 = 0x08;
const TENTATIVE: u8 = 0x40;

fn start(name: &str, families: Families) -> Pair {
    Pair::start(name, &Settings { families, ..Settings::patient(Kind::Postgresql) }).unwrap()
}

/// Gives the client the address as a careful host does: the kernel looks for duplicates first.
fn take(pair: &Pair, address: Ipv6Addr) {
    pair.client.namespace().enter(|| {
        fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "1").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let index = Interface::find("eth0").unwrap().index;
            let (connection, netlink, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            netlink.address().add(index, address.into(), 128).execute().await.unwrap();
        });
    });
}

/// What became of it: its flags, when the kernel has made up its mind.
fn flags(pair: &Pair, address: Ipv6Addr) -> u8 {
    let wanted = format!("{:032x}", address.to_bits());
    clock::wait_until("the end of the detection", GENEROUS, OFTEN, || {
        let read = || fs::read_to_string("/proc/thread-self/net/if_inet6");
        let table = pair.client.namespace().enter(read)?;
        let line = table.lines().find(|line| line.starts_with(&wanted)).unwrap();
        let flags = u8::from_str_radix(line.split_ascii_whitespace().nth(4).unwrap(), 16)?;
        Ok((flags & DUPLICATE != 0 || flags & TENTATIVE == 0).then_some(flags))
    })
    .unwrap()
}

/// Another host wants the virtual address for itself, and looks first whether it is free: the
/// serving node says that it is not, and the host leaves it alone.
#[test]
fn duplicate_address_detection_finds_the_serving_node() {
    let pair = start("dad", Families::V6);
    let vip = ipv6_of(VIP);
    let mut answers = client::detect_duplicates(&pair.client, vip, A_WHILE).unwrap();
    // The announcement of a gate that has just opened looks the same as an answer.
    answers.dedup();
    assert_eq!(answers, [pair.nodes[0].host.mac()]);
    take(&pair, vip);
    assert_ne!(flags(&pair, vip) & DUPLICATE, 0, "{}", pair.agents_last_words());
    // An address that is nobody's may be had.
    let free = Ipv6Addr::new(0xfd00, 0x59, 0, 0, 0, 0, 0, 0x77);
    take(&pair, free);
    assert_eq!(flags(&pair, free) & DUPLICATE, 0);
}

/// Nobody serves, for the only agent left closes its gate with its database: who looks whether the
/// address is free hears nothing, and a client's connection is refused by nobody.
#[test]
fn a_closed_gate_claims_no_address() {
    let pair = start("closed6", Families::V6);
    pair.nodes[1].agent.stop().unwrap();
    pair.nodes[0].database.kill().unwrap();
    clock::wait_until("the gate to close", GENEROUS, OFTEN, || {
        let instance = pair.nodes[0].agent.instance()?;
        Ok((instance["gate"] == "closed").then_some(()))
    })
    .unwrap();
    let vip = ipv6_of(VIP);
    assert!(client::detect_duplicates(&pair.client, vip, A_WHILE).unwrap().is_empty());
    assert!(client::who_has(&pair.client, vip, A_WHILE).unwrap().is_empty());
}

/// An instance with an address of each family: clients write through both, the virtual router's own
/// family or not, and after a failover through both again.
#[test]
fn a_mixed_instance_serves_both_families() {
    let pair = start("mixed", Families::Both);
    let service = |vip: &IpAddr| SocketAddr::new(*vip, PORT);
    let answers = |pair: &Pair| -> Vec<_> {
        let ask = |vip: &IpAddr| client::connect(&pair.client, service(vip), GENEROUS);
        pair.vips.iter().map(ask).collect()
    };
    assert_eq!(pair.vips.len(), 2);
    assert_eq!(answers(&pair), [Answer::Accepted; 2]);
    pair.nodes[0].host.power_off().unwrap();
    pair.wait_until_serving(1).unwrap();
    assert_eq!(answers(&pair), [Answer::Accepted; 2]);
    let held = pair.nodes[1].host.addresses().unwrap();
    assert!(pair.vips.iter().all(|vip| held.contains(vip)), "{held:?}");
    for vip in &pair.vips {
        let mac = client::neighbour(&pair.client, *vip).unwrap();
        assert_eq!(mac, Some(pair.nodes[1].host.mac()), "{vip}");
    }
    pair.nodes[1].database.session().unwrap().rows("truncate writes").unwrap();
    for vip in &pair.vips {
        let writer = Writer::start(&pair.client, *vip, Patience::default());
        writer.wait_for(10, GENEROUS).unwrap();
        writer.stop().unwrap();
        pair.nodes[1].database.session().unwrap().rows("truncate writes").unwrap();
    }
}
