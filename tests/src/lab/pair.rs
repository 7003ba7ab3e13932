//! The usual lab: two hosts with a database and an agent each, and a client.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::opengauss;

use super::{
    Agent, Host, Lab, Postgres, Switch, Template, Writer,
    agent::{Peer, Settings},
    clock,
    config::{self, Kind},
    postgres::{BIN, PORT},
    sql::TABLE,
    template::USER,
    writer::Patience,
};

/// The virtual address of every pair, or what its IPv6 address goes with.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Where the first node is; it begins as primary.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
/// Where the second node is; it begins as standby.
pub const SECOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 12);
/// Where the client is.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

/// For what should take a moment and may take long on a busy machine.
pub const GENEROUS: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(10);

/// A primary and a standby in sync with it, no agents.
#[derive(Debug)]
pub struct Databases {
    /// Its own address is [`FIRST`].
    pub primary: Postgres,
    /// Its own address is [`SECOND`].
    pub standby: Postgres,
    /// Has no database.
    pub client: Arc<Host>,
    /// What they hang on.
    pub switch: Arc<Switch>,
    /// Last, for it removes the rest.
    pub lab: Lab,
}

impl Databases {
    /// Makes them, with the writers' table, and waits until they are in sync.
    ///
    /// # Errors
    /// If a part cannot be made or started.
    pub fn start(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let switch = lab.switch("switch")?;
        let client = lab.host("client", &switch, CLIENT)?;
        let template = Template::get()?;
        let primary = Postgres::primary(&lab.host("db1", &switch, FIRST)?, &template)?;
        let standby = Postgres::standby(&lab.host("db2", &switch, SECOND)?, &template, FIRST)?;
        primary.start()?;
        standby.start()?;
        primary.wait_for_standby(standby.host().name())?;
        primary.session()?.rows(&format!("create table {TABLE} (id bigint primary key)"))?;
        Ok(Self { primary, standby, client, switch, lab })
    }
}

/// Puts openGauss's tools, simulated, in front of the databases. The first is the primary.
fn install_opengauss(databases: [&Postgres; 2]) -> Result<()> {
    databases[0].session()?.rows(opengauss::SCHEMA)?;
    let started = [opengauss::Started::Primary, opengauss::Started::Standby];
    let nodes: Vec<_> = databases
        .iter()
        .zip(started)
        .map(|(database, started)| opengauss::Peer {
            name: database.host().name().into(),
            address: database.host().address().to_string(),
            port: PORT,
            data_dir: database.data_dir().to_owned(),
            socket_dir: database.socket_dir().to_owned(),
            started,
        })
        .collect();
    let simulator = opengauss::Node::simulator()?;
    for (this, database) in databases.into_iter().enumerate() {
        let bin_dir = config::bin_dir(Kind::Opengauss, database.host());
        let (pg_bin, user) = (BIN.into(), USER.to_owned());
        opengauss::Node { nodes: nodes.clone(), this, bin_dir, pg_bin, user }
            .install(&simulator)?;
    }
    Ok(())
}

/// A host with its database and its agent.
#[derive(Debug)]
pub struct Node {
    /// The host.
    pub host: Arc<Host>,
    /// Its database.
    pub database: Postgres,
    /// Its agent.
    pub agent: Agent,
}

/// Two nodes, a client and a switch.
#[derive(Debug)]
pub struct Pair {
    /// The first begins as primary and serves the VIP.
    pub nodes: [Node; 2],
    /// The virtual addresses: those that go with [`VIP`].
    pub vips: Vec<IpAddr>,
    /// Has neither database nor agent.
    pub client: Arc<Host>,
    /// What they hang on.
    pub switch: Arc<Switch>,
    /// Last, for it removes the rest.
    pub lab: Lab,
}

