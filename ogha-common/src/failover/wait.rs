//! What an instance waits for: what it cannot bring about by itself, and reports in its status.

use super::{
    Blocker, Cause, Database, NodeSet, Role,
    cluster::Known,
    core::Core,
    phase::{Phase, Rejoin},
};
use crate::units::Instant;

/// What the instance waits for, that it can't bring about by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// The arbiter must answer.
    Arbiter,
    /// The database here must be started.
    StartDatabase,
    /// The database here runs, but does not answer SQL, or could not be observed.
    Answer,
    /// The database here must be made a standby again: `rejoin`.
    Rejoin,
    /// The database here receives WAL from a living primary, whose node's agent is not heard: it must be
    /// started.
    PrimaryAgent,
    /// Contact with these nodes is needed, or an operator must force: one of them may have been promoted.
    Others(NodeSet),
    /// An operator must force: this is the blocker.
    Force(Blocker),
    /// An operator must resume.
    Resume,
    /// The database here hangs, minutes after one of this cluster was stopped for a hang: an operator has
    /// to agree to the next stop.
    Hang,
}

impl Core {
    /// What a person must do, or see to, so that this node goes on.
    #[must_use]
    pub fn waits_for(&self, now: Instant) -> Option<Wait> {
        let known = &self.known;
        let unconsulted = known.config.has_store() && !known.cluster.consulted;
        let rejoin = match &self.phase {
            Phase::Listening(_) if unconsulted => return Some(Wait::Arbiter),
            Phase::Serving(_) if known.facts.hangs.waits() => return Some(Wait::Hang),
            phase => phase.rejoin()?,
        };
        let served = known.serving_primary(now).is_some();
        if unconsulted && !served {
            return Some(Wait::Arbiter);
        }
        match known.facts.database {
            _ if rejoin.is_busy() => None,
            Database::Unknown => None,
            Database::Unresponsive => Some(Wait::Answer),
            // What that one waits for, its own status says; a second primary beside it helps nobody.
            Database::Stopped if !served && known.is_there_a_primary(now) => None,
            Database::Stopped => known.stopped_waits_for(rejoin, served),
            Database::Standby { .. } if served => known.standby_waits_for(rejoin),
            Database::Primary(_) if served => {
                (!known.is_designated() && !known.cluster.member).then_some(Wait::Rejoin)
            }
            Database::Standby { .. } | Database::Primary(_) => self.unserved_waits_for(now),
        }
    }

    /// Nobody serves, though the database here answers.
    fn unserved_waits_for(&self, now: Instant) -> Option<Wait> {
        let known = &self.known;
        if let (Phase::Fenced(_), Some(Cause::SplitBrain(node))) = (&self.phase, self.phase.cause())
            && known.is_designated()
        {
            return Some(Wait::Force(Blocker::Rival(node)));
        }
        if let Some(rival) = known.rival(now).filter(|_| known.is_designated()) {
            return Some(Wait::Force(Blocker::Rival(rival)));
        }
        // One whose kernel answers, but that says it is fenced, serves nobody.
        if known.active_peer(now).is_some() {
            return None;
        }
        if known.is_paused() {
            return Some(Wait::Resume);
        }
        if known.is_designated() {
            let silent = known.unheard(now);
            let waits = !silent.is_empty() && !known.config.has_store();
            return waits.then_some(Wait::Others(silent));
        }
        if known.facts.database.receives() {
            return (!known.is_there_a_primary(now)).then_some(Wait::PrimaryAgent);
        }
        let blocker = match &self.phase {
            Phase::Fenced(_) => Some(Blocker::Fenced),
            _ => known.may_take_over().err(),
        };
        blocker.map(|blocker| known.forceable(now, blocker))
    }
}

impl Known {
    /// A peer speaks whose database is a primary.
    fn is_there_a_primary(&self, now: Instant) -> bool {
        self.speaking(now).any(|peer| peer.role() == Role::Primary)
    }

    fn stopped_waits_for(&self, rejoin: &Rejoin, served: bool) -> Option<Wait> {
        let designated = self.is_designated();
        let by_itself = if designated {
            self.config.restart_attempts > 0 || self.operator.marks.handed_over
        } else {
            served && rejoin.is_automatic(self)
        };
        match (by_itself, designated || !served) {
            (true, _) => self.is_paused().then_some(Wait::Resume),
            (false, true) => Some(Wait::StartDatabase),
            (false, false) => Some(Wait::Rejoin),
        }
    }

    fn standby_waits_for(&self, rejoin: &Rejoin) -> Option<Wait> {
        if !rejoin.is_diverged() {
            return None;
        }
        match (rejoin.is_automatic(self), self.is_paused()) {
            (false, _) => Some(Wait::Rejoin),
            (true, paused) => paused.then_some(Wait::Resume),
        }
    }

    /// A force is no advice while a node whose database is a primary speaks, or while the node that the
    /// record names is silent and may serve: then that node is waited for first.
    fn forceable(&self, now: Instant, blocker: Blocker) -> Wait {
        let primary = self.record().map(|record| record.primary);
        let silent = primary.filter(|&node| node != self.config.node);
        let silent = silent.filter(|&node| !self.speaking(now).any(|peer| peer.node == node));
        match (blocker, silent) {
            (Blocker::NeverHeardPrimary, Some(node)) => Wait::Others(NodeSet::of(node)),
            (Blocker::NeverHeardPrimary, None) if self.record().is_none() => {
                Wait::Others(self.config.nodes.without(self.config.node))
            }
            (blocker, _) => Wait::Force(blocker),
        }
    }
}
