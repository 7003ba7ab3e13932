//! Makes an instance from its configuration: everything that can be refused, before anything is
//! attached.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use ogha_common::{
    detector::{self, Detector},
    election,
    failover::{self, Core, Input, NodeSet},
    maps::{MAX_INSTANCES, Passage, Watch},
    units::{NodeId, Term},
    wire::vrrp::{Auth, Expected, Version},
};
use tokio::runtime::Runtime;

use super::{
    health::{Checks, Health},
    hooks::Hooks,
    inbox::Inbox,
    instance::Instance,
    orders::{Ask, Tended},
    pace::Pace,
    peer::Peer,
    peers::{self, Peers},
    referee::Referee,
    sources,
    story::History,
    workers::Workers,
};
use crate::{
    arbiter, clock,
    config::{self, Transport},
    database::{self, Observation},
    kernel::{Kernel, Place},
    net::{
        Family,
        addresses::Addresses,
        announce::Announcer,
        interface::Interface,
        probe::{Key, ProbeSockets},
        vrrp::{self, VrrpSocket},
    },
    store::Store,
};

/// How long a promotion, or a start, may take: what was received must be replayed first.
pub const PROMOTION_TIMEOUT: Duration = Duration::from_secs(60);

impl Instance {
    /// Opens what the instance needs: its key, its sockets, its record, its database.
    ///
    /// # Errors
    /// When any of it is not to be had; nothing is attached then.
    pub async fn prepare(
        index: usize,
        node: &config::Node,
        config: &config::Instance,
        interface: &Interface,
        inbox: &Inbox,
        background: &Runtime,
    ) -> anyhow::Result<Self> {
        let me = NodeId::of(&node.name);
        let vips: Vec<_> = config.virtual_addresses.iter().map(|v| (v.address, v.prefix)).collect();
        let addresses: Vec<IpAddr> = vips.iter().map(|&(address, _)| address).collect();
        let own = interface.own_address(config.family(), config.address, &addresses).await?;
        let liveness = &config.liveness;
        let key = Key::load(&liveness.key_file)?;
        let mut sockets = ProbeSockets::bind(own, liveness.port, key)?;
        let peers = peers(config, me, &mut sockets)?;
        let speaker = speaker(config, interface, own, &addresses)?;
        let firsts = config.peers.iter().map(config::Peer::address).collect();
        let vrrp = Arc::new(open_vrrp(config, interface, speaker, firsts, &addresses)?);
        let store = Store::open(&node.state_dir, &config.name)?;
        let record = store.load()?;
        let paused = store.is_paused()?;
        let (opening, nodes) = (config.database.clone(), database_nodes(node, config));
        let database =
            background.spawn(async move { database::open(&opening, nodes).await }).await??;
        let progress = database.progress();
        let arbiter = {
            // What it opens belongs to the background threads.
            let _within = background.enter();
            arbiter::open(&node.name, config)?
        };
        let hooks = Hooks::start(&node.name, config, background.handle());
        let arbiter = Referee::start(index, arbiter, inbox, background.handle());
        let links = Addresses::open(&interface.name, interface.index, background.handle())?;
        let announcer = Announcer::open(interface)?;
        let core = Core::new(core_config(config, me, speaker, &peers)?);

        sources::adverts(index, Arc::clone(&vrrp), inbox.clone());
        let tended = Tended::new(index, inbox.clone(), database, &names(config), &config.failover);
        let workers = Workers::start(tended, background.handle(), store, links, vips.clone());
        let checks = Checks::start(index, servers(config, own, &peers), inbox, background.handle());
        let peers = Peers::new(
            peers,
            sockets,
            peers::Own {
                instance: u32::try_from(index)?,
                node: me,
                vrid: config.vrid,
                database_port: config.database.port().unwrap_or(0),
            },
            liveness,
        );
        Ok(Self {
            index,
            config: config.clone(),
            core,
            peers,
            seen: Observation::default(),
            pace: Pace::default(),
            listening: false,
            record,
            paused,
            vips,
            interface: interface.clone(),
            workers,
            vrrp,
            announcer,
            story: None,
            watch: Watch::default(),
            died: None,
            health: Health::new(),
            checks,
            arbiter,
            hooks,
            progress,
            disarmed: false,
        })
    }

