//! What the programs find about a packet.

use core::fmt;

/// What was found about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// ogha has no say in it.
    NotOurs,
    /// Too short, or not what its header says: the host's own stack judges it.
    Malformed,
    /// From or for a virtual address whose gate lets it pass.
    GateOpen,
    /// From or for a virtual address whose gate does not.
    GateShut,
    /// For a virtual address whose gate is not open, in a frame for another host.
    Flooded,
    /// The packet has become the RST that answers it.
    Rejected,
    /// The packet has become the ARP reply, or the neighbour advertisement.
    AddressAnswered,
    /// A request for a virtual address that we do not hold.
    AddressNotHeld,
    /// Another host claims a virtual address that we hold.
    AddressContested,
    /// The same, and the packet has become our own claim.
    AddressDefended,
    /// The host claims a virtual address that it does not hold.
    ClaimSuppressed,
    /// The neighbour's ARP reply has become the next question.
    Proving,
    /// The packet has become the reply to a peer's probe.
    ProbeAnswered,
    /// A peer's reply, or a probe that could not be answered: all that it says is in the maps.
    ProbeAbsorbed,
    /// A datagram at a probe's port that is none, or not for us, or not new.
    ProbeRefused,
}

impl Reason {
    /// All, by their numbers.
    const ALL: [Self; 15] = [
        Self::NotOurs,
        Self::Malformed,
        Self::GateOpen,
        Self::GateShut,
        Self::Flooded,
        Self::Rejected,
        Self::AddressAnswered,
        Self::AddressNotHeld,
        Self::AddressContested,
        Self::AddressDefended,
        Self::ClaimSuppressed,
        Self::Proving,
        Self::ProbeAnswered,
        Self::ProbeAbsorbed,
        Self::ProbeRefused,
    ];

    /// Its number, for the programs' log.
    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The one of that number, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOurs => "not ours",
            Self::Malformed => "malformed",
            Self::GateOpen => "passes an open gate",
            Self::GateShut => "stopped by the gate",
            Self::Flooded => "flooded",
            Self::Rejected => "rejected",
            Self::AddressAnswered => "answered for the address",
            Self::AddressNotHeld => "not answered: the address is not held",
            Self::AddressContested => "another claims the address",
            Self::AddressDefended => "another claims the address: defended",
            Self::ClaimSuppressed => "own claim suppressed: the address is not held",
            Self::Proving => "native XDP is being proved",
            Self::ProbeAnswered => "probe answered",
            Self::ProbeAbsorbed => "probe's reply taken",
            Self::ProbeRefused => "probe refused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_that_of_its_reason() {
        for (number, reason) in (0..).zip(Reason::ALL) {
            assert_eq!(reason.number(), number);
            assert_eq!(Reason::from_number(number), Some(reason));
        }
        assert_eq!(Reason::from_number(Reason::ALL.len() as u32), None);
    }

    /// Does not compile until a new reason is named here: then it is the last in `ALL` too.
    fn is_last(reason: Reason) -> bool {
        match reason {
            Reason::NotOurs
            | Reason::Malformed
            | Reason::GateOpen
            | Reason::GateShut
            | Reason::Flooded
            | Reason::Rejected
            | Reason::AddressAnswered
            | Reason::AddressNotHeld
            | Reason::AddressContested
            | Reason::AddressDefended
            | Reason::ClaimSuppressed
            | Reason::Proving
            | Reason::ProbeAnswered
            | Reason::ProbeAbsorbed => false,
            Reason::ProbeRefused => true,
        }
    }

    #[test]
    fn the_list_is_whole() {
        let (last, others) = Reason::ALL.split_last().expect("there are reasons");
        assert!(is_last(*last) && !others.iter().any(|reason| is_last(*reason)));
    }
}
