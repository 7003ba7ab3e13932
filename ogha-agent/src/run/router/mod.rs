//! The host of a router without a database: carries out what the pure
//! [`Router`] orders, and tells it what came of it.
//!
//! It has neither record, disk, probes nor arbiter. The kernel's gate, the adverts' socket, the
//! announcements and the addresses are all that it touches.

mod prepare;
mod status;
mod surroundings;

use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

use anyhow::ensure;
use ogha_common::{
    election,
    failover::GateOrder,
    maps::{self, Event, Gate, Passage, Watch},
    router::{Action, Cause, Input, PhaseName, Router, Step},
    units::{Instant as Moment, Priority, Term},
    wire::vrrp,
};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::{
    address_worker::AddressWorker,
    footing::Footing,
    history::History,
    hooks::{self, Hooks},
    host::{CarryOut, Executor, VirtualAddresses},
    message::Message,
    ports::{End, Job, JobId, Work},
    retry::Trouble,
    timeline::Begun,
};
use crate::{
    clock, config,
    kernel::Kernel,
    net::{announce::Announcer, listeners, vrrp::VrrpSocket},
};

/// Of a router's gate. A gate of a higher one is a database's, left by another configuration.
const NO_TERM: Term = Term::ZERO;
/// So many adverts are read before a timer may fire: more than can be of a few routers.
const MOST_ADVERTS: usize = 256;
/// A second claim of an address by the same host is logged after that time.
const CONFLICT_LOGGED_EVERY: Duration = Duration::from_secs(60);

/// One virtual router with its addresses.
#[derive(Debug)]
pub struct RouterHost {
    index: usize,
    config: config::Instance,
    router: Router,
    vips: Vec<(IpAddr, u8)>,
    footing: Footing,
    /// The sockets are of an interface, or an address, that is no more.
    stale: bool,
    adverts: AbortHandle,
    addresses: AddressWorker,
    jobs: Jobs,
    vrrp: Arc<VrrpSocket>,
    announcer: Announcer,
    watch: Watch,
    listening: bool,
    timeline: Option<Begun<Cause, Step>>,
    hooks: Hooks,
    /// The operator's command.
    command: hooks::Sender,
    gate_trouble: Trouble,
    lease_trouble: Trouble,
    announce_trouble: Trouble,
    conflict: Option<(u64, Moment)>,
}

/// Who carries out the jobs of a router.
#[derive(Debug)]
struct Jobs(Executor<VirtualAddresses>);

impl Work for Jobs {
    fn now(&self) -> Moment {
        clock::now()
    }

    fn start(&mut self, id: JobId, job: Job) {
        self.0.start(id, job);
    }

    fn abort(&mut self, id: JobId) {
        self.0.abort(id);
    }
}

impl CarryOut for VirtualAddresses {
    async fn carry_out(&self, job: Job) -> End {
        End::Done(match job {
            Job::HoldAddresses(hold) => self.hold(hold).await,
            other => Err(format!("a router has no such job: {other:?}")),
        })
    }
}

impl RouterHost {
    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// When [`RouterHost::wake`] is due.
    pub fn next_timer(&self) -> Option<Moment> {
        [self.router.next_timer(), self.addresses.next_timer()].into_iter().flatten().min()
    }

    /// Takes on what may change while it runs.
    pub fn reconfigure(&mut self, config: &config::Instance) {
        self.router.set_priority(config.priority);
        self.hooks.reconfigure(&config.hooks);
        self.command.reconfigure(config.hooks.clone());
        self.config = config.clone();
    }

    /// Whether all is done that has to be done before the agent ends.
    pub fn has_stopped(&self) -> bool {
        self.router.has_stopped()
    }

    /// Fires the timers that are due. What has arrived comes first, from the socket itself: a late agent
    /// must not take its own delay for the silence of another router.
    pub fn wake(&mut self, kernel: &mut Kernel, history: &mut History) {
        let now = clock::now();
        self.addresses.tick(now, &mut self.jobs);
        if self.router.next_timer().is_none_or(|due| now < due) {
            return;
        }
        for _ in 0..MOST_ADVERTS {
            match self.vrrp.waiting() {
                Ok(Some((source, advert))) => self.advert(source, advert, kernel, history),
                Ok(None) => break,
                Err(e) => debug!(instance = self.config.name, "an advert was refused: {e:#}"),
            }
        }
        self.input(Input::Tick, kernel, history);
    }

    /// A message of the surroundings.
    pub fn take(&mut self, message: Message, kernel: &mut Kernel, history: &mut History) {
        match message {
            Message::Ended(id, end) => {
                if let Some(on) = self.addresses.ended(id, end, &mut self.jobs) {
                    let input = if on { Input::AddressesHeld } else { Input::AddressesDropped };
                    self.input(input, kernel, history);
                }
                if self.addresses.take_repaired() {
                    self.input(Input::Risen, kernel, history);
                }
            }
            Message::Advert(source, advert) => self.advert(source, advert, kernel, history),
            Message::Kernel(event) => self.event(event),
        }
    }

    /// A valid advert of another router.
    fn advert(
        &mut self,
        source: IpAddr,
        advert: vrrp::Advert,
        kernel: &mut Kernel,
        history: &mut History,
    ) {
        let advert = election::Advert::new(source, &advert);
        self.input(Input::Advert(advert), kernel, history);
    }

    /// The kernel saw something of this instance.
    fn event(&mut self, event: Event) {
        match event.kind {
            maps::EVENT_LISTENER_GONE | maps::EVENT_LISTENER_UP => self.look_for_listener(),
            maps::EVENT_CONFLICT => self.conflict(event),
            _ => {}
        }
    }