    /// Tells the kernel what the instance is about, and starts the core from what the last
    /// agent left.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self, kernel: &mut Kernel, history: &mut History) -> anyhow::Result<()> {
        let slot = self.slot();
        let addresses: Vec<IpAddr> = self.vips.iter().map(|&(a, _)| a).collect();
        kernel.set_vips(slot, &addresses, self.interface.mac)?;
        self.watch.agent = std::process::id();
        if let Some(port) = self.config.database.port() {
            kernel.set_port(port, slot)?;
            self.watch.port = u32::from(port);
            self.watch.netns = own_netns()?;
            self.look_for_listener();
        }
        kernel.set_watch(slot, self.watch)?;
        self.peers.start(kernel)?;
        // Of all paths, for a peer may send its adverts from any address.
        let senders: Vec<_> = self
            .config
            .peers
            .iter()
            .flat_map(|peer| peer.addresses.iter().map(|&at| (at, NodeId::of(&peer.name))))
            .collect();
        kernel.set_advertisers(slot, self.config.vrid, self.config.vrrp.version, &senders)?;
        let gate = kernel.gate(slot)?;
        let open = kernel.passage(slot, clock::now().ns())? == Passage::Open;
        let open = open.then(|| Term::new(gate.term));
        // A gate that stays open does so by what was granted before.
        for index in 0..self.peers.list.len() {
            let peer = &self.peers.list[index];
            let (node, (term, until)) = (peer.node, peer.granted());
            // No action comes of it, and nothing is to be said before the start.
            self.core.handle(clock::now(), Input::Granted { node, term, until }, &mut |_| ());
        }
        let started = Input::Started { record: self.record, open, paused: self.paused };
        self.input(started, kernel, history);
        self.peers.listen(kernel)?;
        self.workers.database(Ask::Look);
        Ok(())
    }
}

/// What is wanted of XDP at an interface, and who can tell whether it works.
pub async fn place(config: &config::Config, interface: &Interface) -> Place {
    let here = || config.instances.iter().filter(|i| i.interface == interface.name);
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    let vips: Vec<_> = here().flat_map(|i| &i.virtual_addresses).map(|vip| vip.address).collect();
    let own = interface.own_address(Family::V4, None, &vips).await.ok().as_ref().and_then(v4);
    let peers = here().flat_map(|i| &i.peers).flat_map(|peer| &peer.addresses).filter_map(v4);
    let xdp = here().next().map_or(config::Xdp::Auto, |instance| instance.xdp);
    Place::new(interface, xdp, own, peers)
}

/// Where adverts come from.
pub(super) fn speaker(
    config: &config::Instance,
    interface: &Interface,
    own: IpAddr,
    virtual_addresses: &[IpAddr],
) -> anyhow::Result<IpAddr> {
    match (config.vrrp.transport, own) {
        (Transport::Multicast, IpAddr::V6(_)) => interface.link_local(virtual_addresses),
        _ => Ok(own),
    }
}

/// The peers by name.
fn names(config: &config::Instance) -> Vec<(NodeId, String)> {
    config.peers.iter().map(|peer| (NodeId::of(&peer.name), peer.name.clone())).collect()
}

/// The nodes, as the database's driver needs to know them.
fn database_nodes(node: &config::Node, config: &config::Instance) -> database::Nodes {
    let port = config.database.port().unwrap_or(0);
    let peer = |peer: &config::Peer| database::Peer {
        name: peer.name.clone(),
        addresses: peer.addresses.clone(),
        port,
    };
    database::Nodes { own: node.name.clone(), peers: config.peers.iter().map(peer).collect() }
}

