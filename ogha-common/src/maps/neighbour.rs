//! ARP and neighbour discovery for the virtual addresses: what was counted, and when an address was
//! last defended.

use core::mem::size_of;

use super::{NS_PER_MS, bpf_spin_lock};

/// Between two defences of an instance's addresses, and between two events about them.
///
/// RFC 5227 section 2.4 (c) allows a host one defence in 10 s, and whoever believed the other host
/// would lose its connection in that time. A tenth of a second is shorter than any client's first
/// retransmission (RFC 6298 section 2: 1 s; Linux: 0.2 s), and two hosts that both insist cost their
/// LAN 20 frames a second.
pub const DEFENCE_INTERVAL_NS: u64 = 100 * NS_PER_MS;

/// ARP and neighbour discovery for the instance's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct ArpCounters {
    /// Requests and solicitations answered by XDP.
    pub answered: u64,
    /// Requests and solicitations dropped because the gate does not claim the address.
    pub dropped: u64,
    /// Frames in which another host claims an address that we hold.
    pub conflicts: u64,
    /// Those of them that became our own announcement.
    pub defended: u64,
    /// Frames claiming an address that were kept from leaving this host.
    pub suppressed: u64,
}

impl ArpCounters {
    /// Two CPUs' counters in one.
    #[must_use]
    pub const fn merge(self, other: &Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            dropped: self.dropped + other.dropped,
            conflicts: self.conflicts + other.conflicts,
            defended: self.defended + other.defended,
            suppressed: self.suppressed + other.suppressed,
        }
    }
}

/// When the claims of other hosts to an instance's addresses were last acted upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Defence {
    /// Guards `last_ns`.
    pub lock: bpf_spin_lock,
    /// Zero.
    pub reserved: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds; 0: never.
    pub last_ns: u64,
}

impl Defence {
    /// May a claim that is seen at `now_ns` be acted upon? Then it is the last for a while.
    #[must_use]
    #[inline(always)]
    pub const fn take(&mut self, now_ns: u64) -> bool {
        // Another CPU may have looked at the clock later and come first.
        let due = self.last_ns == 0 || now_ns.saturating_sub(self.last_ns) >= DEFENCE_INTERVAL_NS;
        if due {
            self.last_ns = now_ns;
        }
        due
    }
}

const _: () = {
    assert!(size_of::<ArpCounters>() == 40);
    assert!(size_of::<Defence>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defence_is_the_only_one_for_a_while() {
        let mut defence = Defence::default();
        assert!(defence.take(5));
        for early in [5, 4, 6, 4 + DEFENCE_INTERVAL_NS] {
            assert!(!defence.take(early), "{early}");
        }
        assert!(defence.take(5 + DEFENCE_INTERVAL_NS));
        assert!(!defence.take(2 * DEFENCE_INTERVAL_NS));
    }

    #[test]
    fn counters_add_up() {
        let cpu0 = ArpCounters { answered: 1, conflicts: 2, ..ArpCounters::default() };
        let cpu1 = ArpCounters { defended: 3, conflicts: 4, ..ArpCounters::default() };
        let both = ArpCounters { answered: 1, conflicts: 6, defended: 3, ..ArpCounters::default() };
        assert_eq!(cpu0.merge(&cpu1), both);
    }
}
