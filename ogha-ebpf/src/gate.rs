//! The gate: may traffic for an instance's addresses pass here?

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use ogha_common::maps::{Gate, Passage, SlotAnswer, Vip, VipKey, VipSlot};

use crate::{
    ip::Address,
    maps::{GATES, LEASES, VIP_SLOTS, VIPS},
};

/// `CLOCK_BOOTTIME`, nanoseconds: the clock of the lease, which goes on while the host sleeps.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper reads a clock.
    unsafe { bpf_ktime_get_boot_ns() }
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
    match (GATES.get_ptr(instance), LEASES.get_ptr(instance)) {
        // SAFETY: the elements are there while the program runs; volatile, for the agent writes
        // the one, and other CPUs the other, at any time. A mixture of an old and a new gate may be
        // seen until the agent's write returns.
        (Some(gate), Some(lease)) => unsafe {
            let heard = (&raw const (*lease).heard).read_volatile();
            gate.cast::<Gate>().read_volatile().passage(&heard, now)
        },
        _ => Passage::Lapsed,
    }
}

/// The term in which the instance's gate was set.
#[inline(always)]
pub fn term(instance: u32) -> u64 {
    // SAFETY: as in `passage`.
    GATES.get_ptr(instance).map_or(0, |gate| unsafe { (&raw const (*gate).term).read_volatile() })
}
