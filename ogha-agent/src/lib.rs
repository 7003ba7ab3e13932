//! The agent of ogha: what runs on each node beside its database.

pub mod config;
pub mod kernel;
pub mod net;
