//! The world: all nodes, what is on its way between them, and the one clock by which it goes.

use core::time::Duration;

use ogha_common::{
    detector::{self, Detector},
    election,
    failover::{Arbiter, Config, Core, Database as Seen, Input, NodeSet, Order, Record},
    maps::Passage,
    units::{Centis, Instant, NodeId, Priority, Term},
    wire::vrrp::Version,
};

use super::{
    MAX,
    agent::{Agent, Message},
    arbiter::Register,
    clock::{Clock, MS},
    database::{Database, Write},
    invariants::Ledger,
    kernel::{Kernel, Probe},
    network::Network,
    node::Node,
    people::People,
    queue::Queue,
    random::Random,
    story::{NAMES, Story, Violation},
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
    /// What came of an effect.
    Outcome { node: usize, life: u32, input: Input },
    /// An observation ends.
    Observed { node: usize, life: u32, process: u32, seen: Seen },
    /// The database's worker looks at it.
    Observe { node: usize, life: u32 },
    /// An order to the database has its effect.
    Ordered { node: usize, life: u32, boot: u32, order: Order },
    /// A record is written.
    Saved { node: usize, life: u32, boot: u32, record: Record },
    /// A proposal arrives at the arbiter.
    Proposed { node: usize, life: u32, ask: u64, record: Record },
    /// No answer has come.
    Unanswered { node: usize, life: u32, ask: u64, record: Record },
    /// The arbiter is asked what stands.
    Consult { node: usize, life: u32 },
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
    /// A database that hangs is found to do so.
    Hung { node: usize },
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
    /// What is told.
    pub story: Story,
    /// The hosts.
    pub nodes: Vec<Node>,
    /// Their identities.
    pub ids: Vec<NodeId>,
    /// What is between them.
    pub network: Network,
    /// The arbiter's record.
    pub register: Register,
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
    /// The story so far, if it is told.
    pub told: Option<Vec<String>>,
    /// How many events there were.
    pub events: u64,
}

