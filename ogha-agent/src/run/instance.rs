//! One instance: its core, and the effects that the core orders.

use std::{collections::VecDeque, net::IpAddr, sync::Arc};

use ogha_common::{
    election,
    failover::{
        Action, Command, Core, Database, GateOrder, Input, NodeSet, Phase, Record, Refusal, Ruling,
        Sign,
    },
    maps::{self, Event, Gate, Passage, Watch},
    units::{Instant as Moment, NodeId, Priority, Term},
    wire::vrrp,
};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::{
    health::{Check, Checks, Health},
    hooks::{self, Hooks},
    notices,
    orders::Ask,
    pace::Pace,
    peers::Peers,
    referee::Referee,
    story::{History, Story},
    workers::Workers,
};
use crate::{
    clock, config,
    database::{Observation, Progress, Replication, Role, pidfile},
    kernel::Kernel,
    net::{announce::Announcer, interface::Interface, listeners, vrrp::VrrpSocket},
};

/// One virtual router with its addresses and its database.
#[derive(Debug)]
pub struct Instance {
    pub(super) index: usize,
    pub(super) config: config::Instance,
    pub(super) core: Core,
    pub(super) peers: Peers,
    pub(super) seen: Observation,
    pub(super) pace: Pace,
    pub(super) listening: bool,
    pub(super) record: Option<Record>,
    pub(super) paused: bool,
    pub(super) vips: Vec<(IpAddr, u8)>,
    pub(super) interface: Interface,
    pub(super) workers: Workers,
    pub(super) vrrp: Arc<VrrpSocket>,
    pub(super) announcer: Announcer,
    pub(super) story: Option<Story>,
    pub(super) watch: Watch,
    /// The database's main process that was last seen to die.
    pub(super) died: Option<u32>,
    pub(super) health: Health,
    pub(super) checks: Checks,
    pub(super) arbiter: Referee,
    pub(super) hooks: Hooks,
    pub(super) progress: watch::Receiver<Option<Progress>>,
    /// The database here, whose role is lost, can't come up writable.
    pub(super) disarmed: bool,
}

impl Instance {
    /// When [`Instance::tick`] is due.
    pub fn next_timer(&self) -> Option<Moment> {
        let look = self.health.next_look();
        Some(self.core.next_timer()?.min(self.peers.next_timer()).min(look))
    }

    /// Fires the timers that are due.
    pub fn tick(&mut self, now: Moment, kernel: &mut Kernel, history: &mut History) {
        // What was heard comes before a timer that fires late, as in the loop itself.
        self.look_at_peers(kernel, history);
        if self.core.next_timer().is_some_and(|due| now >= due) {
            self.input(Input::Tick, kernel, history);
        }
        if self.peers.is_due(now) {
            self.probe(kernel);
        }
        self.peers.tick(clock::now());
        for node in self.peers.lost() {
            self.input(Input::Unanswered { node }, kernel, history);
        }
        if now >= self.health.next_look() {
            self.look_at_health(now, kernel);
            self.act_on_hang(kernel, history);
        }
    }

    fn probe(&mut self, kernel: &mut Kernel) {
        self.peers.probe(&self.core.status(), self.core.grant(), kernel);
    }

    /// A hang is told again and again, for whether it matters changes: by a pause, by who serves.
    fn act_on_hang(&mut self, kernel: &mut Kernel, history: &mut History) {
        if let Some(at) = self.health.hung_since() {
            self.input(Input::DatabaseHung { at }, kernel, history);
        }
    }

    /// Whether the databases work. What is suspect is checked at once.
    fn look_at_health(&mut self, now: Moment, kernel: &Kernel) {
        match kernel.port_counters(self.slot()) {
            Ok(counters) => self.health.look(&self.config.name, now, counters),
            Err(e) => error!(instance = self.config.name, "{e:#}"),
        }
        self.peers.look_at_paths(now);
        if self.health.verdict().wants_check() {
            self.checks.now(None);
        }
        for peer in self.peers.list.iter().filter(|peer| peer.verdict().wants_check()) {
            self.checks.now(Some(peer.node));
        }
    }

