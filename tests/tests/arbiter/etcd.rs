//! The arbiter `etcd` against a real one.

use std::{thread, time::Instant};

use etcd_client::Client;
use nix::sys::signal::Signal;
use ogha_common::{failover::Ruling, units::Term};
use ogha_tests::lab::{Etcd, Host};

use crate::node::{GENEROUS, Node, Stage, eventually, granted, record, refused, unknown};

const ROUNDS: u64 = 200;
/// Where the record of the instance is.
pub const KEY: &str = "/ogha/VI_1-59";

pub fn keys(endpoints: &[String]) -> String {
    format!("kind = \"etcd\"\nendpoints = {endpoints:?}")
}

/// Does something with etcd's own client, from a host.
fn on<T: Send>(host: &Host, endpoint: &str, work: impl AsyncFnOnce(Client) -> T + Send) -> T {
    host.namespace().enter(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async { work(Client::connect([endpoint], None).await.unwrap()).await })
    })
}

fn read(host: &Host, endpoint: &str) -> Option<String> {
    on(host, endpoint, async |mut client| {
        let answer = client.get(KEY, None).await.unwrap();
        answer.kvs().first().map(|kv| kv.value_str().unwrap().to_owned())
    })
}

fn write(host: &Host, endpoint: &str, value: &str) {
    let value = value.to_owned();
    on(host, endpoint, async move |mut client| client.put(KEY, value, None).await.map(drop))
        .unwrap();
}

/// Whoever proposes, each term has one record, and whoever loses is told which.
#[test]
fn two_nodes_that_propose_at_once_have_one_winner_in_each_term() {
    let stage = Stage::set("arbiter-race", 1);
    let etcd = Etcd::start(&stage.others).unwrap();
    let keys = keys(&etcd.endpoints());
    let nodes = [Node::open(&stage.a, &keys), Node::open(&stage.b, &keys)];
    let mut won = [0, 0];
    let begin = Instant::now();
    for term in 1..=ROUNDS {
        let proposed = [record(term, "a", &["a"]), record(term, "b", &["a", "b"])];
        // Whoever is asked first would win too often.
        let (first, second) = if term % 2 == 0 { (0, 1) } else { (1, 0) };
        let early = nodes[first].begin(proposed[first]);
        let late = nodes[second].begin(proposed[second]);
        let mut rulings = [early.ruling(), late.ruling()];
        if first == 1 {
            rulings.reverse();
        }
        let winner = rulings.iter().position(|ruling| *ruling == granted(term)).unwrap();
        assert_eq!(rulings[1 - winner], refused(term, proposed[winner]));
        assert_eq!(nodes[1 - winner].consult().unwrap(), Some(proposed[winner]));
        won[winner] += 1;
    }
    let each = begin.elapsed() / u32::try_from(ROUNDS).unwrap();
    println!("a won {} of {ROUNDS} and b {}, {each:?} a round", won[0], won[1]);
    assert!(won.iter().all(|won| *won > 0), "a race that one node always wins is none");
}

/// What stands there can be read by a person, and follows the last term and no other.
#[test]
fn a_record_follows_the_one_that_stands() {
    let stage = Stage::set("arbiter-follow", 1);
    let etcd = Etcd::start(&stage.others).unwrap();
    let endpoints = etcd.endpoints();
    let (a, b) = (Node::open(&stage.a, &keys(&endpoints)), Node::open(&stage.b, &keys(&endpoints)));
    assert_eq!(a.consult().unwrap(), None);
    // The first may have any term: the nodes may have had some before they had an etcd.
    let first = record(7, "a", &["a", "b"]);
    assert_eq!(a.propose(first), granted(7));
    assert_eq!(b.consult().unwrap(), Some(first));
    let value = read(&stage.others[0], &endpoints[0]).unwrap();
    for part in ["{\"version\":1,\"term\":7,\"primary\":{\"name\":\"a\",", "\"written_by\":\"a\""] {
        assert!(value.contains(part), "{value}");
    }
    // Asked twice, it is granted twice, also to who has forgotten that it asked.
    assert_eq!(a.propose(first), granted(7));
    assert_eq!(Node::open(&stage.a, &keys(&endpoints)).propose(first), granted(7));
    for wrong in [1, 6, 7, 9, 100] {
        assert_eq!(b.stand(wrong), refused(wrong, first));
    }
    assert_eq!(b.stand(8), granted(8));
    // Who still knows the old record only is told the new one.
    assert_eq!(a.stand(8), refused(8, record(8, "b", &["b"])));
    assert_eq!(a.stand(9), granted(9));
    assert!(a.probe().iter().all(|(_, answer)| answer.is_ok()), "{:?}", a.probe());
}

/// A value that this version does not understand is somebody's: it is named, and left alone.
#[test]
fn what_is_not_ours_is_never_overwritten() {
    let stage = Stage::set("arbiter-foreign", 1);
    let etcd = Etcd::start(&stage.others).unwrap();
    let (host, endpoints) = (&stage.others[0], etcd.endpoints());
    let node = Node::open(&stage.a, &keys(&endpoints));
    assert_eq!(node.stand(1), granted(1));
    for foreign in ["somebody's", "{\"version\":2,\"term\":1,\"epoch\":5}"] {
        write(host, &endpoints[0], foreign);
        assert_eq!(node.stand(2), unknown(2));
        assert_eq!(Node::open(&stage.b, &keys(&endpoints)).stand(1), unknown(1));
        let error = format!("{:#}", node.consult().unwrap_err());
        assert!(error.contains(KEY) && error.contains("is left alone"), "{error}");
        assert!(error.contains(&foreign.replace('"', "\\\"")), "{error}");
        let [(_, Err(_))] = &node.probe()[..] else { panic!("{:?}", node.probe()) };
        assert_eq!(read(host, &endpoints[0]).unwrap(), foreign);
    }
    // The operator has looked, and removes it.
    on(host, &endpoints[0], async |mut client| client.delete(KEY, None).await.map(drop)).unwrap();
    assert_eq!(node.stand(2), granted(2));
}

