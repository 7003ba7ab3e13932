//! Faults come and go.

use ogha_common::failover::Command;

use super::{
    MAX,
    agent::{Count, Fuse},
    clock::MS,
    faults::Fault,
    kernel::Kernel,
    network::Network,
    plan::NAMES,
    world::{Event, World},
};

impl World {
    /// A fault begins.
    pub fn begin(&mut self, place: usize) {
        if self.healed {
            return;
        }
        let timed = self.plan.faults[place];
        let back = self.now + timed.lasts;
        self.note(|| format!("FAULT {:?} for {} ms", timed.fault, timed.lasts / MS));
        match timed.fault {
            Fault::AgentDies(node) => self.kill_agent(node, back),
            Fault::AgentStops(node) => {
                self.stop_agent(node);
                self.kill_agent(node, back);
            }
            Fault::AgentDiesAtStep(node, steps, count) => {
                self.light(node, steps, count, Fuse::Die(timed.lasts));
            }
            Fault::AgentStallsAtStep(node, steps, count) => {
                self.light(node, steps, count, Fuse::Stall(timed.lasts));
            }
            Fault::AgentStalls(node) => {
                self.nodes[node].stalled_until = back;
            }
            Fault::PowerOff(node) => self.power_off(node, back),
            Fault::PowerOffAll => {
                for node in 0..self.nodes.len() {
                    let later = self.random.below(timed.lasts);
                    self.power_off(node, back + later);
                }
            }
            Fault::KillAll => {
                for node in 0..self.nodes.len() {
                    self.kill_agent(node, back);
                    self.stop_database(node);
                }
            }
            Fault::DatabaseDies(node) => self.stop_database(node),
            Fault::DatabaseHangs(node) => {
                let storage = self.random.permille(400);
                let database = &mut self.nodes[node].database;
                database.hung = database.running && !storage;
                database.stuck = database.running && storage;
            }
            Fault::OrdersFail(node) => self.nodes[node].orders_fail = true,
            Fault::ObservationsFail(node) => self.nodes[node].observations_fail = true,
            Fault::ObservationsLate(node) => self.nodes[node].observations_late = true,
            Fault::DiskFull(node) => self.nodes[node].disk_full = true,
            Fault::DiskHangs(node) => self.nodes[node].disk_hangs = true,
            Fault::MapsRefuse(node) => self.nodes[node].maps_refuse = true,
            Fault::SettingsByHand(node) => self.reset_settings(node),
            Fault::Clone(node) => self.network.clones[node] = Some(self.now),
            Fault::CrashRecovery(node) => {
                let database = &mut self.nodes[node].database;
                database.recovering = database.running;
            }
            Fault::HostFrozen(node) => self.freeze(node, back),
            Fault::Lag(node) => self.network.lags[node] += 1,
            Fault::Operator(node, command) => self.operate(node, command),
            Fault::Loss(loss) => self.network.loss = loss,
            Fault::Delay(delay) => self.network.delay_ms = delay,
            Fault::Duplicate => self.network.duplicates += 1,
            fault => self.cut(fault, 1),
        }
    }

    fn operate(&mut self, node: usize, command: Command) {
        // A switchover is ordered where it makes sense.
        let serving = (0..self.nodes.len()).find(|&node| self.is_open(node));
        // Who forces a node has made sure that no other serves: no node can.
        if command == Command::Force && serving.is_some() {
            return;
        }
        let node = match command {
            Command::Switchover { .. } => serving.unwrap_or(node),
            _ => node,
        };
        self.command(node, command);
    }

    /// It ends.
    pub fn end(&mut self, place: usize) {
        if self.healed {
            return;
        }
        match self.plan.faults[place].fault {
            Fault::DatabaseHangs(node) => {
                self.nodes[node].database.hung = false;
                self.nodes[node].database.stuck = false;
            }
            Fault::OrdersFail(node) => self.nodes[node].orders_fail = false,
            Fault::ObservationsFail(node) => self.nodes[node].observations_fail = false,
            Fault::ObservationsLate(node) => self.nodes[node].observations_late = false,
            Fault::DiskFull(node) => self.nodes[node].disk_full = false,
            Fault::DiskHangs(node) => self.nodes[node].disk_hangs = false,
            Fault::MapsRefuse(node) => self.nodes[node].maps_refuse = false,
            Fault::CrashRecovery(node) => self.nodes[node].database.recovered(),
            Fault::HostFrozen(node) => self.thaw(node),
            Fault::Lag(node) => self.network.lags[node] = 0,
            Fault::Clone(node) => self.network.clones[node] = None,
            Fault::Loss(_) => self.network.loss = 0,
            Fault::Delay(_) => self.network.delay_ms = 0,
            Fault::Duplicate => self.network.duplicates = 0,
            fault => self.cut(fault, -1),
        }
    }

