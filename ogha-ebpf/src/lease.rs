//! The maps that a peer's datagram changes, each under its lock. What it changes there, and in which
//! order, [`receive`](ogha_common::maps::receive) says.

use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use ogha_common::maps::{Datagram, Granters, Hearing, Lease, Offer, Peer, PeerKey, Tables};

use crate::{
    gate,
    maps::{GRANTERS, LEASES, PEERS},
};

/// The entries of an instance and of the peer whose datagram has come. They are there while the program
/// runs.
pub struct Entries {
    /// What this node offers.
    pub offer: *mut Offer,
    /// What was heard of the peer.
    pub peer: *mut Peer,
    /// The instance.
    pub instance: u32,
}

impl Tables for Entries {
    #[inline(always)]
    fn own_term(&self) -> u64 {
        // SAFETY: the element is there while the program runs; a word is read at once.
        unsafe { (&raw const (*self.offer).said.term).read_volatile() }
    }

    #[inline(always)]
    fn hear(&mut self, datagram: &Datagram, now_ns: u64, fresh: bool) -> Hearing {
        // SAFETY: the entry stays allocated while the program runs, and the lock keeps others away.
        // Nothing may be called until it is given back.
        unsafe {
            bpf_spin_lock((&raw mut (*self.peer).lock).cast());
            let hearing = (*self.peer).hear(datagram, now_ns, fresh);
            bpf_spin_unlock((&raw mut (*self.peer).lock).cast());
            hearing
        }
    }

    #[inline(always)]
    fn highest_term(&self) -> u64 {
        match LEASES.get_ptr(self.instance) {
            // SAFETY: the element is there while the program runs; a word is read at once. It only
            // grows.
            Some(lease) => unsafe { (&raw const (*lease).grants.highest_term).read_volatile() },
            None => u64::MAX,
        }
    }

    #[inline(always)]
    fn name_term(&mut self, term: u64) {
        let Some(lease) = LEASES.get_ptr_mut(self.instance) else { return };
        let lease: *mut Lease = lease;
        // SAFETY: the element is there while the program runs, and the lock keeps others away.
        unsafe {
            bpf_spin_lock((&raw mut (*lease).lock).cast());
            (*lease).grants.term(term);
            bpf_spin_unlock((&raw mut (*lease).lock).cast());
        }
    }

    #[inline(always)]
    fn prolong(&mut self, term: u64, until_ns: u64) {
        let Some(lease) = LEASES.get_ptr_mut(self.instance) else { return };
        let lease: *mut Lease = lease;
        // SAFETY: the element is there while the program runs, and the lock keeps others away.
        unsafe {
            bpf_spin_lock((&raw mut (*lease).lock).cast());
            (*lease).grants.grant(term, until_ns);
            bpf_spin_unlock((&raw mut (*lease).lock).cast());
        }
    }

    #[inline(always)]
    fn note_grant(&mut self, until_ns: u64) {
        // SAFETY: as in `hear`.
        unsafe {
            bpf_spin_lock((&raw mut (*self.peer).lock).cast());
            (*self.peer).note_grant(until_ns);
            bpf_spin_unlock((&raw mut (*self.peer).lock).cast());
        }
    }

    #[inline(always)]
    fn gate_term(&self) -> u64 {
        gate::term(self.instance)
    }

    #[inline(always)]
    fn granters(&self) -> Granters {
        match GRANTERS.get_ptr(self.instance) {
            // SAFETY: the element is there while the program runs. The agent may write it meanwhile:
            // it widens the list before it counts on what the list says.
            Some(granters) => unsafe { granters.read_volatile() },
            None => Granters { nodes: [0; _] },
        }
    }

    #[inline(always)]
    fn granted_by(&self, node: u64) -> (u64, u64) {
        match PEERS.get_ptr(PeerKey { instance: self.instance, reserved: 0, node }) {
            // SAFETY: as above. A term of this grant with the end of the last one is no harm: that
            // grant holds as well.
            Some(peer) => unsafe {
                let term = (&raw const (*peer).granted_term).read_volatile();
                (term, (&raw const (*peer).granted_until_ns).read_volatile())
            },
            None => (0, 0),
        }
    }

    #[inline(always)]
    fn offered(&mut self, asker: u64, term: u64) -> u16 {
        // SAFETY: the element is there while the program runs, and the lock keeps the agent away.
        unsafe {
            // Most probes come from one to whom nothing is granted, and need no lock.
            if (&raw const (*self.offer).grant_to).read_volatile() != asker {
                return 0;
            }
            bpf_spin_lock((&raw mut (*self.offer).lock).cast());
            let granted = (*self.offer).grants(asker, term);
            bpf_spin_unlock((&raw mut (*self.offer).lock).cast());
            granted
        }
    }
}