    /// An active check of a database has ended.
    pub fn checked(&mut self, check: Check) {
        match check.of {
            Some(node) => self.peers.checked(node, check.began, check.outcome),
            None => self.health.checked(&self.config.name, check),
        }
    }

    /// What the peers have said since the last look, for the core.
    fn look_at_peers(&mut self, kernel: &mut Kernel, history: &mut History) {
        let began = clock::now();
        for index in 0..self.peers.list.len() {
            let Some((node, news)) = self.peers.news(index, kernel) else { continue };
            if let Some(at) = news.advert {
                self.input(Input::AdvertStamped { node, at }, kernel, history);
            }
            if let Some((term, until)) = news.granted {
                self.input(Input::Granted { node, term, until }, kernel, history);
            }
            if let Some(agent_age) = news.answered {
                self.input(Input::Answered { node, agent_age }, kernel, history);
            }
            if let Some((status, at)) = news.said {
                self.input(Input::Peer { node, status, at }, kernel, history);
            }
        }
        self.input(Input::Looked { at: began }, kernel, history);
    }

    /// One input in, its actions carried out in order, and what came of them in again.
    pub fn input(&mut self, input: Input, kernel: &mut Kernel, history: &mut History) {
        let mut actions = Vec::new();
        self.core.handle(clock::now(), input, &mut |action| actions.push(action));
        self.settle(actions, kernel, history);
    }

