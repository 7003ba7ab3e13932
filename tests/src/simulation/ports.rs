//! The ports of the production agent on a simulated host.

use std::{io, net::IpAddr};

use anyhow::anyhow;
use ogha_agent::run::{
    hook_event,
    message::Message,
    ports::{End, Job, JobId, Ports, Work},
    timeline::Timeline,
};
use ogha_common::{
    detector::vitals::{Look, Task, TaskState},
    failover::{Arbiter, PhaseName, Ruling},
    maps::{self, GATE_OPEN, Gate, LeaseGrants, Offer, PortCounters, Refused, Said, Watch},
    units::{Instant, NodeId, Priority},
    wire::probe,
};

use super::{
    agent::{Count, Fuse, address},
    clock::MS,
    kernel::Probe,
    plan::{NAMES, Violation},
    world::{Event, World},
};

/// How long the arbiter's answer is waited for.
const ANSWER_TIMEOUT: u64 = 400 * MS;

/// The ports of one agent. Before each effect it may have to wait, while the rest of the world goes on;
/// or it dies, and has no effects any more.
pub struct Host<'a> {
    world: &'a mut World,
    node: usize,
    life: u32,
}

impl<'a> Host<'a> {
    /// Those of that agent.
    pub fn new(world: &'a mut World, node: usize, life: u32) -> Self {
        Self { world, node, life }
    }

    fn lives(&self) -> bool {
        self.world.nodes[self.node].running == Some(self.life)
    }

    /// What has arrived.
    pub fn next_message(&mut self) -> Option<Message> {
        if self.lives() { self.world.nodes[self.node].inbox.pop_front() } else { None }
    }

    /// When the agent's timer is due.
    pub fn due(&self) -> Option<Instant> {
        self.world.nodes[self.node].due.map(Instant::from_ns)
    }

    /// An effect is about to be had; false: the agent is dead.
    fn may(&mut self, weight: Count) -> bool {
        if !self.lives() {
            return false;
        }
        let node = self.node;
        match &mut self.world.nodes[node].fuse {
            Some((_, Count::Weighty, _)) if weight == Count::All => {}
            Some((0, _, Fuse::Stall(time))) => {
                let until = self.world.now + *time;
                self.world.note(|| format!("{} stalls in the middle of its work", NAMES[node]));
                self.world.nodes[node].fuse = None;
                self.world.nodes[node].stalled_until = until;
                self.world.run_while_stalled(node, self.life);
            }
            Some((0, _, Fuse::Die(time))) => {
                let back = self.world.now + *time;
                self.world.note(|| format!("{} dies in the middle of its work", NAMES[node]));
                self.world.kill_agent(node, back);
            }
            Some((effects, _, _)) => *effects -= 1,
            None => {}
        }
        self.lives()
    }

    fn refused(&self) -> anyhow::Result<()> {
        if self.world.nodes[self.node].maps_refuse {
            return Err(anyhow!("the kernel refuses"));
        }
        Ok(())
    }

    fn local(&self) -> u64 {
        self.world.nodes[self.node].local(self.world.now)
    }
}

impl Work for Host<'_> {
    fn now(&self) -> Instant {
        Instant::from_ns(self.local())
    }

    fn start(&mut self, id: JobId, job: Job) {
        let weight = match job {
            Job::Database(_) | Job::Save(_) | Job::Propose(_) => Count::Weighty,
            _ => Count::All,
        };
        if self.may(weight) {
            self.world.nodes[self.node].jobs.retain(|other| other.lane != id.lane);
            self.world.nodes[self.node].jobs.push(id);
            self.world.start_job(self.node, self.life, id, job);
        }
    }

    fn abort(&mut self, id: JobId) {
        if self.lives() {
            self.world.nodes[self.node].jobs.retain(|&other| other != id);
        }
    }
}

