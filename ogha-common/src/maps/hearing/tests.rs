extern crate std;
use std::vec::Vec;

use super::*;
use crate::{
    maps::{Gate, LeaseGrants},
    units::{Lsn, Members, NodeId, Priority, Vrid},
    wire::probe::{self, KernelFacts, Phase, Probe, Role, Status},
};

const NOW: u64 = 20_000 * NS_PER_MS;
const ECHO: u64 = NOW - 2 * NS_PER_MS;
const PEER: u64 = 7;

/// A node that serves in term 3, by what its one peer grants.
struct Node {
    offer: Offer,
    peer: Peer,
    grants: LeaseGrants,
    gate: Gate,
    granters: Granters,
    /// The agent withdraws when it was asked so often.
    withdraws_after: usize,
    /// What was asked and done, in its order.
    log: Vec<&'static str>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            offer: Offer {
                said: Said { term: 3, ..Said::default() },
                grant_to: PEER,
                grant_ms: 100,
                ..Offer::default()
            },
            peer: Peer::default(),
            grants: LeaseGrants::default(),
            gate: Gate { term: 3, ..Gate::default() },
            granters: Granters { nodes: [PEER, 0, 0, 0, 0, 0, 0] },
            withdraws_after: usize::MAX,
            log: Vec::new(),
        }
    }
}

impl Tables for Node {
    fn own_term(&self) -> u64 {
        self.offer.said.term
    }

    fn hear(&mut self, datagram: &Datagram, now_ns: u64, fresh: bool) -> Hearing {
        self.log.push("hear");
        self.peer.hear(datagram, now_ns, fresh)
    }

    fn highest_term(&self) -> u64 {
        self.grants.highest_term
    }

    fn name_term(&mut self, term: u64) {
        self.grants.term(term);
    }

    fn gate_term(&self) -> u64 {
        self.gate.term
    }

    fn granters(&self) -> Granters {
        self.granters
    }

    fn granted_by(&self, node: u64) -> (u64, u64) {
        match node {
            PEER => (self.peer.granted_term, self.peer.granted_until_ns),
            1 => (3, 50),
            2 => (3, 40),
            9 => (2, 90),
            _ => (0, 0),
        }
    }

    fn prolong(&mut self, term: u64, until_ns: u64) {
        self.grants.grant(term, until_ns);
    }

    fn note_grant(&mut self, until_ns: u64) {
        self.log.push("note grant");
        self.peer.note_grant(until_ns);
    }

    fn offered(&mut self, asker: u64, term: u64) -> u16 {
        let asked = self.log.iter().filter(|&&what| what == "ask").count();
        self.log.push("ask");
        if asked >= self.withdraws_after {
            self.offer.grant_to = 0;
        }
        self.offer.grants(asker, term)
    }
}

fn probe(sequence: u64) -> Datagram {
    Datagram {
        kind: ProbeKind::Probe,
        path: 1,
        node: PEER,
        boot_id: [5, 5],
        sequence,
        time_ns: 100 + sequence,
        echo_ns: ECHO,
        grant_ms: 0,
        said: Said { term: 3, phase: Phase::Standby as u8, ..Said::default() },
        facts: (0, 0),
    }
}

fn reply(sequence: u64) -> Datagram {
    Datagram { kind: ProbeKind::Reply, ..probe(sequence) }
}

#[test]
fn a_first_probe_is_news_and_the_same_again_is_not() {
    let mut node = Node::default();
    let heard = receive(&mut node, &probe(1), NOW).unwrap();
    assert_eq!(heard, Received { believed: true, news: true, grant_ms: 100 });
    assert_eq!((node.peer.last_probe_ns, node.peer.said.term), (NOW, 3));
    assert!(!receive(&mut node, &probe(2), NOW).unwrap().news);
    assert_eq!(receive(&mut node, &probe(2), NOW), Err(Refusal::Replay));
    let changed = Said { role: Role::Primary as u8, ..probe(3).said };
    assert!(receive(&mut node, &Datagram { said: changed, ..probe(3) }, NOW).unwrap().news);
}

#[test]
fn what_was_said_before_is_not_said_again_by_a_slower_path() {
    let mut node = Node::default();
    receive(&mut node, &probe(9), NOW).unwrap();
    let older = Said { term: 2, ..probe(8).said };
    receive(&mut node, &Datagram { path: 0, said: older, ..probe(8) }, NOW).unwrap();
    assert_eq!(node.peer.said, probe(9).said);
}

