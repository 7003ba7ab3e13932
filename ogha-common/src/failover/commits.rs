//! For whom a primary's commits wait, as it was ordered and as it was verified since.

use super::NodeSet;
use crate::{
    retry::Retry,
    units::{Instant, NodeId},
};

/// For whom commits wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Commits {
    /// These for certain; `None`: not known.
    set: Option<NodeSet>,
    /// The database was ordered to wait for these, and has not answered yet.
    ordered: Option<NodeSet>,
    retry: Retry,
}

impl Commits {
    pub fn wait_for(&self, node: NodeId) -> bool {
        self.set.is_some_and(|set| set.contains(node))
    }

    pub fn are(&self, wanted: NodeSet) -> bool {
        self.set == Some(wanted)
    }

    pub const fn is_known(&self) -> bool {
        self.set.is_some()
    }

    pub const fn is_ordering(&self) -> bool {
        self.ordered.is_some()
    }

    /// Another database, or another role of it: nothing is known.
    pub fn forget(&mut self) {
        self.set = None;
    }

    /// How often in a row that order failed.
    pub const fn failures(&self) -> u8 {
        self.retry.failures()
    }

    /// When an order that failed is due again.
    pub fn timer(&self) -> Option<Instant> {
        self.retry.at().filter(|_| self.ordered.is_none())
    }

    /// Its pause is over: the next order that is wanted may go out.
    pub fn tick(&mut self, now: Instant) {
        if self.timer().is_some_and(|at| now >= at) {
            self.retry.begin();
        }
    }

    /// The database is ordered to wait for exactly these, unless that is under way, or its pause is not over.
    /// Until it is done it is certain only of those that are in both sets, the one before and this one,
    /// that commits wait for them. True when it is to be ordered.
    pub fn order(&mut self, now: Instant, set: NodeSet) -> bool {
        if self.ordered == Some(set) || !self.retry.is_due(now) {
            return false;
        }
        self.retry.begin();
        self.ordered = Some(set);
        self.set = self.set.map(|before| before.filter(|node| set.contains(node)));
        true
    }

    /// The database waits for these, or could not be made to.
    pub fn did(&mut self, now: Instant, set: NodeSet, ok: bool) {
        // Of an order that a newer one has replaced nothing holds any more.
        if self.ordered != Some(set) {
            return;
        }
        self.ordered = None;
        self.set = ok.then_some(set);
        if ok {
            self.retry.succeeded();
        } else {
            self.retry.failed(now);
        }
    }

    /// The primary was observed to wait for these. Returns those for whom it was believed to wait and
    /// does not. What was seen while an order is under way says nothing of it.
    pub fn verify(&mut self, awaited: NodeSet) -> NodeSet {
        let Some(set) = self.set.filter(|_| self.ordered.is_none()) else { return NodeSet::EMPTY };
        self.set = Some(set.filter(|node| awaited.contains(node)));
        set.filter(|node| !awaited.contains(node))
    }
}
