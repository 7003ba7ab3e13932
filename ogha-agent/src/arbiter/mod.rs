//! Who decides when nodes lose each other.
//!
//! An [`Arbiter`] is asked before the cluster's record changes: [`Arbiter::propose`]. What it says
//! goes to the decision core, which alone draws conclusions; nothing here decides. No question
//! outlasts [`LIMIT`], and each may be asked again at any time. Futures may be dropped at any
//! point; what they asked may then still happen, as after [`Ruling::Unknown`].

pub mod etcd;
pub mod gateway;
pub mod none;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use ogha_common::{
    failover::{NodeSet, Record, Ruling},
    units::NodeId,
};

use crate::config;

/// How long a question may take in all.
pub const LIMIT: Duration = Duration::from_secs(1);

/// Where each address or endpoint was asked, and in what time it answered or why it did not.
pub type Answers = Vec<(String, anyhow::Result<Duration>)>;

/// What decides who may go on.
pub trait Arbiter: Send + Sync {
    /// The word of the configuration: `none`, `gateway` or `etcd`.
    fn kind(&self) -> &'static str;

    /// The cluster's record, as of now; `None` where there is none yet, and from an arbiter that
    /// keeps none.
    ///
    /// # Errors
    /// When no answer came within [`LIMIT`], or what stands there is no record of ours.
    fn consult(&self) -> BoxFuture<'_, anyhow::Result<Option<Record>>>;

    /// Asks for the record to become the cluster's. Why there is no answer is in the log.
    fn propose(&self, record: Record) -> BoxFuture<'_, Ruling>;

    /// Asks each address or endpoint whether it is there, for a person who wants to know.
    fn probe(&self) -> BoxFuture<'_, Answers>;
}

/// The nodes of an instance with their names, by which people know them.
#[derive(Clone, Debug)]
pub struct Names {
    /// This node first.
    nodes: Vec<(NodeId, String)>,
}

impl Names {
    /// Those of an instance on the node called `node`.
    #[must_use]
    pub fn of(node: &str, instance: &config::Instance) -> Self {
        let all = [node].into_iter().chain(instance.peers.iter().map(|peer| peer.name.as_str()));
        Self { nodes: all.map(|name| (NodeId::of(name), name.to_owned())).collect() }
    }

    /// This node's.
    #[must_use]
    pub fn own(&self) -> &str {
        self.nodes.first().map_or("", |(_, name)| name)
    }

    /// A node's; `None` for one that the configuration does not have.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&str> {
        self.nodes.iter().find(|(id, _)| *id == node).map(|(_, name)| name.as_str())
    }

    /// All nodes.
    #[must_use]
    pub fn set(&self) -> NodeSet {
        let mut set = NodeSet::default();
        for (node, _) in &self.nodes {
            set.insert(*node);
        }
        set
    }
}

/// Opens the arbiter of an instance on the node called `node`. It need not be reachable yet. Within
/// a runtime of tokio, which must live as long.
///
/// # Errors
/// When a file that the configuration names is missing or bad, or when an address to be asked is
/// this host's own.
pub fn open(node: &str, instance: &config::Instance) -> anyhow::Result<Arc<dyn Arbiter>> {
    Ok(match &instance.arbiter {
        config::Arbiter::None => Arc::new(none::None),
        config::Arbiter::Gateway(config) => Arc::new(
            gateway::Gateway::open(&config.addresses, instance)
                .context("opening the arbiter gateway")?,
        ),
        config::Arbiter::Etcd(config) => {
            let key = etcd::key(&config.prefix, &instance.name, instance.vrid);
            let names = Names::of(node, instance);
            Arc::new(etcd::Etcd::open(config, key, names).context("opening the arbiter etcd")?)
        }
    })
}
