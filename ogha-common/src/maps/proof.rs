//! The map by which the agent proves that native XDP works on an interface.

use core::mem::size_of;

/// Whom the program asks, and how often it was answered. Its map, `PROOF`, is not pinned: it lives as
/// long as the proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Proof {
    /// The neighbour's IPv4 address, network order; all zero: nobody is asked.
    pub neighbour: [u8; 4],
    /// Its replies. The first answers the agent, each further one the program.
    pub replies: u32,
}

/// So many replies prove it. The kernel asks a neighbour of its own accord too, but not that often.
pub const PROOF_REPLIES: u32 = 5;

const _: () = assert!(size_of::<Proof>() == 8);
