//! A change of the in-sync set, on its way from the proposal to the current record.

use super::Serving;
use crate::{
    failover::{
        Action, Arbiter, Cause, NodeSet, Notice, Record, Ruling, Why, context::Context,
        grants::Granters, phase::Phase,
    },
    units::Term,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Proposed {
    pub record: Record,
    pub stage: Stage,
}

/// How far a change of the set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// The arbiter is asked.
    Asked,
    /// It has granted it, or need not be asked: the record is being written.
    Granted,
    /// It is on disk.
    Written,
}

impl Serving {
    pub fn propose_members(&mut self, cx: &mut Context<'_>, in_sync: NodeSet) {
        let (term, primary) = (cx.known.term().next(), cx.known.config.node);
        let record = Record { term, primary, in_sync };
        let asks = cx.known.config.arbiter != Arbiter::None;
        let stage = if asks { Stage::Asked } else { Stage::Granted };
        self.membership.proposed = Some(Proposed { record, stage });
        cx.act(if asks { Action::Propose(record) } else { Action::Persist(record) });
    }

    pub fn ruled(mut self, cx: &mut Context<'_>, ruling: Ruling) -> Phase {
        let Some(Proposed { record, stage: Stage::Asked }) = self.membership.proposed else {
            return Phase::Serving(self);
        };
        match ruling {
            Ruling::Granted(term) if term == record.term => {
                self.membership.retry.succeeded();
                self.membership.proposed = Some(Proposed { record, stage: Stage::Granted });
                cx.act(Action::Persist(record));
            }
            Ruling::Refused { term, record: current } if term == record.term => {
                self.membership.proposed = None;
                self.membership.retry.failed(cx.now);
                self.report_refusal(cx, term);
                if let Some(current) = current {
                    return Phase::Serving(self).adopt_from_store(cx, current);
                }
            }
            Ruling::Unknown(term) if term == record.term => {
                self.membership.retry.failed(cx.now);
                self.report_refusal(cx, term);
            }
            _ => {}
        }
        Phase::Serving(self)
    }

    fn report_refusal(&mut self, cx: &mut Context<'_>, term: Term) {
        if !::core::mem::replace(&mut self.membership.reported, true) {
            cx.notice(Notice::ArbiterRefused(term));
        }
    }

    /// All that the kernel had heard of the peers was handed in.
    pub fn polled(self, cx: &mut Context<'_>) -> Phase {
        match self.membership.proposed {
            Some(Proposed { record, stage: Stage::Written }) => self.count_on(cx, record),
            _ => Phase::Serving(self),
        }
    }

    /// The record is current: the kernel gets its term, and then those who left are let go.
    fn count_on(mut self, cx: &mut Context<'_>, record: Record) -> Phase {
        // Somebody may have taken this very term meanwhile.
        if !cx.known.config.grants() && self.lease.is_over(cx.now) {
            let phase = Phase::Serving(self);
            return phase.close(cx, cx.now, Cause::LeaseLapsed, Why::LeaseLapsed);
        }
        let before = cx.known.cluster.record.replace(record).map(|before| before.in_sync);
        let before = before.unwrap_or_default();
        self.membership.proposed = None;
        self.membership.joining = None;
        self.membership.reported = false;
        for node in record.in_sync.iter().filter(|&node| !before.contains(node)) {
            cx.notice(Notice::InSync(node));
        }
        for node in before.iter().filter(|&node| !record.in_sync.contains(node)) {
            cx.notice(Notice::OutOfSync(node));
        }
        self.go_by(cx, &record)
    }

    /// The lease is what those who stay have granted; the kernel gets the term with it.
    pub fn go_by(mut self, cx: &mut Context<'_>, record: &Record) -> Phase {
        let wanted =
            Granters { set: Granters::wanted(&cx.known.config, record, None), inherited: false };
        let changed = self.granters != wanted;
        self.granters = wanted;
        let phase = self.reset_lease(cx);
        if changed {
            cx.order_granters(wanted.set);
        }
        cx.publish();
        match phase {
            Phase::Serving(mut serving) => {
                serving.note_standbys(cx);
                serving.tend(cx)
            }
            other => other,
        }
    }
}
