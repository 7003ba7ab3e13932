//! One instance: its core, and the effects that the core orders.
//!
//! All of it is synchronous and knows no clock: [`Ports`] tell the time and carry out what is ordered, so
//! that a simulated run drives the same code as the agent.

mod observe;
mod reconfigure;

pub(super) use self::observe::mac_of;

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use ogha_common::{
    election,
    failover::{Action, Command, Core, Input, Marks, NodeSet, PhaseName, Record, Refusal},
    maps::{Passage, Watch},
    units::{Instant as Moment, NodeId, Term},
    wire::vrrp,
};
use tracing::{debug, info, warn};

use super::{
    address_worker::AddressWorker,
    arbiter_worker::ArbiterWorker,
    contradictions::Contradictions,
    database_worker::{self, DatabaseWorker},
    decides::Decides,
    disk_worker::DiskWorker,
    facts::Disarm,
    footing::AddressesSeen,
    gate::GateKeeper,
    health::{Check, Checks, Health},
    hooks::{self, Hooks},
    message::Message,
    notices,
    pace::Pace,
    peers::Peers,
    ports::{End, JobId, Lane, Ports},
    profile,
    retry::Trouble,
    timeline::Begun,
};
use crate::{config, database::Observation};

/// A timer that fires so late means that this agent was not running. Below that it is the grain
/// of the timers.
const STALL: Duration = Duration::from_millis(5);

/// One virtual router with its addresses and its database.
#[derive(Debug)]
pub struct Instance<C = Core> {
    pub(super) config: config::Instance,
    pub(super) core: C,
    pub(super) peers: Peers,
    pub(super) seen: Observation,
    pub(super) pace: Pace,
    pub(super) listening: bool,
    record: Option<Record>,
    marks: Marks,
    timeline: Option<Begun>,
    watch: Watch,
    /// The database's main process that was last seen to die.
    died: Option<u32>,
    pub(super) health: Health,
    pub(super) contradictions: Contradictions,
    checks: Checks,
    counters_trouble: Trouble,
    watch_trouble: Trouble,
    gate: GateKeeper,
    database: DatabaseWorker,
    pub(super) disk: DiskWorker,
    addresses: AddressWorker,
    pub(super) arbiter: ArbiterWorker,
    pub(super) hooks: Hooks,
    disarm: Disarm,
}

/// What an instance begins with.
#[derive(Debug)]
pub struct Beginning<C> {
    /// This node's name.
    pub node: String,
    /// What the configuration says of it.
    pub config: config::Instance,
    /// Who decides.
    pub core: C,
    /// The peers.
    pub peers: Peers,
    /// What the last agent left on disk.
    pub record: Option<Record>,
    /// What else it left there.
    pub marks: Marks,
    /// What the kernel is to watch of the database; its main process is not known yet.
    pub watch: Watch,
    /// How long a promotion, or a start, may take.
    pub promotion_timeout: Duration,
}

impl<C: Decides> Instance<C> {
    /// An instance that has not begun.
    #[must_use]
    pub fn new(beginning: Beginning<C>, now: Moment) -> Self {
        let Beginning { node, config, core, mut peers, record, marks, watch, promotion_timeout } =
            beginning;
        peers.introduce(profile::of(&node, &config));
        let name = config.name.as_str();
        let settings = database_worker::Settings {
            instance: config.name.clone(),
            names: peers.list.iter().map(|peer| (peer.node, peer.name.clone())).collect(),
            synchronous: config.failover.synchronous,
            demotion_timeout: config.failover.switchover_timeout,
            promotion_timeout,
        };
        let arbiter = match config.arbiter {
            config::Arbiter::None => "none",
            config::Arbiter::Gateway(_) => "gateway",
            config::Arbiter::Etcd(_) => "etcd",
        };
        // With a server, and only then, there is something to check at each node.
        let servers = config
            .database
            .server()
            .map(|_| [None].into_iter().chain(peers.list.iter().map(|peer| Some(peer.node))));
        Self {
            seen: Observation::default(),
            pace: Pace::default(),
            listening: false,
            record,
            marks,
            timeline: None,
            watch,
            died: None,
            health: Health::new(name, config.liveness.hang_timeout, now),
            contradictions: Contradictions::new(name, now),
            checks: Checks::new(servers.into_iter().flatten(), now),
            counters_trouble: Trouble::new(name, "read the port's counters"),
            watch_trouble: Trouble::new(name, "watch the database's process"),
            gate: GateKeeper::new(name),
            database: DatabaseWorker::new(settings),
            disk: DiskWorker::new(name),
            addresses: AddressWorker::new(name),
            arbiter: ArbiterWorker::new(name, arbiter),
            hooks: Hooks::new(&node, &config),
            disarm: Disarm::default(),
            core,
            peers,
            config,
        }
    }

