//! What an instance waits for: what it cannot bring about by itself, and says in its status.

use super::{Cause, Hindrance, NodeSet, Phase, Role, core::Core};
use crate::units::{Instant, NodeId};

/// What the instance waits for, that it can't bring about by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// The arbiter must answer.
    Arbiter,
    /// The database here must be started.
    StartDatabase,
    /// The database here must be made a standby again: `rejoin`.
    Rejoin,
    /// These nodes must be heard, or an operator must force: one of them may have been promoted.
    Others(NodeSet),
    /// An operator must force: this stands against it.
    Force(Hindrance),
    /// An operator must resume.
    Resume,
}

impl Core {
    /// What a person must do, or see to, so that this node goes on.
    #[must_use]
    pub fn waits_for(&self, now: Instant) -> Option<Wait> {
        if !self.config.database {
            return None;
        }
        match self.phase {
            Phase::Fenced { .. } | Phase::Standby => {}
            Phase::Listening { .. } if self.has_register() && !self.consulted => {
                return Some(Wait::Arbiter);
            }
            _ => return None,
        }
        let named = self.is_named();
        let served = self.serving_primary(now).is_some();
        if self.has_register() && !self.consulted && !served {
            return Some(Wait::Arbiter);
        }
        if self.database.role == Role::Unknown && !self.returning.is_busy() {
            let by_itself = if named {
                self.config.restart_attempts > 0
            } else {
                served && self.returning.is_automatic(self.config.rejoin)
            };
            return match (by_itself, named || !served) {
                (true, _) => self.is_paused().then_some(Wait::Resume),
                (false, true) => Some(Wait::StartDatabase),
                (false, false) => Some(Wait::Rejoin),
            };
        }
        let diverged = self.returning.is_diverged() && self.database.role == Role::Standby;
        if served && diverged {
            return match (self.returning.is_automatic(self.config.rejoin), self.is_paused()) {
                (false, _) => Some(Wait::Rejoin),
                (true, paused) => paused.then_some(Wait::Resume),
            };
        }
        if !served
            && named
            && let Phase::Fenced { cause: Cause::SplitBrain(node), .. } = self.phase
        {
            return Some(Wait::Force(Hindrance::Rival(node)));
        }
        if served && !named && self.database.role == Role::Primary && !self.member {
            return Some(Wait::Rejoin);
        }
        if let Some(rival) = self.rival(now).filter(|_| named && !served) {
            return Some(Wait::Force(Hindrance::Rival(rival)));
        }
        // One whose kernel answers, but that says it is fenced, serves nobody.
        if served || self.active_peer(now).is_some() {
            return None;
        }
        if self.is_paused() {
            return Some(Wait::Resume);
        }
        if named {
            let others = self.record.map(|record| record.others()).unwrap_or_default();
            let silent = others.filter(|node| {
                let heard = self.view(node).map(|view| view.at);
                heard.is_none_or(|at| at < self.listening_since)
            });
            let waits = !silent.is_empty() && !self.has_register();
            return waits.then_some(Wait::Others(silent));
        }
        self.hindrance().map(Wait::Force)
    }

    /// A node that does not serve, but whose database is a primary as well as the one here.
    fn rival(&self, now: Instant) -> Option<NodeId> {
        if self.has_register() || self.database.role != Role::Primary {
            return None;
        }
        let mut fresh = self.peers.iter().flatten().filter(|view| self.speaks(now, view));
        let rival = fresh.find(|view| {
            view.status.is_some_and(|status| {
                status.role == Role::Primary && !status.phase.serves_or_takes_over()
            })
        });
        rival.map(|view| view.node)
    }
}