/// The first path to each peer begins at the node's own address, the others where the routes say.
fn peers(
    config: &config::Instance,
    me: NodeId,
    sockets: &mut ProbeSockets,
) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for peer in &config.peers {
        let mut paths = vec![(peer.address(), 0)];
        for &address in &peer.addresses[1..] {
            paths.push((address, sockets.towards(address)?));
        }
        let detector = detector(&config.liveness, paths.len());
        let peer = Peer::new(peer.name.clone(), paths, detector);
        if peer.node == me || peers.iter().any(|other: &Peer| other.node == peer.node) {
            bail!("two nodes are called {}; each needs a name of its own", peer.name);
        }
        peers.push(peer);
    }
    Ok(peers)
}

fn detector(liveness: &config::Liveness, paths: usize) -> Detector {
    let config = detector::Config::new(
        liveness.probe_interval,
        liveness.detect_multiplier,
        liveness.agent_timeout,
    );
    Detector::new(config, paths)
}

/// The databases that can be checked: our own and the peers', at the nodes' own addresses.
fn servers(
    config: &config::Instance,
    own: IpAddr,
    peers: &[Peer],
) -> Vec<(Option<NodeId>, SocketAddr)> {
    let Some(server) = config.database.server() else { return Vec::new() };
    let here = (None, SocketAddr::new(own, server.port));
    let there = |peer: &Peer| {
        let address = *peer.addresses.first()?;
        Some((Some(peer.node), SocketAddr::new(address, server.port)))
    };
    [here].into_iter().chain(peers.iter().filter_map(there)).collect()
}

pub(super) fn open_vrrp(
    config: &config::Instance,
    interface: &Interface,
    source: IpAddr,
    peers: Vec<IpAddr>,
    virtual_addresses: &[IpAddr],
) -> anyhow::Result<VrrpSocket> {
    let settings = &config.vrrp;
    let auth = settings.auth_pass.as_deref().and_then(Auth::simple_text).unwrap_or(Auth::None);
    let expected = Expected {
        version: version(settings),
        vrid: config.vrid,
        interval: settings.advert_interval,
        auth,
    };
    let transport = match settings.transport {
        Transport::Multicast => vrrp::Transport::Multicast,
        Transport::Unicast => vrrp::Transport::Unicast(peers),
    };
    VrrpSocket::open(interface, source, transport, expected, virtual_addresses)
}

pub(super) fn version(settings: &config::Vrrp) -> Version {
    if settings.version == 2 { Version::V2 } else { Version::V3 }
}

fn core_config(
    config: &config::Instance,
    me: NodeId,
    speaker: IpAddr,
    peers: &[Peer],
) -> anyhow::Result<failover::Config> {
    let all: Vec<NodeId> = peers.iter().map(|peer| peer.node).chain([me]).collect();
    let nodes =
        NodeSet::new(&all).with_context(|| format!("at most {} nodes", failover::MAX_NODES))?;
    let database = !matches!(config.database, config::Database::None { .. });
    Ok(failover::Config {
        node: me,
        nodes,
        priority: config.priority,
        database,
        arbiter: match config.arbiter {
            config::Arbiter::None => failover::Arbiter::None,
            config::Arbiter::Gateway(_) => failover::Arbiter::Gateway,
            config::Arbiter::Etcd(_) => failover::Arbiter::Etcd,
        },
        lease: config.liveness.lease,
        agent_timeout: config.liveness.agent_timeout,
        promotion_timeout: PROMOTION_TIMEOUT,
        switchover_timeout: config.failover.switchover_timeout,
        max_lag: config.failover.tolerance(),
        rejoin: config.failover.rejoin == config::Rejoin::Auto,
        restart_attempts: config.failover.restart_attempts,
        election: election::Config {
            priority: config.priority,
            advert_interval: config.vrrp.advert_interval,
            // Between the nodes of a database the term decides: a healthy primary is not
            // preempted.
            preempt: config.vrrp.preempt && !database,
            version: version(&config.vrrp),
            address: speaker,
        },
    })
}

pub(super) fn own_netns() -> anyhow::Result<u32> {
    let file = std::fs::metadata("/proc/self/ns/net").context("cannot see our own namespace")?;
    u32::try_from(std::os::unix::fs::MetadataExt::ino(&file)).context("an impossible inode")
}

const _: () = assert!(MAX_INSTANCES <= u32::MAX as usize);
