//! A switchover, while the node that hands the role over still serves.

use super::Serving;
use crate::{
    failover::{
        Action, Cause, NodeSet, Notice, Order, Refusal, Role, Why, cluster::Known,
        context::Context, phase::Phase,
    },
    units::{Instant, NodeId},
};

/// The role on its way to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Switchover {
    pub to: NodeId,
    pub deadline: Instant,
    /// The database has written out what it can before it is stopped.
    prepared: bool,
}

impl Serving {
    pub fn switch_over(&mut self, cx: &mut Context<'_>, to: Option<NodeId>) -> Result<(), Refusal> {
        if self.switchover.is_some() {
            return Err(Refusal::Busy);
        }
        if cx.known.is_paused() {
            return Err(Refusal::Paused);
        }
        let config = cx.known.config;
        let others = cx.known.others();
        let to = match to {
            Some(node) if !config.nodes.without(config.node).contains(node) => {
                return Err(Refusal::UnknownNode);
            }
            Some(node) if !others.contains(node) => return Err(Refusal::NotInSync(node)),
            Some(node) => node,
            None => best_of(cx.known, cx.now, &others).ok_or(Refusal::NobodyInSync)?,
        };
        if !is_ready(cx.known, cx.now, to) {
            return Err(Refusal::NotReady(to));
        }
        let deadline = cx.now + config.switchover_timeout;
        self.switchover = Some(Switchover { to, deadline, prepared: false });
        cx.act(Action::Database(Order::Checkpoint));
        Ok(())
    }

    /// What could be written out before the database stops is written out, or can't be.
    pub fn checkpointed(mut self, cx: &mut Context<'_>, ok: bool) -> Phase {
        if let Some(switchover) = &mut self.switchover {
            if !ok {
                self.undo_switchover(cx);
                return Phase::Serving(self);
            }
            switchover.prepared = true;
        }
        self.tend_switchover(cx)
    }

    /// The role is handed over as soon as nobody but the two could be promoted.
    pub fn tend_switchover(mut self, cx: &mut Context<'_>) -> Phase {
        let (Some(switchover), Some(record)) = (self.switchover, cx.known.record()) else {
            return Phase::Serving(self);
        };
        let to = switchover.to;
        let ready = record.in_sync.contains(to) && is_ready(cx.known, cx.now, to);
        if cx.now >= switchover.deadline || !ready {
            self.undo_switchover(cx);
        } else if switchover.prepared && !self.membership.changes() {
            if record.others() == NodeSet::of(to) {
                let phase = Phase::Serving(self);
                return phase.close(cx, cx.now, Cause::Switchover(to), Why::Switchover);
            }
            self.propose_members(cx, NodeSet::of(to).with(cx.known.config.node));
        }
        Phase::Serving(self)
    }

    fn undo_switchover(&mut self, cx: &mut Context<'_>) {
        self.switchover = None;
        cx.notice(Notice::SwitchoverUndone);
    }
}

fn is_ready(known: &Known, now: Instant, node: NodeId) -> bool {
    known
        .facts
        .peer(node)
        .is_some_and(|peer| peer.is_there(now, &known.config) && peer.role() == Role::Standby)
}

fn best_of(known: &Known, now: Instant, nodes: &NodeSet) -> Option<NodeId> {
    let ready = nodes.iter().filter(|&node| is_ready(known, now, node));
    ready.max_by_key(|&node| {
        let status = known.facts.peer(node).and_then(|peer| peer.status);
        status.map(|status| (status.priority, status.lsn))
    })
}
