//! The agent itself fails, stops or is restarted: the kernel keeps its last word for it, for as
//! long as the lease says and no longer.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::Signal,
    socket::{setsockopt, sockopt},
};
use ogha_common::maps::Passage;
use ogha_tests::lab::{
    Families, Pair, Watcher,
    agent::{Kind, Settings},
    client::{self, Answer},
    clock,
    pair::{GENEROUS, Node},
    postgres::PORT,
    watcher,
};

const OFTEN: Duration = Duration::from_millis(10);
const A_WHILE: Duration = Duration::from_millis(500);

fn service(pair: &Pair) -> SocketAddr {
    SocketAddr::new(pair.vip(), PORT)
}

fn with(families: Families) -> Settings {
    Settings { families, ..Settings::patient(Kind::Postgresql) }
}

/// Waits until the gate of a node has lapsed, as its own lease says.
fn wait_until_lapsed(node: &Node) {
    clock::wait_until("the lease to end", GENEROUS, OFTEN, || {
        Ok((watcher::passage(&node.host, 0)? == Passage::Lapsed).then_some(()))
    })
    .unwrap();
}

fn assert_silent(pair: &Pair) {
    let answers = client::who_has(&pair.client, pair.vip(), A_WHILE).unwrap();
    assert!(answers.is_empty(), "{answers:x?} answer for the address");
    assert_eq!(client::connect(&pair.client, service(pair), A_WHILE), Answer::Silence);
}

/// A pair whose leases last long enough to be looked at.
fn pair(name: &str, families: Families) -> Pair {
    let lease = Duration::from_secs(5);
    let settings = Settings { lease, agent_timeout: lease, ..with(families) };
    Pair::start(name, &settings).unwrap()
}

/// The first agent fails, and the next moment the second is killed: it had no time to take over, nor
/// was it missed before.
fn fails_alone(pair: &Pair, fail: impl FnOnce(&Node)) {
    fail(&pair.nodes[0]);
    pair.nodes[1].agent.kill().unwrap();
}

/// The other may have been promoted while nobody was here to hear it: the node waits for its word, and
/// says so.
fn serves_once_the_other_is_heard(pair: &Pair) {
    let first = &pair.nodes[0].agent;
    clock::wait_until("the first node to wait", GENEROUS, OFTEN, || {
        let instance = first.instance()?;
        let wait = instance["waits_for"].as_str().unwrap_or_default();
        anyhow::ensure!(wait.contains(pair.nodes[1].host.name()), "{instance}");
        Ok(Some(()))
    })
    .unwrap();
    pair.nodes[1].agent.start().unwrap();
    pair.wait_until_serving(0).unwrap();
}

/// The agent is killed, and no other is there: the address is served until the lease ends, then nobody
/// answers ARP or TCP for it, though the database still runs. A new agent serves again.
#[test]
fn a_killed_agent_leaves_silence() {
    dies_alone("killed", Families::V4);
}

/// The same over IPv6: nobody answers neighbour solicitations either.
#[test]
fn a_killed_agent_leaves_silence_ipv6() {
    dies_alone("killed6", Families::V6);
}

fn dies_alone(name: &str, families: Families) {
    let pair = pair(name, families);
    let node = &pair.nodes[0];
    fails_alone(&pair, |node| node.agent.kill().unwrap());
    assert_eq!(client::connect(&pair.client, service(&pair), GENEROUS), Answer::Accepted);
    wait_until_lapsed(node);
    assert_silent(&pair);
    assert!(!node.database.is_in_recovery().unwrap());
    node.agent.start().unwrap();
    serves_once_the_other_is_heard(&pair);
    pair.writer().wait_for(10, GENEROUS).unwrap();
}

/// The agent hangs, and no other is there: the same. When it goes on, it finds its lease over and does
/// not just open the gate as if nothing had been, but waits for the other's word and then serves.
#[test]
fn a_hung_agent_leaves_silence() {
    hangs_alone("hung", Families::V4);
}

/// The same over IPv6.
#[test]
fn a_hung_agent_leaves_silence_ipv6() {
    hangs_alone("hung6", Families::V6);
}

fn hangs_alone(name: &str, families: Families) {
    let pair = pair(name, families);
    let node = &pair.nodes[0];
    fails_alone(&pair, |node| node.agent.signal(Signal::SIGSTOP).unwrap());
    wait_until_lapsed(node);
    assert_silent(&pair);
    node.agent.signal(Signal::SIGCONT).unwrap();
    serves_once_the_other_is_heard(&pair);
    pair.writer().wait_for(10, GENEROUS).unwrap();
}

/// The serving node's agent is killed, and the second node is there: at no time do two nodes hold
/// an open gate, and no acknowledged write is lost, whoever serves in the end.
#[test]
fn a_killed_agent_beside_a_peer_makes_no_second_holder() {
    fails_beside_a_peer("beside", Families::V4, |node| node.agent.kill().unwrap());
}

