//! openGauss's tools, simulated in front of a real PostgreSQL.
//!
//! `gs_ctl`, `gs_guc`, `gs_om` and `gsql` take the command lines, print the texts and return the exit codes of
//! openGauss 6.0, with what is odd about them: an exit code of 0 for a failover of a dead server, a
//! second between looks, a stale state file printed as if it were news. What really happens, happens
//! to a PostgreSQL server in the data directory. Its database gets functions with openGauss's names,
//! so that SQL written for openGauss works as well.
//!
//! What PostgreSQL does differently stays different: one port instead of two, a promotion that takes
//! its own time, and a standby with foreign records that never streams.
//!
//! All tools are one program, `opengauss-sim`, called by the name of a symbolic link beside
//! [`Node::FILE`].

pub mod gs_ctl;
pub mod gs_guc;
pub mod gs_om;
pub mod gsql;
mod node;
mod report;
mod server;
pub mod state;
pub mod watch;

pub use node::{Faults, Node, Peer, Started};
pub use server::control_data;

/// Creates openGauss's functions in a PostgreSQL database, and puts them before PostgreSQL's own
/// of the same name. To be run on the primary; standbys replay it. `gs_ctl start` does it by itself.
pub const SCHEMA: &str = include_str!("schema.sql");