    /// Starts the core from what the last agent left. The kernel must know the peers.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self, ports: &mut impl Ports) -> anyhow::Result<()> {
        self.disk.begin_checks(ports.now());
        self.listening = ports.is_listening();
        ports.set_watch(self.watch)?;
        self.peers.start(ports)?;
        let (gate, heard) = ports.gate()?;
        let open = gate.passage(&heard, ports.now().ns()) == Passage::Open;
        let open = open.then(|| Term::new(gate.term));
        // A gate that stays open does so by what was granted before.
        for index in 0..self.peers.list.len() {
            let peer = &self.peers.list[index];
            let (node, (term, until)) = (peer.node, peer.granted());
            // No action comes of it, and nothing is to be said before the start.
            self.core.handle(ports.now(), Input::Granted { node, term, until }, &mut |_| ());
        }
        let started = Input::Started { record: self.record, open, marks: self.marks };
        self.input(started, ports);
        self.database.observe(ports);
        self.arbiter.probe(ports);
        Ok(())
    }

    /// The kernel's maps are new and empty, its gate closed: whoever served does not any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn refill(&mut self, ports: &mut impl Ports) -> anyhow::Result<()> {
        ports.set_watch(self.watch)?;
        self.input(Input::Unguarded, ports);
        Ok(())
    }

    /// The core, for people and for tests.
    pub fn core(&self) -> &Core {
        self.core.core()
    }

    /// Who decides.
    pub fn decides_mut(&mut self) -> &mut C {
        &mut self.core
    }

    /// When [`Instance::wake`] is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Moment> {
        let timers = [
            self.core.next_timer(),
            Some(self.peers.next_timer()),
            Some(self.health.next_look()),
            self.checks.next_timer(),
            self.gate.next_timer(),
            self.database.next_timer(),
            self.disk.next_timer(),
            self.addresses.next_timer(),
            self.arbiter.next_timer(),
        ];
        timers.into_iter().flatten().min()
    }

    /// Fires the timers that are due. What has arrived must have been taken before: else a busy machine
    /// would take its own delay for the silence of its peers. `due`: when this was due.
    pub fn wake(&mut self, due: Option<Moment>, ports: &mut impl Ports) {
        let now = ports.now();
        let late = due.map_or(Duration::ZERO, |due| now.since(due));
        if late >= STALL {
            self.input(Input::Stalled(late), ports);
        }
        // What was heard comes before a timer that fires late, too.
        self.poll_peers(ports);
        if self.core.next_timer().is_some_and(|due| now >= due) {
            self.input(Input::Tick, ports);
        }
        if self.peers.is_due(now) {
            self.probe(ports);
        }
        self.peers.tick(ports);
        self.compare(ports);
        for node in self.peers.lost(ports) {
            self.input(Input::Unanswered { node }, ports);
        }
        if now >= self.health.next_look() {
            self.observe_health(now, ports);
        }
        self.tick_workers(now, ports);
    }

    /// Whether the peers contradict this node. It comes before what is made of a host that is lost.
    fn compare(&mut self, ports: &mut impl Ports) {
        let primary = self.core().record().map(|record| record.primary);
        if let Some(danger) = self.contradictions.look(&self.peers, primary, ports) {
            self.input(Input::Contradiction(danger), ports);
        }
    }

    fn tick_workers(&mut self, now: Moment, ports: &mut impl Ports) {
        self.checks.tick(now, ports);
        let mut inputs = Vec::new();
        self.gate.tick(now, ports, &mut inputs);
        self.database.tick(now, ports, &mut inputs);
        self.disk.tick(now, ports, &mut inputs);
        self.addresses.tick(now, ports);
        self.arbiter.tick(now, ports, &mut inputs);
        if self.gate.rereads_grant(now, self.core.grant().is_some()) {
            inputs.extend(self.read_last_grant(ports));
        }
        self.inputs(inputs, ports);
    }

    fn probe(&mut self, ports: &mut impl Ports) {
        self.peers.probe(&self.core.status(), self.core.grant(), ports);
    }

    /// Whether the databases work. What is suspect is checked at once.
    fn observe_health(&mut self, now: Moment, ports: &mut impl Ports) {
        let counters = ports.port_counters();
        match &counters {
            Ok(_) => self.counters_trouble.worked(),
            Err(e) => drop(self.counters_trouble.failed(now, &format!("{e:#}"))),
        }
        self.health.observe(&self.config.name, now, counters.ok());
        let serving = self.core.core().phase() == PhaseName::Serving;
        self.health.look(&self.config.name, now, serving, ports);
        self.peers.look_at_paths(now, ports);
        if self.health.verdict().wants_check() {
            self.checks.now(None);
        }
        if self.health.is_urgent() {
            self.checks.at_once(None, now);
        }
        for peer in self.peers.list.iter().filter(|peer| peer.verdict().wants_check()) {
            self.checks.now(Some(peer.node));
        }
        if let Some(news) = self.health.news() {
            self.input(news, ports);
        }
    }

    /// What the peers have said since the last look, for the core.
    fn poll_peers(&mut self, ports: &mut impl Ports) {
        let began = ports.now();
        for index in 0..self.peers.list.len() {
            let Some((node, news)) = self.peers.news(index, ports) else { continue };
            if let Some(at) = news.advert {
                self.input(Input::AdvertStamped { node, at }, ports);
            }
            if let Some((term, until)) = news.granted {
                self.input(Input::Granted { node, term, until }, ports);
            }
            if let Some((agent_age, holds)) = news.answered {
                self.input(Input::Answered { node, agent_age, holds }, ports);
            }
            if let Some((status, at)) = news.said {
                self.input(Input::Peer { node, status, at }, ports);
            }
        }
        self.input(Input::Polled { at: began }, ports);
    }

    /// A message of the surroundings.
    pub fn take(&mut self, message: Message, ports: &mut impl Ports) {
        match message {
            Message::Ended(id, end) => self.ended(id, end, ports),
            Message::Advert(source, advert) => self.advert(source, &advert, ports),
            Message::Kernel(event) => self.event(event, ports),
        }
    }

    fn ended(&mut self, id: JobId, end: End, ports: &mut impl Ports) {
        let mut inputs = Vec::new();
        match id.lane {
            Lane::Observe(_) => {
                if let Some(seen) = self.database.ended(id, end, ports, &mut inputs) {
                    self.observed(seen, ports);
                    self.database.observed(ports, &mut inputs);
                }
            }
            Lane::Role | Lane::Commits | Lane::Tools => {
                self.database.ended(id, end, ports, &mut inputs);
            }
            Lane::Disk => {
                let current = self.core().record();
                self.disk.ended(id, end, current, ports, &mut inputs);
            }
            Lane::DiskCheck => {
                let current = self.core().record();
                self.disk.checked(id, end, current, ports);
            }
            Lane::Addresses => {
                if self.addresses.ended(id, end, ports) == Some(true) {
                    inputs.push(Input::AddressesHeld);
                }
                if self.addresses.take_repaired() {
                    inputs.push(Input::Risen);
                }
            }
            Lane::Propose | Lane::Consult | Lane::ProbeArbiter => {
                self.arbiter.ended(id, end, ports, &mut inputs);
            }
            Lane::Write => self.health.wrote(&self.config.name, id, end, ports.now()),
            Lane::Check(_) => {
                if let Some(check) = self.checks.ended(id, end, ports.now()) {
                    self.checked(check, ports.now());
                }
            }
        }
        self.inputs(inputs, ports);
    }

    /// The virtual addresses were looked at; `what` says what is wrong with them.
    pub fn addresses_seen(
        &mut self,
        seen: AddressesSeen,
        what: impl FnOnce() -> Vec<String>,
        ports: &mut impl Ports,
    ) {
        self.addresses.observed(seen, what, ports);
    }

    /// What keeps the addresses from being as they should, if anything does.
    pub fn addresses_trouble(&self) -> Option<&str> {
        self.addresses.trouble()
    }

    fn checked(&mut self, check: Check, now: Moment) {
        match check.of {
            Some(node) => self.peers.checked(now, node, check.began, check.outcome),
            None => self.health.checked(&self.config.name, now, check),
        }
    }

    fn inputs(&mut self, inputs: Vec<Input>, ports: &mut impl Ports) {
        for input in inputs {
            self.input(input, ports);
        }
    }

    /// One input in, its actions carried out in order, and what came of them in again.
    pub fn input(&mut self, input: Input, ports: &mut impl Ports) {
        let mut actions = Vec::new();
        self.core.handle(ports.now(), input, &mut |action| actions.push(action));
        self.settle(actions, ports);
    }

    /// An operator command.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn command(&mut self, command: Command, ports: &mut impl Ports) -> Result<(), Refusal> {
        let mut actions = Vec::new();
        self.core.command(ports.now(), command, &mut |action| actions.push(action))?;
        self.settle(actions, ports);
        Ok(())
    }

    fn settle(&mut self, mut actions: Vec<Action>, ports: &mut impl Ports) {
        let mut inputs = VecDeque::new();
        loop {
            // The kernel speaks for this node from now on, before anything is done: what it says
            // in between is what the core would say.
            self.peers.offer(&self.core.status(), self.core.grant(), ports);
            for action in actions.drain(..) {
                inputs.extend(self.effect(action, ports));
            }
            let Some(input) = inputs.pop_front() else { break };
            self.core.handle(ports.now(), input, &mut |action| actions.push(action));
        }
        let has_server = self.config.database.server().is_some();
        if self.disarm.is_due(self.core.core(), self.peers.own(), has_server, &self.seen) {
            let mut inputs = Vec::new();
            self.database.disarm(ports, &mut inputs);
            self.inputs(inputs, ports);
        }
        let core = self.core.core();
        self.hooks.observe(hooks::State::of(core), core.term(), &self.peers, ports);
    }

    /// Carries out one action. What comes of it at once is returned; the rest comes back as messages.
    fn effect(&mut self, action: Action, ports: &mut impl Ports) -> Vec<Input> {
        debug!(instance = self.config.name, ?action);
        let mut inputs = Vec::new();
        match action {
            Action::SetGate { order, term, until } => {
                inputs.extend(self.gate.set(order, term, until, ports));
            }
            Action::Renew { until } => inputs.extend(self.gate.renew(until, ports)),
            Action::SetGranters(granters) => {
                inputs.extend(self.gate.set_granters(granters, ports));
            }
            Action::Withdraw => inputs.extend(self.read_last_grant(ports)),
            Action::Persist(record) => self.disk.save(record, ports),
            Action::PersistMarks(marks) => self.disk.save_marks(marks, ports),
            Action::HoldAddresses => self.addresses.hold(true, ports),
            Action::DropAddresses => self.addresses.hold(false, ports),
            Action::Announce => {
                if let Err(e) = ports.announce() {
                    let instance = &self.config.name;
                    warn!(instance, "cannot announce the addresses: {e:#}");
                }
            }
            Action::SendAdvert(priority) => {
                if let Err(e) = ports.send_advert(priority) {
                    // A link that is down is no news: the peers notice by themselves.
                    debug!(instance = self.config.name, "cannot send an advert: {e:#}");
                }
            }
            Action::Propose(record) => self.arbiter.propose(record, ports),
            Action::Consult => self.arbiter.consult(ports),
            Action::Publish => self.probe(ports),
            Action::Database(order) => self.database.order(order, ports, &mut inputs),
            action => self.report(action, ports),
        }
        inputs
    }

    /// What concerns people alone.
    fn report(&mut self, action: Action, ports: &mut impl Ports) {
        let term = self.core.core().term();
        match action {
            Action::Begin { cause, at } => {
                info!(instance = self.config.name, "{cause}");
                self.hooks.cause(cause);
                self.timeline = Some(Begun::new(cause, at));
            }
            Action::Step(step) => {
                if let Some(timeline) = &mut self.timeline {
                    timeline.step(step, ports.now());
                }
            }
            Action::End(outcome) => {
                if let Some(timeline) = self.timeline.take() {
                    ports.record(timeline.end(term, outcome, ports.now()));
                }
            }
            Action::Notice(notice) => {
                notices::log(&self.config.name, &self.peers, notice);
                self.hooks.notice(notice, term, &self.peers, ports);
            }
            _ => {}
        }
    }

    /// Until when this node had granted, now that it grants nothing any more.
    fn read_last_grant(&mut self, ports: &mut impl Ports) -> Option<Input> {
        self.peers.offer(&self.core.status(), self.core.grant(), ports);
        let granted_until = self.peers.granted_until(ports);
        if granted_until.is_none() {
            warn!(instance = self.config.name, "lease grants not withdrawn; takeover postponed");
        }
        self.gate.withdrawn(granted_until, ports.now())
    }

    /// A valid advert. A router that is no configured peer is known by its address.
    fn advert(&mut self, source: IpAddr, advert: &vrrp::Advert, ports: &mut impl Ports) {
        let peer = self.peers.list.iter().find(|peer| peer.addresses.contains(&source));
        let node = peer.map_or_else(|| NodeId::of(&source.to_string()), |peer| peer.node);
        let advert = election::Advert::new(source, advert);
        self.input(Input::Advert { node, advert }, ports);
    }

    /// Which nodes are in sync, by the record.
    pub(super) fn in_sync_set(&self) -> NodeSet {
        self.core().record().map(|record| record.in_sync).unwrap_or_default()
    }
}
