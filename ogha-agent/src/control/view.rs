use serde::{Deserialize, Serialize};
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub node: String,
    pub instances: Vec<InstanceView>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceView {
    pub name: String,
    pub vrid: u8,
    pub vrrp: String,
    pub term: u64,
    pub phase: String,
    pub gate: String,
    pub lease_ms: u64,
    pub vips: Vec<String>,
    pub database: DatabaseView,
    pub peers: Vec<PeerView>,
    pub counters: Counters,
    pub arp: ArpCounters,
    pub failovers: u64,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatabaseView {
    pub kind: String,
    pub role: String,
    pub state: String,
    pub lsn: Option<String>,
    pub listening: bool,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerView {
    pub name: String,
    pub host: String,
    pub agent: String,
    pub phase: String,
    pub rtt_us: Option<u64>,
    pub in_sync: bool,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counters {
    pub syn_in: u64,
    pub synack_out: u64,
    pub rst_in: u64,
    pub rst_out: u64,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArpCounters {
    pub answered: u64,
    pub dropped: u64,
    pub conflicts: u64,
    pub suppressed: u64,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct History {
    pub node: String,
    pub failovers: Vec<Failover>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failover {
    pub instance: String,
    pub cause: String,
    pub started: String,
    pub term: u64,
    pub outcome: String,
    pub steps: Vec<FailoverStep>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailoverStep {
    pub step: String,
    pub offset_us: u64,
}
