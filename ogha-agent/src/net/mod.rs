//! The only user of netlink and of raw sockets.

pub mod addresses;
pub mod announce;
pub mod interface;
pub mod probe;
pub mod vrrp;
