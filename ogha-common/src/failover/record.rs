//! The cluster record: who is primary in which term, and who may become it.

use crate::units::{NodeId, Term};

/// How many nodes an instance may have.
pub const MAX_NODES: usize = 8;

/// A small set of nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeSet {
    nodes: [Option<NodeId>; MAX_NODES],
}

impl NodeSet {
    /// The set of these nodes. `None` if there are more than [`MAX_NODES`].
    #[must_use]
    pub fn new(nodes: &[NodeId]) -> Option<Self> {
        let mut set = Self::default();
        nodes.iter().all(|&node| set.insert(node)).then_some(set)
    }

    /// Adds a node; false if there is no room.
    pub fn insert(&mut self, node: NodeId) -> bool {
        if self.contains(node) {
            return true;
        }
        match self.nodes.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => {
                *slot = Some(node);
                true
            }
            None => false,
        }
    }

    /// Whether the node is in the set.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.iter().any(|member| member == node)
    }

    /// The nodes, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().flatten().copied()
    }
}

impl PartialEq for NodeSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().count() == other.iter().count() && self.iter().all(|n| other.contains(n))
    }
}

impl Eq for NodeSet {}

/// What all nodes must agree on. The higher term always wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Grows by one with each change.
    pub term: Term,
    /// The one node whose gate may open.
    pub primary: NodeId,
    /// The nodes that may be promoted without losing acknowledged writes.
    pub in_sync: NodeSet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_a_set_and_has_an_end() {
        let nodes: [NodeId; 9] = ::core::array::from_fn(|i| NodeId::new(i as u64 + 1));
        assert_eq!(NodeSet::new(&nodes), None);
        let set = NodeSet::new(&nodes[..3]).unwrap();
        let same = NodeSet::new(&[nodes[2], nodes[0], nodes[1], nodes[0]]).unwrap();
        assert_eq!(set, same);
        assert!(set.contains(nodes[1]) && !set.contains(nodes[3]));
        assert_ne!(set, NodeSet::new(&nodes[..2]).unwrap());
    }
}
