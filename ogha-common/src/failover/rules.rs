//! The rules for dangerous acts, each in one function. It returns a permit, which nothing else can make
//! and without which the act cannot be ordered, or the blocker.

use super::{
    Blocker, Cause, Database, Loss, NodeSet, PhaseName, Record, Refusal, Role, cluster::Known,
    facts::PeerFacts,
};
use crate::{
    profile::Danger,
    units::{Instant, NodeId},
};

/// How far the closing of a gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ClosingStep {
    /// The kernel is ordered to close the gate.
    Gate { deadline: Instant },
    /// The kernel has it; the hung database is stopped.
    Stopping { deadline: Instant },
    /// The kernel has it; the database that hands over is shut down.
    Demoting { deadline: Instant },
    /// All is done that has to be before it is reported.
    Closed,
}

/// This node may begin to take over.
#[derive(Debug)]
pub(super) struct TakeoverPermit(());
/// The database here may be promoted.
#[derive(Debug)]
pub(super) struct PromotePermit(());
/// The gate may open.
#[derive(Debug)]
pub(super) struct OpenPermit(());
/// Commits may wait for exactly these.
#[derive(Debug)]
pub(super) struct CommitsPermit(NodeSet);
/// This node may report itself fenced.
#[derive(Debug)]
pub(super) struct FencedPermit(());

impl CommitsPermit {
    pub const fn set(&self) -> NodeSet {
        self.0
    }
}

impl Known {
    /// Rule 2, as far as this node alone can tell before it asks the arbiter.
    pub fn may_take_over(&self) -> Result<TakeoverPermit, Blocker> {
        if self.last_active().is_none() {
            return Err(Blocker::NeverHeardPrimary);
        }
        if self.is_paused() {
            return Err(Blocker::Paused);
        }
        if self.facts.unguarded {
            return Err(Blocker::Unguarded);
        }
        if let Some(danger) = self.facts.danger {
            return Err(Blocker::Contradiction(danger));
        }
        let behind = self.facts.behind(self.record());
        if !self.is_in_sync() {
            return Err(Blocker::NotInSync(behind));
        }
        if self.config.max_lag.is_some_and(|max_lag| behind > max_lag) {
            return Err(Blocker::Lag(behind));
        }
        if self.facts.database.role() != Role::Standby {
            return Err(Blocker::NoStandby);
        }
        Ok(TakeoverPermit(()))
    }

    /// Whether this node may serve where nobody does, and why.
    ///
    /// This is how a pair begins (no record yet), how a primary goes on after its host came
    /// back before anyone took over, and how a database that was restarted in place returns. The
    /// database of a designated primary is promoted if it is still a standby: the promotion
    /// failed, or the agent died before it.
    pub fn may_bootstrap(&self, now: Instant) -> Option<(TakeoverPermit, Cause)> {
        if self.facts.unguarded
            || !self.is_unreplaced()
            || self.is_forestalled(now)
            || !self.knows_the_others(now)
        {
            return None;
        }
        let cause = match self.facts.database {
            Database::Primary(primary) if primary.writable => Cause::Bootstrap,
            Database::Standby { .. } if self.is_designated() && self.facts.danger.is_none() => {
                Cause::Designated
            }
            _ => return None,
        };
        Some((TakeoverPermit(()), cause))
    }

    /// An operator takes the responsibility for rule 2; [`Known::may_force`] has returned
    /// the blocker.
    pub const fn forced() -> TakeoverPermit {
        TakeoverPermit(())
    }

    /// Whether an operator may force this node: nobody serves, and no primary lives.
    pub fn may_force(&self, now: Instant, phase: PhaseName) -> Result<(), Refusal> {
        match phase {
            PhaseName::Serving => return Err(Refusal::ServesHere),
            PhaseName::Standby | PhaseName::Fenced | PhaseName::Listening => {}
            _ => return Err(Refusal::Busy),
        }
        if let Some(node) = self.active_peer(now) {
            return Err(Refusal::Serves(node));
        }
        match self.facts.database {
            Database::Primary(primary) if primary.writable => Ok(()),
            Database::Standby { receives: true, .. } if !self.primary_is_down(now) => {
                Err(Refusal::PrimaryLives)
            }
            Database::Standby { .. } => {
                let there = |peer: &&PeerFacts| peer.is_there(now, &self.config);
                let mut peers = self.facts.known_peers().filter(there);
                match peers.find(|peer| peer.role() == Role::Primary) {
                    Some(peer) => Err(Refusal::PrimaryAt(peer.node)),
                    None => Ok(()),
                }
            }
            _ => Err(Refusal::NoDatabaseHere),
        }
    }

    /// What a force would lose.
    pub fn loss_if_forced(&self) -> Loss {
        match self.may_take_over().err() {
            Some(Blocker::Contradiction(Danger::OtherDatabase)) => Loss::Unknown,
            None if self.config.max_lag.is_none() => Loss::Nothing,
            Some(Blocker::NeverHeardPrimary) => Loss::Unknown,
            _ => Loss::Since(self.facts.behind(self.record())),
        }
    }

    /// The agent of the node that the record names says that its database is no primary. It knows that
    /// before the observation here does.
    fn primary_is_down(&self, now: Instant) -> bool {
        let primary = self.record().map(|record| record.primary);
        self.speaking(now).any(|peer| Some(peer.node) == primary && peer.role() != Role::Primary)
    }

    /// Rule 2: the written record names this node.
    pub fn may_promote(&self, written: &Record) -> Result<PromotePermit, Blocker> {
        let named = written.primary == self.config.node && self.record() == Some(*written);
        if named { Ok(PromotePermit(())) } else { Err(Blocker::NotDesignated) }
    }

    /// Rule 1: the record names this node, the database was observed to accept writes, and (rule 9)
    /// commits wait for whoever else may be promoted: by the record, or by one that was proposed and may
    /// have been granted.
    pub fn may_open(&self, addresses_held: bool, proposed: NodeSet) -> Result<OpenPermit, Blocker> {
        if !self.is_designated() {
            return Err(Blocker::NotDesignated);
        }
        if self.facts.database.writable().is_none() || self.facts.stale {
            return Err(Blocker::NotWritable);
        }
        if self.facts.unguarded {
            return Err(Blocker::Unguarded);
        }
        if !addresses_held {
            return Err(Blocker::NoAddresses);
        }
        let unawaited = |node: &NodeId| !self.commits.wait_for(*node);
        match self.others().iter().chain(proposed.iter()).find(unawaited) {
            Some(node) => Err(Blocker::NotAwaited(node)),
            None => Ok(OpenPermit(())),
        }
    }

    /// Rule 9: a primary's commits wait for each other node that may be promoted. (A standby's setting
    /// is for the time after its promotion, when it is alone in the set.)
    pub fn may_wait_for(&self, set: NodeSet) -> Result<CommitsPermit, Blocker> {
        let standby = matches!(self.facts.database, Database::Standby { .. });
        let left = self.others().iter().find(|&node| !set.contains(node));
        match left.filter(|_| self.is_designated() && !standby) {
            Some(node) => Err(Blocker::StillInSync(node)),
            None => Ok(CommitsPermit(set)),
        }
    }
}

/// Rule 5: what is reported closed the kernel has; a hung database is stopped before.
pub(super) fn may_report_fenced(step: ClosingStep) -> Result<FencedPermit, Blocker> {
    match step {
        ClosingStep::Gate { .. } => Err(Blocker::GateNotClosed),
        ClosingStep::Stopping { .. } | ClosingStep::Demoting { .. } => Err(Blocker::NotStopped),
        ClosingStep::Closed => Ok(FencedPermit(())),
    }
}