impl Ports for Host<'_> {
    fn monotonic_ns(&self) -> u64 {
        self.local()
    }

    fn set_gate(&mut self, gate: Gate) -> anyhow::Result<()> {
        if !self.may(Count::Weighty) {
            return Ok(());
        }
        self.refused()?;
        let node = self.node;
        if gate.state == GATE_OPEN {
            self.world.check_open(node, &gate);
        }
        self.world.note(|| format!("{}'s gate: {gate:?}", NAMES[node]));
        self.world.nodes[node].kernel.gate = gate;
        self.world.check_gates();
        Ok(())
    }

    fn gate(&self) -> anyhow::Result<(Gate, LeaseGrants)> {
        let kernel = &self.world.nodes[self.node].kernel;
        Ok((kernel.gate, kernel.heard))
    }

    fn set_granters(&mut self, nodes: &[NodeId]) -> anyhow::Result<()> {
        if !self.may(Count::Weighty) {
            return Ok(());
        }
        self.refused()?;
        let granters = std::array::from_fn(|place| {
            self.world.ids.get(place).is_some_and(|id| nodes.contains(id))
        });
        let (node, local) = (self.node, self.local());
        self.world.note(|| format!("{}'s granters: {granters:?}", NAMES[node]));
        let kernel = &mut self.world.nodes[node].kernel;
        kernel.granters = granters;
        kernel.granters_set_ns = local;
        Ok(())
    }

    fn set_self(&mut self, offer: Offer) -> anyhow::Result<()> {
        if !self.may(Count::All) {
            return Ok(());
        }
        self.refused()?;
        let own = &mut self.world.nodes[self.node].kernel.offer;
        own.said = offer.said;
        own.grant_to = offer.grant_to;
        own.heartbeat_ns = offer.heartbeat_ns;
        own.exited = false;
        Ok(())
    }

    fn peer(&self, node: NodeId) -> anyhow::Result<maps::Peer> {
        Ok(self.world.nodes[self.node].kernel.peers[self.world.place(node)])
    }

    fn refused(&self, _: IpAddr) -> anyhow::Result<Refused> {
        Ok(Refused::default())
    }

    fn set_watch(&mut self, watch: Watch) -> anyhow::Result<()> {
        if self.may(Count::All) {
            self.refused()?;
            self.world.nodes[self.node].kernel.watch = watch;
        }
        Ok(())
    }

    fn port_counters(&self) -> anyhow::Result<PortCounters> {
        Ok(self.world.nodes[self.node].kernel.counters)
    }

    fn send_probe(&mut self, _: usize, to: IpAddr, probe: &probe::Probe) -> io::Result<()> {
        if !self.may(Count::All) {
            return Ok(());
        }
        let from = self.node;
        let Some(to) = (0..self.world.nodes.len()).find(|&place| address(place) == to) else {
            return Err(io::ErrorKind::HostUnreachable.into());
        };
        let probe = Probe {
            kind: probe::ProbeKind::Probe,
            from,
            boot: self.world.nodes[from].kernel.boot(),
            sequence: probe.sequence,
            time: probe.time_ns,
            echo: probe.echo_ns,
            said: Said::from(probe.status),
            grant_ms: probe.grant_ms.into(),
            facts: (0, 0, false, false),
            page: probe.page,
        };
        self.world.transmit(from, to, Event::Probe { to, probe });
        Ok(())
    }

    fn is_usable(&self, _: usize) -> bool {
        true
    }

    fn send_advert(&mut self, priority: Priority) -> io::Result<()> {
        if !self.may(Count::All) {
            return Ok(());
        }
        let from = self.node;
        let serves = matches!(
            self.world.nodes[from].view.phase.get(),
            Some(
                PhaseName::Claiming
                    | PhaseName::Promoting
                    | PhaseName::Opening
                    | PhaseName::Restarting
                    | PhaseName::Serving
                    | PhaseName::Closing
            )
        );
        // The core has moved on when its actions are carried out; the view is what it is by then.
        if priority != Priority::RELEASE && !serves {
            self.world.violated(Violation::Advert(from));
        }
        for to in (0..self.world.nodes.len()).filter(|&to| to != from) {
            self.world.transmit(from, to, Event::Advert { to, from, priority: priority.get() });
        }
        Ok(())
    }

    fn announce(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn look(&self, main: Option<u32>, _: bool) -> Look {
        let host = &self.world.nodes[self.node];
        let database = &host.database;
        if !database.running || main != Some(database.process) {
            return Look::default();
        }
        let (main, writer) = match database.hung {
            true => (TaskState::Stopped, TaskState::Stopped),
            false => (TaskState::Asleep, TaskState::Asleep),
        };
        let task =
            |state| Task { state, switches: Some(if database.hung { 0 } else { self.world.now }) };
        let since = host.writing_since;
        Look {
            main: task(main),
            writer: task(writer),
            writing_since: since.map(|at| Instant::from_ns(host.local(at))),
            written: Some(if database.stuck { 0 } else { self.world.now }),
            traced: false,
        }
    }

    fn is_listening(&self) -> bool {
        self.world.nodes[self.node].database.running
    }

    fn is_gone(&self, pid: u32) -> bool {
        let database = &self.world.nodes[self.node].database;
        !database.running || database.process != pid
    }

    fn record(&mut self, timeline: Timeline) {
        let node = self.node;
        self.world.note(|| format!("{}'s timeline: {timeline:?}", NAMES[node]));
    }

    fn run_hook(&mut self, _: hook_event::Event) {}
}

impl World {
    /// A proposal, or a question, is on its way to the arbiter.
    pub fn ask_arbiter(&mut self, node: usize, life: u32, id: JobId, job: Job) {
        let late = if self.network.arbiter_slow > 0 { self.random.below(1500) * MS } else { 0 };
        let there = self.now + late + self.random.between(MS / 2, 8 * MS);
        let gateway = self.plan.setting.arbiter == Arbiter::Gateway;
        let unanswered = match &job {
            Job::Propose(record) if gateway => {
                End::Ruled(Ruling::Refused { term: record.term, record: None })
            }
            Job::Propose(record) => End::Ruled(Ruling::Unknown(record.term)),
            _ => End::Consulted(Err("the arbiter does not answer".to_owned())),
        };
        let store = self.plan.setting.arbiter == Arbiter::Etcd;
        if store && self.network.arbiter_nonsense > 0 && self.network.reaches_arbiter(node) {
            return self
                .queue
                .push(self.now + MS, Event::Ended { node, life, id, end: unanswered });
        }
        if self.network.reaches_arbiter(node) {
            self.queue.push(there, Event::Asked { node, life, id, job });
        }
        self.queue
            .push(self.now + ANSWER_TIMEOUT, Event::Ended { node, life, id, end: unanswered });
    }
}
