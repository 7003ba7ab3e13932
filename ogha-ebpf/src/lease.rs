//! The lease, as the peers' packets move it: a higher term shuts the gate, a grant keeps it open.

use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use ogha_common::maps::{Heard, Lease, NS_PER_MS, Offer, Peer, PeerKey};

use crate::{
    gate,
    maps::{GRANTERS, LEASES, PEERS},
};

/// An authentic packet names this term. From here on no gate of a lower one lets anything pass.
#[inline(always)]
pub fn hear(instance: u32, term: u64) {
    let Some(lease) = LEASES.get_ptr_mut(instance) else { return };
    // SAFETY: the element is there while the program runs; a word is read at once. It only grows.
    if unsafe { (&raw const (*lease).heard.highest_term).read_volatile() } < term {
        locked(lease, |heard| heard.term(term));
    }
}

/// A peer has granted a lease in this term: the gate's lasts as long as the shortest of those that are
/// asked for.
#[inline(always)]
pub fn granted(instance: u32, term: u64) {
    let Some(granters) = GRANTERS.get_ptr(instance) else { return };
    if term != gate::term(instance) {
        return;
    }
    // SAFETY: the element is there while the program runs. The agent may write it meanwhile: it
    // widens the list before it counts on what the list says.
    let nodes = unsafe { granters.read_volatile() }.nodes;
    let mut earliest = u64::MAX;
    for node in nodes {
        if node == 0 {
            break;
        }
        let until = match PEERS.get_ptr(PeerKey { instance, reserved: 0, node }) {
            // SAFETY: as above. A term of this grant with the end of the last one is no harm: that
            // promise holds as well.
            Some(peer) => unsafe {
                let granted = (&raw const (*peer).granted_term).read_volatile();
                let until = (&raw const (*peer).granted_until_ns).read_volatile();
                if granted == term { until } else { 0 }
            },
            None => 0,
        };
        if until < earliest {
            earliest = until;
        }
    }
    if earliest == u64::MAX {
        return;
    }
    if let Some(lease) = LEASES.get_ptr_mut(instance) {
        locked(lease, |heard| heard.grant(term, earliest));
    }
}

/// What this node grants to the peer that has asked in this term, milliseconds. The promise is
/// written down first; only then the agent is asked again whether it still stands by it. So an
/// agent that has withdrawn its word, and then reads its promise, reads the last.
#[inline(always)]
pub fn promise(offer: *mut Offer, peer: *mut Peer, asker: u64, term: u64, now: u64) -> u16 {
    // SAFETY: the element is there while the program runs; a word is read at once.
    if unsafe { (&raw const (*offer).grant_to).read_volatile() } != asker {
        return 0;
    }
    let granted = grant(offer, asker, term);
    if granted == 0 {
        return 0;
    }
    let until = now + u64::from(granted) * NS_PER_MS;
    // SAFETY: the entry stays allocated while the program runs, and the lock keeps others away.
    unsafe {
        bpf_spin_lock((&raw mut (*peer).lock).cast());
        if (*peer).promised_until_ns < until {
            (*peer).promised_until_ns = until;
        }
        bpf_spin_unlock((&raw mut (*peer).lock).cast());
    }
    let still = grant(offer, asker, term);
    if still < granted { still } else { granted }
}

/// What the agent lets the node grant.
#[inline(always)]
fn grant(offer: *mut Offer, asker: u64, term: u64) -> u16 {
    // SAFETY: the element is there while the program runs, and the lock keeps the agent away.
    let (to, granted, own_term) = unsafe {
        bpf_spin_lock((&raw mut (*offer).lock).cast());
        let found = ((*offer).grant_to, (*offer).grant_ms, (*offer).said.term);
        bpf_spin_unlock((&raw mut (*offer).lock).cast());
        found
    };
    if to == asker && own_term == term { granted as u16 } else { 0 }
}

#[inline(always)]
fn locked(lease: *mut Lease, change: impl FnOnce(&mut Heard)) {
    // SAFETY: the element is there while the program runs, and the lock keeps others away.
    unsafe {
        bpf_spin_lock((&raw mut (*lease).lock).cast());
        change(&mut (*lease).heard);
        bpf_spin_unlock((&raw mut (*lease).lock).cast());
    }
}
