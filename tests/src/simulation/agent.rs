//! The agent that ships, on a simulated host: what has arrived comes before the timers, and it may get
//! no processor, or die, before any effect that it has on the world.

use std::{net::IpAddr, rc::Rc, time::Duration};

use ogha_agent::{
    config::{
        self, Failover, Hooks, Liveness, Rejoin, Server, Transport, VirtualAddress, Vrrp, Xdp,
    },
    run::{
        instance::{Beginning, Instance},
        message::Message,
        peer::Peer,
        peers::{self, Peers},
    },
};
use ogha_common::{
    detector::{self, Detector},
    election,
    failover::{self, Arbiter, Cause, Command, Input, NodeSet, PhaseName},
    maps::{GATE_OPEN, Passage, Watch},
    units::{Centis, Instant, NodeId, Priority, Vrid},
    wire::{siphash, vrrp::Version},
};

use super::{
    clock::MS,
    filter::{Filter, View},
    plan::{NAMES, Times, Violation},
    ports::Host,
    world::{Event, World},
};

/// So many inputs at one moment are a loop without end.
pub const ENDLESS: u64 = 3000;
/// The port of the databases.
pub const PORT: u16 = 5432;

/// The production code around a core that may be filtered.
pub type Agent = Instance<Filter>;

/// Which effects count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// All.
    All,
    /// Those by which something is granted, taken or given.
    Weighty,
}

/// What happens before an effect.
#[derive(Clone, Copy, Debug)]
pub enum Fuse {
    /// The agent gets no processor for so long.
    Stall(u64),
    /// It dies, and comes back after so long.
    Die(u64),
}

/// Where that node is.
pub fn address(node: usize) -> IpAddr {
    [192, 0, 2, node as u8 + 1].into()
}

impl World {
    /// Something has come for the agent of that node.
    pub fn send(&mut self, node: usize, life: u32, message: Message) {
        if self.nodes[node].running == Some(life) {
            self.nodes[node].inbox.push_back(message);
            self.wake(node, self.now);
        }
    }

    /// The agent runs at that time, or later if it can't.
    pub fn wake(&mut self, node: usize, at: u64) {
        let host = &mut self.nodes[node];
        let Some(life) = host.running else { return };
        let at = at.max(host.stalled_until).max(self.now);
        if at < host.wake_at {
            host.wake_at = at;
            self.queue.push(at, Event::Wake { node, life });
        }
    }

    /// The agent runs, as far as it gets.
    pub fn run_agent(&mut self, node: usize, life: u32) {
        let host = &mut self.nodes[node];
        if host.running != Some(life) || host.wake_at != self.now {
            return;
        }
        host.wake_at = u64::MAX;
        if host.stalled_until > self.now {
            let until = host.stalled_until;
            return self.wake(node, until);
        }
        self.with_agent(node, |agent, host| {
            while let Some(message) = host.next_message() {
                agent.take(message, host);
            }
            let due = host.due();
            agent.wake(due, host);
        });
    }

