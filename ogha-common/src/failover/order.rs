//! What is ordered of the kernel's gate and of the database.

use super::NodeSet;
use crate::units::NodeId;

/// The gate, as ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateOrder {
    /// Nothing passes, nothing is claimed.
    Close,
    /// Nothing passes; the addresses are ours.
    Claim,
    /// Traffic passes.
    Open,
}

/// What is done to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Make the standby a primary, and poll every few milliseconds whether it accepts writes.
    Promote,
    /// An immediate shutdown: it must not be written. Done when no process of it is left.
    Stop,
    /// Write out what a clean stop would have to, while it still serves.
    Checkpoint,
    /// A fast shutdown of the primary: its standbys receive everything first.
    Demote,
    /// Start it as what it was.
    Start,
    /// Let commits wait for exactly these nodes from now on; of a standby, after its promotion.
    Synchronize(NodeSet),
    /// Let the standby receive its WAL from that node.
    Follow(NodeId),
    /// Make it a standby of that node, by the cheapest way, and start it.
    Rejoin(NodeId),
    /// Let its tools know about the new primary, outside the outage's path.
    AfterFailover,
}
