//! The simulation: clusters of two to five nodes in virtual time, and all that may happen to them.
//!
//! The agent is the one that ships: its `Instance` runs over simulated ports, with its core, its workers'
//! rules, its detectors and its retries; so are the rules of the gate and of the lease in
//! `ogha_common::maps`. Modelled are the kernel's programs, the network, the disks, the databases and the
//! arbiter: each with delays and failures that are drawn from a seed, so that a run that fails is
//! repeated by its number.

mod agent;
mod arbiter;
mod clock;
mod database;
mod faults;
mod filter;
mod invariants;
mod jobs;
mod kernel;
mod network;
mod node;
mod people;
mod plan;
mod ports;
mod queue;
mod random;
mod replication;
mod runner;
mod scribe;
mod trouble;
mod world;

pub use self::{
    filter::Rule,
    plan::{Plan, Setting, Violation},
    runner::{Failure, Tally, check_one, run, trace},
};

/// The most nodes of a simulated run.
pub const MAX: usize = 5;

/// A rule of the kernel's side, broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The lease is the latest of the grants instead of the earliest.
    LatestGrant,
    /// A grant counts from the answer's arrival, not from the question.
    StaleAnchor,
}
