//! Orders about the nodes for which a primary's commits wait.

use super::{Action, NodeSet, Notice, Order, context::Context, rules::CommitsPermit};

impl Context<'_> {
    /// Commits are to wait for exactly these.
    pub fn order_commits(&mut self, permit: &CommitsPermit) {
        let set = permit.set();
        if self.known.commits.order(self.now, set) {
            self.act(Action::Database(Order::Synchronize(set)));
        }
    }

    /// The same where the rule allows it and it is not so already.
    pub fn have_commits_wait(&mut self, set: NodeSet) {
        if !self.known.commits.are(set)
            && let Ok(permit) = self.known.may_wait_for(set)
        {
            self.order_commits(&permit);
        }
    }

    /// The database waits for these, or could not be made to.
    pub fn commits_ordered(&mut self, set: NodeSet, ok: bool) {
        self.known.commits.did(self.now, set, ok);
    }

    /// Rule 9: that commits really wait is verified by each observation.
    pub fn verify_commits(&mut self, awaited: NodeSet) {
        for node in self.known.commits.verify(awaited).iter() {
            self.act(Action::Notice(Notice::NotAwaited(node)));
        }
    }
}
