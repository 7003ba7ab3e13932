//! Two and three routers on one wire that loses, beside plain VRRP routers, with agents that are killed,
//! stopped, restarted and paused, and kernels that refuse.

use proptest::prelude::*;

use super::*;
use crate::{election::Election, failover::GateOrder};

const TICK: Duration = ms(2);
/// The longest way of an advert.
const LATENCY: Duration = ms(8);
/// Faults end; then all is well for so long.
const TROUBLE: Duration = ms(15_000);
const CALM: Duration = ms(16_000);

/// What happens to a node, or on the wire.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its agent is killed, and started again after that time.
    Kill(Duration),
    /// Its agent is told to stop, and started again after that time.
    Stop(Duration),
    /// Its agent does not run for that time; what arrives waits.
    Freeze(Duration),
    /// Its host stands still for that time; what arrives is lost.
    Pause(Duration),
    /// It is cut off for that time.
    Cut(Duration),
    /// Its kernel refuses to set the gate for that time.
    Refuse(Duration),
}

/// A router on the wire.
#[derive(Debug)]
struct Node {
    config: Config,
    /// Plain VRRP, without a gate.
    foreign: Option<Election>,
    router: Option<Router>,
    up_at: Instant,
    frozen_until: Instant,
    deaf_until: Instant,
    cut_until: Instant,
    refuses_until: Instant,
    gate: GateOrder,
    lease_until: Instant,
    inbox: Vec<Advert>,
    pending: Vec<(Instant, Input)>,
}

impl Node {
    fn new(config: Config, foreign: bool) -> Self {
        let zero = Instant::default();
        Self {
            config,
            foreign: foreign.then(|| Election::new(config)),
            router: None,
            up_at: START,
            frozen_until: zero,
            deaf_until: zero,
            cut_until: zero,
            refuses_until: zero,
            gate: Close,
            lease_until: zero,
            inbox: vec![],
            pending: vec![],
        }
    }

    fn serves(&self, now: Instant) -> bool {
        match &self.foreign {
            Some(election) => election.is_active() && now >= self.up_at,
            None => self.gate == Open && now < self.lease_until,
        }
    }

    fn fault(&mut self, now: Instant, fault: Fault, sent: &mut Vec<Advert>) {
        match fault {
            Fault::Kill(time) => self.end(now + time),
            Fault::Stop(time) => {
                if now >= self.up_at && now >= self.frozen_until {
                    self.input(now, Input::Stopping, sent);
                    self.input(now, Input::AddressesDropped, sent);
                    self.end(now + time);
                }
            }
            Fault::Freeze(time) => self.frozen_until = now + time,
            Fault::Pause(time) => {
                (self.frozen_until, self.deaf_until) = (now + time, now + time);
            }
            Fault::Cut(time) => self.cut_until = now + time,
            Fault::Refuse(time) => self.refuses_until = now + time,
        }
    }

    fn end(&mut self, up_at: Instant) {
        self.router = None;
        self.foreign = self.foreign.take().map(|_| Election::new(self.config));
        self.up_at = self.up_at.max(up_at);
        self.inbox.clear();
        self.pending.clear();
    }

    fn run(&mut self, now: Instant, sent: &mut Vec<Advert>) {
        if now < self.up_at || now < self.frozen_until {
            return;
        }
        if let Some(election) = &mut self.foreign {
            return run_foreign(self.config, election, now, &mut self.inbox, sent);
        }
        if self.router.is_none() {
            self.router = Some(Router::new(self.config));
            let found = if self.serves(now) { Found::Open } else { Found::Shut };
            self.input(now, Input::Started(found), sent);
        }
        for advert in core::mem::take(&mut self.inbox) {
            self.input(now, Input::Advert(advert), sent);
        }
        for (at, input) in core::mem::take(&mut self.pending) {
            if at <= now {
                self.input(now, input, sent);
            } else {
                self.pending.push((at, input));
            }
        }
        if self.router.as_ref().and_then(Router::next_timer).is_some_and(|due| now >= due) {
            self.input(now, Input::Tick, sent);
        }
        self.check(now);
    }

    /// The gate is open only while this router is elected, or while the kernel refuses to close it.
    fn check(&self, now: Instant) {
        let Some(router) = &self.router else { return };
        if self.serves(now) && now >= self.refuses_until + LONGEST_REFUSAL {
            assert!(router.election.is_active(), "an open gate without the role: {self:?}");
        }
    }