impl Pair {
    /// Databases in sync and agents configured, but no agent started.
    ///
    /// # Errors
    /// If a part cannot be made or started.
    pub fn without_agents(name: &str, settings: &Settings) -> Result<Self> {
        let Databases { primary, standby, client, switch, lab } = Databases::start(name)?;
        if settings.kind == Kind::Opengauss {
            install_opengauss([&primary, &standby])?;
        }
        let peer =
            |of: &Postgres| Peer { name: of.host().name().into(), address: of.host().address() };
        let first = Agent::configure(&primary, &peer(&standby), VIP, 100, settings)?;
        let second = Agent::configure(&standby, &peer(&primary), VIP, 90, settings)?;
        let node =
            |database: Postgres, agent| Node { host: Arc::clone(database.host()), database, agent };
        let nodes = [node(primary, first), node(standby, second)];
        let vips = settings.families.virtual_addresses(VIP);
        Ok(Self { nodes, vips, client, switch, lab })
    }

    /// The whole pair at work: the first node serves, the second stands by and is in sync, and a
    /// write through the VIP has been acknowledged.
    ///
    /// # Errors
    /// If that does not come about; the error holds what the agents last logged.
    pub fn start(name: &str, settings: &Settings) -> Result<Self> {
        let pair = Self::without_agents(name, settings)?;
        pair.start_agents()?;
        Ok(pair)
    }

    /// Starts the agents and waits until the pair is at work, as [`start`](Self::start) says.
    ///
    /// # Errors
    /// If that does not come about; the error holds what the agents last logged.
    pub fn start_agents(&self) -> Result<()> {
        self.begin_work().with_context(|| self.agents_last_words())
    }

    fn begin_work(&self) -> Result<()> {
        for node in &self.nodes {
            node.agent.start()?;
        }
        self.wait_until_serving(0)?;
        self.wait_until_in_sync(0)?;
        clock::wait_until("the second node to see the first", GENEROUS, OFTEN, || {
            let instance = self.nodes[1].agent.instance()?;
            let (vrrp, host) = (&instance["vrrp"], &instance["peers"][0]["host"]);
            ensure!(vrrp == "backup" && host == "alive", "{instance}");
            Ok(Some(()))
        })?;
        let writer = self.writer();
        writer.wait_for(1, GENEROUS)?;
        writer.stop()?;
        // The next writer begins with the same id.
        self.nodes[0].database.session()?.rows(&format!("truncate {TABLE}")).map(drop)
    }

    /// Waits until the agent of that node says that it serves, and returns what it says.
    ///
    /// # Errors
    /// If it does not within a minute.
    pub fn wait_until_serving(&self, node: usize) -> Result<Value> {
        let agent = &self.nodes[node].agent;
        let what = format!("{} to serve", agent.host().name());
        clock::wait_until(&what, GENEROUS, OFTEN, || {
            let instance = agent.instance()?;
            let serves = instance["phase"] == "serving" && instance["gate"] == "open";
            ensure!(serves, "{instance}");
            Ok(Some(instance))
        })
    }

    /// Waits until the record of that node, which serves, counts the other in sync: only then the
    /// other takes over when this one fails.
    ///
    /// # Errors
    /// If it does not within a minute.
    pub fn wait_until_in_sync(&self, node: usize) -> Result<Value> {
        let agent = &self.nodes[node].agent;
        clock::wait_until("the other node to be in sync", GENEROUS, OFTEN, || {
            let instance = agent.instance()?;
            ensure!(instance["peers"][0]["in_sync"] == true, "{instance}");
            Ok(Some(instance))
        })
    }

    /// The virtual address that clients use: the first.
    #[must_use]
    pub fn vip(&self) -> IpAddr {
        self.vips[0]
    }

    /// A client that writes through the VIP.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::start(&self.client, self.vip(), Patience::default())
    }

    /// The two hosts.
    #[must_use]
    pub fn hosts(&self) -> [Arc<Host>; 2] {
        self.nodes.each_ref().map(|node| Arc::clone(&node.host))
    }

    /// The end of both agents' logs, for the message of a failed scenario.
    #[must_use]
    pub fn agents_last_words(&self) -> String {
        self.nodes.iter().map(|node| node.host.last_words("agent")).collect()
    }
}
