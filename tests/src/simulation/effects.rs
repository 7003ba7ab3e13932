//! What an agent does: at once and in order what the kernel is told, later and by workers the rest.

use ogha_common::{
    failover::{
        Action, Arbiter, Database as Seen, GateOrder, Input, Order, Primary, Record, Ruling,
    },
    maps::Passage,
    units::Instant,
};

use super::{
    MAX,
    agent::{Agent, Message},
    clock::MS,
    story::{NAMES, Violation},
    world::{Event, World},
};

/// How long the arbiter's answer is waited for.
const ANSWER_TIMEOUT: u64 = 400 * MS;
/// How often the arbiter is asked what stands, until it answers.
const CONSULT_AGAIN: u64 = 150 * MS;

impl World {
    /// Carries out one action; what comes of it at once is returned.
    pub fn effect(&mut self, node: usize, agent: &mut Agent, action: Action) -> Option<Input> {
        let local = self.nodes[node].local(self.now);
        let life = agent.life;
        if self.told.is_some()
            && !matches!(
                action,
                Action::Publish | Action::Renew { .. } | Action::SendAdvert(_) | Action::Announce
            )
        {
            self.note(|| format!("{} -> {action:?}", NAMES[node]));
        }
        match action {
            Action::SetGate { order, term, until } => {
                if order == GateOrder::Open {
                    self.check_writable(node);
                }
                let (open, claimed) = (order == GateOrder::Open, order != GateOrder::Close);
                self.nodes[node].kernel.set_gate(open, claimed, term.get(), until.ns());
                return Some(Input::GateSet(order));
            }
            Action::Renew { until } => {
                let kernel = &mut self.nodes[node].kernel;
                let passage = kernel.passage(local);
                let lapsed = !matches!(passage, Passage::Open | Passage::Claimed);
                if lapsed {
                    return Some(Input::Lapsed);
                }
                if passage == Passage::Lapsed {
                    self.violated(Violation::Revived(node));
                }
                let kernel = &mut self.nodes[node].kernel;
                kernel.gate.lease_until_ns = until.ns();
            }
            Action::SetGranters(granters) => {
                self.nodes[node].kernel.granters = self.places(&granters);
                return Some(Input::GrantersSet(granters));
            }
            Action::Withdraw => {
                let until = self.nodes[node].kernel.promised_until().max(agent.promised);
                return Some(Input::Withdrawn { promised_until: Instant::from_ns(until) });
            }
            Action::Propose(record) => self.propose(node, agent, record),
            Action::Consult => {
                let at = self.now + self.network.latency(&mut self.random);
                self.queue.push(at, Event::Consult { node, life });
            }
            Action::Persist(record) => {
                agent.saves.push_back(record);
                self.save_next(node, agent);
            }
            Action::PersistMarks(marks) => self.nodes[node].marks = marks,
            Action::HoldAddresses => {
                agent.hold = true;
                let at = self.now + self.random.between(1, 20) * MS;
                self.queue.push(at, Event::Outcome { node, life, input: Input::AddressesHeld });
            }
            Action::DropAddresses => agent.hold = false,
            Action::SendAdvert(priority) => {
                for to in (0..self.story.setting.nodes).filter(|&to| to != node) {
                    let event = Event::Advert { to, from: node, priority: priority.get() };
                    self.transmit(node, to, event);
                }
            }
            Action::Publish => self.probe(node, agent),
            Action::Database(order) => {
                if order == Order::Promote {
                    self.check_promotion(node, agent);
                    // Beside the worker, which looks on meanwhile.
                    return self.carry_out(node, life, order);
                }
                agent.orders.push_back(order);
                self.order_next(node, agent);
            }
            Action::Announce
            | Action::Entered(_)
            | Action::Begin { .. }
            | Action::Step(_)
            | Action::End(_)
            | Action::Notice(_) => {}
        }
        None
    }

    fn propose(&mut self, node: usize, agent: &mut Agent, record: Record) {
        agent.asked += 1;
        let (life, ask) = (agent.life, agent.asked);
        let late = if self.network.arbiter_slow > 0 { self.random.below(1500) * MS } else { 0 };
        let there = self.now + late + self.random.between(MS / 2, 8 * MS);
        if self.network.reaches_arbiter(node) {
            self.queue.push(there, Event::Proposed { node, life, ask, record });
        }
        let timeout = self.now + ANSWER_TIMEOUT;
        self.queue.push(timeout, Event::Unanswered { node, life, ask, record });
    }

