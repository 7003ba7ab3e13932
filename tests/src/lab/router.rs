//! Routers without a database: hosts with an agent of `kind = "none"`, at one switch, and a client.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, ensure};
use ogha_common::maps::Passage;

use super::{
    Agent, Host, Lab, Switch, clock,
    host::INTERFACE,
    pair::{CLIENT, FIRST, GENEROUS, SECOND, VIP},
    watcher,
};

const OFTEN: Duration = Duration::from_millis(10);

/// What a scenario may choose; the rest is left to its default.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of the adverts.
    pub advert_interval: Option<Duration>,
    /// Whether a higher priority takes the role back.
    pub preempt: bool,
    /// Whether adverts go to the group, where the client hears them.
    pub multicast: bool,
    /// No real-time priority for the agent.
    pub ordinary: bool,
    /// Where the history goes, if not to the host's own directory.
    pub state_dir: Option<PathBuf>,
    /// Run on each transition.
    pub hook: Option<PathBuf>,
}

/// A host with its agent.
#[derive(Debug)]
pub struct Router {
    /// The host.
    pub host: Arc<Host>,
    /// Its agent.
    pub agent: Agent,
}

/// Two hosts, a client and a switch. No agent is started.
#[derive(Debug)]
pub struct Routers {
    /// Of priority 100, at [`FIRST`], and of priority 90, at [`SECOND`].
    pub nodes: [Router; 2],
    /// Has no agent.
    pub client: Arc<Host>,
    /// What they hang on.
    pub switch: Arc<Switch>,
    /// Last, for it removes the rest.
    pub lab: Lab,
}

impl Routers {
    /// Two routers that know each other.
    ///
    /// # Errors
    /// If a part cannot be made.
    pub fn new(name: &str, settings: &Settings) -> Result<Self> {
        let lab = Lab::new(name)?;
        let switch = lab.switch("switch")?;
        let client = lab.host("client", &switch, CLIENT)?;
        let router = |name, address, peer, other, priority| -> Result<Router> {
            let host = lab.host(name, &switch, address)?;
            let text = text(&host, peer, other, priority, settings);
            let agent = Agent::with_config(&host, &text)?;
            Ok(Router { host, agent })
        };
        let nodes =
            [router("r1", FIRST, "r2", SECOND, 100)?, router("r2", SECOND, "r1", FIRST, 90)?];
        Ok(Self { nodes, client, switch, lab })
    }

    /// Waits until that router serves.
    ///
    /// # Errors
    /// If it does not within a minute; the error holds what the agents last logged.
    pub fn wait_until_serving(&self, node: usize) -> Result<()> {
        let router = &self.nodes[node];
        let what = format!("{} to serve", router.host.name());
        clock::wait_until(&what, GENEROUS, OFTEN, || {
            let instance = router.agent.instance()?;
            let serves = instance["phase"] == "serving"
                && instance["gate"] == "open"
                && instance["vrrp"] == "active";
            ensure!(serves && router.holds_the_address()?, "{instance}");
            Ok(Some(()))
        })
        .map_err(|e| e.context(self.last_words()))
    }

    /// Waits until that router is a backup and says so.
    ///
    /// # Errors
    /// If it is not within a minute; the error holds what the agents last logged.
    pub fn wait_until_backup(&self, node: usize) -> Result<()> {
        let router = &self.nodes[node];
        let what = format!("{} to be a backup", router.host.name());
        clock::wait_until(&what, GENEROUS, OFTEN, || {
            let instance = router.agent.instance()?;
            let waits = instance["vrrp"] == "backup" && instance["gate"] != "open";
            ensure!(waits && !router.holds_the_address()?, "{instance}");
            Ok(Some(()))
        })
        .map_err(|e| e.context(self.last_words()))
    }

    /// Waits until one of them serves, and tells which.
    ///
    /// # Errors
    /// If none does within a minute; the error holds what the agents last logged.
    pub fn wait_until_one_serves(&self) -> Result<usize> {
        let serving = clock::wait_until("a router to serve", GENEROUS, OFTEN, || {
            Ok(self.nodes.iter().position(Router::is_open))
        });
        let node = serving.map_err(|e| e.context(self.last_words()))?;
        self.wait_until_serving(node)?;
        Ok(node)
    }

    /// The hosts.
    #[must_use]
    pub fn hosts(&self) -> [Arc<Host>; 2] {
        self.nodes.each_ref().map(|node| Arc::clone(&node.host))
    }

    /// The end of both agents' logs, for the message of a failed scenario.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.nodes.iter().map(|node| node.host.last_words("agent")).collect()
    }
}

impl Router {
    /// Whether its gate is open now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        watcher::passage(&self.host, 0).is_ok_and(|passage| passage == Passage::Open)
    }

    /// Whether the virtual address is on its interface.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn holds_the_address(&self) -> Result<bool> {
        Ok(self.host.addresses()?.contains(&IpAddr::V4(VIP)))
    }
}

fn text(host: &Host, peer: &str, address: Ipv4Addr, priority: u8, settings: &Settings) -> String {
    let state_dir = settings.state_dir.clone().unwrap_or_else(|| host.state_dir());
    let mut text = format!(
        "[node]\nname = \"{}\"\nstate_dir = \"{}\"\nrun_dir = \"{}\"\nbpf_dir = \"{}\"\n\
         realtime = {}\n\n[[instance]]\nname = \"VI_1\"\ninterface = \"{INTERFACE}\"\n\
         virtual_router_id = 59\npriority = {priority}\nvirtual_addresses = [\"{VIP}/32\"]\n\n\
         [[instance.peer]]\nname = \"{peer}\"\naddress = \"{address}\"\n\n\
         [instance.liveness]\nkey_file = \"{}\"\n\n[instance.database]\nkind = \"none\"\n",
        host.name(),
        state_dir.display(),
        host.run_dir().display(),
        host.bpf_dir().display(),
        !settings.ordinary,
        host.directory().join("cluster.key").display(),
    );
    // Writing to a string does not fail.
    let _ = writeln!(text, "\n[instance.vrrp]\npreempt = {}", settings.preempt);
    if settings.multicast {
        text.push_str("transport = \"multicast\"\n");
    }
    if let Some(interval) = settings.advert_interval {
        let _ = writeln!(text, "advert_interval = \"{}ms\"", interval.as_millis());
    }
    if let Some(hook) = &settings.hook {
        let _ = writeln!(text, "\n[instance.hooks]\ncommand = \"{}\"", hook.display());
    }
    text
}
