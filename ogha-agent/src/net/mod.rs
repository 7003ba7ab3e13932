//! The only user of netlink and of raw sockets, and what the kernel tells of sockets.

pub mod addresses;
pub mod announce;
pub mod enquiry;
mod family;
pub mod interface;
pub mod listeners;
pub mod neighbours;
mod packet;
pub(crate) mod path;
pub mod probe;
pub mod survey;
pub mod vrrp;
pub mod watcher;

pub use family::Family;