    fn cut(&mut self, fault: Fault, by: i8) {
        let nodes = self.nodes.len();
        let network = &mut self.network;
        let mut cut = |from: usize, to: usize| {
            let count = &mut network.cuts[from][to];
            *count = count.saturating_add_signed(by);
        };
        match fault {
            Fault::Cut(from, to) => cut(from, to),
            Fault::CutBoth(a, b) => {
                cut(a, b);
                cut(b, a);
            }
            Fault::Isolate(node) | Fault::IsolateWholly(node) => {
                for other in (0..nodes).filter(|&other| other != node) {
                    cut(node, other);
                    cut(other, node);
                }
            }
            _ => {}
        }
        let count = match fault {
            Fault::IsolateWholly(node) | Fault::CutArbiter(node) => &mut network.arbiter_cuts[node],
            Fault::ArbiterDown => &mut network.arbiter_down,
            Fault::AnswersLost => &mut network.answers_lost,
            Fault::ArbiterSlow => &mut network.arbiter_slow,
            Fault::ArbiterNonsense => &mut network.arbiter_nonsense,
            _ => return,
        };
        *count = count.saturating_add_signed(by);
    }

    /// Somebody resets for whom commits wait.
    fn reset_settings(&mut self, node: usize) {
        if self.nodes[node].up && self.nodes[node].database.writes() {
            self.ledger.by_hand[node].get_or_insert(self.now);
            self.nodes[node].database.synchronize([false; MAX]);
            self.acknowledge(node);
        }
    }

    /// Neither the kernel nor the clock goes on.
    fn freeze(&mut self, node: usize, until: u64) {
        let now = self.now;
        let host = &mut self.nodes[node];
        if host.up && host.frozen_until.is_none() {
            host.frozen_until = Some(until);
            host.clock.freeze(now);
            host.stalled_until = host.stalled_until.max(until);
        }
    }

    fn thaw(&mut self, node: usize) {
        let now = self.now;
        let host = &mut self.nodes[node];
        if host.frozen_until.take().is_some() {
            host.clock.thaw(now);
            host.thawed_at = Some(now);
            let at = host.due.map_or(u64::MAX, |due| host.clock.real(due));
            host.wake_at = u64::MAX;
            self.wake(node, at);
        }
    }

    fn light(&mut self, node: usize, effects: u32, count: Count, fuse: Fuse) {
        if self.nodes[node].running.is_some() {
            self.nodes[node].fuse = Some((effects, count, fuse));
        }
    }

    /// The agent is gone, at work or not, and comes back then.
    pub fn kill_agent(&mut self, node: usize, back: u64) {
        let host = &mut self.nodes[node];
        if host.running.is_some() {
            host.end_agent();
            host.kernel.offer.exited = true;
            self.queue.push(back, Event::StartAgent { node });
        }
    }

    fn power_off(&mut self, node: usize, back: u64) {
        let host = &mut self.nodes[node];
        if host.up {
            host.up = false;
            host.frozen_until = None;
            host.end_agent();
            host.database.stop();
            self.queue.push(back, Event::PowerOn { node });
        }
    }

    /// The host boots.
    pub fn power_on(&mut self, node: usize) {
        if self.nodes[node].up {
            return;
        }
        self.note(|| format!("{} has power again", NAMES[node]));
        let (autostart, now, lease) =
            (self.plan.setting.autostart, self.now, self.plan.setting.lease_ms);
        let words = std::array::from_fn(|i| self.ids.get(i).map_or(0, |id| id.get()));
        let host = &mut self.nodes[node];
        host.up = true;
        host.boot += 1;
        host.clock = host.clock.boot(now);
        host.kernel = Kernel::new(node, words, u64::from(host.boot) * 100 + node as u64 + 1, lease);
        if autostart {
            host.database.start();
            host.database.started_at = now;
        }
        let agent = self.random.between(100, 700) * MS;
        self.queue.push(now + agent, Event::StartAgent { node });
    }

    /// All faults are over.
    pub fn heal(&mut self) {
        self.note(|| "all faults are over".to_owned());
        self.healed = true;
        self.ledger.healed_at = self.now;
        self.network = Network::default();
        if let Some((node, _)) = self.plan.setting.odd {
            // Somebody mends the configuration, and starts the agent with it.
            self.kill_agent(node, self.now + 100 * MS);
        }
        for node in 0..self.nodes.len() {
            self.thaw(node);
            let host = &mut self.nodes[node];
            host.disk_full = false;
            host.disk_hangs = false;
            host.maps_refuse = false;
            host.orders_fail = false;
            host.observations_fail = false;
            host.observations_late = false;
            host.database.hung = false;
            host.database.stuck = false;
            host.database.recovered();
            host.stalled_until = 0;
            host.fuse = None;
            if !host.up {
                self.power_on(node);
            } else if self.plan.setting.autostart && !host.database.running {
                self.start_database(node);
            }
            if self.nodes[node].running.is_none() {
                self.queue.push(self.now + 100 * MS, Event::StartAgent { node });
            }
            self.wake(node, self.now);
        }
        self.queue.push(self.now + 50 * MS, Event::Check);
    }
}
