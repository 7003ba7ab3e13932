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
    failover::{self, Core, NodeSet},
    maps::{MAX_INSTANCES, Watch},
    units::NodeId,
    wire::vrrp::{Auth, Expected, Version},
};

use super::{
    footing::Footing,
    hooks,
    host::{Effects, Executor, Host, Tools, VirtualAddresses},
    inbox::Inbox,
    instance::{Beginning, Instance},
    peer::Peer,
    peers::{self, Peers},
    seat::Seat,
    sources,
    supervise::Supervisor,
};
use crate::{
    arbiter, clock,
    config::{self, Transport},
    database::{self, ping::Pinger},
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
const PROMOTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Opens what an instance needs: its key, its sockets, its record, its database.
///
/// # Errors
/// When any of it is not to be had; nothing is attached then.
pub async fn prepare(
    index: usize,
    node: &config::Node,
    config: &config::Instance,
    interface: &Interface,
    supervisor: &Supervisor,
) -> anyhow::Result<Seat> {
    let me = NodeId::of(&node.name);
    let background = supervisor.handle();
    let vips: Vec<_> = config.virtual_addresses.iter().map(|v| (v.address, v.prefix)).collect();
    let addresses: Vec<IpAddr> = vips.iter().map(|&(address, _)| address).collect();
    let own = interface.own_address(config.family(), config.address, &addresses).await?;
    let key = Key::load(&config.liveness.key_file)?;
    let mut sockets = ProbeSockets::bind(own, config.liveness.port, key)?;
    let peers = peers(config, me, &mut sockets)?;
    let speaker = speaker(config, interface, own, &addresses)?;
    let vrrp = Arc::new(open_vrrp(config, interface, speaker, &addresses)?);
    let store = Store::open(&node.state_dir, &config.name)?;
    let (record, marks) = (store.load()?, store.marks()?);
    let (opening, nodes) = (config.database.clone(), config.nodes(&node.name));
    let opened = background.spawn(async move { database::open(&opening, nodes).await });
    let database = opened.await??;
    let (progress, writing) = (database.progress(), database.writing());
    let arbiter = open_arbiter(node, config, supervisor)?;
    let links = Addresses::open(&interface.name, interface.index, background)?;
    let announcer = Announcer::open(interface)?;
    let (tell_own, hear_own) = tokio::sync::watch::channel(Some(own));
    let core = Core::new(core_config(config, me, speaker, &peers)?);
    let servers = servers(config, own, &peers);
    let (now, inbox) = (clock::now(), supervisor.inbox().clone());
    let adverts = sources::adverts(index, &config.name, Arc::clone(&vrrp), inbox);
    let footing = Footing::new(&config.name, interface, own, &vips);
    let own = own_identity(me, config, &sockets);
    let beginning = Beginning {
        node: node.name.clone(),
        config: config.clone(),
        core,
        peers: Peers::new(&config.name, peers, own, &config.liveness, now),
        record,
        marks,
        watch: watch(config)?,
        promotion_timeout: PROMOTION_TIMEOUT,
    };
    let links = VirtualAddresses { interface: links, vips: vips.clone() };
    let tools = Tools { database, store, addresses: links, arbiter, servers, own: hear_own };
    let effects = Effects {
        name: config.name.clone(),
        slot: u32::try_from(index)?,
        footing,
        stale: false,
        own: tell_own,
        vips,
        sockets,
        vrrp,
        announcer,
        adverts,
        server: config.database.clone(),
        progress,
        writing,
        hooks: hooks::start(config, supervisor),
        executor: Executor::new(index, &config.name, supervisor.clone(), tools),
    };
    Ok(Seat { instance: Instance::new(beginning, now), effects })
}

/// What it opens belongs to the background threads.
fn open_arbiter(
    node: &config::Node,
    config: &config::Instance,
    supervisor: &Supervisor,
) -> anyhow::Result<Arc<dyn arbiter::Arbiter>> {
    let _within = supervisor.handle().enter();
    arbiter::open(&node.name, config)
}

/// This node, as its peers know it.
fn own_identity(me: NodeId, config: &config::Instance, sockets: &ProbeSockets) -> peers::Own {
    peers::Own {
        node: me,
        vrid: config.vrid,
        database_port: config.database.port().unwrap_or(0),
        key: sockets.key().words(),
        boot_id: sockets.boot_id(),
    }
}

/// Tells the kernel what the instance is about, and starts it.
///
/// # Errors
/// When the kernel refuses.
pub fn start(instance: &mut Instance, host: &mut Host<'_>) -> anyhow::Result<()> {
    configure(instance, host)?;
    instance.start(host)?;
    // Probes are taken once there is something to answer.
    listen(host.kernel, host.effects)
}

/// Tells the kernel what the instance is about, but for where it takes probes.
///
/// # Errors
/// When the kernel refuses.
pub fn configure(instance: &Instance, host: &mut Host<'_>) -> anyhow::Result<()> {
    let (kernel, slot) = (&mut *host.kernel, host.effects.slot);
    let config = &instance.config;
    let addresses: Vec<IpAddr> = host.effects.vips.iter().map(|&(address, _)| address).collect();
    kernel.set_vips(slot, &addresses, host.effects.footing.interface.mac)?;
    if let Some(port) = config.database.port() {
        kernel.set_port(port, slot)?;
    }
    let nodes: Vec<NodeId> = instance.peers.list.iter().map(|peer| peer.node).collect();
    kernel.set_peers(slot, &nodes)?;
    let addresses: Vec<_> = config.peers.iter().flat_map(|peer| peer.addresses.clone()).collect();
    kernel.set_origins(slot, &addresses)?;
    // Of all paths, for a peer may send its adverts from any address.
    let senders: Vec<_> = config
        .peers
        .iter()
        .flat_map(|peer| peer.addresses.iter().map(|&at| (at, NodeId::of(&peer.name))))
        .collect();
    kernel.set_advertisers(slot, config.vrid, config.vrrp.version, &senders)
}

/// Opens the sockets again of an interface that is another one now, and tells the kernel of its Ethernet
/// address.
///
/// # Errors
/// When one cannot be opened; those before it are in use.
pub(super) fn reopen(
    effects: &mut Effects,
    config: &config::Instance,
    (index, inbox): (usize, &Inbox),
    kernel: &mut Kernel,
) -> anyhow::Result<()> {
    let addresses: Vec<IpAddr> = effects.vips.iter().map(|&(address, _)| address).collect();
    let interface = &effects.footing.interface;
    effects.announcer = Announcer::open(interface)?;
    kernel.set_vips(effects.slot, &addresses, interface.mac)?;
    let speaker = speaker(config, interface, effects.footing.own, &addresses)?;
    effects.vrrp = Arc::new(open_vrrp(config, interface, speaker, &addresses)?);
    effects.adverts.abort();
    let (name, socket) = (config.name.as_str(), Arc::clone(&effects.vrrp));
    effects.adverts = sources::adverts(index, name, socket, inbox.clone());
    Ok(())
}

/// Has the kernel take the instance's probes.
///
/// # Errors
/// When the kernel refuses.
pub fn listen(kernel: &mut Kernel, effects: &Effects) -> anyhow::Result<()> {
    let addresses: Vec<IpAddr> = effects.sockets.addresses().collect();
    kernel.set_endpoints(effects.slot, &addresses, effects.sockets.port())
}

/// What the tracepoints are to watch, before the database's main process is known.
pub(super) fn watch(config: &config::Instance) -> anyhow::Result<Watch> {
    let watch =
        Watch { agent: std::process::id(), pidns: own_namespace("pid")?, ..Watch::default() };
    Ok(match config.database.port() {
        Some(port) => Watch { port: u32::from(port), netns: own_namespace("net")?, ..watch },
        None => watch,
    })
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
) -> Vec<(Option<NodeId>, Pinger)> {
    let Some(server) = config.database.server() else { return Vec::new() };
    let gssenc = matches!(config.database, config::Database::Postgresql(_));
    let pinger = |address, here| Pinger::new(SocketAddr::new(address, server.port), here, gssenc);
    let here = (None, pinger(own, true));
    let there = |peer: &Peer| {
        let address = *peer.addresses.first()?;
        Some((Some(peer.node), pinger(address, false)))
    };
    [here].into_iter().chain(peers.iter().filter_map(there)).collect()
}

pub(super) fn open_vrrp(
    config: &config::Instance,
    interface: &Interface,
    source: IpAddr,
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
        Transport::Unicast => {
            vrrp::Transport::Unicast(config.peers.iter().map(config::Peer::address).collect())
        }
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
    Ok(failover::Config {
        node: me,
        nodes,
        priority: config.priority,
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
            preempt: false,
            version: version(&config.vrrp),
            address: speaker,
        },
    })
}

fn own_namespace(kind: &str) -> anyhow::Result<u32> {
    let path = format!("/proc/self/ns/{kind}");
    let file = std::fs::metadata(&path).with_context(|| format!("cannot read {path}"))?;
    u32::try_from(std::os::unix::fs::MetadataExt::ino(&file)).context("an impossible inode")
}

const _: () = assert!(MAX_INSTANCES <= u32::MAX as usize);
