//! Two nodes on a virtual clock, and a network that delays and loses. Kernels answer as long as
//! their host is up; agents send, read and tick only when they get a processor.

use proptest::{collection::vec, prelude::*};

use super::*;

/// A packet on its way, by its arrival in milliseconds.
#[derive(Clone, Copy)]
enum Packet {
    Probe { sent: u64, reply_is_lost: bool },
    Reply { sent: u64, facts: Facts },
}

struct Node {
    bench: Bench,
    /// The host runs from the start to then.
    dies_at: u64,
    /// The agent gets no processor in these spans.
    pauses: Vec<(u64, u64)>,
    last_beat: u64,
    /// When the agent's next round is due.
    due: u64,
    /// What the kernel has received, and the agent has not read.
    inbox: Vec<Packet>,
    /// Its last round trips in a row that were lost.
    lost: u32,
    on_the_way: Vec<(u64, Packet)>,
}

impl Node {
    fn new(phase: u64) -> Self {
        Self {
            bench: Bench::new(1),
            dies_at: u64::MAX,
            pauses: Vec::new(),
            last_beat: 0,
            due: phase,
            inbox: Vec::new(),
            lost: 0,
            on_the_way: Vec::new(),
        }
    }

    fn has_processor(&self, now: u64) -> bool {
        !self.pauses.iter().any(|&(from, to)| (from..to).contains(&now))
    }

    /// The agent: what has arrived first, then the tick, then a probe.
    fn agent(&mut self, now: u64) -> bool {
        if now < self.due || now >= self.dies_at || !self.has_processor(now) {
            return false;
        }
        self.due = now + 10;
        self.last_beat = now;
        self.bench.now = now;
        for packet in core::mem::take(&mut self.inbox) {
            match packet {
                Packet::Probe { .. } => self.bench.input(Input::Heard { path: 0 }),
                Packet::Reply { sent, facts } => self.bench.reply(0, sent, facts),
            }
        }
        self.bench.tick();
        self.bench.send();
        true
    }

    fn said(&self, word: &str) -> bool {
        self.bench.changes.iter().any(|verdict| verdict.as_str() == word)
    }
}

struct Lab {
    now: u64,
    nodes: [Node; 2],
    /// Whether the n-th round trip is lost, and how long each way takes. The network never loses
    /// `detect_multiplier` round trips of a node in a row.
    network: Vec<(bool, u64)>,
    sent: usize,
    cut: bool,
}

impl Lab {
    fn new(phase: u64, network: Vec<(bool, u64)>) -> Self {
        let nodes = [Node::new(0), Node::new(phase)];
        Self { now: 0, nodes, network, sent: 0, cut: false }
    }

    fn probe(&mut self, from: usize) {
        let (lossy, delay) = self.network[self.sent % self.network.len()];
        self.sent += 1;
        let node = &mut self.nodes[from];
        let lost = lossy && node.lost < MISSES - 1;
        node.lost = if lost { node.lost + 1 } else { 0 };
        // Half of the losses are on the way back.
        let reply_is_lost = lost && delay % 2 == 0;
        if !lost || reply_is_lost {
            self.post(1 - from, delay, Packet::Probe { sent: self.now, reply_is_lost });
        }
    }

    fn post(&mut self, to: usize, delay: u64, packet: Packet) {
        if !self.cut {
            self.nodes[to].on_the_way.push((self.now + delay, packet));
        }
    }

    fn run(&mut self, until: u64) {
        while self.now < until {
            for i in 0..2 {
                self.kernel(i);
                if self.nodes[i].agent(self.now) {
                    self.probe(i);
                }
            }
            self.now += 1;
        }
    }

    fn kernel(&mut self, i: usize) {
        let now = self.now;
        let node = &mut self.nodes[i];
        let arrived: Vec<_> = node.on_the_way.extract_if(.., |&mut (at, _)| at <= now).collect();
        if now >= node.dies_at {
            return;
        }
        node.inbox.extend(arrived.iter().map(|&(_, packet)| packet));
        let facts = Facts { agent_age: ms(now - node.last_beat), ..GOOD };
        for (_, packet) in arrived {
            if let Packet::Probe { sent, reply_is_lost: false } = packet {
                self.post(1 - i, (now - sent).min(4), Packet::Reply { sent, facts });
            }
        }
    }

    fn words(&self) -> [&'static str; 2] {
        [self.nodes[0].bench.word(), self.nodes[1].bench.word()]
    }
}

fn network() -> impl Strategy<Value = Vec<(bool, u64)>> {
    vec((proptest::bool::weighted(0.3), 0..4u64), 1..200)
}

/// Spans in which an agent gets no processor, each shorter than `agent_timeout`, and moments of
/// work between them.
fn pauses() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec((1..300u64, 1..2900u64), 0..20).prop_map(|spans| {
        let mut begin = 0;
        let mut pause = |(work, pause)| {
            let from = begin + work;
            begin = from + pause;
            (from, begin)
        };
        spans.into_iter().map(&mut pause).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Fewer losses in a row than `detect_multiplier` never cost a host its life.
    #[test]
    fn scattered_loss_loses_nobody(phase in 0..10u64, network in network()) {
        let mut lab = Lab::new(phase, network);
        lab.run(5_000);
        for node in &lab.nodes {
            prop_assert!(!node.said("host dead") && !node.said("agent dead"));
        }
    }

    /// Agents that are stopped again and again, for less than `agent_timeout`.
    #[test]
    fn starved_agents_accuse_nobody(
        phase in 0..10u64, network in network(), one in pauses(), other in pauses(),
    ) {
        let mut lab = Lab::new(phase, network);
        lab.nodes[0].pauses = one;
        lab.nodes[1].pauses = other;
        lab.run(20_000);
        for node in &lab.nodes {
            prop_assert!(!node.said("host dead") && !node.said("agent dead"));
        }
    }

    /// From the power-off to the verdict it takes three to five probe intervals.
    #[test]
    fn a_dead_host_is_found_in_three_to_five_intervals(
        phase in 0..10u64, dies_at in 500..600u64, delay in 0..2u64,
    ) {
        let mut lab = Lab::new(phase, std::vec![(false, delay)]);
        lab.nodes[0].dies_at = dies_at;
        lab.run(dies_at + 29);
        prop_assert_eq!(lab.words()[1], "healthy");
        lab.run(dies_at + 51);
        prop_assert_eq!(lab.words()[1], "host dead");
    }

    /// An agent that stays away is found by its age, and its host is not accused.
    #[test]
    fn a_dead_agent_is_told_from_a_dead_host(phase in 0..10u64, network in network()) {
        let mut lab = Lab::new(phase, network);
        lab.nodes[0].pauses = std::vec![(1_000, u64::MAX)];
        lab.run(3_990);
        prop_assert!(!lab.nodes[1].said("agent dead"));
        lab.run(4_100);
        prop_assert_eq!(lab.words()[1], "agent dead");
        prop_assert!(!lab.nodes[1].said("host dead"));
    }

    /// A cut is a dead host on both sides, and heals on both.
    #[test]
    fn a_cut_is_seen_and_heals_on_both_sides(phase in 0..10u64, network in network()) {
        let mut lab = Lab::new(phase, network);
        lab.run(1_000);
        lab.cut = true;
        lab.run(1_060);
        prop_assert_eq!(lab.words(), ["host dead"; 2]);
        lab.run(9_000);
        lab.cut = false;
        lab.network = std::vec![(false, 1)];
        lab.run(9_100);
        prop_assert_eq!(lab.words(), ["healthy"; 2]);
    }
}
