//! A host: what survives what.

use ogha_common::failover::Record;

use super::{agent::Agent, clock::Clock, database::Database, kernel::Kernel};

/// A host with all that is on it.
#[derive(Debug)]
pub struct Node {
    /// Its clock, since its boot.
    pub clock: Clock,
    /// It has power.
    pub up: bool,
    /// Grows with each boot.
    pub boot: u32,
    /// Gone with the power.
    pub kernel: Kernel,
    /// Gone when it dies.
    pub agent: Option<Box<Agent>>,
    /// Grows with each agent.
    pub agents: u32,
    /// Its files stay.
    pub database: Database,
    /// The record on disk.
    pub saved: Option<Record>,
    /// An operator's pause, on disk.
    pub marks: ogha_common::failover::Marks,
    /// Nothing can be written.
    pub disk_full: bool,
    /// Orders to the database fail.
    pub orders_fail: bool,
}

impl Node {
    /// What its clock shows.
    pub fn local(&self, now: u64) -> u64 {
        self.clock.local(now)
    }
}
