//! What the kernel and the agent share: keys, values and events of the BPF maps.
//!
//! Every type is `repr(C)` with fixed-size fields and no padding, so that `bpftool map dump`
//! prints each field by name and the agent may read the bytes as they are. Who writes which map
//! stands in `ARCHITECTURE.md`.

use core::mem::size_of;

pub use crate::gate::Passage;
use crate::wire::probe::MAX_PATHS;

mod advert;
mod clock;
mod hearing;
mod lease;
mod neighbour;
mod probe;
mod proof;
mod stamp;

pub use self::{
    advert::{AdvertCounters, AdvertFault, AdvertKey, Advertiser},
    clock::Reading,
    hearing::{Datagram, Hearing, Received, Tables, earliest, grant, is_fresh, receive},
    lease::{Granters, Lease, LeaseGrants, MAX_GRANTERS},
    neighbour::{ArpCounters, DEFENCE_INTERVAL_NS, Defence},
    probe::{
        Endpoint, Offer, Origin, Peer, PeerKey, ProbeCounters, Refusal, Refused, Said,
        bpf_spin_lock,
    },
    proof::{PROOF_REPLIES, Proof},
    stamp::Stamp,
};

/// How many instances one agent may have: the size of the arrays below.
pub const MAX_INSTANCES: usize = 16;
/// How many addresses all instances may have together.
pub const MAX_VIPS: usize = 64;
/// One slot for each value of an address's last octet.
pub const VIP_SLOTS: usize = 256;
/// How many interfaces one agent may use.
pub const MAX_INTERFACES: usize = 8;
/// How many peers all instances may have together.
pub const MAX_PEERS: usize = MAX_INSTANCES * 8;
/// How many addresses of this node probes may go to, all instances together.
pub const MAX_ENDPOINTS: usize = MAX_INSTANCES * MAX_PATHS;
/// How many senders of adverts all instances may have together, with one for strangers each.
pub const MAX_ADVERTISERS: usize = MAX_PEERS * MAX_PATHS + MAX_INSTANCES;
/// How many addresses refusals are noted of, all instances together.
pub const MAX_ORIGINS: usize = MAX_PEERS * MAX_PATHS;
/// Bytes of the ring buffer; a lost event costs nothing, the maps hold the latest state.
pub const EVENTS_BYTES: usize = 64 * 1024;

/// Nanoseconds in a millisecond.
pub const NS_PER_MS: u64 = 1_000_000;

/// The names under which the maps are pinned.
pub mod name {
    /// [`VipKey`](super::VipKey) -> [`Vip`](super::Vip), written by the agent.
    pub const VIPS: &str = "VIPS";
    /// Last octet of an address -> [`VipSlot`](super::VipSlot), written by the agent.
    pub const VIP_SLOTS: &str = "VIP_SLOTS";
    /// Instance -> [`Gate`](super::Gate), written by the agent.
    pub const GATES: &str = "GATES";
    /// TCP port (host order) -> instance, written by the agent.
    pub const PORTS: &str = "PORTS";
    /// Instance -> [`PortCounters`](super::PortCounters), per CPU, written by XDP and TCX.
    pub const PORT_COUNTERS: &str = "PORT_COUNTERS";
    /// Instance -> [`ArpCounters`](super::ArpCounters), per CPU, written by XDP and TCX.
    pub const ARP_COUNTERS: &str = "ARP_COUNTERS";
    /// Instance -> [`Defence`](super::Defence), written by XDP.
    pub const DEFENCES: &str = "DEFENCES";
    /// Instance -> [`Watch`](super::Watch), written by the agent.
    pub const WATCHES: &str = "WATCHES";
    /// [`Endpoint`](super::Endpoint) -> instance, written by the agent.
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// Instance -> [`Offer`](super::Offer), written by the agent.
    pub const SELF: &str = "SELF";
    /// [`PeerKey`](super::PeerKey) -> [`Peer`](super::Peer): keys by the agent, values by XDP.
    pub const PEERS: &str = "PEERS";
    /// [`Origin`](super::Origin) -> [`Refused`](super::Refused): keys by the agent, values by XDP.
    pub const REFUSALS: &str = "REFUSALS";
    /// Instance -> [`Granters`](super::Granters), written by the agent.
    pub const GRANTERS: &str = "GRANTERS";
    /// Instance -> [`Lease`](super::Lease), written by XDP.
    pub const LEASES: &str = "LEASES";
    /// Instance -> [`ProbeCounters`](super::ProbeCounters), per CPU, written by XDP.
    pub const PROBE_COUNTERS: &str = "PROBE_COUNTERS";
    /// [`Event`](super::Event)s for the agent.
    pub const EVENTS: &str = "EVENTS";
    /// [`AdvertKey`](super::AdvertKey) -> [`Advertiser`](super::Advertiser), written by the agent.
    pub const ADVERTISERS: &str = "ADVERTISERS";
    /// Instance -> [`AdvertCounters`](super::AdvertCounters), per CPU, written by XDP.
    pub const ADVERT_COUNTERS: &str = "ADVERT_COUNTERS";
    /// The one [`Stamp`](super::Stamp), written by the agent.
    pub const STAMP: &str = "STAMP";
    /// The one [`Proof`](super::Proof); not pinned.
    pub const PROOF: &str = "PROOF";
    /// All maps that are pinned, in the order of this list.
    pub const ALL: [&str; 19] = [
        VIPS,
        VIP_SLOTS,
        GATES,
        PORTS,
        PORT_COUNTERS,
        ARP_COUNTERS,
        DEFENCES,
        WATCHES,
        ENDPOINTS,
        SELF,
        PEERS,
        REFUSALS,
        GRANTERS,
        LEASES,
        PROBE_COUNTERS,
        ADVERTISERS,
        ADVERT_COUNTERS,
        EVENTS,
        STAMP,
    ];
}

