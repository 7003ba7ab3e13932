//! What is heard of the others: adverts, words, answers, and silence.

use ::core::{cmp::Ordering, time::Duration};

use super::{
    Action, Cause, Notice, Outcome, Phase,
    core::{Core, Sink},
};
use crate::{
    election,
    units::{Instant, NodeId, Term},
    wire::probe,
};

/// What is known of the node that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Heard {
    pub(super) node: NodeId,
    /// The last word of its agent, or the last answer of its kernel.
    pub(super) at: Instant,
    /// The last time at which its agent was alive: its gate lapses `agent_timeout` later.
    pub(super) agent: Instant,
    /// Its adverts have stopped.
    pub(super) silent: bool,
    /// Its kernel does not answer.
    pub(super) lost: bool,
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerView {
    pub(super) node: NodeId,
    /// When its agent last lived; what it said is `status`.
    pub(super) at: Instant,
    pub(super) status: Option<probe::Status>,
    /// The last sign of its host: a word, or an answer of its kernel.
    pub(super) seen: Instant,
    /// Its kernel does not answer.
    pub(super) lost: bool,
    /// In which term it promised not to promote, and till when.
    pub(super) granted: (Term, Instant),
}

impl Core {
    /// Whether that peer's agent has spoken lately.
    pub(super) fn speaks(&self, now: Instant, view: &PeerView) -> bool {
        now.since(view.at) < self.config.agent_timeout
    }

    /// Whether it has, and its kernel answers.
    pub(super) fn is_there(&self, now: Instant, view: &PeerView) -> bool {
        !view.lost && self.speaks(now, view)
    }

    pub(super) fn advert(
        &mut self,
        now: Instant,
        node: NodeId,
        advert: election::Advert,
        sink: Sink<'_>,
    ) {
        self.advert_at = now;
        let active = advert.priority != crate::units::Priority::RELEASE;
        if self.config.database && self.holds_addresses() {
            // Terms decide between the nodes of a database, and they travel in the status.
            if let (true, Phase::Serving(renewal)) = (active, self.phase)
                && renewal.announce_at().is_none()
            {
                sink(Action::Notice(Notice::RivalAdvert));
                self.announce_again(now, sink);
            }
            return;
        }
        if active {
            self.hear(now, node, sink);
        }
        self.drive_election(now, election::Input::Advert(advert), sink);
    }

    /// An advert that waits to be read is no silence. One that was read may have said goodbye since.
    pub(super) fn advert_stamped(&mut self, node: NodeId, at: Instant, sink: Sink<'_>) {
        if let Some(view) = self.view_mut(node) {
            view.seen = view.seen.max(at);
        }
        let active = self.heard.as_mut().filter(|heard| heard.node == node);
        if let (true, Some(heard)) = (self.config.database && at > self.advert_at, active) {
            heard.at = heard.at.max(at);
            heard.agent = heard.agent.max(at);
            self.election.heard(at);
            self.stand_by_if_lost(sink);
        }
    }

    pub(super) fn peer(
        &mut self,
        now: Instant,
        node: NodeId,
        status: probe::Status,
        at: Instant,
        sink: Sink<'_>,
    ) {
        let Some(view) = self.view_mut(node) else { return };
        view.at = view.at.max(at);
        view.seen = view.seen.max(at);
        view.status = Some(status);
        // A node of ours: its gate is known to lapse, and is waited for. (To preempt is to
        // interrupt, and stays plain VRRP.)
        self.election.set_eligible(!self.config.database && self.config.election.preempt);
        match (status.term.cmp(&self.term()), status.phase) {
            (Ordering::Less, _) => self.lower_term(now, node, status, sink),
            (Ordering::Greater, _) => self.adopt(now, self.record_of(node, &status), sink),
            (Ordering::Equal, probe::Phase::Serving) => self.same_term(now, node, status, sink),
            (Ordering::Equal, probe::Phase::TakingOver) => {
                self.rival_takes_over(now, node, status, sink);
            }
            (Ordering::Equal, _) => {}
        }
        // One that closes its gate for another node's term says that it serves till the kernel has that.
        let of_another = status.primary.is_some_and(|primary| primary != node);
        if status.phase == probe::Phase::Serving && status.term == self.term() && !of_another {
            self.hear(now, node, sink);
        }
        if status.phase == probe::Phase::Fenced {
            self.peer_fenced(now, node, status, sink);
        }
    }