impl World {
    /// The world at the beginning of the story.
    pub fn new(story: Story, tell: bool) -> Self {
        let mut random = Random::new(story.seed ^ 0x5851_f42d_4c95_7f2d);
        let setting = story.setting.clone();
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
                Node {
                    clock,
                    up: true,
                    boot: 0,
                    kernel: Kernel::new(node, words, node as u64 + 1, setting.lease_ms),
                    agent: None,
                    agents: 0,
                    database: Database::new(node == 0, (node != 0).then_some(0), names),
                    saved: record,
                    marks: Default::default(),
                    disk_full: false,
                    orders_fail: false,
                }
            })
            .collect();
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            random,
            nodes,
            ids,
            network: Network::default(),
            register: Register::new(record),
            ledger: Ledger::default(),
            people: People::default(),
            healed: false,
            settled: false,
            writes: 0,
            told: tell.then(Vec::new),
            events: 0,
            story,
        };
        world.set_out();
        world
    }

    /// The first events. A pair that is warm has served till now.
    fn set_out(&mut self) {
        let setting = self.story.setting.clone();
        for node in 0..setting.nodes {
            if setting.warm {
                let local = self.nodes[node].local(0);
                let kernel = &mut self.nodes[node].kernel;
                if node == 0 {
                    let until = local + setting.lease_ms * MS;
                    kernel.set_gate(true, true, 1, until);
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
        for (place, timed) in self.story.faults.clone().into_iter().enumerate() {
            self.queue.push(timed.at, Event::Begin(place));
            self.queue.push(timed.at + timed.lasts, Event::End(place));
            heal = heal.max(timed.at + timed.lasts.min(setting.agent_timeout_ms * 2 * MS));
        }
        self.queue.push(heal, Event::Heal);
    }

    /// A core and its detectors for that node.
    pub fn new_agent(&self, node: usize) -> Agent {
        let setting = &self.story.setting;
        let ms = Duration::from_millis;
        let advert = Centis::new((setting.lease_ms / 10) as u16).unwrap_or(Centis::ONE_SECOND);
        let priority = Priority::new(150 - 10 * node as u8);
        let core = Core::new(Config {
            node: self.ids[node],
            nodes: NodeSet::new(&self.ids).unwrap_or_default(),
            priority,
            arbiter: setting.arbiter,
            lease: ms(setting.lease_ms),
            agent_timeout: ms(setting.agent_timeout_ms),
            promotion_timeout: ms(2000),
            switchover_timeout: ms(1500),
            max_lag: setting.max_lag,
            rejoin: setting.rejoin,
            restart_attempts: setting.restart_attempts,
            election: election::Config {
                priority,
                advert_interval: advert,
                preempt: false,
                version: Version::V3,
                address: [192, 0, 2, node as u8 + 1].into(),
            },
        });
        let config = detector::Config::new(ms(setting.probe_ms), 3, ms(setting.agent_timeout_ms));
        let detectors = vec![Detector::new(config, 1); setting.nodes];
        let host = &self.nodes[node];
        Agent::new(host.agents, core, detectors, host.kernel.peers, host.local(self.now))
    }

    /// The place of that node in the list.
    pub fn place(&self, id: NodeId) -> usize {
        self.ids.iter().position(|&other| other == id).unwrap_or(0)
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
        node.up && node.kernel.passage(node.local(self.now)) == Passage::Open
    }

    /// A line of the story, if it is told.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            told.push(format!("{:>10.3} ms  {}", self.now as f64 / MS as f64, line()));
        }
    }

    /// What an agent learns, but for what it learns all the time.
    pub fn trace_input(&mut self, node: usize, input: &Input) {
        if self.told.is_some()
            && !matches!(
                input,
                Input::Tick
                    | Input::Answered { .. }
                    | Input::Peer { .. }
                    | Input::Looked { .. }
                    | Input::Granted { .. }
                    | Input::AdvertStamped { .. }
                    | Input::Advert { .. }
                    | Input::Database(_)
            )
        {
            self.note(|| format!("{} <- {input:?}", NAMES[node]));
        }
    }

    /// A core that has changed its mind.
    pub fn trace_core(&mut self, node: usize, core: &Core) {
        if self.told.is_none() {
            return;
        }
        let phase = format!("{:?}", core.phase());
        let word = phase.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
        let state = (word, core.record());
        if self.ledger.traced[node].as_ref() != Some(&state) {
            let local = self.nodes[node].local(self.now);
            let record = core.record().map(|record| self.show(&record)).unwrap_or_default();
            self.note(|| format!("{} is {phase} by {record} (its clock {local})", NAMES[node]));
            self.ledger.traced[node] = Some(state);
        }
    }

    /// A record in short.
    pub fn show(&self, record: &Record) -> String {
        let places = self.places(&record.in_sync);
        let names: String = (0..self.ids.len()).filter(|&i| places[i]).map(|i| NAMES[i]).collect();
        format!("{{{}, {}, {names}}}", record.term, NAMES[self.place(record.primary)])
    }

    /// The story ends here.
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

    /// Tells the story to its end.
    pub fn run(&mut self) {
        while self.ledger.violation.is_none() && !self.settled {
            let Some((at, event)) = self.queue.pop() else { return };
            self.now = self.now.max(at);
            self.events += 1;
            // Nothing else moves a gate; one that lapses is no danger.
            let moves = !matches!(
                event,
                Event::Outcome { .. }
                    | Event::Received { .. }
                    | Event::Receive { .. }
                    | Event::Log { .. }
                    | Event::Advert { .. }
                    | Event::Clients
                    | Event::Observe { .. }
                    | Event::Observed { .. }
            );
            self.happen(event);
            if moves {
                self.check_gates();
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Probe { to, probe } => self.probe_arrives(to, &probe),
            Event::Advert { to, from, priority } => self.advert_arrives(to, from, priority),
            Event::Wake { node, life } => self.run_agent(node, life),
            Event::Outcome { node, life, input } => self.send(node, life, Message::Input(input)),
            Event::Observed { node, life, process, seen } => {
                self.observed(node, life, process, seen);
            }
            Event::Observe { node, life } => self.observe(node, life),
            Event::Ordered { node, life, boot, order } => self.ordered(node, life, boot, order),
            Event::Saved { node, life, boot, record } => self.saved(node, life, boot, record),
            Event::Proposed { node, life, ask, record } => self.proposed(node, life, ask, record),
            Event::Unanswered { node, life, ask, record } => {
                self.unanswered(node, life, ask, record)
            }
            Event::Consult { node, life } => self.consult(node, life),
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
            Event::Hung { node } => self.hung(node),
            Event::Clients => self.clients_write(),
            Event::Begin(place) => self.begin(place),
            Event::End(place) => self.end(place),
            Event::Heal => self.heal(),
            Event::Check => self.check(),
        }
    }

    fn probe_arrives(&mut self, to: usize, probe: &Probe) {
        let node = &mut self.nodes[to];
        if !node.up {
            return;
        }
        let local = node.local(self.now);
        let listens = node.database.running;
        let mutation = self.story.mutation;
        let received = node.kernel.receive(local, probe, listens, mutation);
        if let Some(reply) = received.reply {
            self.transmit(to, probe.from, Event::Probe { to: probe.from, probe: reply });
        }
        if received.news {
            self.wake(to, self.now);
        }
    }

    fn advert_arrives(&mut self, to: usize, from: usize, priority: u8) {
        let node = &mut self.nodes[to];
        if !node.up {
            return;
        }
        node.kernel.peers[from].last_advert_ns = node.local(self.now);
        let advert = election::Advert {
            priority: Priority::new(priority),
            interval: Centis::new((self.story.setting.lease_ms / 10) as u16)
                .unwrap_or(Centis::ONE_SECOND),
            source: [192, 0, 2, from as u8 + 1].into(),
        };
        if let Some(life) = node.agent.as_ref().map(|agent| agent.life) {
            let input = Input::Advert { node: self.ids[from], advert };
            self.send(to, life, Message::Input(input));
        }
    }

    /// An agent comes up, if its host has power and none is there.
    pub fn start_agent(&mut self, node: usize) {
        if !self.nodes[node].up || self.nodes[node].agent.is_some() {
            return;
        }
        self.nodes[node].agents += 1;
        let mut agent = Box::new(self.new_agent(node));
        let host = &self.nodes[node];
        let local = host.local(self.now);
        let open = host.kernel.passage(local) == Passage::Open;
        let open = open.then(|| Term::new(host.kernel.gate.term));
        let (record, marks) = (host.saved, host.marks);
        for (place, peer) in
            host.kernel.peers.iter().enumerate().filter(|(_, p)| p.granted_until_ns > 0)
        {
            let (term, until) =
                (Term::new(peer.granted_term), Instant::from_ns(peer.granted_until_ns));
            agent.begin(Input::Granted { node: self.ids[place], term, until });
        }
        agent.begin(Input::Started { record, open, marks });
        let life = agent.life;
        self.note(|| format!("{}'s agent starts", NAMES[node]));
        self.nodes[node].agent = Some(agent);
        let soon = self.random.between(1, 30) * MS;
        self.queue.push(self.now + soon, Event::Observe { node, life });
        self.wake(node, self.now);
    }

    /// An operator's word.
    pub fn command(&mut self, node: usize, command: ogha_common::failover::Command) {
        let local = Instant::from_ns(self.nodes[node].local(self.now));
        let now = self.now;
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        // It comes to the loop as all else; one that is in the middle of something does not hear it.
        if agent.stalled_until > now {
            return;
        }
        let mut actions = vec![];
        let answer = agent.core.command(local, command, &mut |action| actions.push(action));
        self.ledger.forced |= answer.is_ok() && command == ogha_common::failover::Command::Force;
        self.note(|| format!("{}: an operator orders {command:?}: {answer:?}", NAMES[node]));
        if let Some(agent) = self.nodes[node].agent.as_mut() {
            agent.ordered_by_hand(actions);
        }
        self.wake(node, self.now);
    }

    /// Whether the arbiter of that kind lets a node go on.
    pub fn has_register(&self) -> bool {
        self.story.setting.arbiter == Arbiter::Etcd
    }
}
