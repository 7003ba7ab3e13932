//! What `status` and `history` show: the types behind their JSON. A value that is not known is
//! `null`, never left out.

use serde::{Deserialize, Serialize};

/// The agent, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `node.name`
    pub node: String,
    /// In the order of the configuration.
    pub instances: Vec<InstanceView>,
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

/// ARP and neighbour discovery for the virtual addresses. Each name is a field of the map `ARP_COUNTERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArpCounters {
    /// Requests answered.
    pub answered: u64,
    /// Requests dropped because the gate does not claim the address.
    pub dropped: u64,
    /// Frames in which another host claims an address that is held here.
    pub conflicts: u64,
    /// Those of them that were answered by our own announcement.
    pub defended: u64,
    /// Frames claiming an address that were kept from leaving this host.
    pub suppressed: u64,
}

impl From<ogha_common::maps::ArpCounters> for ArpCounters {
    fn from(from: ogha_common::maps::ArpCounters) -> Self {
        Self {
            answered: from.answered,
            dropped: from.dropped,
            conflicts: from.conflicts,
            defended: from.defended,
            suppressed: from.suppressed,
        }
    }
}

/// Probes and replies of the peers. Each name is a field of the map `PROBE_COUNTERS`; what was
/// refused, for the reason that the name tells, has changed nothing but its counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeCounters {
    /// Probes accepted.
    pub probes: u64,
    /// Probes answered.
    pub answered: u64,
    /// Replies accepted.
    pub replies: u64,
    /// Probes answered but not believed: of a boot that has not echoed a time of ours yet.
    pub unproven: u64,
    /// The length is wrong, or the packet is in pieces.
    pub length: u64,
    /// No probe of ogha's.
    pub magic: u64,
    /// Another version.
    pub version: u64,
    /// The tag is wrong: another key, or a forgery.
    pub tag: u64,
    /// A field makes no sense.
    pub field: u64,
    /// For another node or instance.
    pub receiver: u64,
    /// The sender is no peer.
    pub stranger: u64,
    /// Heard before.
    pub replay: u64,
    /// A reply to no probe of ours.
    pub echo: u64,
}

impl ProbeCounters {
    /// What was refused: each reason and how often, those that were met only.
    #[must_use]
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("length", self.length),
            ("magic", self.magic),
            ("version", self.version),
            ("tag", self.tag),
            ("field", self.field),
            ("receiver", self.receiver),
            ("stranger", self.stranger),
            ("replay", self.replay),
            ("echo", self.echo),
        ];
        all.into_iter().filter(|(_, count)| *count != 0).collect()
    }
}

impl From<ogha_common::maps::ProbeCounters> for ProbeCounters {
    fn from(from: ogha_common::maps::ProbeCounters) -> Self {
        Self {
            probes: from.probes,
            answered: from.answered,
            replies: from.replies,
            unproven: from.unproven,
            length: from.length,
            magic: from.magic,
            version: from.version,
            tag: from.tag,
            field: from.field,
            receiver: from.receiver,
            stranger: from.stranger,
            replay: from.replay,
            echo: from.echo,
        }
    }
}

/// VRRP adverts for the virtual router. Each name is a field of the map `ADVERT_COUNTERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertCounters {
    /// Valid ones, of a peer.
    pub accepted: u64,
    /// The TTL, or hop limit, is not 255.
    pub ttl: u64,
    /// Another version.
    pub version: u64,
    /// No advertisement.
    pub kind: u64,
    /// The length is wrong.
    pub length: u64,
    /// The checksum is wrong.
    pub checksum: u64,
    /// A field makes no sense.
    pub field: u64,
    /// The sender is no peer.
    pub stranger: u64,
}

impl AdvertCounters {
    /// What was no sign of life: each reason and how often, those that were met only.
    #[must_use]
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("ttl", self.ttl),
            ("version", self.version),
            ("kind", self.kind),
            ("length", self.length),
            ("checksum", self.checksum),
            ("field", self.field),
            ("stranger", self.stranger),
        ];
        all.into_iter().filter(|(_, count)| *count != 0).collect()
    }
}

impl From<ogha_common::maps::AdvertCounters> for AdvertCounters {
    fn from(from: ogha_common::maps::AdvertCounters) -> Self {
        Self {
            accepted: from.accepted,
            ttl: from.ttl,
            version: from.version,
            kind: from.kind,
            length: from.length,
            checksum: from.checksum,
            field: from.field,
            stranger: from.stranger,
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