#[test]
fn a_boot_that_nothing_proves_is_answered_and_not_believed() {
    let mut node = Node::default();
    let said = Said { term: 9, ..probe(1).said };
    for echo_ns in [0, NOW + 1, NOW - FRESH_NS] {
        let datagram = Datagram { echo_ns, grant_ms: 100, said, ..probe(1) };
        let heard = receive(&mut node, &datagram, NOW).unwrap();
        assert_eq!(heard, Received { believed: false, news: false, grant_ms: 0 });
        assert_eq!(node.peer, Peer::default());
        assert_eq!(node.grants, LeaseGrants::default());
    }
}

#[test]
fn a_reply_to_no_question_of_ours_is_refused() {
    let mut node = Node::default();
    for echo_ns in [0, NOW + 1, NOW - FRESH_NS] {
        let refused = receive(&mut node, &Datagram { echo_ns, ..reply(1) }, NOW);
        assert_eq!(refused, Err(Refusal::Echo));
    }
    assert_eq!(node.peer, Peer::default());
}

#[test]
fn a_term_that_leaps_closes_no_gate_and_leaves_no_trace() {
    let mut node = Node::default();
    for kind in [ProbeKind::Probe, ProbeKind::Reply] {
        for term in [3 + Term::LEAP + 1, u64::MAX] {
            let said = Said { term, ..probe(1).said };
            let refused = receive(&mut node, &Datagram { kind, said, ..probe(1) }, NOW);
            assert_eq!(refused, Err(Refusal::Leap));
            assert_eq!(node.peer, Peer::default());
            assert_eq!(node.grants, LeaseGrants::default());
        }
    }
    let said = Said { term: 3 + Term::LEAP, ..probe(1).said };
    receive(&mut node, &Datagram { said, ..probe(1) }, NOW).unwrap();
    assert_eq!(node.grants.highest_term, 3 + Term::LEAP);
}

#[test]
fn a_higher_term_is_remembered_and_a_lower_one_is_not() {
    let mut node = Node::default();
    for (sequence, term, highest) in [(1, 3, 3), (2, 4, 4), (3, 2, 4), (4, 9, 9)] {
        let said = Said { term, ..probe(sequence).said };
        receive(&mut node, &Datagram { said, ..probe(sequence) }, NOW).unwrap();
        assert_eq!(node.grants.highest_term, highest);
    }
}

#[test]
fn a_grant_is_anchored_at_the_time_that_its_sender_had_heard_of() {
    for datagram in [probe(1), reply(1)] {
        let mut node = Node::default();
        receive(&mut node, &Datagram { grant_ms: 100, ..datagram }, NOW).unwrap();
        let until = ECHO + 100 * NS_PER_MS;
        assert_eq!((node.peer.granted_term, node.peer.granted_until_ns), (3, until));
        assert_eq!((node.grants.granted_term, node.grants.granted_until_ns), (3, until));
    }
}

#[test]
fn a_grant_of_another_term_than_the_gates_prolongs_nothing() {
    for term in [2, 4] {
        let mut node = Node::default();
        let said = Said { term, ..probe(1).said };
        receive(&mut node, &Datagram { grant_ms: 100, said, ..probe(1) }, NOW).unwrap();
        assert_eq!(node.peer.granted_term, term);
        assert_eq!(node.grants.granted_until_ns, 0);
    }
}

#[test]
fn the_lease_is_the_earliest_of_all_granters() {
    for (nodes, end) in [
        ([0, 0, 0], None),
        ([1, 0, 0], Some(50)),
        ([1, 2, 0], Some(40)),
        ([2, 1, 0], Some(40)),
        ([1, 2, 9], Some(0)),
        ([1, 8, 0], Some(0)),
        ([1, 0, 2], Some(50)),
    ] {
        let mut node = Node { granters: Granters::default(), ..Node::default() };
        node.granters.nodes[..3].copy_from_slice(&nodes);
        assert_eq!(earliest(&node, 3), end, "{nodes:?}");
    }
    let full = Node { granters: Granters { nodes: [1, 1, 1, 1, 1, 1, 2] }, ..Node::default() };
    assert_eq!(earliest(&full, 3), Some(40), "the last place counts");
}

#[test]
fn a_grant_is_written_down_before_it_is_given() {
    let mut node = Node::default();
    assert_eq!(receive(&mut node, &probe(1), NOW).unwrap().grant_ms, 100);
    assert_eq!(node.log, ["hear", "ask", "note grant", "ask"]);
    assert_eq!(node.peer.promised_until_ns, NOW + 100 * NS_PER_MS);
}

