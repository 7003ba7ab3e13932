//! An agent's loop, as `ogha-agent/src/run` has it: one input, the actions in order, what came of them;
//! what has arrived before the timers; and it may stop, or die, between any two of these steps.

use std::collections::VecDeque;

use ogha_common::{
    detector::{AcceptQueue, Detector, Facts, Input as Sign, Verdict},
    failover::{Action, Cause, Core, Database, Input, Order, Phase, Record},
    maps::{NS_PER_MS, Passage, Peer, Said},
    units::Instant,
    wire::probe::ProbeKind,
};

use super::{
    MAX,
    kernel::Probe,
    story::Violation,
    world::{Event, World},
};

/// A timer that fires so late means that the agent was not running, nanoseconds.
const STALL: u64 = 5 * NS_PER_MS;
/// So many inputs at one moment are a loop without end.
const ENDLESS: u32 = 3000;

/// What waits to be taken by the loop.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// An outcome, or an advert.
    Input(Input),
    /// The database was looked at, with that main process.
    Observed(u32, Database),
}

/// What the loop does in one turn.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    Drain,
    Late,
    Look(usize),
    TickCore,
    ProbeIfDue,
    TickDetectors,
    Lost(usize),
}

/// Which steps count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// All.
    All,
    /// Those by which something is promised, taken or given.
    Weighty,
}

/// Whether an action is one after which the world is another.
fn is_weighty(action: &Action) -> bool {
    matches!(
        action,
        Action::SetGate { .. }
            | Action::SetGranters(_)
            | Action::Withdraw
            | Action::Propose(_)
            | Action::Persist(_)
            | Action::Database(_)
    )
}

/// What happens when a number of steps is done.
#[derive(Clone, Copy, Debug)]
pub enum Fuse {
    /// It gets no processor for so long.
    Stall(u64),
    /// It dies, and comes back after so long.
    Die(u64),
}

/// An agent.
#[derive(Debug)]
pub struct Agent {
    /// Which of its host's agents it is.
    pub life: u32,
    /// The decisions.
    pub core: Core,
    detectors: Vec<Detector>,
    seen: [Peer; MAX],
    next_probe: u64,
    /// When it last began to look at what its kernel has heard.
    look_began: u64,
    sequence: u64,
    /// The end of what its own probes have promised.
    pub promised: u64,
    /// What has arrived.
    pub inbox: VecDeque<Message>,
    actions: VecDeque<Action>,
    inputs: VecDeque<Input>,
    work: VecDeque<Work>,
    offer_due: bool,
    offered: Option<(Said, u64)>,
    /// The world's time until which it does not run.
    pub stalled_until: u64,
    due: Option<u64>,
    wake_at: u64,
    /// What happens before the so-manieth step, or only before such steps as count.
    pub fuse: Option<(u32, Count, Fuse)>,
    spun: (u64, u32),
    /// Orders that wait for the database's worker.
    pub orders: VecDeque<Order>,
    /// The worker is at one.
    pub ordering: bool,
    /// The worker looks at the database.
    pub looking: bool,
    /// The database's main process, as it was last seen.
    watched: Option<u32>,
    /// The one that was told to have died.
    died: Option<u32>,
    /// Records that wait for the disk's worker, and the one that it is at.
    pub saves: VecDeque<Record>,
    /// The disk's worker is at the first of them.
    pub saving: bool,
    /// The addresses are wanted.
    pub hold: bool,
    /// An order to stop has failed.
    pub stop_failed: bool,
    /// The proposal that waits for its answer.
    pub asked: u64,
}

impl Agent {
    /// An agent that has just been started.
    pub fn new(
        life: u32,
        core: Core,
        detectors: Vec<Detector>,
        seen: [Peer; MAX],
        local: u64,
    ) -> Self {
        Self {
            life,
            core,
            detectors,
            seen,
            next_probe: local,
            look_began: local,
            sequence: 0,
            promised: 0,
            inbox: VecDeque::new(),
            actions: VecDeque::new(),
            inputs: VecDeque::new(),
            work: VecDeque::new(),
            offer_due: false,
            offered: None,
            stalled_until: 0,
            due: None,
            wake_at: u64::MAX,
            fuse: None,
            spun: (0, 0),
            orders: VecDeque::new(),
            ordering: false,
            looking: false,
            watched: None,
            died: None,
            saves: VecDeque::new(),
            saving: false,
            hold: false,
            stop_failed: false,
            asked: 0,
        }
    }