    /// The proposal has arrived at the arbiter, whoever still waits for the answer.
    pub fn proposed(&mut self, node: usize, life: u32, ask: u64, record: Record) {
        let ruling = if self.story.setting.arbiter == Arbiter::Etcd {
            let ruling = self.register.propose(record);
            let shown = self.show(&record);
            self.note(|| format!("arbiter: {} asks for {shown}: {ruling:?}", NAMES[node]));
            ruling
        } else {
            Ruling::Granted(record.term)
        };
        let lost = self.network.answers_lost > 0 && self.random.permille(700);
        if lost || !self.network.reaches_arbiter(node) {
            return;
        }
        let back = self.random.between(MS / 2, 8 * MS);
        let waits = self.nodes[node]
            .agent
            .as_mut()
            .filter(|agent| agent.life == life && agent.asked == ask);
        if let Some(agent) = waits {
            // Answered: what would have been said at the end of the time is not.
            agent.asked += 1;
            self.queue
                .push(self.now + back, Event::Outcome { node, life, input: Input::Ruled(ruling) });
        }
    }

    /// The time for an answer is over.
    pub fn unanswered(&mut self, node: usize, life: u32, ask: u64, record: Record) {
        let waits = self.nodes[node]
            .agent
            .as_mut()
            .filter(|agent| agent.life == life && agent.asked == ask);
        if let Some(agent) = waits {
            agent.asked += 1;
            let gateway = self.story.setting.arbiter == Arbiter::Gateway;
            let ruling = if gateway {
                Ruling::Refused { term: record.term, record: None }
            } else {
                Ruling::Unknown(record.term)
            };
            self.send(node, life, Message::Input(Input::Ruled(ruling)));
        }
    }

    /// What stands at the arbiter.
    pub fn consult(&mut self, node: usize, life: u32) {
        if self.nodes[node].agent.as_ref().is_none_or(|agent| agent.life != life) {
            return;
        }
        let lost = self.network.answers_lost > 0 && self.random.permille(700);
        if lost || !self.network.reaches_arbiter(node) {
            return self.queue.push(self.now + CONSULT_AGAIN, Event::Consult { node, life });
        }
        let input = Input::Consulted(self.register.record);
        let back = self.random.between(MS / 2, 8 * MS);
        self.queue.push(self.now + back, Event::Outcome { node, life, input });
    }

    fn save_next(&mut self, node: usize, agent: &mut Agent) {
        if agent.saving {
            return;
        }
        if let Some(&record) = agent.saves.front() {
            agent.saving = true;
            let takes = if self.random.permille(30) { 120 } else { self.random.between(1, 12) };
            let (life, boot) = (agent.life, self.nodes[node].boot);
            self.queue.push(self.now + takes * MS, Event::Saved { node, life, boot, record });
        }
    }

    /// A record is on disk, or can't be written.
    pub fn saved(&mut self, node: usize, life: u32, boot: u32, record: Record) {
        let host = &mut self.nodes[node];
        if host.boot != boot || !host.up {
            return;
        }
        let full = host.disk_full;
        if !full {
            host.saved = Some(record);
        }
        if let Some(mut agent) = self.nodes[node].agent.take_if(|agent| agent.life == life) {
            agent.saves.pop_front();
            agent.saving = false;
            self.save_next(node, &mut agent);
            self.nodes[node].agent = Some(agent);
            let term = record.term;
            let input = if full { Input::PersistFailed(term) } else { Input::Persisted(term) };
            self.send(node, life, Message::Input(input));
        }
    }

    fn order_next(&mut self, node: usize, agent: &mut Agent) {
        if !agent.ordering
            && !agent.looking
            && let Some(order) = agent.orders.pop_front()
        {
            agent.ordering = true;
            self.carry_out(node, agent.life, order);
        }
    }

    fn carry_out(&mut self, node: usize, life: u32, order: Order) -> Option<Input> {
        let takes = match order {
            Order::Promote => self.random.between(20, 150),
            Order::Stop => self.random.between(5, 50),
            Order::Checkpoint => self.random.between(5, 100),
            Order::Demote | Order::Start => self.random.between(20, 200),
            Order::Synchronize(_) => self.random.between(2, 40),
            Order::Follow(_) => self.random.between(20, 100),
            Order::Rejoin(_) => self.random.between(50, 400),
            Order::AfterFailover => 1,
        };
        let boot = self.nodes[node].boot;
        self.queue.push(self.now + takes * MS, Event::Ordered { node, life, boot, order });
        None
    }

    /// An order has its effect, and its agent hears of it, if it is still there.
    pub fn ordered(&mut self, node: usize, life: u32, boot: u32, order: Order) {
        if self.nodes[node].boot != boot || !self.nodes[node].up {
            return;
        }
        let fails = if self.nodes[node].orders_fail { 700 } else { 15 };
        let fails = self.random.permille(fails);
        // Some of what is reported as failed has happened all the same.
        let happens = !fails || self.random.permille(400);
        let done = happens && self.obey(node, order);
        let ok = done && !fails;
        if let (Order::Stop, Some(agent)) = (order, &mut self.nodes[node].agent) {
            agent.stop_failed = !done;
        }
        self.note(|| format!("{}'s database: {order:?}: done {done}, reported {ok}", NAMES[node]));
        if order == Order::Promote && done {
            self.look_at_database(node, life, 0);
        }
        self.send(node, life, Message::Input(Input::DatabaseDid { order, ok }));
        if order != Order::Promote
            && let Some(mut agent) = self.nodes[node].agent.take_if(|agent| agent.life == life)
        {
            agent.ordering = false;
            self.order_next(node, &mut agent);
            self.nodes[node].agent = Some(agent);
            self.look_at_database(node, life, 0);
        }
    }

