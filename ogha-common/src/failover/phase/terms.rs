//! Records of other nodes: the higher term wins (rules 4 and 5).

use super::{Phase, Rejoin};
use crate::{
    failover::{Action, Cause, Notice, PhaseName, Record, Why, context::Context},
    units::NodeId,
    wire::probe,
};

impl Phase {
    /// What the consensus store says counts, if it is about this instance. A record that names a node that
    /// is not configured here is somebody else's, or of another configuration: it is reported, and decides
    /// nothing. (Were that node the primary, the peers that know it would grant no lease any more.)
    pub fn adopt_from_store(self, cx: &mut Context<'_>, record: Record) -> Self {
        if !cx.known.config.nodes.contains(record.primary) {
            cx.notice(Notice::StrangerDesignated(record.term));
            return self;
        }
        self.adopt(cx, record)
    }

    /// Rule 4: goes by that record from now on, if it is newer; whoever served, fences.
    pub fn adopt(self, cx: &mut Context<'_>, record: Record) -> Self {
        let (known, own) = (&cx.known, cx.known.config.node);
        if known.record() == Some(record) || record.term < known.term() {
            return self;
        }
        if record.term.leaps_from(known.term()) {
            cx.notice(Notice::ImplausibleTerm(record.term));
            return self;
        }
        if record.primary == own {
            return self.adopt_own(cx, record);
        }
        let deposed = known.is_designated();
        // Who could not be promoted by the record of one that serves has written another history.
        let split = !known.config.has_store()
            && known.record().is_some_and(|ours| !ours.in_sync.contains(record.primary));
        cx.known.cluster.member |= deposed;
        cx.known.cluster.record = Some(record);
        cx.act(Action::Persist(record));
        self.deposed(cx, &record, deposed, split)
    }

    fn deposed(self, cx: &mut Context<'_>, record: &Record, deposed: bool, split: bool) -> Self {
        let now = cx.now;
        let cause = Cause::HigherTerm(record.term);
        match self {
            Self::Serving(_) if split => {
                self.close(cx, now, Cause::SplitBrain(record.primary), Why::SplitBrain)
            }
            Self::Serving(_) | Self::Restarting(_) => self.close(cx, now, cause, Why::HigherTerm),
            Self::TakingOver(takeover) if takeover.claims() => {
                Self::TakingOver(takeover).close(cx, now, cause, Why::HigherTerm)
            }
            // What was proposed can't be granted any more.
            Self::TakingOver(takeover) => takeover.stand_by(cx, Why::HigherTerm),
            Self::Fenced(mut fenced) => {
                fenced.deposed(cause);
                Self::Fenced(fenced)
            }
            Self::Closing(mut closing) => {
                closing.deposed(cause);
                Self::Closing(closing)
            }
            Self::Listening(_) if deposed => {
                Self::fence(cx, PhaseName::Listening, cause, Rejoin::default(), Why::Deposed)
            }
            Self::Standby(standby) if deposed => {
                Self::fence(cx, PhaseName::Standby, cause, standby.rejoin, Why::Deposed)
            }
            Self::Initial | Self::Listening(_) | Self::Standby(_) => self,
        }
    }

    /// A record that names this node, which it did not know: it was granted, and the answer was lost.
    fn adopt_own(self, cx: &mut Context<'_>, record: Record) -> Self {
        cx.known.cluster.record = Some(record);
        cx.known.facts.active = None;
        cx.act(Action::Persist(record));
        match self {
            // It was the last that this node had asked for, so that nothing can be granted any more
            // that the last agent had asked for.
            Self::Serving(serving) => serving.go_by(cx, &record),
            other => other,
        }
    }

    /// Who still serves by an older record is about to find that out. If that record is without this
    /// node, it has gone on alone, and written.
    pub fn lower_term(self, cx: &mut Context<'_>, node: NodeId, status: &probe::Status) -> Self {
        let theirs = cx.known.record_of(node, status);
        let serves = status.phase == probe::Phase::Serving && theirs.primary == node;
        match self {
            Self::Serving(mut serving) if serves => {
                if !theirs.in_sync.contains(cx.known.config.node) && !cx.known.config.has_store() {
                    cx.notice(Notice::SplitBrain(node));
                }
                serving.announce_again(cx);
                Self::Serving(serving)
            }
            other => other,
        }
    }

    /// Rule 5: two primaries of one term. The lower priority fences, both report it.
    pub fn same_term(self, cx: &mut Context<'_>, node: NodeId, status: &probe::Status) -> Self {
        // Of another record in our term nothing but a split can come; what names this node is the record
        // that we know.
        let own = cx.known.config.node;
        let ours = cx.known.record().map(|record| record.primary);
        if status.primary == ours || status.primary == Some(own) {
            return self;
        }
        let outranks = (cx.known.config.priority, own) > (status.priority, node);
        match self {
            Self::Serving(_) if outranks => {
                cx.notice(Notice::SplitBrain(node));
                self
            }
            Self::Serving(_) | Self::Restarting(_) => {
                self.close(cx, cx.now, Cause::SplitBrain(node), Why::SplitBrain)
            }
            Self::TakingOver(ref takeover) if takeover.claims() => {
                self.close(cx, cx.now, Cause::SplitBrain(node), Why::SplitBrain)
            }
            Self::Closing(_) => self,
            // Who does not serve has nothing to insist on.
            _ if status.primary.is_some() => {
                let record = cx.known.record_of(node, status);
                self.adopt(cx, record)
            }
            other => other,
        }
    }

    /// Another takes over in the very term in which this node does: each thought itself the better one. The
    /// lower priority gives way, before its gate opens.
    pub fn rival_takes_over(
        self,
        cx: &mut Context<'_>,
        node: NodeId,
        status: &probe::Status,
    ) -> Self {
        let takes_over = match &self {
            Self::TakingOver(takeover) => takeover.claims(),
            Self::Restarting(_) => true,
            _ => false,
        };
        let outranked = (cx.known.config.priority, cx.known.config.node) < (status.priority, node);
        if takes_over && status.primary == Some(node) && outranked {
            let record = cx.known.record_of(node, status);
            return self.adopt(cx, record);
        }
        self
    }
}