/// Without an etcd nothing is granted, nothing hangs, and all is well again when it is back.
#[test]
fn an_outage_is_unknown_and_ends() {
    let stage = Stage::set("arbiter-outage", 1);
    let mut etcd = Etcd::start(&stage.others).unwrap();
    let node = Node::open(&stage.a, &keys(&etcd.endpoints()));
    assert_eq!(node.stand(1), granted(1));
    // Its host answers: connections are refused.
    etcd.kill(0).unwrap();
    for _ in 0..3 {
        assert_eq!(node.stand(2), unknown(2));
    }
    let error = format!("{:#}", node.consult().unwrap_err());
    assert!(error.contains(&etcd.endpoints()[0]), "{error}");
    etcd.launch(0).unwrap();
    eventually(granted(2), || node.stand(2));
    // Its host is silent, which a connection does not tell.
    stage.others[0].link().cut().unwrap();
    let begin = Instant::now();
    assert_eq!(node.stand(3), unknown(3));
    assert!(begin.elapsed() < GENEROUS);
    thread::sleep(std::time::Duration::from_secs(3));
    stage.others[0].link().restore().unwrap();
    let begin = Instant::now();
    eventually(granted(3), || node.stand(3));
    println!("granted {:?} after the cut had ended", begin.elapsed());
    // It hangs.
    etcd.signal(0, Signal::SIGSTOP).unwrap();
    // Its threads stop one after another.
    thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(node.stand(4), unknown(4));
    assert!(node.consult().is_err());
    etcd.signal(0, Signal::SIGCONT).unwrap();
    eventually(granted(4), || node.stand(4));
    assert_eq!(node.consult().unwrap(), Some(record(4, "a", &["a"])));
}

/// An agent may start before its etcd.
#[test]
fn it_need_not_be_there_at_the_start() {
    let stage = Stage::set("arbiter-late", 1);
    let endpoints = [format!("http://{}:2379", stage.others[0].address())];
    let node = Node::open(&stage.a, &keys(&endpoints));
    assert_eq!(node.stand(1), unknown(1));
    let [(endpoint, Err(_))] = &node.probe()[..] else { panic!("{:?}", node.probe()) };
    assert_eq!(*endpoint, endpoints[0]);
    let _etcd = Etcd::start(&stage.others).unwrap();
    eventually(granted(1), || node.stand(1));
}

/// With three members, the one that the node talks to may die, hang, or be cut off at any moment.
#[test]
fn of_three_members_one_may_go() {
    let stage = Stage::set("arbiter-three", 3);
    let mut etcd = Etcd::start(&stage.others).unwrap();
    let node = Node::open(&stage.a, &keys(&etcd.endpoints()));
    let mut term = 0;
    let mut next = |node: &Node| {
        term += 1;
        let begin = Instant::now();
        // Where the leader went, another is elected first.
        eventually(granted(term), || node.stand(term));
        begin.elapsed()
    };
    println!("all there: {:?}", next(&node));
    for member in 0..3 {
        etcd.kill(member).unwrap();
        println!("member {member} killed: {:?}, then {:?}", next(&node), next(&node));
        let there = node.probe().iter().filter(|(_, answer)| answer.is_ok()).count();
        assert_eq!(there, 2);
        etcd.launch(member).unwrap();
        etcd.wait_until_well().unwrap();
        stage.others[member].link().cut().unwrap();
        println!("member {member} cut off: {:?}, then {:?}", next(&node), next(&node));
        stage.others[member].link().restore().unwrap();
        etcd.wait_until_well().unwrap();
        etcd.signal(member, Signal::SIGSTOP).unwrap();
        println!("member {member} stopped: {:?}, then {:?}", next(&node), next(&node));
        etcd.signal(member, Signal::SIGCONT).unwrap();
        etcd.wait_until_well().unwrap();
    }
    let last = node.consult().unwrap().unwrap();
    etcd.kill(0).unwrap();
    etcd.kill(1).unwrap();
    let next = last.term.next();
    eventually(true, || node.stand(next.get()) == Ruling::Unknown(next));
    assert!(node.consult().is_err(), "one of three knows nothing for sure");
    etcd.launch(0).unwrap();
    etcd.launch(1).unwrap();
    eventually(Ruling::Granted(next), || node.stand(next.get()));
    assert!(next > Term::new(18));
}

/// Endpoints of two clusters, by mistake: each would grant what the other does not know of.
#[test]
fn only_one_cluster_decides() {
    let stage = Stage::set("arbiter-two-clusters", 2);
    let mut one = Etcd::start(&stage.others[..1]).unwrap();
    let other = Etcd::start(&stage.others[1..]).unwrap();
    let endpoints = [one.endpoints(), other.endpoints()].concat();
    let node = Node::open(&stage.a, &keys(&endpoints[..1]));
    assert_eq!(node.stand(1), granted(1));
    let mistaken = Node::open(&stage.b, &keys(&endpoints));
    eventually(true, || mistaken.probe().iter().all(|(_, answer)| answer.is_err()));
    assert_eq!(mistaken.stand(2), unknown(2));
    let error = format!("{:#}", mistaken.consult().unwrap_err());
    assert!(error.contains("name the members of one"), "{error}");
    // One that has gone makes the other no better.
    one.kill(0).unwrap();
    assert_eq!(mistaken.stand(1), unknown(1));
    assert_eq!(read(&stage.others[1], &endpoints[1]), None);
}
