//! The world: all nodes, what is on its way between them, and the one clock by which it goes.

use std::rc::Rc;

use ogha_agent::run::{
    message::Message,
    ports::{End, Job, JobId},
};
use ogha_common::{
    failover::{Arbiter, NodeSet, Record},
    maps::{EVENT_PEER, Event as Seen, Passage},
    units::{NodeId, Priority, Term},
    wire::vrrp::{self, Auth, Version},
};

use super::{
    MAX,
    agent::address,
    arbiter::Store,
    clock::{Clock, MS},
    database::{Database, Write},
    invariants::Ledger,
    kernel::{Kernel, Probe},
    network::Network,
    node::Node,
    people::People,
    plan::{NAMES, Plan, Violation},
    queue::Queue,
    random::Random,
    scribe::Scribe,
};

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A probe or a reply arrives.
    Probe { to: usize, probe: Probe },
    /// An advert arrives.
    Advert { to: usize, from: usize, priority: u8 },
    /// An agent's timer fires.
    Wake { node: usize, life: u32 },
    /// A job has its effect.
    Work { node: usize, life: u32, boot: u32, id: JobId, job: Job },
    /// A job ends.
    Ended { node: usize, life: u32, id: JobId, end: End },
    /// A question arrives at the arbiter.
    Asked { node: usize, life: u32, id: JobId, job: Job },
    /// The kernel has seen something.
    Kernel { node: usize, life: u32, event: Seen },
    /// An agent is started.
    StartAgent { node: usize },
    /// A host gets power.
    PowerOn { node: usize },
    /// A standby asks for more.
    Receive { node: usize },
    /// Its question arrives.
    Received { node: usize, life: u32, to: usize, length: usize, last: Write, boot: u32 },
    /// A primary's writes arrive.
    Log { node: usize, life: u32, from: usize, from_life: u32, length: usize },
    /// Clients write.
    Clients,
    /// A fault begins.
    Begin(usize),
    /// It ends.
    End(usize),
    /// All faults are over.
    Heal,
    /// Somebody looks whether all is well.
    Check,
}

/// A cluster and its time.
#[derive(Debug)]
pub struct World {
    /// The time, nanoseconds.
    pub now: u64,
    /// What is going to happen.
    pub queue: Queue<Event>,
    /// Chance.
    pub random: Random,
    /// What is simulated.
    pub plan: Plan,
    /// The hosts.
    pub nodes: Vec<Node>,
    /// Their identities.
    pub ids: Vec<NodeId>,
    /// What is between them.
    pub network: Network,
    /// The arbiter's record.
    pub store: Store,
    /// What must hold.
    pub ledger: Ledger,
    /// Those who help where a core waits for them.
    pub people: People,
    /// All faults are over.
    pub healed: bool,
    /// All is as it should be.
    pub settled: bool,
    /// Grows with each write.
    pub writes: Write,
    /// What happened so far, if it is traced.
    pub scribe: Option<Rc<Scribe>>,
    /// How many events there were.
    pub events: u64,
}

