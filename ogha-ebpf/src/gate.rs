//! The gate: may traffic for an instance's addresses pass here?

use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, generated::bpf_jiffies64};
use ogha_common::maps::{Gate, LeaseGrants, Passage, SlotAnswer, Vip, VipKey, VipSlot};

use crate::{
    maps::{GATES, LEASES, READINGS, VIP_SLOTS, VIPS},
    packet::Address,
};

/// `CLOCK_BOOTTIME`, nanoseconds: the clock of the lease, which goes on while the host sleeps.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper reads a clock.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The time, for a packet that a lease until then lets pass: read anew, or as one of the packets just
/// before has read it, where [`Reading`](ogha_common::maps::Reading) says that this makes no difference.
#[inline(always)]
fn now_for(lease_until_ns: u64) -> u64 {
    let Some(reading) = READINGS.get_ptr_mut(0) else { return now() };
    // SAFETY: the element belongs to this CPU, and no other program of ours interrupts us.
    let reading = unsafe { &mut *reading };
    // SAFETY: the helper reads a counter.
    if !reading.serves(unsafe { bpf_jiffies64() }, lease_until_ns) {
        reading.boot_ns = now();
    }
    reading.boot_ns
}

/// The virtual address that this is, if it is one.
///
/// The agent may change the entry at any time: then fields of both values may be seen, for one
/// packet.
#[inline(always)]
pub fn vip(address: impl Address) -> Option<&'static Vip> {
    let words = address.key();
    // SAFETY: the element is there while the program runs.
    let slot: &VipSlot = unsafe { &*VIP_SLOTS.get_ptr(u32::from(address.last_octet()))? };
    match slot.answer(words) {
        SlotAnswer::No => None,
        SlotAnswer::Own => Some(&slot.vip),
        SlotAnswer::AskVips => {
            // SAFETY: both are 16 plain bytes, and the words are aligned better than the key asks.
            let key: &VipKey = unsafe { &*(&raw const words).cast() };
            // SAFETY: an entry stays allocated while the program runs.
            unsafe { VIPS.get(key) }
        }
    }
}

/// What the instance's gate says at `now`. An instance that has no gate has lapsed.
#[inline(always)]
pub fn passage(instance: u32, now: u64) -> Passage {
    match state(instance) {
        Some((gate, grants)) => gate.passage(&grants, now),
        None => Passage::Lapsed,
    }
}

/// What the instance's gate says to a packet of its addresses now, and what time that is.
#[inline(always)]
pub fn passage_now(instance: u32) -> (Passage, u64) {
    match state(instance) {
        Some((gate, grants)) => {
            let now = now_for(gate.lease_end_ns(&grants));
            (gate.passage(&grants, now), now)
        }
        None => (Passage::Lapsed, now()),
    }
}

/// The gate, and what the peers have said that concerns it.
#[inline(always)]
fn state(instance: u32) -> Option<(Gate, LeaseGrants)> {
    let (gate, lease) = (GATES.get_ptr(instance)?, LEASES.get_ptr(instance)?);
    // SAFETY: the elements are there while the program runs; volatile, for the agent writes
    // the one, and other CPUs the other, at any time. A mixture of an old and a new gate may be
    // seen until the agent's write returns.
    Some(unsafe {
        (gate.cast::<Gate>().read_volatile(), (&raw const (*lease).grants).read_volatile())
    })
}

/// The term in which the instance's gate was set.
#[inline(always)]
pub fn term(instance: u32) -> u64 {
    // SAFETY: as in `state`.
    GATES.get_ptr(instance).map_or(0, |gate| unsafe { (&raw const (*gate).term).read_volatile() })
}