/// An address as the maps hold it: IPv6, or IPv4 mapped into it (`::ffff:a.b.c.d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct VipKey {
    /// Network order.
    pub address: [u8; 16],
}

impl VipKey {
    /// An IPv4 address in its mapped form.
    #[must_use]
    #[inline(always)]
    pub const fn v4(a: [u8; 4]) -> Self {
        Self { address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3]] }
    }

    /// The octets as they lie in memory, in two words: the form that programs compare fast.
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.address;
        [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
    }

    /// The slot of [`name::VIP_SLOTS`] that tells of it.
    #[must_use]
    pub const fn slot(&self) -> u8 {
        self.address[15]
    }
}

/// A MAC as a number: the low 48 bits, first octet highest. As events and the programs hold it.
#[must_use]
#[inline(always)]
pub const fn mac_number(mac: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]])
}

/// Whose a virtual address is, and the MAC that answers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Vip {
    /// Index into the arrays.
    pub instance: u32,
    /// The MAC of this host's interface.
    pub mac: [u8; 6],
    /// The instance's TCP port, host order, as `PORTS` has it; 0: it has none.
    pub port: u16,
}

/// `VipSlot::state`: no virtual address ends in this octet.
pub const SLOT_EMPTY: u32 = 0;
/// `VipSlot::state`: one does, and the slot says all of it.
pub const SLOT_SINGLE: u32 = 1;
/// `VipSlot::state`: it must be looked up in `VIPS`.
pub const SLOT_SHARED: u32 = 2;

/// Which virtual addresses end in an octet: a look at an array instead of a hash for nearly every
/// packet. It says nothing that `VIPS` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct VipSlot {
    /// [`VipKey::words`] of the address, if `state` is [`SLOT_SINGLE`].
    pub address: [u64; 2],
    /// What `VIPS` has under it.
    pub vip: Vip,
    /// One of the `SLOT_` constants.
    pub state: u32,
}

/// What a slot says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotAnswer {
    /// It is no virtual address.
    No,
    /// It is the slot's own.
    Own,
    /// `VIPS` knows.
    AskVips,
}

impl VipSlot {
    /// No virtual address.
    pub const EMPTY: Self =
        Self { address: [0; 2], vip: Vip { instance: 0, mac: [0; 6], port: 0 }, state: SLOT_EMPTY };

    /// The slot for the last octet that all these addresses have in common.
    #[must_use]
    pub const fn of(entries: &[(VipKey, Vip)]) -> Self {
        match entries {
            [] => Self::EMPTY,
            [(key, vip)] => Self { address: key.words(), vip: *vip, state: SLOT_SINGLE },
            [(key, vip), ..] => Self { address: key.words(), vip: *vip, state: SLOT_SHARED },
        }
    }