    /// The kernel has defended the address already. A host that goes on claiming it is logged now and then.
    fn conflict(&mut self, event: Event) {
        let at = Moment::from_ns(event.time_ns);
        let logged = |(mac, when): (u64, Moment)| {
            mac == event.detail && at.since(when) < CONFLICT_LOGGED_EVERY
        };
        if !self.conflict.is_some_and(logged) {
            self.conflict = Some((event.detail, at));
            let mac = super::instance::mac_of(event.detail);
            warn!(instance = self.config.name, "{mac} claims a virtual address of this node");
        }
    }

    fn look_for_listener(&mut self) {
        self.listening = self.config.database.port().is_some_and(listeners::listening);
    }

    /// One input in, its actions carried out in order, and what came of them in again.
    pub fn input(&mut self, input: Input, kernel: &mut Kernel, history: &mut History) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut actions = Vec::new();
            self.router.handle(clock::now(), input, &mut |action| actions.push(action));
            for action in actions {
                inputs.extend(self.effect(action, kernel, history));
            }
        }
        // The word that hooks have for a router that does not serve.
        let place = match self.router.phase() {
            PhaseName::Serving => Some("serving"),
            PhaseName::Backup => Some("standby"),
            _ => None,
        };
        if let Some(event) = self.hooks.place(place) {
            self.command.send(event);
        }
    }

    /// Carries out one action. What comes of it at once is returned; the rest comes back through the
    /// inbox.
    fn effect(
        &mut self,
        action: Action,
        kernel: &mut Kernel,
        history: &mut History,
    ) -> Option<Input> {
        debug!(instance = self.config.name, ?action);
        match action {
            Action::SetGate { order, until } => return Some(self.set_gate(order, until, kernel)),
            Action::Renew { until } => return self.renew(until, kernel),
            Action::HoldAddresses => self.addresses.hold(true, &mut self.jobs),
            Action::DropAddresses => self.addresses.hold(false, &mut self.jobs),
            Action::Announce => self.announce(),
            Action::SendAdvert(priority) => self.advertise(priority),
            Action::Begin { cause, at } => {
                info!(instance = self.config.name, "{cause}");
                self.hooks.cause(cause);
                self.timeline = Some(Begun::new(cause, at));
            }
            Action::Step(step) => {
                if let Some(timeline) = &mut self.timeline {
                    timeline.step(step, clock::now());
                }
            }
            Action::End(outcome) => {
                if let Some(timeline) = self.timeline.take() {
                    let timeline = timeline.end(NO_TERM, outcome, clock::now());
                    history.add(&self.config.name, &timeline);
                }
            }
            Action::Notice(notice) => warn!(instance = self.config.name, "{notice}"),
        }
        None
    }

    /// An open gate is read back: what counts is what the kernel does.
    fn set_gate(&mut self, order: GateOrder, until: Moment, kernel: &mut Kernel) -> Input {
        let gate = Gate {
            state: if order == GateOrder::Open { maps::GATE_OPEN } else { maps::GATE_CLOSED },
            claimed: u32::from(order != GateOrder::Close),
            term: NO_TERM.get(),
            lease_until_ns: until.ns(),
        };
        let slot = self.slot();
        let guarded = match self.footing.unguarded() {
            // No fence without programs: nothing enforces what is written there.
            Some(why) if order != GateOrder::Close => Err(anyhow::anyhow!("{why}")),
            _ => Ok(()),
        };
        let set = guarded.and_then(|()| kernel.set_gate(slot, gate)).and_then(|()| {
            let passage = kernel.passage(slot, clock::now().ns())?;
            let wanted = match order {
                GateOrder::Open => Passage::Open,
                GateOrder::Claim => Passage::Claimed,
                GateOrder::Close => Passage::Closed,
            };
            ensure!(passage == wanted, "the gate is {passage:?} after it was set to {wanted:?}");
            Ok(())
        });
        match self.gate_trouble.note(clock::now(), set) {
            Some(()) => Input::GateSet(order),
            None => Input::GateFailed(order),
        }
    }

    /// A gate that has lapsed stays so: somebody else may hold one by now.
    fn renew(&mut self, until: Moment, kernel: &mut Kernel) -> Option<Input> {
        let slot = self.slot();
        // What cannot be advertised is not renewed: the others take over by the silence.
        if !self.footing.is_up() {
            return None;
        }
        let renewed = kernel.gate(slot).and_then(|gate| {
            let passage = gate.passage(&kernel.heard(slot)?, clock::now().ns());
            if !matches!(passage, Passage::Open | Passage::Claimed) {
                return Ok(Input::Lapsed);
            }
            kernel.set_gate(slot, Gate { lease_until_ns: until.ns(), ..gate })?;
            Ok(Input::Renewed { until })
        });
        self.lease_trouble.note(clock::now(), renewed)
    }

    /// The index of this instance in the maps.
    fn slot(&self) -> u32 {
        u32::try_from(self.index).expect("the configuration allows MAX_INSTANCES")
    }

    fn announce(&mut self) {
        let vips: Vec<_> = self.vips.iter().map(|&(address, _)| address).collect();
        let announced = self.announcer.announce(&vips);
        self.announce_trouble.note(clock::now(), announced);
    }

    fn advertise(&self, priority: Priority) {
        if let Err(e) = self.vrrp.send(priority) {
            // A link that is down is no news: the peers notice by themselves.
            debug!(instance = self.config.name, "cannot send an advert: {e:#}");
        }
    }
}