impl World {
    /// The world at the beginning of the run.
    pub fn new(plan: Plan, trace: bool) -> Self {
        let mut random = Random::new(plan.seed ^ 0x5851_f42d_4c95_7f2d);
        let setting = plan.setting.clone();
        let ids = setting.ids();
        let all = NodeSet::new(&ids).unwrap_or_default();
        let record = Record { term: Term::new(1), primary: ids[0], in_sync: all };
        let record = setting.warm.then_some(record);
        let mut words = [0; MAX];
        words.iter_mut().zip(&ids).for_each(|(word, id)| *word = id.get());
        let nodes = (0..setting.nodes)
            .map(|node| {
                let ppm = random.between(0, 2000) as i64 - 1000;
                let clock = Clock::new(0, random.between(1000, 1_000_000) * MS, ppm);
                let names = std::array::from_fn(|i| {
                    node == 0 && i != 0 && i < setting.nodes && setting.warm
                });
                let kernel = Kernel::new(node, words, node as u64 + 1, setting.lease_ms);
                let database = Database::new(node == 0, (node != 0).then_some(0), names);
                Node::new(clock, kernel, database, record)
            })
            .collect();
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            random,
            nodes,
            ids,
            network: Network::default(),
            store: Store::new(record),
            ledger: Ledger::default(),
            people: People::default(),
            healed: false,
            settled: false,
            writes: 0,
            scribe: trace.then(Rc::default),
            events: 0,
            plan,
        };
        world.set_out();
        world
    }

    /// The first events. A pair that is warm has served till now.
    fn set_out(&mut self) {
        let setting = self.plan.setting.clone();
        for node in 0..setting.nodes {
            if setting.warm {
                let local = self.nodes[node].local(0);
                let kernel = &mut self.nodes[node].kernel;
                if node == 0 {
                    let until = local + setting.lease_ms * MS;
                    kernel.open_gate(1, until);
                    if setting.arbiter != Arbiter::None {
                        kernel.heard.grant(1, until);
                        for place in 1..setting.nodes {
                            kernel.peers[place].grant(1, until);
                            kernel.granters[place] = true;
                        }
                    }
                } else {
                    kernel.peers[0].promised_until_ns = local + setting.lease_ms * MS * 1002 / 1000;
                }
                kernel.heard.term(1);
            }
            let at =
                if setting.warm { self.random.between(0, 5) } else { self.random.between(0, 300) };
            self.queue.push(at * MS, Event::StartAgent { node });
            let at = self.random.between(0, 50) * MS;
            self.queue.push(at, Event::Receive { node });
        }
        self.queue.push(MS, Event::Clients);
        let mut heal = setting.agent_timeout_ms * 4 * MS;
        for (place, timed) in self.plan.faults.clone().into_iter().enumerate() {
            self.queue.push(timed.at, Event::Begin(place));
            self.queue.push(timed.at + timed.lasts, Event::End(place));
            heal = heal.max(timed.at + timed.lasts.min(setting.agent_timeout_ms * 2 * MS));
        }
        self.queue.push(heal, Event::Heal);
    }

    /// These nodes, by place.
    pub fn places(&self, set: &NodeSet) -> [bool; MAX] {
        std::array::from_fn(|i| self.ids.get(i).is_some_and(|&id| set.contains(id)))
    }

    /// These places as nodes.
    pub fn set(&self, places: &[bool; MAX]) -> NodeSet {
        let named = self.ids.iter().zip(places).filter(|&(_, &named)| named);
        named.fold(NodeSet::EMPTY, |set, (&id, _)| set.with(id))
    }

    /// Whether that gate lets traffic pass.
    pub fn is_open(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        let goes = node.up && node.frozen_until.is_none();
        goes && node.kernel.passage(node.local(self.now)) == Passage::Open
    }

    /// A line of the trace, if there is one.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(scribe) = &self.scribe {
            scribe.now.set(self.now);
            scribe.note(&line());
        }
    }

    /// A record in short.
    pub fn show(&self, record: &Record) -> String {
        let places = self.places(&record.in_sync);
        let names: String = (0..self.ids.len()).filter(|&i| places[i]).map(|i| NAMES[i]).collect();
        format!("{{{}, {}, {names}}}", record.term, NAMES[self.place(record.primary)])
    }

    /// The run ends here.
    pub fn violated(&mut self, violation: Violation) {
        if self.ledger.violation.is_none() {
            self.note(|| format!("VIOLATION: {violation}"));
            self.ledger.violation = Some(violation);
        }
    }

    /// A packet goes out.
    pub fn transmit(&mut self, from: usize, to: usize, event: Event) {
        if let Some(delay) = self.network.delay(&mut self.random, from, to) {
            if self.network.duplicates > 0 && self.random.permille(300) {
                let again = self.network.latency(&mut self.random);
                self.queue.push(self.now + again, event.clone());
            }
            self.queue.push(self.now + delay, event);
        }
    }

    /// Runs to its end.
    pub fn run(&mut self) {
        while self.goes_on() && self.turn(u64::MAX) {}
    }

    /// The rest of the world goes on while that agent gets no processor.
    pub fn run_while_stalled(&mut self, node: usize, life: u32) {
        loop {
            let host = &self.nodes[node];
            let until = host.stalled_until;
            let stalled = host.running == Some(life) && until > self.now;
            if !stalled || !self.goes_on() {
                return;
            }
            if !self.turn(until) {
                self.now = self.now.max(until);
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.ledger.violation.is_none() && !self.settled
    }

    /// What happens next, if it does by then.
    fn turn(&mut self, until: u64) -> bool {
        let Some((at, event)) = self.queue.pop_by(until) else { return false };
        self.now = self.now.max(at);
        self.events += 1;
        if let Some(scribe) = &self.scribe {
            scribe.now.set(self.now);
        }
        // Nothing else moves a gate; one that lapses is no danger.
        let moves = !matches!(
            event,
            Event::Ended { .. }
                | Event::Received { .. }
                | Event::Receive { .. }
                | Event::Log { .. }
                | Event::Advert { .. }
                | Event::Clients
        );
        self.happen(event);
        if moves {
            self.check_gates();
        }
        true
    }

    /// What happens at a host that is paused happens when it goes on.
    fn is_frozen(&self, event: &Event) -> Option<u64> {
        match *event {
            Event::Wake { node, .. }
            | Event::Work { node, .. }
            | Event::Ended { node, .. }
            | Event::Kernel { node, .. }
            | Event::Receive { node }
            | Event::StartAgent { node }
            | Event::Log { node, .. } => self.nodes[node].frozen_until,
            Event::Received { to, .. } => self.nodes[to].frozen_until,
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(until) = self.is_frozen(&event) {
            return self.queue.push(until.max(self.now + 1), event);
        }
        match event {
            Event::Probe { to, probe } => self.probe_arrives(to, &probe),
            Event::Advert { to, from, priority } => self.advert_arrives(to, from, priority),
            Event::Wake { node, life } => self.run_agent(node, life),
            Event::Work { node, life, boot, id, job } => self.work(node, life, boot, id, job),
            Event::Ended { node, life, id, end } => self.end_job(node, life, id, end),
            Event::Asked { node, life, id, job } => self.asked(node, life, id, &job),
            Event::Kernel { node, life, event } => self.send(node, life, Message::Kernel(event)),
            Event::StartAgent { node } => self.start_agent(node),
            Event::PowerOn { node } => self.power_on(node),
            Event::Receive { node } => self.receive(node),
            Event::Received { node, life, to, length, last, boot } => {
                if self.nodes[node].boot == boot {
                    self.received(node, life, to, length, last);
                }
            }
            Event::Log { node, life, from, from_life, length } => {
                self.log_arrives(node, life, from, from_life, length);
            }
            Event::Clients => self.clients_write(),
            Event::Begin(place) => self.begin(place),
            Event::End(place) => self.end(place),
            Event::Heal => self.heal(),
            Event::Check => self.check(),
        }
    }

    fn probe_arrives(&mut self, to: usize, probe: &Probe) {
        let node = &mut self.nodes[to];
        if !node.up || node.frozen_until.is_some() {
            return;
        }
        let local = node.local(self.now);
        let listens = node.database.running;
        let mutation = self.plan.mutation;
        let received = node.kernel.receive(local, probe, listens, mutation);
        if let Some(reply) = received.reply {
            self.transmit(to, probe.from, Event::Probe { to: probe.from, probe: reply });
        }
        if let Some(life) = self.nodes[to].running.filter(|_| received.news) {
            let (time_ns, detail) = (local, self.ids[probe.from].get());
            let event = Seen { kind: EVENT_PEER, instance: 0, time_ns, detail };
            self.send(to, life, Message::Kernel(event));
        }
    }

    fn advert_arrives(&mut self, to: usize, from: usize, priority: u8) {
        let node = &mut self.nodes[to];
        if !node.up || node.frozen_until.is_some() {
            return;
        }
        node.kernel.peers[from].last_advert_ns = node.local(self.now);
        let Some(life) = node.running else { return };
        let advert = vrrp::Advert {
            version: Version::V3,
            vrid: self.vrid(),
            priority: Priority::new(priority),
            interval: self.advert_interval(),
            auth: Auth::None,
            checksum: vrrp::Checksum::PseudoHeader,
        };
        self.send(to, life, Message::Advert(address(from), advert));
    }

    /// Whether the arbiter of that kind lets a node go on.
    pub fn has_store(&self) -> bool {
        self.plan.setting.arbiter == Arbiter::Etcd
    }
}
