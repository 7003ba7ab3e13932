//! The simulation: clusters of two to five nodes in virtual time, and all that may happen to them.
//!
//! The decision core, the detector and the election are the real ones, and so are the rules of the gate
//! and of the lease in `ogha_common::maps`. Modelled are the kernel's programs, the agent's loop, the
//! network, the disks, the databases and the arbiter: each with delays and failures that are drawn
//! from a seed, so that a story that fails is told again by its number.

mod agent;
mod arbiter;
mod clock;
mod database;
mod effects;
mod faults;
mod invariants;
mod kernel;
mod network;
mod node;
mod people;
mod queue;
mod random;
mod replication;
mod runner;
mod story;
mod trouble;
mod world;

pub use self::{
    runner::{Failure, Tally, run, tell, tell_one},
    story::{Setting, Story, Violation},
};

/// The most nodes of a story.
pub const MAX: usize = 5;

/// A rule of the kernel's side, broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The lease is the latest of the grants instead of the earliest.
    LatestGrant,
    /// A grant counts from the answer's arrival, not from the question.
    StaleAnchor,
}
