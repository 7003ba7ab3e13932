//! What a valid configuration says.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use ogha_common::units::{Centis, Priority, Vrid};

use crate::database::Nodes;
pub use crate::database::{DatabaseKind as Database, Server};
use crate::net::Family;

/// A whole configuration file, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What concerns this host.
    pub node: Node,
    /// At least one; names, virtual routers, addresses and database ports are unique.
    pub instances: Vec<Instance>,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// This node's name; its peers list it under the same name.
    pub name: String,
    /// Where the cluster record is kept.
    pub state_dir: PathBuf,
    /// Where the control socket is.
    pub run_dir: PathBuf,
    /// Where maps and links are pinned.
    pub bpf_dir: PathBuf,
    /// Whether the agent asks for real-time priority.
    pub realtime: bool,
    /// What is logged; the command line and `RUST_LOG` come before it.
    pub log: String,
}

/// `[[instance]]`: one VRRP virtual router, its addresses, its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Unique in the file.
    pub name: String,
    /// The interface that carries the addresses and the adverts.
    pub interface: String,
    /// Which XDP is wanted there; the same in all instances of an interface.
    pub xdp: Xdp,
    /// This node's own address on it; `None`: its first that does not move.
    pub address: Option<IpAddr>,
    /// The same on all nodes of the instance.
    pub vrid: Vrid,
    /// 1 to 254.
    pub priority: Priority,
    /// At least one of the instance's [`family`](Instance::family).
    pub virtual_addresses: Vec<VirtualAddress>,
    /// `[instance.vrrp]`
    pub vrrp: Vrrp,
    /// `[[instance.peer]]`; at least one where the transport is unicast.
    pub peers: Vec<Peer>,
    /// `[instance.liveness]`
    pub liveness: Liveness,
    /// `[instance.database]`
    pub database: Database,
    /// `[instance.failover]`
    pub failover: Failover,
    /// `[instance.arbiter]`
    pub arbiter: Arbiter,
    /// `[instance.hooks]`
    pub hooks: Hooks,
}

/// Who runs the XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// The driver, where a neighbour proves that it works; else the kernel's stack.
    Auto,
    /// The driver; the operator knows that it works.
    Native,
    /// The kernel's stack.
    Generic,
}

impl Instance {
    /// The family of the instance's virtual router: its adverts and probes travel in it, and its
    /// adverts name the virtual addresses of it. It is that of the peers' addresses; without a peer,
    /// that of the node's own, else of the first virtual address.
    #[must_use]
    pub fn family(&self) -> Family {
        let virtual_address = self.virtual_addresses.first().map(|vip| vip.address);
        let address = self.peers.first().map(Peer::address).or(self.address).or(virtual_address);
        address.map_or(Family::V4, Family::of)
    }

    /// The nodes, as the database's driver needs to know them; `own` is this node's name.
    #[must_use]
    pub fn nodes(&self, own: &str) -> Nodes {
        let port = self.database.port().unwrap_or(0);
        let peer = |peer: &Peer| crate::database::Peer {
            name: peer.name.clone(),
            addresses: peer.addresses.clone(),
            port,
        };
        Nodes { own: own.to_owned(), peers: self.peers.iter().map(peer).collect() }
    }
}

/// An address that moves, with the length of its network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VirtualAddress {
    /// IPv4 or IPv6.
    pub address: IpAddr,
    /// 1 to 32, or to 128 of IPv6; all of the address unless the file says otherwise.
    pub prefix: u8,
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// `[instance.vrrp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrrp {
    /// 2 (RFC 3768) or 3 (RFC 9568).
    pub version: u8,
    /// Between two adverts; whole seconds in version 2.
    pub advert_interval: Centis,
    /// Whether a higher priority takes the role from a healthy active router.
    pub preempt: bool,
    /// How adverts travel.
    pub transport: Transport,
    /// The simple password of version 2, 1 to 8 octets of printable ASCII.
    pub auth_pass: Option<String>,
}

/// How adverts travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// To each peer's address.
    Unicast,
    /// To 224.0.0.18 or ff02::12.
    Multicast,
}

/// `[[instance.peer]]`: another node of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's `node.name`.
    pub name: String,
    /// The peer's own addresses, one for each path to it; never a virtual one. 1 to
    /// [`MAX_PATHS`](ogha_common::detector::MAX_PATHS), all of one family. The first is that of the
    /// adverts.
    pub addresses: Vec<IpAddr>,
}

impl Peer {
    /// The first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }
}

/// `[instance.liveness]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// UDP port of the probes.
    pub port: u16,
    /// Between two probes to a peer.
    pub probe_interval: Duration,
    /// So many misses in a row make a peer's host lost.
    pub detect_multiplier: u8,
    /// How long a dead host is waited for; at least `detect_multiplier`, and at least three,
    /// probe intervals.
    pub lease: Duration,
    /// How long an open gate stays open without its agent; at least `lease`.
    pub agent_timeout: Duration,
    /// How long the database here must do nothing before it is taken for hung, where its main process is
    /// not stopped or frozen.
    pub hang_timeout: Duration,
    /// The cluster's key.
    pub key_file: PathBuf,
}

/// `[instance.failover]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Bytes that a standby may be behind the last position heard and still be promoted; 0 where
    /// replication is synchronous.
    pub max_lag: u64,
    /// Whether ogha manages whom commits wait for. Without, replication is asynchronous, and
    /// `max_lag` is what may be lost.
    pub synchronous: bool,
    /// How a node that lost its role comes back.
    pub rejoin: Rejoin,
    /// How often a database that died is started again in its place before a standby takes over.
    pub restart_attempts: u8,
    /// How long a switchover may take before it is undone.
    pub switchover_timeout: Duration,
    /// What a client meets at a closed gate.
    pub closed_gate: ClosedGate,
}

impl Failover {
    /// What may be lost, in bytes, where replication is asynchronous; `None` where it is not.
    #[must_use]
    pub const fn tolerance(&self) -> Option<u64> {
        if self.synchronous { None } else { Some(self.max_lag) }
    }
}

/// How a node that lost its role comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    /// The operator brings it back, by `ogha-agent rejoin` or by hand.
    Manual,
    /// The agent makes its database a standby again.
    Auto,
}

/// What a client meets at a closed gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedGate {
    /// TCP is answered by RST, so that the client tries again at once.
    Reject,
}

/// `[instance.hooks]`: the operator's own command, run on each transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// The program; none is run without.
    pub command: Option<PathBuf>,
    /// How long it may run before it is killed.
    pub timeout: Duration,
}

/// `[instance.arbiter]`: what decides who may go on when nodes lose each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arbiter {
    /// Nothing does: the nodes cannot distinguish a dead peer from a partition.
    None,
    /// Addresses that a node which may go on still reaches.
    Gateway(Gateway),
    /// A record in etcd that only one node can change.
    Etcd(Etcd),
}

/// `kind = "gateway"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// 1 to [`MAX_GATEWAYS`](super::MAX_GATEWAYS), of any family; more than half must answer.
    pub addresses: Vec<IpAddr>,
}

/// `kind = "etcd"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// The members' URLs for clients, without a path; all `http` or all `https`.
    pub endpoints: Vec<String>,
    /// How members prove who they are; `None` where the endpoints are `http`.
    pub tls: Option<Tls>,
    /// The user of etcd that the agent is.
    pub login: Option<Login>,
    /// What the record's key begins with.
    pub prefix: String,
}

/// The files of TLS, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Who signs the members' certificates.
    pub ca_file: PathBuf,
    /// The certificate by which members know the agent, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub username: String,
    /// Where its password is.
    pub password_file: PathBuf,
}