    /// Has the agent of that node do something, unless it is in the middle of its work.
    pub fn with_agent<T>(
        &mut self,
        node: usize,
        work: impl FnOnce(&mut Agent, &mut Host<'_>) -> T,
    ) -> Option<T> {
        let life = self.nodes[node].running?;
        let mut agent = self.nodes[node].agent.take()?;
        let before = self.nodes[node].view.phase.get();
        let mut host = Host::new(self, node, life);
        let result = work(&mut agent, &mut host);
        // It may have died at work.
        if self.nodes[node].running == Some(life) {
            let due = agent.next_timer().map(Instant::ns);
            let host = &mut self.nodes[node];
            host.agent = Some(agent);
            host.due = due;
            host.wake_at = u64::MAX;
            let at = due.map_or(u64::MAX, |due| host.clock.real(due));
            let at = if host.inbox.is_empty() { at } else { self.now };
            self.wake(node, at);
            self.check_agent(node, before);
        }
        Some(result)
    }

    /// What must hold whenever an agent has done its work.
    fn check_agent(&mut self, node: usize, before: Option<PhaseName>) {
        let host = &self.nodes[node];
        let phase = host.view.phase.get();
        if host.view.spins.get() {
            return self.violated(Violation::Spins(node));
        }
        let hangs = (host.database.hung || host.database.stuck)
            && host.database.primary
            && !host.stop_failed;
        let reported = phase == Some(PhaseName::Fenced) && before != phase;
        if hangs && reported && host.view.cause.get() == Some(Cause::DatabaseHung) {
            return self.violated(Violation::NotStopped(node));
        }
        let serves =
            matches!(phase, Some(PhaseName::Opening | PhaseName::Serving | PhaseName::Closing));
        let open = host.kernel.gate.state == GATE_OPEN
            && host.kernel.passage(host.local(self.now)) == Passage::Open;
        if open && !serves && phase.is_some() {
            self.violated(Violation::OpenWithoutServing(node));
        }
    }

    /// An operator command.
    pub fn command(&mut self, node: usize, command: Command) {
        // It comes to the loop as all else; one that is in the middle of something does not hear it.
        if self.nodes[node].stalled_until > self.now {
            return;
        }
        let answer = self.with_agent(node, |agent, host| agent.command(command, host));
        let Some(answer) = answer else { return };
        self.ledger.forced |= answer.is_ok() && command == Command::Force;
        self.note(|| format!("{}: an operator orders {command:?}: {answer:?}", NAMES[node]));
    }

    /// The agent ends in an orderly way.
    pub fn stop_agent(&mut self, node: usize) {
        self.with_agent(node, |agent, host| agent.input(Input::Stopping, host));
    }

    /// An agent comes up, if its host has power and none is there.
    pub fn start_agent(&mut self, node: usize) {
        if !self.nodes[node].up || self.nodes[node].running.is_some() {
            return;
        }
        self.note(|| format!("{}'s agent starts", NAMES[node]));
        self.nodes[node].agents += 1;
        let life = self.nodes[node].agents;
        let view: Rc<View> = Rc::default();
        let agent = self.new_agent(node, Rc::clone(&view));
        let lease_ms = self.times(node).lease_ms;
        let host = &mut self.nodes[node];
        host.end_agent();
        host.running = Some(life);
        host.kernel.lease_ms = lease_ms;
        host.view = view;
        host.agent = Some(Box::new(agent));
        let started = self.with_agent(node, |agent, host| agent.start(host));
        if let Some(Err(_)) = started {
            // Its kernel refuses: it ends, and is started again by whoever keeps it.
            self.nodes[node].end_agent();
            return self.queue.push(self.now + 100 * MS, Event::StartAgent { node });
        }
        self.nodes[node].kernel.offer.listens = true;
    }

    fn new_agent(&self, node: usize, view: Rc<View>) -> Agent {
        let setting = &self.plan.setting;
        let times = self.times(node);
        let host = &self.nodes[node];
        let now = Instant::from_ns(host.local(self.now));
        let config = self.config(node);
        let core = self.core_config(node);
        let traced = self.scribe.clone().map(|scribe| (NAMES[node], scribe));
        let core = Filter::new(core, self.plan.broken, view, traced);
        let detector = detector::Config::new(
            Duration::from_millis(times.probe_ms),
            3,
            Duration::from_millis(times.agent_timeout_ms),
        );
        let others = (0..setting.nodes).filter(|&other| other != node);
        let peer = |other: usize| {
            let paths = vec![(address(other), 0)];
            Peer::new(NAMES[other].to_owned(), paths, Detector::new(detector, 1))
        };
        let boot = host.kernel.boot();
        let own = peers::Own {
            node: self.ids[node],
            vrid: config.vrid,
            database_port: PORT,
            key: siphash::Key::new([7; 16]),
            boot_id: std::array::from_fn(|i| if i < 8 { boot.to_ne_bytes()[i] } else { 1 }),
        };
        let peers =
            Peers::new(&config.name, others.map(peer).collect(), own, &config.liveness, now);
        let beginning = Beginning {
            node: NAMES[node].to_owned(),
            core,
            peers,
            record: host.saved,
            marks: host.marks,
            watch: Watch { tgid: 0, port: PORT.into(), netns: 1, agent: 1, pidns: 1 },
            promotion_timeout: Duration::from_millis(2000),
            config,
        };
        Instance::new(beginning, now)
    }

    fn core_config(&self, node: usize) -> failover::Config {
        let setting = &self.plan.setting;
        let times = self.times(node);
        let ms = Duration::from_millis;
        let priority = priority(node);
        failover::Config {
            node: self.ids[node],
            nodes: NodeSet::new(&self.ids).unwrap_or_default(),
            priority,
            arbiter: setting.arbiter,
            lease: ms(times.lease_ms),
            agent_timeout: ms(times.agent_timeout_ms),
            promotion_timeout: ms(2000),
            switchover_timeout: ms(1500),
            max_lag: setting.max_lag,
            rejoin: setting.rejoin,
            restart_attempts: setting.restart_attempts,
            election: election::Config {
                priority,
                advert_interval: self.advert_interval(),
                preempt: false,
                version: Version::V3,
                address: address(node),
            },
        }
    }

    fn times(&self, node: usize) -> Times {
        self.plan.setting.times_of(node, self.healed)
    }

    /// The virtual router.
    pub fn vrid(&self) -> Vrid {
        Vrid::new(59).expect("59 names a virtual router")
    }

    /// Between two adverts.
    pub fn advert_interval(&self) -> Centis {
        Centis::new((self.plan.setting.lease_ms / 10) as u16).unwrap_or(Centis::ONE_SECOND)
    }

    fn config(&self, node: usize) -> config::Instance {
        let setting = &self.plan.setting;
        let times = self.times(node);
        let ms = Duration::from_millis;
        let others = (0..setting.nodes).filter(|&other| other != node);
        let peer = |other: usize| config::Peer {
            name: NAMES[other].to_owned(),
            addresses: vec![address(other)],
        };
        config::Instance {
            name: "VI_1".to_owned(),
            interface: "eth0".to_owned(),
            xdp: Xdp::Auto,
            address: Some(address(node)),
            vrid: self.vrid(),
            priority: priority(node),
            virtual_addresses: vec![VirtualAddress {
                address: [192, 0, 2, 100].into(),
                prefix: 32,
            }],
            vrrp: Vrrp {
                version: 3,
                advert_interval: self.advert_interval(),
                preempt: false,
                transport: Transport::Unicast,
                auth_pass: None,
            },
            peers: others.map(peer).collect(),
            liveness: Liveness {
                port: 26112,
                probe_interval: ms(times.probe_ms),
                detect_multiplier: 3,
                lease: ms(times.lease_ms),
                agent_timeout: ms(times.agent_timeout_ms),
                hang_timeout: ms(times.agent_timeout_ms),
                key_file: "key".into(),
            },
            database: config::Database::Postgresql(Server {
                port: PORT,
                data_dir: "data".into(),
                user: "postgres".to_owned(),
                bin_dir: None,
                socket_dir: None,
                dbname: "postgres".to_owned(),
                unit: None,
            }),
            failover: Failover {
                max_lag: setting.max_lag.unwrap_or(0),
                synchronous: setting.max_lag.is_none(),
                rejoin: if setting.rejoin { Rejoin::Auto } else { Rejoin::Manual },
                restart_attempts: setting.restart_attempts,
                switchover_timeout: ms(1500),
                closed_gate: config::ClosedGate::Reject,
            },
            arbiter: match setting.arbiter {
                Arbiter::None => config::Arbiter::None,
                Arbiter::Gateway => config::Arbiter::Gateway(config::Gateway { addresses: vec![] }),
                Arbiter::Etcd => config::Arbiter::Etcd(config::Etcd {
                    endpoints: vec![],
                    tls: None,
                    login: None,
                    prefix: String::new(),
                }),
            },
            hooks: Hooks { command: None, timeout: ms(1000) },
        }
    }

    /// The place of that node in the list.
    pub fn place(&self, id: NodeId) -> usize {
        self.ids.iter().position(|&other| other == id).unwrap_or(0)
    }
}

fn priority(node: usize) -> Priority {
    Priority::new(150 - 10 * node as u8)
}
