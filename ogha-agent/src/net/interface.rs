//! Network interfaces.

/// An interface of the current network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As `ip link` shows it.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Its address.
    pub mac: [u8; 6],
}
