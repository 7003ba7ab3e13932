//! The only user of netlink and of raw sockets, and what the kernel tells of sockets.

pub mod addresses;
pub mod announce;
mod family;
pub mod interface;
pub mod listeners;
pub mod neighbours;
pub mod probe;
pub mod vrrp;

pub use family::Family;
