//! The maps, named as [`ogha_common::maps::name`] names them, and what the loader writes into
//! the programs before they are loaded.

use aya_ebpf::{
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use ogha_common::maps::{
    AdvertCounters, AdvertKey, Advertiser, ArpCounters, Defence, EVENTS_BYTES, Endpoint, Event,
    Gate, Granters, Lease, MAX_ADVERTISERS, MAX_ENDPOINTS, MAX_INSTANCES, MAX_INTERFACES,
    MAX_ORIGINS, MAX_PEERS, MAX_VIPS, Offer, Origin, Peer, PeerKey, PortCounters, ProbeCounters,
    Proof, Reading, Refused, Stamp, VIP_SLOTS as SLOTS, Vip, VipKey, VipSlot, Watch,
};

/// The virtual addresses.
#[btf_map]
pub static VIPS: HashMap<VipKey, Vip, MAX_VIPS> = HashMap::new();

/// Last octet of an address -> whether it may be a virtual one.
#[btf_map]
pub static VIP_SLOTS: Array<VipSlot, SLOTS> = Array::new();

/// The gate of each instance.
#[btf_map]
pub static GATES: Array<Gate, MAX_INSTANCES> = Array::new();

/// Each CPU's last reading of the lease's clock. Not pinned: it is worth nothing to a successor.
#[btf_map]
pub static READINGS: PerCpuArray<Reading, 1> = PerCpuArray::new();

/// TCP port in host order -> instance.
#[btf_map]
pub static PORTS: HashMap<u32, u32, MAX_INSTANCES> = HashMap::new();

/// TCP on each instance's port.
#[btf_map]
pub static PORT_COUNTERS: PerCpuArray<PortCounters, MAX_INSTANCES> = PerCpuArray::new();

/// ARP and neighbour discovery for each instance's addresses.
#[btf_map]
pub static ARP_COUNTERS: PerCpuArray<ArpCounters, MAX_INSTANCES> = PerCpuArray::new();

/// When each instance's addresses were last defended.
#[btf_map]
pub static DEFENCES: Array<Defence, MAX_INSTANCES> = Array::new();

/// The database of each instance.
#[btf_map]
pub static WATCHES: Array<Watch, MAX_INSTANCES> = Array::new();

/// Where probes are taken.
#[btf_map]
pub static ENDPOINTS: HashMap<Endpoint, u32, MAX_ENDPOINTS> = HashMap::new();

/// What each instance offers to its peers.
#[btf_map]
pub static SELF: Array<Offer, MAX_INSTANCES> = Array::new();

/// What was heard of the peers.
#[btf_map]
pub static PEERS: HashMap<PeerKey, Peer, MAX_PEERS> = HashMap::new();

/// What was refused of the addresses that the configuration names.
#[btf_map]
pub static REFUSALS: HashMap<Origin, Refused, MAX_ORIGINS> = HashMap::new();

/// Who must grant each instance's lease.
#[btf_map]
pub static GRANTERS: Array<Granters, MAX_INSTANCES> = Array::new();

/// What the peers have granted.
#[btf_map]
pub static LEASES: Array<Lease, MAX_INSTANCES> = Array::new();

/// Probes at each instance's endpoint.
#[btf_map]
pub static PROBE_COUNTERS: PerCpuArray<ProbeCounters, MAX_INSTANCES> = PerCpuArray::new();

/// Whose adverts are heard.
#[btf_map]
pub static ADVERTISERS: HashMap<AdvertKey, Advertiser, MAX_ADVERTISERS> = HashMap::new();

/// Adverts of each instance's virtual router.
#[btf_map]
pub static ADVERT_COUNTERS: PerCpuArray<AdvertCounters, MAX_INSTANCES> = PerCpuArray::new();

/// Room for an advert of up to 250 addresses of IPv4, or 60 of IPv6.
pub const SCRATCH_BYTES: usize = 1024;

/// Where an advert is copied to. Not pinned.
#[btf_map]
pub static SCRATCH: PerCpuArray<[u8; SCRATCH_BYTES], 1> = PerCpuArray::new();

/// Which build this is. For the agent only.
#[btf_map]
pub static STAMP: Array<Stamp, 1> = Array::new();

/// The proof of native XDP. Not pinned.
#[btf_map]
pub static PROOF: Array<Proof, 1> = Array::new();

/// Wake-ups for the agent.
#[btf_map]
pub static EVENTS: RingBuf<Event, EVENTS_BYTES> = RingBuf::new();

/// The MACs of the interfaces the programs are attached to, as [`mac_number`] packs them; 0 ends
/// the list. Written by the loader.
///
/// [`mac_number`]: ogha_common::maps::mac_number
#[unsafe(no_mangle)]
static OWN_MACS: [u64; MAX_INTERFACES] = [0; MAX_INTERFACES];

/// Is it the MAC of one of our interfaces?
///
/// The kernel also shows the programs frames that a switch has flooded and that the host's stack
/// will ignore: they must not be counted as ours, and above all not be answered by an RST.
#[inline(always)]
pub fn is_own_mac(mac: u64) -> bool {
    for index in 0..MAX_INTERFACES {
        // SAFETY: in bounds of a static; volatile, for the loader has written another value than
        // the compiler sees.
        let own = unsafe { (&raw const OWN_MACS).cast::<u64>().add(index).read_volatile() };
        if own == mac {
            return true;
        }
        if own == 0 {
            return false;
        }
    }
    false
}
