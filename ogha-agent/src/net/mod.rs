//! The only user of netlink and raw sockets.

pub mod interface;
