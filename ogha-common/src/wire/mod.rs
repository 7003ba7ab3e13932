//! What goes over the wire: parse, validate, encode. One parser for the kernel and for user space.

pub mod arp;
mod checksum;
pub mod echo;
pub mod ndp;
pub mod probe;
pub mod replay;
pub mod siphash;
pub mod vrrp;
