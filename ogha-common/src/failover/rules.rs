//! The rules for dangerous acts, each in one function. It returns a permit, which nothing else can make
//! and without which the act cannot be ordered, or the blocker.

use core::fmt;

use super::{Cause, Database, NodeSet, Record, Role, cluster::Known, phase::ClosingStep};
use crate::units::{Instant, NodeId};

/// Why a node may not do now what it would do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blocker {
    /// It has never heard a primary since it started, so it cannot know who wrote last.
    NeverHeardPrimary,
    /// The record does not count it in sync. So many bytes were missing when the primary was last
    /// heard, as far as is known.
    NotInSync(u64),
    /// It is asynchronous, and behind by more than `max_lag`: by so many bytes.
    Lag(u64),
    /// Its own database is no standby.
    NoStandby,
    /// It is fenced.
    Fenced,
    /// An operator has paused failovers.
    Paused,
    /// That node's database is a primary too, and no consensus store tells which of the two counts.
    Rival(NodeId),
    /// The record names another node as primary.
    NotDesignated,
    /// The database was not observed to accept writes.
    NotWritable,
    /// The addresses are not on the interface yet.
    NoAddresses,
    /// Commits do not wait for that member of the in-sync set.
    NotAwaited(NodeId),
    /// That node is in the in-sync set still: commits must go on waiting for it.
    StillInSync(NodeId),
    /// The kernel has not confirmed the closed gate.
    GateNotClosed,
    /// The database that hangs, or hands over, is not stopped yet: it could acknowledge a write.
    NotStopped,
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
        if !self.is_unreplaced() || self.is_forestalled(now) || !self.knows_the_others(now) {
            return None;
        }
        let cause = match self.facts.database {
            Database::Primary(primary) if primary.writable => Cause::Bootstrap,
            Database::Standby { .. } if self.is_designated() => Cause::Designated,
            _ => return None,
        };
        Some((TakeoverPermit(()), cause))
    }

    /// An operator takes the responsibility for rule 2; [`Known::may_force`] has told what stands
    /// against it.
    pub const fn forced() -> TakeoverPermit {
        TakeoverPermit(())
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
        if self.facts.database.writable().is_none() {
            return Err(Blocker::NotWritable);
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

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverHeardPrimary => f.write_str("no primary was heard since this agent started"),
            Self::NotInSync(behind) => write!(
                f,
                "the record does not count this node in sync ({behind} bytes behind when last heard)"
            ),
            Self::Lag(behind) => write!(f, "it is {behind} bytes behind, more than max_lag"),
            Self::NoStandby => f.write_str("the database here is no standby"),
            Self::Fenced => {
                f.write_str("this node is fenced until its database rejoins as a standby")
            }
            Self::Paused => f.write_str("failovers are paused; `ogha-agent resume` ends that"),
            Self::Rival(_) => f.write_str(
                "split brain: another node's database is a primary too, and one side's writes will \
                 be discarded",
            ),
            Self::NotDesignated => f.write_str("the record names another node as primary"),
            Self::NotWritable => f.write_str("the database here does not accept writes yet"),
            Self::NoAddresses => f.write_str("the addresses are not on the interface yet"),
            Self::NotAwaited(_) => f.write_str("commits do not wait for all in-sync standbys yet"),
            Self::StillInSync(_) => f.write_str("the record still counts the standby in sync"),
            Self::GateNotClosed => f.write_str("the kernel has not confirmed the closed gate"),
            Self::NotStopped => f.write_str("the database here is not stopped yet"),
        }
    }
}
