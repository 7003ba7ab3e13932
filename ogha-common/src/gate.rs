//! What a gate does, as the kernel enforces it and as it goes over the wire.

/// What the kernel does with a gate at some moment. The numbers go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Passage {
    /// Traffic passes, ARP is answered.
    Open = 1,
    /// TCP gets an RST, ARP is answered: a takeover is under way.
    Claimed = 2,
    /// TCP gets an RST, ARP is dropped.
    Closed = 3,
    /// Everything is dropped: the lease ran out with nobody deciding.
    Lapsed = 4,
}

impl Passage {
    /// As a peer's kernel tells it; `None` for a word of a later version.
    #[must_use]
    pub const fn from_wire(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Open),
            2 => Some(Self::Claimed),
            3 => Some(Self::Closed),
            4 => Some(Self::Lapsed),
            _ => None,
        }
    }
}
