//! The plan of a simulated run: a cluster, and what goes wrong in it.

use std::fmt;

use ogha_common::{failover::Arbiter, units::NodeId};

use super::{
    MAX, Mutation,
    faults::{self, Timed},
    filter::Rule,
    random::Random,
};

/// The names of the nodes.
pub const NAMES: [&str; MAX] = ["a", "b", "c", "d", "e"];

/// A cluster.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many nodes.
    pub nodes: usize,
    /// Who decides.
    pub arbiter: Arbiter,
    /// How long a lease lasts, milliseconds.
    pub lease_ms: u64,
    /// Milliseconds.
    pub probe_ms: u64,
    /// Milliseconds.
    pub agent_timeout_ms: u64,
    /// Databases rejoin by themselves.
    pub rejoin: bool,
    /// How often a database is started again in place.
    pub restart_attempts: u8,
    /// Asynchronous replication: so much may be missing.
    pub max_lag: Option<u64>,
    /// A database comes up with its host.
    pub autostart: bool,
    /// An operator accepts that writes are lost.
    pub may_lose: bool,
    /// It begins with a primary that serves; else with databases that run, and no record.
    pub warm: bool,
    /// The configuration of that node has other times, until somebody mends it.
    pub odd: Option<(usize, Times)>,
}

/// The times of a configuration, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a lease lasts.
    pub lease_ms: u64,
    /// Between two probes.
    pub probe_ms: u64,
    /// After how much silence an agent counts as dead.
    pub agent_timeout_ms: u64,
}

impl Setting {
    /// Who the nodes are.
    pub fn ids(&self) -> Vec<NodeId> {
        NAMES[..self.nodes].iter().map(|name| NodeId::of(name)).collect()
    }

    /// What the configuration of most nodes says.
    const fn times(&self) -> Times {
        let &Self { lease_ms, probe_ms, agent_timeout_ms, .. } = self;
        Times { lease_ms, probe_ms, agent_timeout_ms }
    }

    /// What the configuration of that node says; `mended`: of all nodes the same.
    pub fn times_of(&self, node: usize, mended: bool) -> Times {
        let odd = self.odd.filter(|&(odd, _)| odd == node && !mended);
        odd.map_or(self.times(), |(_, times)| times)
    }
}

/// The plan of a simulated run, which can be repeated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From which it was drawn.
    pub seed: u64,
    /// The cluster.
    pub setting: Setting,
    /// What goes wrong.
    pub faults: Vec<Timed>,
    /// A rule that all nodes break.
    pub broken: Option<Rule>,
    /// A rule that the kernels break.
    pub mutation: Option<Mutation>,
}

impl Plan {
    /// The plan of that seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let lease_ms = random.pick(&[100, 100, 200, 300]);
        let arbiter = match random.below(10) {
            0..=5 => Arbiter::Etcd,
            6 | 7 => Arbiter::Gateway,
            _ => Arbiter::None,
        };
        let mut setting = Setting {
            nodes: random.pick(&[2, 2, 2, 2, 3, 3, 3, 3, 4, 5]),
            arbiter,
            lease_ms,
            probe_ms: lease_ms / 5,
            agent_timeout_ms: lease_ms * random.between(4, 8),
            rejoin: random.permille(800),
            restart_attempts: random.pick(&[0, 0, 1, 2]),
            max_lag: random.permille(50).then_some(5),
            autostart: random.permille(700),
            may_lose: random.permille(100),
            warm: random.permille(850),
            odd: None,
        };
        let faults = faults::draw(&mut random, &setting);
        setting.odd = random.permille(60).then(|| odd(&mut random, &setting));
        Self { seed, setting, faults, broken: None, mutation: None }
    }
}

/// A node whose times are others, though each is valid by itself.
fn odd(random: &mut Random, setting: &Setting) -> (usize, Times) {
    let node = random.below(setting.nodes as u64) as usize;
    let scaled = |by: (u64, u64), ms: u64| ms * by.0 / by.1;
    let lease = random.pick(&[(1, 2), (1, 1), (2, 1)]);
    let timeout = random.pick(&[(1, 2), (1, 1), (2, 1)]);
    let Times { lease_ms, probe_ms, agent_timeout_ms } = setting.times();
    let lease_ms = scaled(lease, lease_ms);
    let times = Times {
        lease_ms,
        probe_ms: scaled(lease, probe_ms),
        agent_timeout_ms: scaled(timeout, agent_timeout_ms).max(lease_ms),
    };
    (node, times)
}

/// What no simulated run may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two gates were open at one time.
    TwoGates(Vec<usize>),
    /// A node was promoted, and this was not so.
    Promoted(usize, &'static str),
    /// A gate was opened on a database that was not seen to accept writes.
    NotWritable(usize),
    /// A lease that had ended was renewed.
    Revived(usize),
    /// A node said that it is fenced while its hung database was still there.
    NotStopped(usize),
    /// A write that was acknowledged is not in the log of who serves.
    LostWrite(usize, u32),
    /// Nobody serves, or not all are in sync again, though all is well and nobody should be needed.
    NobodyServes(&'static str),
    /// A gate is open, and its node's core neither serves nor closes it.
    OpenWithoutServing(usize),
    /// A node sent an advert that neither serves nor takes over.
    Advert(usize),
    /// A serving primary's commits do not wait for a member of its record.
    NotWaiting(usize),
    /// An agent orders or asks the same again and again, without a pause.
    Floods(usize),
    /// A healthy database was stopped that nobody has replaced.
    Stopped(usize),
    /// A core wants to be woken again and again at one time.
    Spins(usize),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoGates(nodes) => {
                let names: Vec<_> = nodes.iter().map(|&node| NAMES[node]).collect();
                write!(f, "two open gates: {}", names.join(", "))
            }
            Self::Promoted(node, why) => write!(f, "{} was promoted: {why}", NAMES[*node]),
            Self::NotWritable(node) => {
                write!(f, "{} opened its gate on a database that takes no writes", NAMES[*node])
            }
            Self::Revived(node) => write!(f, "{} renewed a lease that had ended", NAMES[*node]),
            Self::NotStopped(node) => {
                write!(f, "{} says that it is fenced, and its hung database is there", NAMES[*node])
            }
            Self::LostWrite(node, write) => {
                write!(f, "{} serves without the acknowledged write {write}", NAMES[*node])
            }
            Self::NobodyServes(why) => write!(f, "all is well, and yet: {why}"),
            Self::OpenWithoutServing(node) => {
                write!(f, "{}'s gate is open, and its core does not serve", NAMES[*node])
            }
            Self::Advert(node) => write!(f, "{} sends adverts and does not serve", NAMES[*node]),
            Self::NotWaiting(node) => {
                write!(f, "{}'s commits do not wait for a member of its record", NAMES[*node])
            }
            Self::Floods(node) => write!(f, "{} tries again without a pause", NAMES[*node]),
            Self::Stopped(node) => write!(f, "{}'s healthy database was stopped", NAMES[*node]),
            Self::Spins(node) => write!(f, "{} is never done", NAMES[*node]),
        }
    }
}