    /// Puts an input in before anything else.
    pub fn begin(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    fn next_timer(&self) -> u64 {
        let core = self.core.next_timer().map_or(u64::MAX, Instant::ns);
        let detectors = self.detectors.iter().filter_map(Detector::next_timer).map(Instant::ns);
        detectors.fold(core.min(self.next_probe), u64::min)
    }

    fn is_idle(&self) -> bool {
        self.actions.is_empty() && self.inputs.is_empty() && self.work.is_empty() && !self.offer_due
    }
}

impl World {
    /// Something has come for the agent of that node.
    pub fn send(&mut self, node: usize, life: u32, message: Message) {
        if let Some(agent) = self.nodes[node].agent.as_mut().filter(|agent| agent.life == life) {
            agent.inbox.push_back(message);
            self.wake(node, self.now);
        }
    }

    /// The agent runs at that time, or later if it can't.
    pub fn wake(&mut self, node: usize, at: u64) {
        if let Some(agent) = &mut self.nodes[node].agent {
            let at = at.max(agent.stalled_until).max(self.now);
            if at < agent.wake_at {
                agent.wake_at = at;
                self.queue.push(at, Event::Wake { node, life: agent.life });
            }
        }
    }

    /// The agent runs, as far as it gets.
    pub fn run_agent(&mut self, node: usize, life: u32) {
        let Some(mut agent) = self.nodes[node].agent.take_if(|agent| agent.life == life) else {
            return;
        };
        if agent.wake_at != self.now {
            self.nodes[node].agent = Some(agent);
            return;
        }
        agent.wake_at = u64::MAX;
        if agent.stalled_until > self.now {
            let until = agent.stalled_until;
            self.nodes[node].agent = Some(agent);
            return self.wake(node, until);
        }
        if agent.is_idle() {
            agent.work.extend([Work::Drain, Work::Late, Work::Look(0), Work::TickCore]);
            agent.work.extend([Work::ProbeIfDue, Work::TickDetectors, Work::Lost(0)]);
        }
        while !agent.is_idle() {
            match &mut agent.fuse {
                Some((_, Count::Weighty, _)) if !agent.actions.front().is_some_and(is_weighty) => {}
                Some((0, _, Fuse::Stall(time))) => {
                    agent.stalled_until = self.now + *time;
                    agent.fuse = None;
                    self.note(|| {
                        format!("{} stalls in the middle of its work", super::story::NAMES[node])
                    });
                    let until = agent.stalled_until;
                    self.nodes[node].agent = Some(agent);
                    return self.wake(node, until);
                }
                Some((0, _, Fuse::Die(time))) => {
                    let back = self.now + *time;
                    self.note(|| {
                        format!("{} dies in the middle of its work", super::story::NAMES[node])
                    });
                    self.nodes[node].kernel.offer.exited = true;
                    return self.queue.push(back, Event::StartAgent { node });
                }
                Some((steps, _, _)) => *steps -= 1,
                None => {}
            }
            self.step(node, &mut agent);
        }
        let due = agent.next_timer();
        agent.due = Some(due);
        let at = self.nodes[node].clock.real(due);
        if agent.spun.1 > ENDLESS {
            self.violated(super::story::Violation::Spins(node));
        }
        self.nodes[node].agent = Some(agent);
        self.wake(node, at);
    }