    /// Whether the database did as it was told.
    fn obey(&mut self, node: usize, order: Order) -> bool {
        match order {
            Order::Promote => {
                let database = &mut self.nodes[node].database;
                let may = database.receives();
                if may {
                    database.promote();
                }
                may || database.writes()
            }
            Order::Stop => {
                self.nodes[node].database.stop();
                true
            }
            Order::Checkpoint | Order::AfterFailover => self.nodes[node].database.writes(),
            Order::Demote => self.demote(node),
            Order::Start => {
                let database = &mut self.nodes[node].database;
                if !database.running {
                    database.start();
                }
                !database.hung
            }
            Order::Synchronize(set) => {
                let names = self.places(&set);
                let database = &mut self.nodes[node].database;
                let may = database.running && !database.hung;
                if may {
                    database.synchronize(names);
                    self.acknowledge(node);
                }
                may
            }
            Order::Follow(primary) => {
                let primary = self.place(primary);
                let database = &mut self.nodes[node].database;
                if !database.receives() {
                    return false;
                }
                database.follows = Some(primary);
                database.life += 1;
                let database = &self.nodes[node].database;
                let other = &self.nodes[primary].database;
                self.joined(node, primary)
                    && other.writes()
                    && other.contains(database.log.len(), database.last())
            }
            Order::Rejoin(primary) => self.rejoin(node, primary),
        }
    }

    /// A clean stop: whoever is connected receives everything first.
    fn demote(&mut self, node: usize) -> bool {
        if !self.nodes[node].database.writes() {
            return false;
        }
        for other in 0..self.story.setting.nodes {
            let connected = self.nodes[node].database.senders[other].heard.is_some();
            if other != node
                && connected
                && self.joined(node, other)
                && self.receives_from(other, node)
            {
                let length = self.nodes[node].database.log.len();
                self.take_log(other, node, length);
            }
        }
        self.nodes[node].database.stop();
        true
    }

    fn rejoin(&mut self, node: usize, primary: ogha_common::units::NodeId) -> bool {
        let primary = self.place(primary);
        if primary == node {
            return false;
        }
        self.nodes[node].database.stop();
        if !self.joined(node, primary) || !self.nodes[primary].database.writes() {
            return false;
        }
        let log = std::mem::take(&mut self.nodes[primary].database.log);
        self.nodes[node].database.copy(&log, primary);
        self.nodes[primary].database.log = log;
        true
    }

    /// The database's worker looks at it, again and again; orders wait meanwhile.
    pub fn observe(&mut self, node: usize, life: u32) {
        let every = self.story.setting.lease_ms / 2 * MS;
        let late = if self.random.permille(20) { 500 } else { 15 };
        let late = self.random.between(1, late * MS);
        let Some(agent) = self.nodes[node].agent.as_mut().filter(|agent| agent.life == life) else {
            return;
        };
        if agent.ordering {
            return self.queue.push(self.now + every, Event::Observe { node, life });
        }
        agent.looking = true;
        self.look_at_database(node, life, late);
        self.queue.push(self.now + late + every, Event::Observe { node, life });
    }

    /// The look has ended.
    pub fn observed(&mut self, node: usize, life: u32, process: u32, seen: Seen) {
        if let Some(mut agent) = self.nodes[node].agent.take_if(|agent| agent.life == life) {
            agent.looking = false;
            self.order_next(node, &mut agent);
            self.nodes[node].agent = Some(agent);
            self.send(node, life, Message::Observed(process, seen));
        }
    }

    /// What is seen now is told a little later.
    fn look_at_database(&mut self, node: usize, life: u32, late: u64) {
        let now = self.now;
        let database = &mut self.nodes[node].database;
        let process = database.process;
        let (streaming, confirmed): ([bool; MAX], [bool; MAX]) = database.standbys(now);
        if database.writes() {
            database.wrote_at = Some(now);
        }
        let lsn = ogha_common::units::Lsn::new(database.log.len() as u64);
        let (running, hung, primary, writes) =
            (database.running, database.hung, database.primary, database.writes());
        let (follows, names) = (database.follows, database.names);
        let seen = if !running {
            Seen::Stopped
        } else if hung {
            Seen::Unresponsive
        } else if primary {
            let (streaming, awaited) = (self.set(&streaming), self.set(&names));
            let confirmed = self.set(&confirmed);
            Seen::Primary(Primary { writable: writes, lsn, streaming, awaited, confirmed })
        } else {
            let lives = |p: usize| self.joined(node, p) && self.nodes[p].database.writes();
            Seen::Standby { lsn, receives: follows.is_some_and(lives) }
        };
        if late == 0 {
            self.send(node, life, Message::Observed(process, seen));
        } else {
            self.queue.push(now + late, Event::Observed { node, life, process, seen });
        }
    }
}