    /// An operator's order.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn command(
        &mut self,
        command: Command,
        kernel: &mut Kernel,
        history: &mut History,
    ) -> Result<(), Refusal> {
        let mut actions = Vec::new();
        self.core.command(clock::now(), command, &mut |action| actions.push(action))?;
        self.settle(actions, kernel, history);
        Ok(())
    }

    fn settle(&mut self, mut actions: Vec<Action>, kernel: &mut Kernel, history: &mut History) {
        let mut inputs = VecDeque::new();
        loop {
            // The kernel speaks for this node from now on, before anything is done: what it says
            // in between is what the core would say.
            self.peers.offer(&self.core.status(), self.core.grant(), kernel);
            for action in actions.drain(..) {
                inputs.extend(self.effect(action, kernel, history));
            }
            let Some(input) = inputs.pop_front() else { break };
            self.core.handle(clock::now(), input, &mut |action| actions.push(action));
        }
        self.disarm_if_deposed();
        let state = hooks::State::of(&self.core);
        self.hooks.look(state, self.core.term(), &self.peers);
    }

    /// Carries out one action. What comes of it at once is returned; the rest comes back
    /// through the inbox.
    fn effect(
        &mut self,
        action: Action,
        kernel: &mut Kernel,
        history: &mut History,
    ) -> Option<Input> {
        debug!(instance = self.config.name, ?action);
        match action {
            Action::SetGate { order, term, until } => {
                return Some(self.set_gate(order, term, until, kernel));
            }
            Action::Renew { until } => return self.renew(until, kernel),
            Action::Persist(record) => self.workers.save(record),
            Action::HoldAddresses => self.workers.hold_addresses(true),
            Action::DropAddresses => self.workers.hold_addresses(false),
            Action::Announce => self.announce(),
            Action::SendAdvert(priority) => self.advertise(priority),
            Action::SetGranters(granters) => return self.set_granters(granters, kernel),
            Action::Withdraw => {
                return self
                    .peers
                    .promised_until(kernel)
                    .map(|promised_until| Input::Withdrawn { promised_until });
            }
            Action::PersistPause(paused) => self.workers.save_paused(paused),
            Action::Propose(record) => self.arbiter.propose(record),
            Action::Consult => self.arbiter.consult(),
            Action::Publish => self.probe(kernel),
            Action::Database(order) => self.workers.database(Ask::Do(order)),
            Action::Begin { cause, at } => {
                info!(instance = self.config.name, "{cause}");
                self.hooks.cause(cause);
                self.story = Some(Story::begin(cause, at));
            }
            Action::Step(step) => {
                if let Some(story) = &mut self.story {
                    story.step(step);
                }
            }
            Action::End(outcome) => {
                if let Some(story) = self.story.take() {
                    history.add(story.end(&self.config.name, self.core.term(), outcome));
                }
            }
            Action::Notice(notice) => {
                notices::tell(&self.config.name, &self.peers, notice);
                self.hooks.notice(notice, self.core.term(), &self.peers);
            }
        }
        None
    }

    fn set_gate(&self, order: GateOrder, term: Term, until: Moment, kernel: &mut Kernel) -> Input {
        let gate = Gate {
            state: if order == GateOrder::Open { maps::GATE_OPEN } else { maps::GATE_CLOSED },
            claimed: u32::from(order != GateOrder::Close),
            term: term.get(),
            lease_until_ns: until.ns(),
        };
        match kernel.set_gate(self.slot(), gate) {
            Ok(()) => Input::GateSet(order),
            Err(e) => {
                error!(instance = self.config.name, "the gate could not be set: {e:#}");
                Input::GateFailed(order)
            }
        }
    }

    /// Without its word the core widens no record and narrows no list: it asks again.
    fn set_granters(&self, granters: NodeSet, kernel: &mut Kernel) -> Option<Input> {
        let nodes: Vec<NodeId> = granters.iter().collect();
        match kernel.set_granters(self.slot(), &nodes) {
            Ok(()) => Some(Input::GrantersSet(granters)),
            Err(e) => {
                error!(instance = self.config.name, "who grants the lease can't be set: {e:#}");
                None
            }
        }
    }

    /// A gate that has lapsed stays so: somebody else may hold one by now.
    fn renew(&self, until: Moment, kernel: &mut Kernel) -> Option<Input> {
        let renewed = kernel.gate(self.slot()).and_then(|gate| {
            let passage = gate.passage(&kernel.heard(self.slot())?, clock::now().ns());
            if !matches!(passage, Passage::Open | Passage::Claimed) {
                return Ok(Some(Input::Lapsed));
            }
            kernel.set_gate(self.slot(), Gate { lease_until_ns: until.ns(), ..gate })?;
            Ok(None)
        });
        renewed.unwrap_or_else(|e| {
            error!(instance = self.config.name, "the lease could not be renewed: {e:#}");
            None
        })
    }

    /// The index of this instance in the maps.
    pub(super) fn slot(&self) -> u32 {
        u32::try_from(self.index).expect("the configuration allows MAX_INSTANCES")
    }

    fn announce(&self) {
        let vips: Vec<_> = self.vips.iter().map(|&(address, _)| address).collect();
        if let Err(e) = self.announcer.announce(&vips) {
            warn!(instance = self.config.name, "the addresses could not be announced: {e:#}");
        }
    }

    fn advertise(&self, priority: Priority) {
        if let Err(e) = self.vrrp.send(priority) {
            // A link that is down is no news: the peers notice by themselves.
            debug!(instance = self.config.name, "an advert could not be sent: {e:#}");
        }
    }

    /// The database was looked at: the watch follows its main process.
    pub fn observed(&mut self, seen: Observation, kernel: &mut Kernel, history: &mut History) {
        let gone = |pid| self.died == Some(pid) && !self.serves(pid);
        if seen.main_pid.is_some_and(gone) {
            // That look was under way as it died.
            return self.workers.database(Ask::Look);
        }
        self.follow_process(seen.main_pid, kernel);
        self.pace.note(clock::now(), seen.lsn.filter(|_| seen.role == Role::Primary));
        // Without synchronous replication whoever receives is as good as can be asked for.
        let asynchronous = !self.config.failover.synchronous;
        let names = |which: &dyn Fn(&Replication) -> bool| {
            let found = seen.replication.iter().filter(|peer| which(peer));
            found.map(|peer| peer.peer.as_str()).collect::<Vec<_>>()
        };
        let database = Database {
            role: seen.role,
            writable: seen.writable,
            alive: seen.main_pid.is_some(),
            lsn: seen.lsn.unwrap_or_default(),
            streaming: self.peers.set(names(&|peer| {
                peer.streaming && (asynchronous || self.pace.keeps_up(seen.lsn, peer.lag))
            })),
            confirmed: self
                .peers
                .set(names(&|peer| peer.confirmed || asynchronous && peer.streaming)),
        };
        if seen.role != self.seen.role {
            info!(instance = self.config.name, "the database is {}", seen.role.as_str());
        }
        self.seen = seen;
        self.input(Input::Database(database), kernel, history);
    }

    /// What the arbiter says of a record. Of one that the core no longer asks for it may be true, and
    /// must not be taken for an answer about another of the same term.
    pub fn ruled(
        &mut self,
        record: Record,
        ruling: Ruling,
        kernel: &mut Kernel,
        history: &mut History,
    ) {
        if self.arbiter.is_asked(&record) {
            self.input(Input::Ruled(ruling), kernel, history);
        }
    }

    /// A database that is down, and whose role another node has, must not come up writable.
    fn disarm_if_deposed(&mut self) {
        let deposed = self.core.record().is_some_and(|record| record.primary != self.peers.own());
        let fenced = matches!(self.core.phase(), Phase::Fenced { .. });
        let down = self.config.database.server().is_some() && self.seen.main_pid.is_none();
        if !deposed || !fenced || !down {
            self.disarmed = false;
        } else if !std::mem::replace(&mut self.disarmed, true) {
            self.workers.database(Ask::Disarm);
        }
    }

    fn follow_process(&mut self, main_pid: Option<u32>, kernel: &mut Kernel) {
        let tgid = main_pid.unwrap_or(0);
        if tgid == self.watch.tgid {
            return;
        }
        self.watch.tgid = tgid;
        if let Err(e) = kernel.set_watch(self.slot(), self.watch) {
            error!(instance = self.config.name, "the database can't be watched: {e:#}");
        }
        // Whoever died between the look and the watch was seen by neither.
        self.workers.database(Ask::Look);
    }

    /// A valid advert. A router that is no configured peer is known by its address.
    pub fn advert(
        &mut self,
        source: IpAddr,
        advert: vrrp::Advert,
        kernel: &mut Kernel,
        history: &mut History,
    ) {
        let peer = self.peers.list.iter().find(|peer| peer.addresses.contains(&source));
        let node = peer.map_or_else(|| NodeId::of(&source.to_string()), |peer| peer.node);
        let advert = election::Advert::new(source, &advert);
        self.input(Input::Advert { node, advert }, kernel, history);
    }

    /// The kernel saw something of this instance.
    pub fn event(&mut self, event: Event, kernel: &mut Kernel, history: &mut History) {
        let at = Moment::from_ns(event.time_ns);
        match event.kind {
            maps::EVENT_PROCESS_EXIT if event.detail == u64::from(self.watch.tgid) => {
                self.died(at, Sign::ProcessExit, kernel, history);
            }
            maps::EVENT_LISTENER_GONE => {
                self.look_for_listener();
                // A reload closes listeners too; only with its process is a database dead.
                if self.watch.tgid != 0 && !self.serves(self.watch.tgid) {
                    self.died(at, Sign::ListenerGone, kernel, history);
                } else {
                    self.workers.database(Ask::Look);
                }
            }
            maps::EVENT_LISTENER_UP => {
                self.look_for_listener();
                self.workers.database(Ask::Look);
            }
            maps::EVENT_PEER => self.look_at_peers(kernel, history),
            maps::EVENT_CONFLICT => warn!(
                instance = self.config.name,
                "{} claims an address that is ours",
                mac_of(event.detail)
            ),
            _ => {}
        }
    }

    /// An event is a reason to look; what is there now may be another listener.
    pub(super) fn look_for_listener(&mut self) {
        self.listening = self.config.database.port().is_some_and(listeners::listening);
    }

    /// Whether that process lives, and is the database's.
    fn serves(&self, pid: u32) -> bool {
        let server = self.config.database.server();
        server.is_some_and(|server| pidfile::serves(pid, &server.data_dir))
    }

    fn died(&mut self, at: Moment, sign: Sign, kernel: &mut Kernel, history: &mut History) {
        self.died = Some(self.watch.tgid);
        self.watch.tgid = 0;
        self.listening = false;
        self.input(Input::DatabaseDied { at, sign }, kernel, history);
        let _ = kernel.set_watch(self.slot(), self.watch);
    }
}

pub(super) fn mac_of(detail: u64) -> String {
    let octets: Vec<String> =
        detail.to_be_bytes()[2..].iter().map(|o| format!("{o:02x}")).collect();
    octets.join(":")
}
