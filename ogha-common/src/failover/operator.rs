//! What an operator orders.

use core::fmt;

use super::{
    Action, Cause, NodeSet, Notice, Order, Phase, Role, Step,
    core::{Core, Sink},
    hearing::PeerView,
};
use crate::units::{Instant, NodeId};

/// What an operator orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Hand the role to that node, or to the best; nothing is lost.
    Switchover {
        /// `None`: the best of the in-sync set.
        to: Option<NodeId>,
    },
    /// Take over here, though this node may not by itself: writes may be lost.
    Force,
    /// No failover until [`Command::Resume`].
    Pause,
    /// Failovers again.
    Resume,
    /// Make the database here a standby of the primary.
    Rejoin,
}

/// Why a command is refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The instance has no database.
    NoDatabase,
    /// Another node serves: the command belongs there, or makes no sense while that is so.
    Serves(NodeId),
    /// Nobody serves.
    NobodyServes,
    /// This node serves.
    ServesHere,
    /// Another operation is under way.
    Busy,
    /// That is no other node of the instance.
    UnknownNode,
    /// That node is not in sync.
    NotInSync(NodeId),
    /// That node is not heard, or its database is no standby.
    NotReady(NodeId),
    /// No other node is in sync.
    NobodyInSync,
    /// The database here is neither standby nor primary.
    NoDatabaseHere,
    /// That node has paused, and must resume.
    PausedAt(NodeId),
}

/// The role on its way to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Switchover {
    to: NodeId,
    deadline: Instant,
    /// The database has written out what it can before it is stopped.
    prepared: bool,
}