    fn input(&mut self, now: Instant, input: Input, sent: &mut Vec<Advert>) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut actions = vec![];
            let Some(router) = &mut self.router else { return };
            router.handle(now, input, &mut |action| actions.push(action));
            for action in actions {
                inputs.extend(self.effect(now, action, sent));
            }
        }
    }

    fn effect(&mut self, now: Instant, action: Action, sent: &mut Vec<Advert>) -> Option<Input> {
        match action {
            SetGate { order, .. } if now < self.refuses_until => {
                return Some(Input::GateFailed(order));
            }
            SetGate { order, until } => {
                (self.gate, self.lease_until) = (order, until);
                return Some(Input::GateSet(order));
            }
            Renew { .. } if now < self.refuses_until => {}
            Renew { .. } if self.gate == Close || now >= self.lease_until => {
                return Some(Input::Lapsed);
            }
            Renew { until } => {
                self.lease_until = until;
                return Some(Input::Renewed { until });
            }
            HoldAddresses | DropAddresses => {
                let held = if action == HoldAddresses {
                    Input::AddressesHeld
                } else {
                    Input::AddressesDropped
                };
                self.pending.clear();
                self.pending.push((now + ms(3), held));
            }
            Announce => assert!(self.serves(now), "an announcement with a closed gate"),
            SendAdvert(priority) => {
                let phase = self.router.as_ref().unwrap().phase();
                let takes = matches!(phase, PhaseName::TakingOver | PhaseName::Serving);
                assert_eq!(takes, priority != RELEASE, "{phase}, priority {priority:?}");
                assert!(takes || !self.serves(now), "the role is free, and the gate open");
                let Config { advert_interval: interval, address: source, .. } = self.config;
                sent.push(Advert { priority, interval, source });
            }
            _ => {}
        }
        None
    }
}

/// An order to close that was refused is given again after that, at most.
const LONGEST_REFUSAL: Duration = ms(10_000);

fn run_foreign(
    config: Config,
    election: &mut Election,
    now: Instant,
    inbox: &mut Vec<Advert>,
    sent: &mut Vec<Advert>,
) {
    use crate::election::{Action, Input};
    let inputs = [Input::Startup].into_iter().chain(inbox.drain(..).map(Input::Advert));
    for input in inputs.chain([Input::Tick]) {
        election.handle(now, input, &mut |action| {
            if let Action::SendAdvert(priority) = action {
                let (interval, source) = (config.advert_interval, config.address);
                sent.push(Advert { priority, interval, source });
            }
        });
    }
}

/// The wire, and what is counted.
struct Wire {
    nodes: Vec<Node>,
    now: Instant,
    flying: Vec<(Instant, usize, Advert)>,
    random: u64,
    loss: u64,
    together: Duration,
    longest_together: Duration,
}

impl Wire {
    fn new(nodes: Vec<Node>, seed: u64, loss: u64) -> Self {
        let zero = Duration::ZERO;
        let random = seed | 1;
        Self {
            nodes,
            now: START,
            flying: vec![],
            random,
            loss,
            together: zero,
            longest_together: zero,
        }
    }

    /// Xorshift: the same seed, the same run.
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn send(&mut self, from: usize, sent: Vec<Advert>) {
        if self.now < self.nodes[from].cut_until {
            return;
        }
        for advert in sent {
            for to in 0..self.nodes.len() {
                if to != from && self.draw(100) >= self.loss {
                    let latency = ms(1 + self.draw(LATENCY.as_millis() as u64));
                    self.flying.push((self.now + latency, to, advert));
                }
            }
        }
    }

    fn step(&mut self) {
        self.now = self.now + TICK;
        let now = self.now;
        for (at, to, advert) in core::mem::take(&mut self.flying) {
            let node = &mut self.nodes[to];
            if at > now {
                self.flying.push((at, to, advert));
            } else if now >= node.cut_until && now >= node.up_at && now >= node.deaf_until {
                node.inbox.push(advert);
            }
        }
        for index in 0..self.nodes.len() {
            let mut sent = vec![];
            self.nodes[index].run(now, &mut sent);
            self.send(index, sent);
        }
        let holders = self.nodes.iter().filter(|node| node.serves(now)).count();
        self.together = if holders > 1 { self.together + TICK } else { Duration::ZERO };
        self.longest_together = self.longest_together.max(self.together);
    }

    fn run(&mut self, faults: &[(u64, usize, Fault)]) {
        let end = START + TROUBLE;
        let mut faults = faults.to_vec();
        faults.sort_by_key(|fault| fault.0);
        let mut next = faults.into_iter().peekable();
        while self.now < end {
            while let Some((_, node, fault)) = next.next_if(|f| START + ms(f.0) <= self.now) {
                let (node, now, mut sent) = (node % self.nodes.len(), self.now, vec![]);
                self.nodes[node].fault(now, fault, &mut sent);
                self.send(node, sent);
            }
            self.step();
        }
    }

