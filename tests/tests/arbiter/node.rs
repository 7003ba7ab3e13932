//! A node with its arbiter, and what else every scenario needs.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ogha_agent::{
    arbiter::{self, Answers, Arbiter},
    config::Config,
};
use ogha_common::{
    failover::{NodeSet, Record, Ruling},
    units::{NodeId, Term},
};
use ogha_tests::lab::{Host, Lab};
use tokio::{runtime::Runtime, task::JoinHandle};

pub const A: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 11);
pub const B: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 12);
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 100);
/// How long anything may take.
pub const GENEROUS: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(20);

/// A lab with the nodes `a` and `b`, and hosts for the arbiter.
pub struct Stage {
    pub a: Arc<Host>,
    pub b: Arc<Host>,
    pub others: Vec<Arc<Host>>,
    pub lab: Lab,
}

impl Stage {
    pub fn set(name: &str, others: usize) -> Self {
        let lab = Lab::new(name).unwrap();
        let switch = lab.switch("switch").unwrap();
        let host = |name: &str, address| lab.host(name, &switch, address).unwrap();
        let other = |at| host(&format!("c{at}"), Ipv4Addr::new(10, 59, 0, 51 + at as u8));
        let others = (0..others).map(other).collect();
        Self { a: host("a", A), b: host("b", B), others, lab }
    }
}

/// What an agent has of its arbiter, within its host's network.
pub struct Node {
    name: &'static str,
    runtime: Runtime,
    arbiter: Arc<dyn Arbiter>,
}

impl Node {
    /// `keys`: the lines of `[instance.arbiter]`.
    pub fn open(host: &Host, keys: &str) -> Self {
        Self::try_open(host, keys).unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub fn try_open(host: &Host, keys: &str) -> anyhow::Result<Self> {
        let (name, peer, address) = if host.name() == "a" { ("a", "b", B) } else { ("b", "a", A) };
        let text = format!(
            "[node]\nname = {name:?}\n[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\n\
             virtual_router_id = 59\nvirtual_addresses = [\"{VIP}/24\"]\n[[instance.peer]]\n\
             name = {peer:?}\naddress = \"{address}\"\n[instance.database]\nkind = \"none\"\n\
             [instance.arbiter]\n{keys}\n"
        );
        let config = Config::parse(&text, Path::new("ogha.toml")).unwrap();
        let instance = config.instances.into_iter().next().unwrap();
        // Its threads begin in the host's network, and all that they open is there.
        let runtime = host.namespace().enter(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().build().unwrap()
        });
        let open = runtime.spawn(async move { arbiter::open(name, &instance) });
        let arbiter = runtime.block_on(open).unwrap()?;
        Ok(Self { name, runtime, arbiter })
    }

    /// Proposes in the background.
    pub fn begin(&self, record: Record) -> Question<'_> {
        let arbiter = Arc::clone(&self.arbiter);
        Question {
            node: self,
            ruling: self.runtime.spawn(async move { arbiter.propose(record).await }),
        }
    }

    pub fn propose(&self, record: Record) -> Ruling {
        self.begin(record).ruling()
    }

    /// Proposes itself, alone.
    pub fn stand(&self, term: u64) -> Ruling {
        self.propose(record(term, self.name, &[self.name]))
    }

    pub fn consult(&self) -> anyhow::Result<Option<Record>> {
        let arbiter = Arc::clone(&self.arbiter);
        let consult = self.runtime.spawn(async move { arbiter.consult().await });
        self.runtime.block_on(consult).unwrap()
    }

    pub fn probe(&self) -> Answers {
        let arbiter = Arc::clone(&self.arbiter);
        let probe = self.runtime.spawn(async move { arbiter.probe().await });
        self.runtime.block_on(probe).unwrap()
    }
}

/// A proposal under way.
pub struct Question<'n> {
    node: &'n Node,
    ruling: JoinHandle<Ruling>,
}

impl Question<'_> {
    pub fn ruling(self) -> Ruling {
        self.node.runtime.block_on(self.ruling).unwrap()
    }
}

pub fn record(term: u64, primary: &str, in_sync: &[&str]) -> Record {
    let nodes: Vec<_> = in_sync.iter().map(|name| NodeId::of(name)).collect();
    let in_sync = NodeSet::new(&nodes).unwrap();
    Record { term: Term::new(term), primary: NodeId::of(primary), in_sync }
}

pub fn granted(term: u64) -> Ruling {
    Ruling::Granted(Term::new(term))
}

pub fn unknown(term: u64) -> Ruling {
    Ruling::Unknown(Term::new(term))
}

pub fn refused(term: u64, record: impl Into<Option<Record>>) -> Ruling {
    Ruling::Refused { term: Term::new(term), record: record.into() }
}

/// Asks until the answer is there that must come.
#[track_caller]
pub fn eventually<T: PartialEq + std::fmt::Debug>(wanted: T, mut ask: impl FnMut() -> T) {
    let begin = Instant::now();
    loop {
        let got = ask();
        if got == wanted {
            return;
        }
        assert!(begin.elapsed() < GENEROUS, "{got:?} to the end, and not {wanted:?}");
        thread::sleep(OFTEN);
    }
}
