//! Two nodes and a consensus store, exhaustively: each way in which a few adversities may come together.
//!
//! Time goes in steps of 20 ms. In each, each agent runs, each datagram arrives, the arbiter answers;
//! or one of these does not happen, which is an *adversity*: an agent stands still for a step, dies, or its
//! host does; a datagram gets lost or is late; the arbiter's answer gets lost or its question is late;
//! the database dies. All schedules with so many adversities are gone through, in a real core at each
//! node, with the gate's and the lease's real rules.

mod cluster;
mod node;

use cluster::{Cluster, check, finds};
use node::Broken;

#[test]
fn a_pair_and_a_consensus_store() {
    for (steps, adversities) in [(14, 2), (30, 2), (9, 3)] {
        let states = check(Cluster::new(steps, adversities));
        println!("{steps} steps with {adversities} adversities: {states} states");
        assert!(states > 10_000, "hardly anything was gone through: {states}");
    }
}

/// What the model is worth: rules that two nodes and a consensus store need.
#[test]
fn a_broken_rule_is_found() {
    for rule in [Broken::Withdraw, Broken::AskArbiter, Broken::NarrowAfterRecord] {
        let found = finds(Cluster::new(15, 2).breaking(rule));
        assert!(found, "{rule:?} can be broken, and nobody sees it");
    }
}
