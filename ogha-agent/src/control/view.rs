//! What `status` and `history` show: the types behind their JSON. A value that is not known is
//! `null`, never left out.

pub use ogha_common::maps::{AdvertCounters, ArpCounters, ProbeCounters};
use serde::{Deserialize, Serialize};

/// The agent, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `node.name`
    pub node: String,
    /// In the order of the configuration.
    pub instances: Vec<InstanceView>,
    /// What came of the last reload.
    #[serde(default)]
    pub configuration: ConfigurationView,
}

/// How the file and what the agent goes by differ, as of the last reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationView {
    /// What is wrong with the file: the agent goes by the one before.
    pub problems: Vec<String>,
    /// The keys that only a restart of the agent takes on.
    pub needs_restart: Vec<String>,
}

/// One instance, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// `instance.name`
    pub name: String,
    /// The virtual router's identifier.
    pub vrid: u8,
    /// The VRRP role: `initialize`, `backup` or `active`.
    pub vrrp: String,
    /// Of the cluster record.
    pub term: u64,
    /// What the instance is doing: `serving`, `standby`, `fenced: why` ..
    pub phase: String,
    /// `closed`, `open` or `lapsed`, as the kernel enforces it.
    pub gate: String,
    /// What is left of the gate's lease, in milliseconds; 0 where there is none.
    pub lease_ms: u64,
    /// Where what comes in is seen: `xdp-native`, `xdp-generic` or `tcx`.
    pub hook: String,
    /// The virtual addresses, with their prefixes.
    pub vips: Vec<String>,
    /// The database on this node.
    pub database: DatabaseView,
    /// The other nodes.
    pub peers: Vec<PeerView>,
    /// In what the peers contradict this node.
    #[serde(default)]
    pub contradictions: Vec<ContradictionView>,
    /// TCP on the database's port, since the data plane was loaded.
    pub counters: Counters,
    /// ARP and neighbour discovery for the virtual addresses, since the data plane was loaded.
    pub arp: ArpCounters,
    /// Probes of the peers, since the data plane was loaded.
    pub probes: ProbeCounters,
    /// VRRP adverts for the virtual router, since the data plane was loaded.
    pub adverts: AdvertCounters,
    /// Failovers in the history.
    pub failovers: u64,
    /// The node that the cluster record names as primary.
    pub primary: Option<String>,
    /// The nodes that the record counts in sync, sorted by name.
    pub in_sync: Vec<String>,
    /// Whether an operator has paused failovers, here or at a peer.
    pub paused: bool,
    /// What a person must do so that this node goes on, in words.
    pub waits_for: Option<String>,
    /// Why the cluster record cannot be kept in `state_dir`, if it cannot.
    #[serde(default)]
    pub disk: Option<String>,
    /// Who decides when nodes lose each other.
    pub arbiter: ArbiterView,
    /// The node that this one hands its role to, while it does.
    pub switchover_to: Option<String>,
    /// How the last rejoin of the database here goes, or went.
    pub rejoin: Option<RejoinView>,
    /// How often the database was started again in place since the agent began.
    pub restarts: u8,
    /// What is wrong with the host: the interface, this node's address, the BPF programs; each a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// Something that two nodes must agree about, and do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContradictionView {
    /// Whose configuration it is, by `peer.name`.
    pub peer: String,
    /// What it is and what to do, as a sentence without its subject: the peer.
    pub what: String,
    /// Whether it keeps this node from being promoted, if the peer is the primary's node.
    pub blocks: bool,
    /// Whether it is as it should be for a while, as during an upgrade.
    pub harmless: bool,
}

/// The arbiter, as last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArbiterView {
    /// `arbiter.kind`
    pub kind: String,
    /// Each of its addresses or endpoints; none of the kind `none`, or before the first look.
    pub answers: Vec<AnswerView>,
}

/// One of the addresses or endpoints of an arbiter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerView {
    /// As the configuration has it.
    pub place: String,
    /// In what time it answered, in microseconds.
    pub rtt_us: Option<u64>,
    /// Why it did not.
    pub error: Option<String>,
}

/// How a database becomes a standby again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejoinView {
    /// `comparing histories`, `rewinding`, `copying`, `starting`, `done`, `failed` ..
    pub phase: String,
    /// How much of the phase is done, 0 to 100.
    pub percent: Option<u8>,
    /// What only this node had, in words: timeline, range, where it is kept.
    pub lost: Option<String>,
}

/// The database on this node, as last observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseView {
    /// `database.kind`
    pub kind: String,
    /// `primary`, `standby` or `unknown`.
    pub role: String,
    /// A word for people: `normal`, `starting`, `unreachable` ..
    pub state: String,
    /// Position in the log, as `0/5000148`.
    pub lsn: Option<String>,
    /// Whether it listens on its port.
    pub listening: bool,
    /// What is thought of it: `healthy`, `suspect` or `hung`.
    pub verdict: String,
    /// The same with its evidence.
    pub evidence: String,
}

/// Another node, as last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// `peer.name`
    pub name: String,
    /// Whether its kernel answers our probes: `alive` or `silent`.
    pub host: String,
    /// Whether its agent shows that it lives: `alive` or `silent`.
    pub agent: String,
    /// What is thought of it, in a word or two: `healthy`, `suspect`, `agent slow`, `host dead`,
    /// `database dead`, `agent dead`, `hung`.
    pub verdict: String,
    /// The same with its evidence.
    pub evidence: String,
    /// What it says that it is doing; `unknown` before it was heard.
    pub phase: String,
    /// Whether its database's port had a listener when its kernel last answered.
    pub listening: Option<bool>,
    /// Round trip of the last probe, in microseconds.
    pub rtt_us: Option<u64>,
    /// Whether the record counts it in sync.
    pub in_sync: bool,
    /// Whether an operator has paused failovers there.
    pub paused: bool,
    /// Seen from the primary: `streaming`, `catchup`, `absent` ..
    pub replication: Option<String>,
    /// Bytes of the log that it has not on disk yet.
    pub lag_bytes: Option<u64>,
    /// The version of its agent.
    #[serde(default)]
    pub software: Option<String>,
    /// Whether it runs on the same kernel as this node, where nothing protects against the host's end.
    #[serde(default)]
    pub same_host: bool,
}

/// TCP on the database's port. Each name is a field of the map `PORT_COUNTERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// SYN without ACK, towards the port.
    pub syn_in: u64,
    /// SYN with ACK, from the port.
    pub synack_out: u64,
    /// RST towards the port.
    pub rst_in: u64,
    /// RST from the port.
    pub rst_out: u64,
}

impl From<ogha_common::maps::PortCounters> for Counters {
    fn from(from: ogha_common::maps::PortCounters) -> Self {
        Self {
            syn_in: from.syn_in,
            synack_out: from.synack_out,
            rst_in: from.rst_in,
            rst_out: from.rst_out,
        }
    }
}

/// The failovers that this node took part in, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// `node.name`
    pub node: String,
    /// Of all instances.
    pub failovers: Vec<Failover>,
}

/// A failover as a timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// `instance.name`
    pub instance: String,
    /// Why it began.
    pub cause: String,
    /// Wall time of the first sign, as RFC 3339 has it.
    pub started: String,
    /// The term that it ended in.
    pub term: u64,
    /// How it ended.
    pub outcome: String,
    /// In the order of time.
    pub steps: Vec<FailoverStep>,
}

/// A step of a failover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverStep {
    /// What was done, or seen.
    pub step: String,
    /// Microseconds since the first sign.
    pub offset_us: u64,
}