#[test]
fn a_grant_that_is_withdrawn_meanwhile_is_not_given_and_its_end_stands() {
    let mut node = Node { withdraws_after: 1, ..Node::default() };
    assert_eq!(receive(&mut node, &probe(1), NOW).unwrap().grant_ms, 0);
    assert_eq!(node.peer.promised_until_ns, NOW + 100 * NS_PER_MS, "the agent reads the last one");
    let mut node = Node { withdraws_after: 0, ..Node::default() };
    assert_eq!(receive(&mut node, &probe(1), NOW).unwrap().grant_ms, 0);
    assert_eq!(node.peer.promised_until_ns, 0);
}

#[test]
fn nothing_is_granted_to_another_node_or_in_another_term() {
    let mut node = Node::default();
    let stranger = Datagram { node: 8, ..probe(1) };
    assert_eq!(receive(&mut node, &stranger, NOW).unwrap().grant_ms, 0);
    for (sequence, term) in [(2, 2), (3, 4)] {
        let said = Said { term, ..probe(sequence).said };
        let heard = receive(&mut node, &Datagram { said, ..probe(sequence) }, NOW).unwrap();
        assert_eq!(heard.grant_ms, 0);
    }
    assert_eq!(receive(&mut node, &reply(4), NOW).unwrap().grant_ms, 0, "it asks for nothing");
    assert_eq!(node.peer.promised_until_ns, 0);
}

#[test]
fn a_datagram_reads_as_it_was_written() {
    let status = Status {
        term: Term::new(4),
        primary: NodeId::from_wire(9),
        in_sync: Members::from_wire(11),
        phase: Phase::Serving,
        role: Role::Primary,
        restarting: true,
        paused: false,
        hung: false,
        priority: Priority::new(120),
        lsn: Lsn::new(77),
    };
    let facts = KernelFacts {
        listening: true,
        gate: None,
        queue: 3,
        queue_limit: 128,
        exited: true,
        heartbeat_ms: 12,
    };
    for flags in 0..8u8 {
        let [restarting, paused, hung] = [1, 2, 4].map(|bit| flags & bit != 0);
        let status = Status { restarting, paused, hung, ..status };
        let written = Probe {
            vrid: Vrid::new(59).unwrap(),
            kind: ProbeKind::Reply,
            sequence: 1,
            boot_id: [1; 16],
            time_ns: 2,
            echo_ns: ECHO,
            node: NodeId::new(PEER),
            to: NodeId::new(8),
            path: 3,
            grant_ms: 250,
            status,
            facts: Some(facts),
            page: None,
        };
        let read = Datagram::read(&probe::words(&probe::encode(&written, |_| 0)));
        assert_eq!(read.said, Said::from(status));
        assert_eq!(
            (read.kind, read.path, read.node, read.sequence),
            (ProbeKind::Reply, 3, PEER, 1)
        );
        assert_eq!((read.boot_id, read.time_ns), ([u64::from_ne_bytes([1; 8]); 2], 2));
        assert_eq!((read.echo_ns, read.grant_ms), (ECHO, 250));
        let mut peer = Peer::default();
        assert_eq!(peer.hear(&read, NOW, true), Hearing::News);
        assert_eq!((peer.told, peer.listening, peer.exited, peer.gate), (1, 1, 1, 0));
        assert_eq!((peer.queue, peer.queue_limit, peer.heartbeat_ms), (3, 128, 12));
        assert_eq!((peer.answered_ns, peer.rtt_ns), ([0, 0, 0, ECHO], NOW - ECHO));
    }
}

#[test]
fn a_probes_page_is_noted_and_one_of_a_later_version_is_not() {
    let mut peer = Peer::default();
    let mut sequence = 0;
    let mut hear = |peer: &mut Peer, kind, number, value| {
        sequence += 1;
        let facts = probe::page_words(number, value);
        let datagram = Datagram {
            sequence,
            facts,
            ..if kind == ProbeKind::Probe { probe(sequence) } else { reply(sequence) }
        };
        peer.hear(&datagram, NOW + sequence, true);
    };
    hear(&mut peer, ProbeKind::Probe, 3, u64::MAX);
    hear(&mut peer, ProbeKind::Probe, 15, 7);
    assert_eq!((peer.pages[3], peer.pages[15], peer.paged_ns), (u64::MAX, 7, NOW + 2));
    let before = peer.pages;
    for number in [16, 19, 255] {
        hear(&mut peer, ProbeKind::Probe, number, 9);
    }
    hear(&mut peer, ProbeKind::Reply, 3, 9);
    assert_eq!((peer.pages, peer.paged_ns), (before, NOW + 2));
}
