//! A backup: watches the node that serves, and brings its database to it.

use super::{Phase, Plan, Rejoin};
use crate::{
    failover::{
        Blocker, Cause, Database, NodeSet, Notice, PhaseName, Role, Sign, Why, cluster::Known,
        context::Context, facts::ActiveNode,
    },
    retry::Retry,
    units::{Instant, NodeId},
};

/// A backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Standby {
    pub rejoin: Rejoin,
    /// When this node considers again whether to take over.
    pub retry_at: Option<Instant>,
    /// After which pause the arbiter is asked again.
    asks: Retry,
    /// When a takeover that another node should do first is this one's business.
    deferred_until: Option<Instant>,
    /// The last blocker reported, so that it is reported once.
    pub reported: Option<Blocker>,
    /// Since when the database of this node, the designated primary, is known not to run.
    stopped_since: Option<Instant>,
}

impl Standby {
    /// One whose database is on its way back.
    pub fn with(rejoin: Rejoin) -> Self {
        Self { rejoin, ..Self::default() }
    }

    /// One that has failed to take over: the next occasion is a moment away.
    pub fn again(mut self, at: Instant) -> Self {
        self.retry_at = Some(at);
        self
    }

    /// One whose proposal the arbiter refused, or did not answer.
    pub fn refused(mut self, now: Instant) -> Self {
        self.asks.failed(now);
        self.retry_at = self.asks.at();
        self
    }

    /// The active node was heard.
    pub fn relieved(mut self) -> Self {
        self.reported = None;
        self.deferred_until = None;
        self.asks.succeeded();
        self
    }

    /// After a takeover was begun, none is deferred.
    pub fn decided(mut self) -> Self {
        self.deferred_until = None;
        self
    }

    pub fn timer(&self, known: &Known) -> Option<Instant> {
        let handover = self.stopped_since.map(|since| since + known.config.agent_timeout * 2);
        self.rejoin.timer().into_iter().chain(self.retry_at).chain(handover).min()
    }

    pub fn tick(mut self, cx: &mut Context<'_>) -> Phase {
        self.retry_at = self.retry_at.filter(|&at| cx.now < at);
        if self.should_hand_over(cx) {
            let cause = Cause::DatabaseDied(Sign::Observed);
            let (from, why) = (PhaseName::Standby, Why::DesignatedButStopped);
            return Phase::fence(cx, from, cause, self.rejoin, why);
        }
        match self.consider(cx) {
            Phase::Standby(mut standby) => {
                standby.rejoin.come_back(cx);
                Phase::Standby(standby)
            }
            other => other,
        }
    }

    /// A designated primary whose database does not run, and is not started by anybody, reports
    /// itself fenced: a standby that is in sync takes over at once (rule 6).
    fn should_hand_over(&mut self, cx: &Context<'_>) -> bool {
        let grace = cx.known.config.agent_timeout * 2;
        let due = self.stopped_since.is_some_and(|since| cx.now >= since + grace);
        if due {
            self.stopped_since = None;
        }
        due && !cx.known.others().is_empty()
            && !cx.known.is_paused()
            && !self.rejoin.is_busy()
            && !cx.known.anyone_active(cx.now)
    }

    /// Whether to take over from an active node that has fallen silent.
    ///
    /// A host that answers no probe is dead: what it was granted is waited out, from its last sign
    /// on, adverts among them. One that answers has a gate that its kernel closes: `agent_timeout`
    /// after its agent's last sign of life, or as soon as nobody grants it a lease; an agent that is
    /// merely slow is no failure (rule 7).
    pub fn consider(mut self, cx: &mut Context<'_>) -> Phase {
        let active = match cx.known.last_active() {
            Some(active) if active.lost || active.silent && is_agent_dead(cx.known, active) => {
                active
            }
            Some(_) => return Phase::Standby(self),
            None => return self.blocked(cx, Blocker::NeverHeardPrimary),
        };
        let permit = match cx.known.may_take_over() {
            Ok(permit) => permit,
            Err(blocker) => {
                // The next adverts that stay away are the next occasion.
                if let Some(active) = &mut cx.known.facts.active {
                    active.silent = false;
                }
                return self.blocked(cx, blocker);
            }
        };
        let config = cx.known.config;
        // A status that is on its way still, an advert, or a probe of its agent, may be about to come.
        let doubtful = active.at + config.lease / 2;
        if active.lost && cx.now < doubtful {
            return Phase::Standby(self.again(doubtful));
        }
        let (first_sign, cause, why, until) = if active.lost {
            let until = active.at + config.lease + config.margin();
            (active.at, Cause::HostLost(active.node), Why::HostLost, Some(until))
        } else {
            (active.agent, Cause::AgentDead(active.node), Why::AgentDead, None)
        };
        if self.defers(cx, first_sign) {
            return Phase::Standby(self);
        }
        let not_before = until.filter(|&until| cx.now < until);
        Phase::take_over(
            cx,
            PhaseName::Standby,
            self,
            permit,
            Plan { first_sign, cause, why, not_before },
        )
    }

