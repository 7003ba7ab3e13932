//! The cluster record: who is primary in which term, and who may become it.

use crate::units::{Members, NodeId, Term};

/// How many nodes an instance may have.
pub const MAX_NODES: usize = 8;

/// A small set of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet {
    /// In ascending order, the empty places last, so that equal sets are equal.
    nodes: [Option<NodeId>; MAX_NODES],
}

impl NodeSet {
    /// The set of no node.
    pub const EMPTY: Self = Self { nodes: [None; MAX_NODES] };

    /// The set of these nodes. `None` if there are more than [`MAX_NODES`].
    #[must_use]
    pub fn new(nodes: &[NodeId]) -> Option<Self> {
        let mut set = Self::default();
        nodes.iter().all(|&node| set.insert(node)).then_some(set)
    }

    /// The set of one node.
    #[must_use]
    pub fn of(node: NodeId) -> Self {
        Self::EMPTY.with(node)
    }

    /// Adds a node; false if there is no room.
    pub fn insert(&mut self, node: NodeId) -> bool {
        if self.contains(node) {
            return true;
        }
        let length = self.len();
        let Some(place) = self.nodes.get_mut(length) else { return false };
        *place = Some(node);
        self.nodes[..=length].sort_unstable();
        true
    }

    /// The set with that node too; without it where there is no room.
    #[must_use]
    pub fn with(mut self, node: NodeId) -> Self {
        self.insert(node);
        self
    }

    /// The set without that node.
    #[must_use]
    pub fn without(self, node: NodeId) -> Self {
        self.filter(|member| member != node)
    }

    /// Those nodes of the set for which that holds.
    #[must_use]
    pub fn filter(self, keep: impl Fn(NodeId) -> bool) -> Self {
        self.iter().filter(|&node| keep(node)).fold(Self::EMPTY, Self::with)
    }

    /// Whether the node is in the set.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.iter().any(|member| member == node)
    }

    /// Whether all nodes of the other set are in this one.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        other.iter().all(|node| self.contains(node))
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes, in ascending order of their identities.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().flatten().copied()
    }

    /// The set as it stands on the wire.
    #[must_use]
    pub fn members(&self) -> Members {
        self.iter().fold(Members::NONE, Members::with)
    }

    /// The subset that stands on the wire so; `None` if there is no such one, as where the two ends
    /// know different nodes.
    #[must_use]
    pub fn subset(&self, members: Members) -> Option<Self> {
        let subsets = 0_u32..1 << self.len();
        let pick = |bits: u32| {
            let chosen = self.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
            chosen.fold(Self::EMPTY, |set, (_, node)| set.with(node))
        };
        subsets.map(pick).find(|set| set.members() == members)
    }
}

/// What all nodes must agree on. The higher term always wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Grows by one with each change.
    pub term: Term,
    /// The one node whose gate may open.
    pub primary: NodeId,
    /// The nodes that may be promoted without losing acknowledged writes.
    pub in_sync: NodeSet,
}

impl Record {
    /// The in-sync nodes beside the primary: who must grant its lease.
    #[must_use]
    pub fn others(&self) -> NodeSet {
        self.in_sync.without(self.primary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> [NodeId; 9] {
        ::core::array::from_fn(|i| NodeId::of(["a", "b", "c", "d", "e", "f", "g", "h", "i"][i]))
    }

    #[test]
    fn a_set_is_a_set_and_has_an_end() {
        let nodes = nodes();
        assert_eq!(NodeSet::new(&nodes), None);
        let set = NodeSet::new(&nodes[..3]).unwrap();
        let same = NodeSet::new(&[nodes[2], nodes[0], nodes[1], nodes[0]]).unwrap();
        assert_eq!(set, same);
        assert!(set.contains(nodes[1]) && !set.contains(nodes[3]));
        assert_ne!(set, NodeSet::new(&nodes[..2]).unwrap());
        assert_eq!(set.without(nodes[2]), NodeSet::new(&nodes[..2]).unwrap());
        assert!(set.includes(&NodeSet::of(nodes[0])) && !NodeSet::of(nodes[0]).includes(&set));
    }

    #[test]
    fn a_set_is_known_by_its_members_on_the_wire() {
        let all = NodeSet::new(&nodes()[..8]).unwrap();
        for bits in 0_u32..256 {
            let set = all.filter(|node| {
                bits >> all.iter().position(|member| member == node).unwrap() & 1 == 1
            });
            assert_eq!(all.subset(set.members()), Some(set));
        }
        let stranger = NodeSet::of(nodes()[8]);
        assert_eq!(all.subset(stranger.members()), None);
    }
}
