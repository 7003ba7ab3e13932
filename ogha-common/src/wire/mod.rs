//! What goes over the wire: parse, validate, encode. One parser for the kernel and for user space.

pub mod arp;
pub mod probe;
pub mod replay;
pub mod siphash;
pub mod vrrp;