/// The same over IPv6.
#[test]
fn a_killed_agent_beside_a_peer_makes_no_second_holder_ipv6() {
    fails_beside_a_peer("beside6", Families::V6, |node| node.agent.kill().unwrap());
}

/// The same with an agent that hangs, and wakes when all is over.
#[test]
fn a_hung_agent_beside_a_peer_makes_no_second_holder() {
    fails_beside_a_peer("hung-beside", Families::V4, |node| {
        node.agent.signal(Signal::SIGSTOP).unwrap()
    });
}

fn fails_beside_a_peer(name: &str, families: Families, fail: impl FnOnce(&Node)) {
    let pair = Pair::start(name, &with(families)).unwrap();
    let watcher = Watcher::start(&pair.hosts());
    let writer = pair.writer();
    writer.wait_for(10, GENEROUS).unwrap();
    fail(&pair.nodes[0]);
    pair.wait_until_serving(1).unwrap();
    writer.wait_for(10, GENEROUS).unwrap();
    // A hung agent wakes up; a dead one does not mind.
    let _ = pair.nodes[0].agent.signal(Signal::SIGCONT);
    thread::sleep(Duration::from_secs(1));
    writer.wait_for(10, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    let seen = watcher.stop().unwrap();
    assert_eq!(seen.two_holders, Duration::ZERO, "{seen:?}\n{}", pair.agents_last_words());
    assert_eq!(record.lost(&pair.nodes[1].database).unwrap(), Vec::<i64>::new());
}

/// Answers datagrams to the virtual address on the node, until it has been quiet for long.
fn echo(node: &Node, vip: IpAddr) -> SocketAddr {
    let socket = node.host.namespace().enter(|| patient_socket(vip));
    let address = socket.local_addr().unwrap();
    socket.set_read_timeout(Some(GENEROUS)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 8];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    address
}

fn receive(socket: &UdpSocket, returned: &mut BTreeSet<u64>) {
    let mut buffer = [0; 8];
    if socket.recv(&mut buffer).is_ok() {
        returned.insert(u64::from_be_bytes(buffer));
    }
}

/// A socket that loses nothing while its thread waits for a processor.
fn patient_socket(address: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).unwrap();
    socket
}

/// Sends numbered datagrams every millisecond while `work` is done; returns how many were sent
/// and how many came back.
fn stream(pair: &Pair, to: SocketAddr, work: impl FnOnce() + Send) -> (u64, usize) {
    let own = pair.client.address_like(to.ip());
    let socket = pair.client.namespace().enter(|| patient_socket(own));
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut returned = BTreeSet::new();
    let mut sent = 0_u64;
    thread::scope(|scope| {
        let work = scope.spawn(work);
        while !work.is_finished() {
            socket.send_to(&sent.to_be_bytes(), to).unwrap();
            sent += 1;
            receive(&socket, &mut returned);
        }
        work.join().unwrap();
    });
    let end = Instant::now() + GENEROUS;
    while (returned.len() as u64) < sent && Instant::now() < end {
        receive(&socket, &mut returned);
    }
    (sent, returned.len())
}

/// The serving agent is restarted, the second time after `kill -9`: the kernel carries the address
/// meanwhile, not one packet is lost, and nobody takes over.
#[test]
fn a_restart_loses_no_packet() {
    restarts("restart", Families::V4, 2);
}

/// The same over IPv6.
#[test]
fn a_restart_loses_no_packet_ipv6() {
    restarts("restart6", Families::V6, 2);
}

/// The same ten times.
#[test]
#[ignore = "slow: ten restarts"]
fn ten_restarts_lose_no_packet() {
    restarts("restarts", Families::V4, 10);
}

/// The same over IPv6.
#[test]
#[ignore = "slow: ten restarts"]
fn ten_restarts_lose_no_packet_ipv6() {
    restarts("restarts6", Families::V6, 10);
}

/// So many restarts, every other one after a `kill -9`.
fn restarts(name: &str, families: Families, times: usize) {
    let settings = Settings {
        lease: Duration::from_secs(20),
        agent_timeout: Duration::from_secs(20),
        ..with(families)
    };
    let pair = Pair::start(name, &settings).unwrap();
    let node = &pair.nodes[0];
    let echo = echo(node, pair.vip());
    let term = |node: &Node| node.agent.instance().unwrap()["term"].clone();
    let before = term(node);
    let ends = [|node: &Node| node.agent.stop(), |node: &Node| node.agent.kill()];
    for end in ends.into_iter().cycle().take(times) {
        let (sent, returned) = stream(&pair, echo, || {
            thread::sleep(A_WHILE);
            end(node).unwrap();
            node.agent.start().unwrap();
            pair.wait_until_serving(0).unwrap();
            thread::sleep(A_WHILE);
        });
        assert_eq!(sent as usize, returned, "{}", pair.agents_last_words());
        assert!(sent > 100);
    }
    assert_eq!((term(node), term(&pair.nodes[1])), (before.clone(), before));
}