    /// Is the address, as [`VipKey::words`] gives it, a virtual one?
    #[must_use]
    #[inline(always)]
    pub const fn answer(&self, address: [u64; 2]) -> SlotAnswer {
        match self.state {
            SLOT_SINGLE if self.address[1] == address[1] && self.address[0] == address[0] => {
                SlotAnswer::Own
            }
            SLOT_EMPTY | SLOT_SINGLE => SlotAnswer::No,
            _ => SlotAnswer::AskVips,
        }
    }
}

/// `Gate::state`: no traffic passes; TCP is answered by RST.
pub const GATE_CLOSED: u32 = 0;
/// `Gate::state`: traffic passes while the lease lasts.
pub const GATE_OPEN: u32 = 1;

/// May traffic for the instance's addresses pass here? [`Gate::passage`] tells.
///
/// The lease covers both answers, `state` and `claimed`: once it has ended the gate is *lapsed*,
/// and this host neither answers for the addresses nor lets a packet of theirs in or out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Gate {
    /// [`GATE_CLOSED`] or [`GATE_OPEN`].
    pub state: u32,
    /// 1: this host claims the addresses (answers ARP) though the gate may still be closed,
    /// as it does while its database is being promoted. An open gate always claims.
    pub claimed: u32,
    /// The term in which the gate was set.
    pub term: u64,
    /// The end of the lease that the agent gives: `CLOCK_BOOTTIME`, nanoseconds. The peers may
    /// grant a longer one ([`Lease`]).
    pub lease_until_ns: u64,
}

/// TCP on the instance's port and addresses of this host, counted where the packet passes the
/// interface. Times are `CLOCK_BOOTTIME` nanoseconds of the last such packet, 0 for never; where packets
/// share a [`Reading`] of the clock, that of the reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct PortCounters {
    /// SYN without ACK, towards the port.
    pub syn_in: u64,
    /// SYN with ACK, from the port.
    pub synack_out: u64,
    /// RST towards the port.
    pub rst_in: u64,
    /// RST from the port: the host's, and those by which a closed gate rejects.
    pub rst_out: u64,
    /// FIN towards the port.
    pub fin_in: u64,
    /// FIN from the port.
    pub fin_out: u64,
    /// Segments with payload towards the port.
    pub data_in: u64,
    /// Segments with payload from the port.
    pub data_out: u64,
    /// Packets for the addresses that a closed gate rejected by RST.
    pub rejected: u64,
    /// Packets from or for the addresses that the gate dropped.
    pub dropped: u64,
    /// Time of the last `syn_in`.
    pub syn_in_last_ns: u64,
    /// Time of the last `synack_out`.
    pub synack_out_last_ns: u64,
    /// Time of the last `rst_in`.
    pub rst_in_last_ns: u64,
    /// Time of the last `rst_out`.
    pub rst_out_last_ns: u64,
    /// Time of the last `data_in`.
    pub data_in_last_ns: u64,
    /// Time of the last `data_out`.
    pub data_out_last_ns: u64,
}

impl PortCounters {
    /// Two CPUs' counters in one: sums, and the later of each time.
    #[must_use]
    pub const fn merge(self, other: &Self) -> Self {
        const fn later(a: u64, b: u64) -> u64 {
            if a > b { a } else { b }
        }
        Self {
            syn_in: self.syn_in + other.syn_in,
            synack_out: self.synack_out + other.synack_out,
            rst_in: self.rst_in + other.rst_in,
            rst_out: self.rst_out + other.rst_out,
            fin_in: self.fin_in + other.fin_in,
            fin_out: self.fin_out + other.fin_out,
            data_in: self.data_in + other.data_in,
            data_out: self.data_out + other.data_out,
            rejected: self.rejected + other.rejected,
            dropped: self.dropped + other.dropped,
            syn_in_last_ns: later(self.syn_in_last_ns, other.syn_in_last_ns),
            synack_out_last_ns: later(self.synack_out_last_ns, other.synack_out_last_ns),
            rst_in_last_ns: later(self.rst_in_last_ns, other.rst_in_last_ns),
            rst_out_last_ns: later(self.rst_out_last_ns, other.rst_out_last_ns),
            data_in_last_ns: later(self.data_in_last_ns, other.data_in_last_ns),
            data_out_last_ns: later(self.data_out_last_ns, other.data_out_last_ns),
        }
    }
}