    fn step(&mut self, node: usize, agent: &mut Agent) {
        let local = self.nodes[node].local(self.now);
        if agent.offer_due {
            agent.offer_due = false;
            return self.offer(node, agent, false);
        }
        if let Some(action) = agent.actions.pop_front() {
            if let Some(outcome) = self.effect(node, agent, action) {
                agent.inputs.push_back(outcome);
            }
            return;
        }
        if let Some(input) = agent.inputs.pop_front() {
            agent.spun =
                if agent.spun.0 == self.now { (self.now, agent.spun.1 + 1) } else { (self.now, 0) };
            if agent.spun.1 > ENDLESS {
                agent.inputs.clear();
                return;
            }
            self.trace_input(node, &input);
            let Agent { core, actions, .. } = agent;
            core.handle(Instant::from_ns(local), input, &mut |action| actions.push_back(action));
            self.trace_core(node, &agent.core);
            agent.offer_due = true;
            return;
        }
        if let Some(work) = agent.work.pop_front() {
            self.work(node, agent, work, local);
        }
    }

    fn work(&mut self, node: usize, agent: &mut Agent, work: Work, local: u64) {
        match work {
            Work::Drain => {
                if let Some(message) = agent.inbox.pop_front() {
                    agent.work.push_front(Work::Drain);
                    let input = self.take(node, agent, message);
                    agent.inputs.extend(input);
                }
            }
            Work::Late => {
                let late = agent.due.map_or(0, |due| local.saturating_sub(due));
                if late >= STALL {
                    agent.inputs.push_back(Input::Stalled(core::time::Duration::from_nanos(late)));
                }
            }
            Work::Look(place) if place < self.story.setting.nodes => {
                agent.work.push_front(Work::Look(place + 1));
                if place == 0 {
                    agent.look_began = local;
                }
                if place != node {
                    self.look(node, agent, place, local);
                }
            }
            Work::Look(_) => {
                agent.inputs.push_back(Input::Looked { at: Instant::from_ns(agent.look_began) });
            }
            Work::TickCore if agent.core.next_timer().is_some_and(|due| local >= due.ns()) => {
                agent.inputs.push_back(Input::Tick);
            }
            Work::ProbeIfDue if local >= agent.next_probe => self.probe(node, agent),
            Work::TickDetectors => {
                let now = Instant::from_ns(local);
                for (place, detector) in agent.detectors.iter_mut().enumerate() {
                    if place != node && detector.next_timer().is_none_or(|due| now >= due) {
                        detector.handle(now, Sign::Tick { monotonic_ns: local });
                    }
                }
            }
            Work::Lost(place) if place < self.story.setting.nodes => {
                agent.work.push_front(Work::Lost(place + 1));
                let lost = matches!(agent.detectors[place].verdict(), Verdict::HostDead(_));
                if place != node && lost {
                    agent.inputs.push_back(Input::Unanswered { node: self.ids[place] });
                }
            }
            Work::TickCore | Work::ProbeIfDue | Work::Lost(_) => {}
        }
    }

    /// A message of the inbox. What was seen of a process that was told to have died since is not true any
    /// more.
    fn take(&self, node: usize, agent: &mut Agent, message: Message) -> Option<Input> {
        match message {
            Message::Input(input) => {
                if let Input::DatabaseDied { .. } = input {
                    agent.died = agent.watched;
                }
                Some(input)
            }
            Message::Observed(process, database) => {
                let there = &self.nodes[node].database;
                let lives = there.running && there.process == process;
                if database.alive && agent.died == Some(process) && !lives {
                    return None;
                }
                agent.watched = database.alive.then_some(process);
                Some(Input::Database(database))
            }
        }
    }

