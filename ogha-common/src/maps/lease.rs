//! The lease: how a gate is kept open by what the peers grant, and shut by a higher term.

use core::mem::size_of;

use super::{GATE_OPEN, Gate, Passage, bpf_spin_lock};

/// How many peers may have to grant an instance's lease.
pub const MAX_GRANTERS: usize = 7;

/// Who must grant an instance's lease: all other nodes that may be promoted. Written by the agent, which
/// widens it before the record's in-sync set grows, and narrows it after that shrank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Granters {
    /// The nodes; 0 ends the list. An empty one: the agent renews the lease, and nobody else.
    pub nodes: [u64; MAX_GRANTERS],
}

/// An instance's lease, as its peers give it. Nobody but the kernel writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Lease {
    /// Guards `grants`.
    pub lock: bpf_spin_lock,
    /// Zero.
    pub reserved: u32,
    /// What the peers have said.
    pub grants: LeaseGrants,
}

/// What the peers have said that concerns a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct LeaseGrants {
    /// The highest term that an authentic packet has named. A gate of a lower term is closed.
    pub highest_term: u64,
    /// The term in which the lease was granted.
    pub granted_term: u64,
    /// The end of the lease, `CLOCK_BOOTTIME` nanoseconds: the earliest end of all that the
    /// granters have granted.
    pub granted_until_ns: u64,
}

impl LeaseGrants {
    /// A packet names this term.
    #[inline(always)]
    pub const fn term(&mut self, term: u64) {
        if term > self.highest_term {
            self.highest_term = term;
        }
    }

    /// All have granted until then, at least, in this term.
    #[inline(always)]
    pub const fn grant(&mut self, term: u64, until_ns: u64) {
        self.granted_term = term;
        self.granted_until_ns = until_ns;
    }
}

impl Gate {
    /// The state at `now_ns` of `CLOCK_BOOTTIME`. The one place where the rule stands: the
    /// kernel enforces it, the agent reports it.
    #[must_use]
    #[inline(always)]
    pub const fn passage(&self, grants: &LeaseGrants, now_ns: u64) -> Passage {
        let open = self.state == GATE_OPEN;
        if !open && self.claimed == 0 || grants.highest_term > self.term {
            Passage::Closed
        } else if now_ns >= self.lease_end_ns(grants) {
            Passage::Lapsed
        } else if open {
            Passage::Open
        } else {
            Passage::Claimed
        }
    }

    /// When the gate lapses: at the end of the agent's lease or of the peers', if that is later.
    #[must_use]
    #[inline(always)]
    pub const fn lease_end_ns(&self, grants: &LeaseGrants) -> u64 {
        if grants.granted_term == self.term && grants.granted_until_ns > self.lease_until_ns {
            grants.granted_until_ns
        } else {
            self.lease_until_ns
        }
    }
}

const _: () = {
    assert!(size_of::<Granters>() == 56);
    assert!(size_of::<Lease>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::GATE_CLOSED;

    const fn gate(state: u32, claimed: u32) -> Gate {
        Gate { state, claimed, term: 3, lease_until_ns: 100 }
    }

    #[test]
    fn the_lease_ends_an_open_gate_and_a_claim_but_not_a_closed_gate() {
        for (state, claimed, before, after) in [
            (GATE_OPEN, 1, Passage::Open, Passage::Lapsed),
            (GATE_OPEN, 0, Passage::Open, Passage::Lapsed),
            (GATE_CLOSED, 1, Passage::Claimed, Passage::Lapsed),
            (GATE_CLOSED, 0, Passage::Closed, Passage::Closed),
        ] {
            assert_eq!(gate(state, claimed).passage(&LeaseGrants::default(), 99), before);
            assert_eq!(gate(state, claimed).passage(&LeaseGrants::default(), 100), after);
        }
        assert_eq!(Gate::default().passage(&LeaseGrants::default(), 0), Passage::Closed);
    }

    #[test]
    fn a_grant_of_the_same_term_prolongs_the_lease() {
        let mut grants = LeaseGrants::default();
        for (term, until, end) in [(3, 150, 150), (3, 50, 100), (2, 150, 100), (4, 150, 100)] {
            grants.grant(term, until);
            assert_eq!(gate(GATE_OPEN, 1).lease_end_ns(&grants), end, "term {term}");
            assert_eq!(gate(GATE_OPEN, 1).passage(&grants, end - 1), Passage::Open);
            assert_eq!(gate(GATE_OPEN, 1).passage(&grants, end), Passage::Lapsed);
        }
    }

    #[test]
    fn a_higher_term_closes_what_is_open_or_claimed_or_lapsed() {
        let mut grants = LeaseGrants::default();
        for (term, closed) in [(2, false), (3, false), (4, true), (1, true)] {
            grants.term(term);
            for (state, claimed) in [(GATE_OPEN, 1), (GATE_CLOSED, 1)] {
                for now in [99, 100] {
                    let passage = gate(state, claimed).passage(&grants, now);
                    assert_eq!(passage == Passage::Closed, closed, "{term} {now}");
                }
            }
        }
    }
}