/// The database of an instance that the tracepoints watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Watch {
    /// Process id (thread group) of the database's main process, as the agent's PID namespace
    /// counts; 0: none.
    pub tgid: u32,
    /// TCP port of the listener, host order; 0: this entry is unused.
    pub port: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Process id of the agent, in its PID namespace; 0: none.
    pub agent: u32,
    /// Inode number of the agent's PID namespace, in which the two process ids count. The same
    /// number elsewhere is another process.
    pub pidns: u32,
}

/// `Event::kind`: a LISTEN socket on the port appeared; `detail` is the network namespace.
pub const EVENT_LISTENER_UP: u32 = 1;
/// `Event::kind`: a LISTEN socket on the port is gone, though another may go on listening there;
/// `detail` is the network namespace.
pub const EVENT_LISTENER_GONE: u32 = 2;
/// `Event::kind`: the watched process has exited; `detail` is its process id.
pub const EVENT_PROCESS_EXIT: u32 = 3;
/// `Event::kind`: another host claims an address that we hold; `detail` is its [`mac_number`]. At
/// most one in [`DEFENCE_INTERVAL_NS`] for each instance.
pub const EVENT_CONFLICT: u32 = 4;
/// `Event::kind`: a peer says something new, or is heard for the first time; `detail` is its
/// node id.
pub const EVENT_PEER: u32 = 5;

/// A wake-up for the agent. The maps hold the state; this only says that it is worth a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Event {
    /// One of the `EVENT_` constants.
    pub kind: u32,
    /// Index of the instance.
    pub instance: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds, when the kernel saw it.
    pub time_ns: u64,
    /// As the kind says.
    pub detail: u64,
}

const _: () = {
    assert!(size_of::<VipKey>() == 16);
    assert!(size_of::<Vip>() == 12);
    assert!(size_of::<VipSlot>() == 32);
    assert!(size_of::<Gate>() == 24);
    assert!(size_of::<PortCounters>() == 128);
    assert!(size_of::<Watch>() == 20);
    assert!(size_of::<Event>() == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_and_times_are_the_latest() {
        let cpu0 = PortCounters { syn_in: 2, syn_in_last_ns: 9, ..PortCounters::default() };
        let cpu1 = PortCounters { syn_in: 3, syn_in_last_ns: 5, ..PortCounters::default() };
        let both = PortCounters { syn_in: 5, syn_in_last_ns: 9, ..PortCounters::default() };
        assert_eq!(cpu0.merge(&cpu1), both);
        assert_eq!(cpu1.merge(&cpu0), both);
    }

    #[test]
    fn a_slot_knows_one_address_and_sends_on_for_more() {
        let vip = |instance| Vip { instance, mac: [1; 6], port: 5432 };
        let (one, other) = (VipKey::v4([10, 0, 0, 9]), VipKey::v4([10, 0, 1, 9]));
        let v6 = VipKey { address: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 9] };
        assert_eq!(VipSlot::of(&[]).answer(one.words()), SlotAnswer::No);
        // Of an address that is all zero, too.
        assert_eq!(VipSlot::EMPTY.answer([0; 2]), SlotAnswer::No);
        let single = VipSlot::of(&[(one, vip(3))]);
        assert_eq!((single.answer(one.words()), single.vip), (SlotAnswer::Own, vip(3)));
        assert_eq!(single.answer(other.words()), SlotAnswer::No);
        assert_eq!(single.answer(v6.words()), SlotAnswer::No);
        let shared = VipSlot::of(&[(one, vip(3)), (other, vip(4))]);
        for address in [one, other, v6] {
            assert_eq!(shared.answer(address.words()), SlotAnswer::AskVips);
        }
    }

    #[test]
    fn a_mac_is_a_number_with_the_first_octet_highest() {
        assert_eq!(mac_number([1, 2, 3, 4, 5, 6]), 0x0102_0304_0506);
    }
}
