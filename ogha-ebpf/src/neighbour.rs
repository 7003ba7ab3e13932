//! What ARP and neighbour discovery have in common: who holds a virtual address, and what is done
//! about another host that says it does.

use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use ogha_common::maps::{ArpCounters, EVENT_CONFLICT, Passage, Vip};

use crate::{
    Reason, events, gate,
    maps::{ARP_COUNTERS, DEFENCES},
    packet::Mac,
};

/// What another host's claim to a virtual address is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// News: we do not hold the address.
    News,
    /// A conflict, of which the agent knows.
    Conflict,
    /// A conflict to be answered at once by our own claim.
    Challenge,
}

/// Do we answer for the address?
#[inline(always)]
pub fn is_held(vip: &Vip) -> bool {
    matches!(gate::passage(vip.instance, gate::now()), Passage::Open | Passage::Claimed)
}

/// This host is about to say that it has the address: it may while we hold it.
#[inline(always)]
pub fn claimed_here(vip: &Vip) -> Reason {
    if is_held(vip) {
        return Reason::GateOpen;
    }
    count(vip.instance, |counters| counters.suppressed += 1);
    Reason::ClaimSuppressed
}

/// The host at `mac` says that it has the address. While we hold it that is a conflict, and the
/// first sign of a split brain.
///
/// An open gate is defended (RFC 5227 section 2.4, RFC 4862 section 5.4.4), but not each time: two
/// hosts that both insist must not flood their LAN. While a takeover is under way nothing is
/// defended: the old holder may still speak, what it says now is overtaken by the announcement that
/// follows when the gate opens, and only then somebody here can serve whom we win over.
#[inline(always)]
pub fn claimed_elsewhere(vip: &Vip, mac: Mac) -> Claim {
    let now = gate::now();
    let passage = gate::passage(vip.instance, now);
    if !matches!(passage, Passage::Open | Passage::Claimed) {
        return Claim::News;
    }
    count(vip.instance, |counters| counters.conflicts += 1);
    if !is_due(vip.instance, now) {
        return Claim::Conflict;
    }
    events::emit(EVENT_CONFLICT, vip.instance, now, mac.number());
    if matches!(passage, Passage::Open) { Claim::Challenge } else { Claim::Conflict }
}

/// Is it time to act upon a claim again? Decided for all CPUs together.
#[inline(always)]
fn is_due(instance: u32, now: u64) -> bool {
    let Some(defence) = DEFENCES.get_ptr_mut(instance) else { return false };
    // SAFETY: the element stays while the program runs, and the lock keeps the other CPUs away.
    // Nothing may be called until it is given back.
    unsafe {
        bpf_spin_lock((&raw mut (*defence).lock).cast());
        let due = (*defence).take(now);
        bpf_spin_unlock((&raw mut (*defence).lock).cast());
        due
    }
}

/// Counts something towards the instance.
#[inline(always)]
pub fn count(instance: u32, add: impl FnOnce(&mut ArpCounters)) {
    if let Some(counters) = ARP_COUNTERS.get_ptr_mut(instance) {
        // SAFETY: the element belongs to this CPU, and no other program of ours interrupts us.
        add(unsafe { &mut *counters });
    }
}