    pub(super) fn view(&self, node: NodeId) -> Option<&PeerView> {
        self.peers.iter().flatten().find(|view| view.node == node)
    }

    /// What is known of that configured peer; `None` for a stranger.
    pub(super) fn view_mut(&mut self, node: NodeId) -> Option<&mut PeerView> {
        if node == self.config.node || !self.config.nodes.contains(node) {
            return None;
        }
        let known = |slot: &Option<PeerView>| slot.is_none_or(|view| view.node == node);
        let slot = self.peers.iter_mut().find(|slot| known(slot))?;
        Some(slot.get_or_insert(PeerView {
            node,
            at: Instant::default(),
            status: None,
            seen: Instant::default(),
            lost: false,
            granted: (Term::ZERO, Instant::default()),
        }))
    }

    /// A late local timer is no miss: every wait for a peer's word is longer by so much. Our own
    /// lease is not: the others' clocks went on.
    pub(super) fn stalled(&mut self, now: Instant, time: Duration) {
        self.election.postpone(time);
        if let Some(heard) = &mut self.heard {
            heard.at = now.min(heard.at + time);
            heard.agent = now.min(heard.agent + time);
        }
        for view in self.peers.iter_mut().flatten() {
            view.at = now.min(view.at + time);
            view.seen = now.min(view.seen + time);
        }
        // What came meanwhile the kernel has heard, and this node is told before it goes on. Only
        // if the whole host was away somebody may speak who could not be heard.
        if let Phase::Withdrawing { until, .. }
        | Phase::Waiting { until, .. }
        | Phase::Listening { until } = &mut self.phase
            && time >= self.config.lease
        {
            *until = (*until).max(now + self.config.lease);
        }
    }

    /// A peer's kernel answered, and said how long ago its agent was alive.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        node: NodeId,
        agent_age: Duration,
        sink: Sink<'_>,
    ) {
        if let Some(view) = self.view_mut(node) {
            view.seen = now;
            view.lost = false;
        }
        let Some(heard) = self.heard.as_mut().filter(|heard| heard.node == node) else { return };
        heard.at = now;
        heard.agent = heard.agent.max(now - agent_age);
        heard.lost = false;
        self.stand_by_if_lost(sink);
        self.consider(now, sink);
    }

    /// The host that was given up is there. (A dead agent's kernel answers too.)
    fn stand_by_if_lost(&mut self, sink: Sink<'_>) {
        if let Phase::Withdrawing { cause: Cause::HostLost(_), .. }
        | Phase::Waiting { cause: Cause::HostLost(_), .. } = self.phase
        {
            self.stand_by_again(sink);
        }
    }

    fn stand_by_again(&mut self, sink: Sink<'_>) {
        self.phase = Phase::Standby;
        sink(Action::End(Outcome::Standby));
        sink(Action::Publish);
    }

    /// Probes to this host were sent, one after another, and not answered.
    pub(super) fn unanswered(&mut self, now: Instant, node: NodeId, sink: Sink<'_>) {
        if let Some(view) = self.view_mut(node) {
            view.lost = true;
        }
        if let Some(heard) = self.heard.as_mut().filter(|heard| heard.node == node) {
            heard.lost = true;
        }
        self.consider(now, sink);
        self.tend_members(now, sink);
    }

    /// Notes a word of the active node. A wait for its lease begins anew.
    pub(super) fn hear(&mut self, now: Instant, node: NodeId, sink: Sink<'_>) {
        self.heard = Some(Heard { node, at: now, agent: now, silent: false, lost: false });
        self.told = None;
        self.deferred_until = None;
        match self.phase {
            Phase::Withdrawing { .. } | Phase::Waiting { .. } => self.stand_by_again(sink),
            Phase::Listening { .. } => {
                self.phase = Phase::Standby;
                sink(Action::Publish);
            }
            _ => {}
        }
    }
}
