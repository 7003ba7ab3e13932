//! Which build has made what is pinned.

use core::mem::size_of;

/// What a data plane says of itself. Maps of another build are kept only where their types are the
/// same, field by field; so a field whose meaning changes must change its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Stamp {
    /// A hash of the object file; 0: a start was cut short.
    pub build: u64,
}

const _: () = assert!(size_of::<Stamp>() == 8);