impl Core {
    /// An operator's order. It is accepted or refused at once; what comes of it is seen in the status
    /// and in the history.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn command(
        &mut self,
        now: Instant,
        command: Command,
        sink: &mut dyn FnMut(Action),
    ) -> Result<(), Refusal> {
        if !self.config.database {
            return Err(Refusal::NoDatabase);
        }
        match command {
            Command::Switchover { to } => self.switch_over(now, to, sink),
            Command::Force => self.force(now, sink),
            Command::Pause => {
                self.set_paused(true, sink);
                Ok(())
            }
            Command::Resume => self.resume(now, sink),
            Command::Rejoin => self.rejoin(now, sink),
        }
    }

    fn switch_over(
        &mut self,
        now: Instant,
        to: Option<NodeId>,
        sink: Sink<'_>,
    ) -> Result<(), Refusal> {
        if !matches!(self.phase, Phase::Serving(_)) {
            return Err(self.serving_primary(now).map_or(Refusal::NobodyServes, Refusal::Serves));
        }
        if self.switchover.is_some() {
            return Err(Refusal::Busy);
        }
        let others = self.record.map(|record| record.others()).unwrap_or_default();
        let to = match to {
            Some(node) if !self.config.nodes.without(self.config.node).contains(node) => {
                return Err(Refusal::UnknownNode);
            }
            Some(node) if !others.contains(node) => return Err(Refusal::NotInSync(node)),
            Some(node) => node,
            None => self.best_of(now, &others).ok_or(Refusal::NobodyInSync)?,
        };
        if !self.is_ready(now, to) {
            return Err(Refusal::NotReady(to));
        }
        let deadline = now + self.config.switchover_timeout;
        self.switchover = Some(Switchover { to, deadline, prepared: false });
        sink(Action::Database(Order::Checkpoint));
        Ok(())
    }

    fn is_ready(&self, now: Instant, node: NodeId) -> bool {
        self.view(node).is_some_and(|view| {
            self.is_there(now, view)
                && view.status.is_some_and(|status| status.role == Role::Standby)
        })
    }

    fn best_of(&self, now: Instant, nodes: &NodeSet) -> Option<NodeId> {
        let ready = nodes.iter().filter(|&node| self.is_ready(now, node));
        ready.max_by_key(|&node| {
            let status = self.view(node).and_then(|view| view.status);
            status.map(|status| (status.priority, status.lsn))
        })
    }

    /// When a switchover is given up.
    pub(super) fn switchover_timer(&self) -> Option<Instant> {
        let serves = matches!(self.phase, Phase::Serving(_));
        self.switchover.filter(|_| serves).map(|switchover| switchover.deadline)
    }

    /// What could be written out before the database stops is written out, or can't be.
    pub(super) fn checkpointed(&mut self, now: Instant, ok: bool, sink: Sink<'_>) {
        if let Some(switchover) = &mut self.switchover {
            if !ok {
                return self.undo_switchover(sink);
            }
            switchover.prepared = true;
            self.tend_switchover(now, sink);
        }
    }

    /// The role is handed over as soon as nobody but the two could be promoted.
    pub(super) fn tend_switchover(&mut self, now: Instant, sink: Sink<'_>) {
        let (Some(switchover), Some(record), Phase::Serving(_)) =
            (self.switchover, self.record, self.phase)
        else {
            return;
        };
        let to = switchover.to;
        if now >= switchover.deadline || !record.in_sync.contains(to) || !self.is_ready(now, to) {
            self.undo_switchover(sink);
        } else if switchover.prepared && !self.membership_changes() {
            if record.others() == NodeSet::of(to) {
                self.fence(now, now, Cause::Switchover(to), sink);
            } else {
                self.propose_members(NodeSet::of(to).with(self.config.node), sink);
            }
        }
    }

    fn undo_switchover(&mut self, sink: Sink<'_>) {
        self.switchover = None;
        sink(Action::Notice(Notice::SwitchoverUndone));
    }

    /// The database was stopped cleanly, or could not be: then it goes on where it was.
    pub(super) fn demoted(&mut self, now: Instant, ok: bool, sink: Sink<'_>) {
        let Phase::Closing { cause: cause @ Cause::Switchover(_) } = self.phase else { return };
        self.switchover = None;
        self.database = super::Database::default();
        if !self.is_named() {
            sink(Action::Step(Step::DatabaseStopped));
            self.report_closed(now, Cause::HigherTerm(self.term()), sink);
        } else if ok {
            sink(Action::Step(Step::DatabaseStopped));
            self.returning.want();
            self.report_closed(now, cause, sink);
        } else {
            sink(Action::Notice(Notice::SwitchoverUndone));
            self.start_in_place(now, sink);
        }
    }

    fn force(&mut self, now: Instant, sink: Sink<'_>) -> Result<(), Refusal> {
        match self.phase {
            Phase::Serving(_) => return Err(Refusal::ServesHere),
            Phase::Standby | Phase::Fenced { .. } | Phase::Listening { .. } => {}
            _ => return Err(Refusal::Busy),
        }
        if let Some(node) = self.active_peer(now) {
            return Err(Refusal::Serves(node));
        }
        let primary = self.database.role == Role::Primary && self.database.writable;
        if !primary && self.database.role != Role::Standby {
            return Err(Refusal::NoDatabaseHere);
        }
        if self.has_register() {
            self.forced = true;
            sink(Action::Consult);
        } else {
            self.force_now(now, sink);
        }
        Ok(())
    }

    /// What stands is known: nobody serves, and a person wants this node to.
    pub(super) fn force_now(&mut self, now: Instant, sink: Sink<'_>) {
        if let Some(hindrance) = self.hindrance() {
            sink(Action::Notice(Notice::Forced(hindrance)));
        }
        self.phase = Phase::Standby;
        self.returning.forget();
        let until = now + self.config.lease + self.config.margin();
        self.take_over(now, now, Cause::Forced, Some(until), sink);
    }

    pub(super) fn active_peer(&self, now: Instant) -> Option<NodeId> {
        let serves = |view: &&PeerView| {
            view.status.is_some_and(|status| status.phase.serves_or_takes_over())
        };
        let mut there = self.peers.iter().flatten().filter(|view| self.is_there(now, view));
        there.find(serves).map(|view| view.node)
    }

    fn set_paused(&mut self, paused: bool, sink: Sink<'_>) {
        if self.paused != paused {
            self.paused = paused;
            sink(Action::PersistPause(paused));
            sink(Action::Publish);
        }
    }

    fn resume(&mut self, now: Instant, sink: Sink<'_>) -> Result<(), Refusal> {
        self.set_paused(false, sink);
        for view in self.peers.iter_mut().flatten() {
            let Some(status) = view.status.as_mut().filter(|status| status.paused) else {
                continue;
            };
            if now.since(view.at) < self.config.agent_timeout {
                return Err(Refusal::PausedAt(view.node));
            }
            // What a node said that is gone holds nobody back for ever.
            status.paused = false;
        }
        self.told = None;
        Ok(())
    }

    /// Whether an operator has paused failovers, here or at a peer.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        let said = |view: &PeerView| view.status.is_some_and(|status| status.paused);
        self.paused || self.peers.iter().flatten().any(said)
    }

    fn rejoin(&mut self, now: Instant, sink: Sink<'_>) -> Result<(), Refusal> {
        match self.phase {
            Phase::Standby | Phase::Fenced { .. } => {}
            Phase::Serving(_) => return Err(Refusal::ServesHere),
            _ => return Err(Refusal::Busy),
        }
        if self.returning.is_busy() {
            return Err(Refusal::Busy);
        }
        if self.serving_primary(now).is_none() {
            return Err(Refusal::NobodyServes);
        }
        self.returning.want();
        self.come_back(now, sink);
        Ok(())
    }

    /// To whom this node hands the role over, while it does.
    #[must_use]
    pub fn switching_to(&self) -> Option<NodeId> {
        match (self.switchover, self.phase) {
            (Some(switchover), _) => Some(switchover.to),
            (None, Phase::Closing { cause: Cause::Switchover(to) }) => Some(to),
            (None, Phase::Fenced { cause: Cause::Switchover(to), .. }) if self.is_named() => {
                Some(to)
            }
            _ => None,
        }
    }

    /// How often the database was started again in place since this agent began, or since it last served
    /// for ten minutes.
    #[must_use]
    pub fn restarts(&self) -> u8 {
        self.restarts
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDatabase => "this instance has no database; VRRP alone decides",
            Self::Serves(_) => "another node serves",
            Self::NobodyServes => "no node serves",
            Self::ServesHere => "this node serves",
            Self::Busy => "another operation is under way; see `ogha-agent status`",
            Self::UnknownNode => "no other node of the instance has that name",
            Self::NotInSync(_) => "that node is not in sync: acknowledged writes would be lost",
            Self::NotReady(_) => "that node is not heard, or its database is no standby",
            Self::NobodyInSync => "no other node is in sync and ready",
            Self::NoDatabaseHere => "the database here does not run; start it first",
            Self::PausedAt(_) => "another node is paused too; resume there",
        })
    }
}