    /// What is new of a peer, by what the kernel has heard till now.
    fn look(&mut self, node: usize, agent: &mut Agent, place: usize, local: u64) {
        let heard = self.nodes[node].kernel.peers[place];
        let before = core::mem::replace(&mut agent.seen[place], heard);
        let (now, id) = (Instant::from_ns(local), self.ids[place]);
        let status = heard.said.status();
        let beat = u64::from(heard.heartbeat_ms) * NS_PER_MS;
        let detector = &mut agent.detectors[place];
        if heard.answered_ns[0] != before.answered_ns[0]
            && let Some(status) = status
        {
            let listening = heard.listening != 0;
            let facts = Facts {
                listener: Some(listening),
                queue: listening.then_some(AcceptQueue { waiting: 0, limit: 100 }),
                gate: u8::try_from(heard.gate)
                    .ok()
                    .and_then(Passage::from_wire)
                    .unwrap_or(Passage::Closed),
                agent_age: core::time::Duration::from_nanos(beat),
                agent_exited: heard.exited != 0,
                status,
            };
            let sent = Instant::from_ns(heard.answered_ns[0]);
            detector.handle(now, Sign::Reply { path: 0, sent, facts });
        }
        let probed = heard.last_probe_ns != before.last_probe_ns;
        if probed {
            detector.handle(now, Sign::Heard { path: 0 });
        }
        let answered = heard.last_reply_ns != before.last_reply_ns;
        if heard.last_advert_ns != before.last_advert_ns {
            let at = Instant::from_ns(heard.last_advert_ns);
            agent.inputs.push_back(Input::AdvertStamped { node: id, at });
        }
        if answered && let Some(age) = heard.agent_age_ns(local) {
            let agent_age = core::time::Duration::from_nanos(age);
            agent.inputs.push_back(Input::Answered { node: id, agent_age });
        }
        let granted = (heard.granted_term, heard.granted_until_ns);
        if granted != (before.granted_term, before.granted_until_ns) {
            let (term, until) =
                (ogha_common::units::Term::new(granted.0), Instant::from_ns(granted.1));
            agent.inputs.push_back(Input::Granted { node: id, term, until });
        }
        let spoke = probed || answered && beat < self.story.setting.lease_ms * NS_PER_MS;
        if spoke && let Some(status) = status {
            let at = now - core::time::Duration::from_nanos(heard.agent_age_ns(local).unwrap_or(0));
            agent.inputs.push_back(Input::Peer { node: id, status, at });
        }
    }

    /// The kernel speaks for the node as the core is now.
    fn offer(&mut self, node: usize, agent: &mut Agent, beat: bool) {
        let said = Said::from(agent.core.status());
        let grant_to = agent.core.grant().map_or(0, |id| id.get());
        if !beat && agent.offered == Some((said, grant_to)) {
            return;
        }
        let told = agent.offered.is_some_and(|(before, _)| before.phase == said.phase);
        agent.offered = Some((said, grant_to));
        let node_place = node;
        let node = &self.nodes[node];
        let hangs = !told && node.database.hung && node.database.primary && !agent.stop_failed;
        let cause = agent.core.phase();
        if hangs && matches!(cause, Phase::Fenced { cause: Cause::DatabaseHung, .. }) {
            self.violated(Violation::NotStopped(node_place));
        }
        let node = &mut self.nodes[node_place];
        let offer = &mut node.kernel.offer;
        offer.said = said;
        offer.grant_to = grant_to;
        offer.heartbeat_ns = node.clock.local(self.now);
        offer.exited = false;
        offer.listens = true;
    }

    /// Probes each peer, and beats.
    pub fn probe(&mut self, node: usize, agent: &mut Agent) {
        self.offer(node, agent, true);
        let local = self.nodes[node].local(self.now);
        agent.next_probe = local + self.story.setting.probe_ms * NS_PER_MS;
        let grantee = agent.core.grant();
        let said = Said::from(agent.core.status());
        for place in 0..self.story.setting.nodes {
            if place == node {
                continue;
            }
            agent.sequence = local.max(agent.sequence + 1);
            let grant_ms = if grantee == Some(self.ids[place]) {
                // The word is given before it can be heard.
                agent.promised = local + self.story.setting.lease_ms * NS_PER_MS;
                self.story.setting.lease_ms
            } else {
                0
            };
            let probe = Probe {
                kind: ProbeKind::Probe,
                from: node,
                boot: self.nodes[node].kernel.boot(),
                sequence: agent.sequence,
                time: local,
                echo: agent.seen[place].their_time_ns,
                said,
                grant_ms,
                facts: (0, 0, false, false),
            };
            self.transmit(node, place, Event::Probe { to: place, probe });
            agent.detectors[place].handle(Instant::from_ns(local), Sign::Sent { path: 0 });
        }
    }
}

impl Agent {
    /// What came of a command is done as what comes of an input.
    pub fn ordered_by_hand(&mut self, actions: Vec<Action>) {
        self.actions.extend(actions);
        self.offer_due = true;
    }
}