    /// All is well: soon exactly one serves, and goes on.
    fn calm_down(&mut self) {
        self.loss = 0;
        for node in &mut self.nodes {
            let now = self.now;
            node.up_at = node.up_at.min(now);
            (node.cut_until, node.frozen_until, node.deaf_until) = (now, now, now);
            node.refuses_until = node.refuses_until.min(now);
        }
        let (settled, end) = (self.now + CALM, self.now + CALM + ms(3000));
        while self.now < end {
            self.step();
            let holders = self.nodes.iter().filter(|node| node.serves(self.now)).count();
            assert!(self.now < settled || holders == 1, "{holders} serve: {:#?}", self.nodes);
        }
    }
}

fn faults(fault: impl Strategy<Value = Fault>) -> impl Strategy<Value = Vec<(u64, usize, Fault)>> {
    prop::collection::vec((0..14_000_u64, 0..3_usize, fault), 0..12)
}

fn time() -> impl Strategy<Value = Duration> {
    (20..4000_u64).prop_map(ms)
}

fn nodes() -> impl Strategy<Value = Vec<(u8, bool)>> {
    // At least one that has a gate.
    prop::collection::vec((1..=254_u8, prop::bool::weighted(0.25)), 1..3).prop_map(|mut nodes| {
        nodes.push((100, false));
        nodes
    })
}

fn wire(nodes: &[(u8, bool)], preempt: bool, interval: u16, seed: u64, loss: u64) -> Wire {
    let node = |(host, &(priority, foreign)): (u8, &(u8, bool))| {
        let interval = if foreign { 100 } else { interval };
        let config = Config {
            priority: Priority::new(priority),
            advert_interval: Centis::new(interval).unwrap(),
            preempt: preempt || foreign,
            version: Version::V3,
            address: [192, 0, 2, host].into(),
        };
        Node::new(config, foreign)
    };
    Wire::new((1..).zip(nodes).map(node).collect(), seed, loss)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, it ends with one that serves. (What must hold at each step is asserted in
    /// the nodes.)
    #[test]
    fn somebody_serves_in_the_end(
        nodes in nodes(),
        preempt: bool,
        interval in prop_oneof![Just(10_u16), Just(100)],
        seed: u64,
        loss in 0..50_u64,
        faults in faults(prop_oneof![
            time().prop_map(Fault::Kill),
            time().prop_map(Fault::Stop),
            time().prop_map(Fault::Freeze),
            time().prop_map(Fault::Pause),
            time().prop_map(Fault::Cut),
            time().prop_map(Fault::Refuse),
        ]),
    ) {
        let mut wire = wire(&nodes, preempt, interval, seed, loss);
        wire.run(&faults);
        wire.calm_down();
    }

    /// On a wire that loses nothing, agents may be killed, stopped, paused and restarted: two gates are
    /// open together for as long as two that take over at once need to hear each other.
    #[test]
    fn on_a_good_wire_two_gates_are_open_for_a_moment_at_most(
        others in prop::collection::vec(1..=254_u8, 1..3),
        interval in prop_oneof![Just(10_u16), Just(100)],
        seed: u64,
        faults in faults(prop_oneof![
            time().prop_map(Fault::Kill),
            time().prop_map(Fault::Stop),
            time().prop_map(Fault::Freeze),
            time().prop_map(Fault::Refuse),
        ]),
    ) {
        let mut nodes: Vec<_> = others.into_iter().map(|priority| (priority, false)).collect();
        nodes.push((100, false));
        let mut wire = wire(&nodes, false, interval, seed, 0);
        wire.run(&faults);
        let bound = ms(u64::from(interval) * 10) + LATENCY + TICK * 2;
        let together = wire.longest_together;
        prop_assert!(together <= bound, "{together:?} of {bound:?}");
    }

    /// Those who were apart and meet are one after an advert interval.
    #[test]
    fn who_meet_again_agree_within_an_advert(
        others in prop::collection::vec(1..=254_u8, 1..3),
        preempt: bool,
        interval in prop_oneof![Just(10_u16), Just(100)],
        seed: u64,
        cuts in faults(time().prop_map(Fault::Cut)),
    ) {
        let mut nodes: Vec<_> = others.into_iter().map(|priority| (priority, false)).collect();
        nodes.push((100, false));
        let mut wire = wire(&nodes, preempt, interval, seed, 0);
        wire.run(&cuts);
        wire.nodes.iter_mut().for_each(|node| node.cut_until = wire.now);
        let met = wire.now + ms(u64::from(interval) * 10) + LATENCY + TICK * 2;
        while wire.now < met {
            wire.step();
        }
        let holders = wire.nodes.iter().filter(|node| node.serves(wire.now)).count();
        prop_assert!(holders <= 1, "{holders}");
    }
}