    /// Whether another node should go first: one that is in sync and alive, and has more of the WAL,
    /// or the higher priority. It is given `agent_timeout` to do so.
    fn defers(&mut self, cx: &Context<'_>, since: Instant) -> bool {
        if !cx.known.is_outranked(cx.now) || cx.known.config.is_a_pair() {
            self.deferred_until = None;
            return false;
        }
        let timeout = cx.known.config.agent_timeout;
        let until = *self.deferred_until.get_or_insert(since.max(cx.now) + timeout);
        self.retry_at = Some(until).filter(|&at| cx.now < at);
        cx.now < until
    }

    /// The same, asked again while this node waits for the end of its lease grant.
    pub fn defers_now(&mut self, cx: &Context<'_>) -> bool {
        self.defers(cx, cx.now)
    }

    /// Reports it once, unless this node may serve without taking anything over.
    fn blocked(self, cx: &mut Context<'_>, blocker: Blocker) -> Phase {
        match self.bootstrap(cx) {
            Phase::Standby(mut standby) => {
                if standby.reported != Some(blocker) {
                    standby.reported = Some(blocker);
                    cx.notice(Notice::CannotTakeOver(blocker));
                }
                Phase::Standby(standby)
            }
            other => other,
        }
    }

    /// Serves where nobody does, and this node may.
    pub fn bootstrap(self, cx: &mut Context<'_>) -> Phase {
        match cx.known.may_bootstrap(cx.now) {
            Some((permit, cause)) => {
                let plan =
                    Plan { first_sign: cx.now, cause, why: Why::NobodyServes, not_before: None };
                Phase::take_over(cx, PhaseName::Standby, self, permit, plan)
            }
            None => Phase::Standby(self),
        }
    }

    /// Rule 6.
    pub fn peer_fenced(mut self, cx: &mut Context<'_>, node: NodeId) -> Phase {
        let permit = match cx.known.may_take_over() {
            Ok(permit) => permit,
            Err(blocker) => return self.blocked(cx, blocker),
        };
        if self.defers(cx, cx.now) {
            return Phase::Standby(self);
        }
        // Two that hear it at once must hear of each other first; a consensus store chooses one.
        let alone = cx.known.config.is_a_pair() || cx.known.config.has_store();
        let plan = Plan {
            first_sign: cx.now,
            cause: Cause::PeerFenced(node),
            why: Why::PeerFenced,
            not_before: (!alone).then(|| cx.now + cx.known.config.lease),
        };
        Phase::take_over(cx, PhaseName::Standby, self, permit, plan)
    }

    /// The database here was observed. A second primary beside the one that serves is
    /// stopped; one that nobody has replaced may serve.
    pub fn observed(mut self, cx: &mut Context<'_>) -> Phase {
        let database = cx.known.facts.database;
        self.note_stopped(cx);
        if cx.known.is_unreplaced() {
            self = match self.bootstrap(cx) {
                Phase::Standby(standby) => standby,
                other => return other,
            };
            self.rejoin.start_database(cx);
        } else if cx.known.cluster.member
            && database.role() == Role::Primary
            && cx.known.anyone_active(cx.now)
        {
            let cause = Cause::HigherTerm(cx.known.term());
            let (from, why) = (PhaseName::Standby, Why::SecondPrimary);
            return match Phase::fence(cx, from, cause, self.rejoin, why) {
                Phase::Fenced(fenced) => fenced.observed(cx),
                other => other,
            };
        }
        if let Database::Standby { .. } = database {
            release_commits(cx);
        }
        self.rejoin.come_back(cx);
        Phase::Standby(self)
    }

    fn note_stopped(&mut self, cx: &Context<'_>) {
        let stopped = cx.known.facts.database == Database::Stopped && cx.known.is_designated();
        self.stopped_since = stopped.then(|| self.stopped_since.unwrap_or(cx.now));
    }
}

/// Whether the last answer of an active node's kernel shows that its agent is dead, and by that
/// its gate lapsed, where the agent alone renews it. Where no answer comes that is not known: it
/// may be this node that is partitioned.
fn is_agent_dead(known: &Known, active: ActiveNode) -> bool {
    active.at.since(active.agent) >= known.config.agent_timeout + known.config.margin()
}

/// A standby that will be promoted must not wait for those that are gone then.
pub(super) fn release_commits(cx: &mut Context<'_>) {
    if !cx.known.commits.is_known() && !cx.known.commits.is_ordering() {
        cx.have_commits_wait(NodeSet::EMPTY);
    }
}
