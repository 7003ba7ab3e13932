//! The state of an instance and the way of an input through it.

use ::core::time::Duration;

use super::{
    Action, Cause, Config, Database, GateOrder, Hindrance, Input, NodeSet, Notice, Outcome, Record,
    Step,
};
use crate::{
    election::{self, Election},
    units::{Instant, NodeId, Term},
    wire::probe,
};

/// Where actions go, in order.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Action);

/// When the addresses are announced again after the gate opened: a lost frame is a client that
/// talks to the old node.
const ANNOUNCE_AFTER: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Where an instance is. Each variant owns its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not started.
    Initial,
    /// Just started: hears whether somebody serves before it does anything.
    Listening {
        /// The end of it.
        until: Instant,
    },
    /// A backup.
    Standby,
    /// Takes over as soon as its promise to the old primary has run out.
    Waiting {
        /// The end of the promise.
        until: Instant,
    },
    /// Takes over: the record is being written.
    Persisting {
        /// The record that names this node.
        record: Record,
    },
    /// Takes over: the kernel is told to claim the addresses.
    Claiming,
    /// Takes over: waits for the database and the addresses.
    Promoting {
        /// When it gives up.
        give_up_at: Instant,
        /// The lease of the claim.
        lease: Lease,
    },
    /// Takes over: the kernel is told to open the gate.
    Opening,
    /// The gate is open.
    Serving(Renewal),
    /// The kernel is told to close the gate.
    Closing {
        /// Why.
        cause: Cause,
    },
    /// The gate is closed, and stays so until the database has rejoined.
    Fenced {
        /// Why.
        cause: Cause,
        /// Since when the kernel has it.
        since: Instant,
    },
}

/// A lease that this node gave itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When it is renewed: four times while it lasts, so that late timers cost nothing.
    pub renew_at: Instant,
    /// When it ends. A lease that has ended is never renewed: somebody else may hold one.
    pub until: Instant,
}

impl Lease {
    pub(super) fn new(now: Instant, lease: Duration) -> Self {
        Self { renew_at: now + lease / 4, until: now + lease }
    }
}

/// What a serving node does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The lease of the gate.
    pub lease: Lease,
    /// When the gate opened.
    pub(super) opened: Instant,
    /// How many announcements of [`ANNOUNCE_AFTER`] are done.
    pub(super) announced: usize,
}

impl Renewal {
    pub(super) fn announce_at(&self) -> Option<Instant> {
        ANNOUNCE_AFTER.get(self.announced).map(|&after| self.opened + after)
    }
}

/// What is known of the node that serves.
#[derive(Clone, Copy, Debug)]
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

/// The last status of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerView {
    pub(super) node: NodeId,
    pub(super) at: Instant,
    pub(super) status: probe::Status,
}

/// The decisions of one instance.
#[derive(Debug)]
pub struct Core {
    pub(super) config: Config,
    pub(super) election: Election,
    pub(super) phase: Phase,
    pub(super) record: Option<Record>,
    pub(super) database: Database,
    pub(super) addresses_held: bool,
    pub(super) heard: Option<Heard>,
    /// When the last advert was read.
    pub(super) advert_at: Instant,
    pub(super) peers: [Option<PeerView>; super::MAX_NODES],
    /// The last hindrance told, so that it is told once.
    pub(super) told: Option<Hindrance>,
    /// The takeover under way, or the last one, had to promote.
    pub(super) promoted: bool,
    /// This node has been part of the cluster: a database here that comes up as a second primary
    /// is stopped. (A pair that was never a pair is left alone.)
    pub(super) member: bool,
    /// The agent is about to end, to be started again.
    pub(super) restarting: bool,
}

impl Core {
    /// A core that waits for [`Input::Started`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut election = Election::new(config.election);
        election.set_eligible(!config.database);
        Self {
            config,
            election,
            phase: Phase::Initial,
            record: None,
            database: Database::default(),
            addresses_held: false,
            heard: None,
            advert_at: Instant::default(),
            peers: [None; super::MAX_NODES],
            told: None,
            promoted: false,
            member: false,
            restarting: false,
        }
    }

    /// One input; the actions come out in the order in which they must be carried out.
    pub fn handle(&mut self, now: Instant, input: Input, sink: Sink<'_>) {
        match input {
            Input::Started { record, open } => self.start(now, record, open, sink),
            Input::Tick => self.tick(now, sink),
            Input::Stalled(time) => self.stalled(now, time),
            Input::Advert { node, advert } => self.advert(now, node, advert, sink),
            Input::AdvertStamped { node, at } => self.advert_stamped(node, at),
            Input::Peer { node, status } => self.peer(now, node, status, sink),
            Input::Answered { node, agent_age } => self.answered(now, node, agent_age, sink),
            Input::Unanswered { node } => self.unanswered(now, node, sink),
            Input::DatabaseDied { at, sign } => self.database_died(now, at, sign, sink),
            Input::Database(database) => self.observed(now, database, sink),
            Input::Persisted(term) => self.persisted(now, term, sink),
            Input::PersistFailed(term) => self.persist_failed(now, term, sink),
            Input::GateSet(order) => self.gate_set(now, order, sink),
            Input::GateFailed(order) => self.gate_failed(now, order, sink),
            Input::AddressesHeld => {
                self.addresses_held = true;
                self.open_if_ready(now, sink);
            }
            Input::Lapsed => self.lapsed(now, sink),
            Input::PromotionRefused => self.promotion_failed(now, sink),
            Input::Stopping => self.stopping(now, sink),
        }
    }

    /// When [`Input::Tick`] is due; `None` before the start.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Initial => return None,
            Phase::Listening { until } | Phase::Waiting { until } => Some(until),
            Phase::Promoting { give_up_at, lease } => Some(give_up_at.min(lease.renew_at)),
            Phase::Serving(renewal) => {
                let renew = renewal.lease.renew_at;
                Some(renewal.announce_at().map_or(renew, |announce| announce.min(renew)))
            }
            Phase::Standby
            | Phase::Persisting { .. }
            | Phase::Claiming
            | Phase::Opening
            | Phase::Closing { .. }
            | Phase::Fenced { .. } => None,
        };
        own.into_iter().chain(self.election.next_timer()).min()
    }

    /// The phase, for people and for tests.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The record that this node goes by.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        self.record
    }

    /// The VRRP state.
    #[must_use]
    pub fn vrrp(&self) -> election::State {
        self.election.state()
    }

    /// The database, as it was last seen.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database
    }

    /// The term of the record; zero without one.
    #[must_use]
    pub fn term(&self) -> Term {
        self.record.map_or(Term::ZERO, |record| record.term)
    }

    /// What this node tells its peers.
    #[must_use]
    pub fn status(&self) -> probe::Status {
        probe::Status {
            term: self.term(),
            primary: self.record.map(|record| record.primary),
            phase: self.wire_phase(),
            role: self.database.role,
            restarting: self.restarting,
            priority: self.config.priority,
            lsn: self.database.lsn,
        }
    }

    fn wire_phase(&self) -> probe::Phase {
        match self.phase {
            Phase::Initial | Phase::Listening { .. } => probe::Phase::Listening,
            Phase::Standby | Phase::Waiting { .. } => probe::Phase::Standby,
            Phase::Persisting { .. }
            | Phase::Claiming
            | Phase::Promoting { .. }
            | Phase::Opening => probe::Phase::TakingOver,
            // Rule 5: until the kernel has the closed gate, this node serves.
            Phase::Serving(_) | Phase::Closing { .. } => probe::Phase::Serving,
            Phase::Fenced { .. } => probe::Phase::Fenced,
        }
    }

    pub(super) fn all_nodes(&self) -> NodeSet {
        self.config.nodes
    }

    fn tick(&mut self, now: Instant, sink: Sink<'_>) {
        self.drive_election(now, election::Input::Tick, sink);
        match self.phase {
            Phase::Listening { until } if now >= until => self.listened(now, sink),
            Phase::Waiting { until } if now >= until => {
                sink(Action::Step(Step::PromiseRanOut));
                self.persist_takeover(sink);
            }
            Phase::Promoting { give_up_at, .. } if now >= give_up_at => {
                sink(Action::Notice(Notice::PromotionTimedOut));
                self.promotion_failed(now, sink);
            }
            Phase::Promoting { give_up_at, lease } => {
                if let Some(lease) = self.renew(now, lease, sink) {
                    self.phase = Phase::Promoting { give_up_at, lease };
                }
            }
            Phase::Serving(renewal) => self.serve(now, renewal, sink),
            Phase::Standby => self.consider(now, sink),
            _ => {}
        }
    }

    fn serve(&mut self, now: Instant, mut renewal: Renewal, sink: Sink<'_>) {
        let Some(lease) = self.renew(now, renewal.lease, sink) else { return };
        renewal.lease = lease;
        if renewal.announce_at().is_some_and(|at| now >= at) {
            renewal.announced += 1;
            sink(Action::Announce);
        }
        self.phase = Phase::Serving(renewal);
    }

    /// Renews the lease if that is due; `None` when it has ended. The word goes out before the
    /// lease is longer, so no peer's wait can end before the lease does.
    fn renew(&mut self, now: Instant, lease: Lease, sink: Sink<'_>) -> Option<Lease> {
        if now >= lease.until {
            self.lapsed(now, sink);
            return None;
        }
        if now < lease.renew_at {
            return Some(lease);
        }
        let renewed = Lease::new(now, self.config.agent_timeout);
        sink(Action::Publish);
        sink(Action::Renew { until: renewed.until });
        Some(renewed)
    }

    pub(super) fn set_gate(&self, now: Instant, order: GateOrder, sink: Sink<'_>) {
        sink(Action::SetGate { order, term: self.term(), until: now + self.config.agent_timeout });
    }

    /// Drives VRRP and takes what concerns the instance out of its actions.
    pub(super) fn drive_election(&mut self, now: Instant, input: election::Input, sink: Sink<'_>) {
        let mut silent = false;
        let mut role = None;
        self.election.handle(now, input, &mut |action| match action {
            election::Action::SendAdvert(priority) => sink(Action::SendAdvert(priority)),
            // The core announces when the kernel lets it: an announcement with a closed gate
            // does not leave the host.
            election::Action::Announce => {}
            election::Action::BecameActive => role = Some(true),
            election::Action::BecameBackup => role = Some(false),
            election::Action::ActiveDown => silent = true,
        });
        if silent {
            self.active_down(now, sink);
        }
        match role {
            Some(true) if !self.config.database && self.phase == Phase::Standby => {
                self.take_over(now, Cause::Elected, None, sink);
            }
            Some(false) if !self.config.database && self.holds_addresses() => {
                self.fence(now, now, Cause::Outranked, sink);
            }
            _ => {}
        }
    }

    /// Whether this node claims the addresses, or is about to.
    pub(super) fn holds_addresses(&self) -> bool {
        matches!(
            self.phase,
            Phase::Persisting { .. }
                | Phase::Claiming
                | Phase::Promoting { .. }
                | Phase::Opening
                | Phase::Serving(_)
        )
    }

    fn advert(&mut self, now: Instant, node: NodeId, advert: election::Advert, sink: Sink<'_>) {
        self.advert_at = now;
        let active = advert.priority != crate::units::Priority::RELEASE;
        if self.config.database && self.holds_addresses() {
            // Terms decide between the nodes of a database, and they travel in the status.
            if let (true, Phase::Serving(renewal)) = (active, &mut self.phase)
                && renewal.announce_at().is_none()
            {
                sink(Action::Notice(Notice::RivalAdvert));
                renewal.opened = now;
                renewal.announced = 0;
                sink(Action::Announce);
            }
            return;
        }
        if active {
            self.hear(now, node, sink);
        }
        self.drive_election(now, election::Input::Advert(advert), sink);
    }

    /// An advert that waits to be read is no silence. One that was read may have said goodbye since.
    fn advert_stamped(&mut self, node: NodeId, at: Instant) {
        let active = self.heard.as_mut().filter(|heard| heard.node == node);
        if let (true, Some(heard)) = (self.config.database && at > self.advert_at, active) {
            heard.at = heard.at.max(at);
            heard.agent = heard.agent.max(at);
            self.election.heard(at);
        }
    }

    fn peer(&mut self, now: Instant, node: NodeId, status: probe::Status, sink: Sink<'_>) {
        if node == self.config.node || !self.config.nodes.contains(node) {
            return;
        }
        self.remember(PeerView { node, at: now, status });
        // A node of ours: its gate is known to lapse, and is waited for. (To preempt is to
        // interrupt, and stays plain VRRP.)
        self.election.set_eligible(!self.config.database && self.config.election.preempt);
        if status.term > self.term() {
            self.higher_term(now, node, status, sink);
        } else if status.phase == probe::Phase::Serving && status.term == self.term() {
            self.same_term(now, node, status, sink);
        }
        if status.phase == probe::Phase::Serving && status.term == self.term() {
            self.hear(now, node, sink);
        }
        if status.phase == probe::Phase::Fenced {
            self.peer_fenced(now, node, status, sink);
        }
    }

    fn remember(&mut self, view: PeerView) {
        let known = |slot: &&mut Option<PeerView>| slot.is_some_and(|v| v.node == view.node);
        if let Some(slot) = self.peers.iter_mut().find(known) {
            *slot = Some(view);
        } else if let Some(slot) = self.peers.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(view);
        }
    }

    /// A late local timer is no miss: every wait for a peer's word is longer by so much. Our own
    /// lease is not: the others' clocks went on.
    fn stalled(&mut self, now: Instant, time: Duration) {
        self.election.postpone(time);
        if let Some(heard) = &mut self.heard {
            heard.at = now.min(heard.at + time);
            heard.agent = now.min(heard.agent + time);
        }
        // What came meanwhile the kernel has heard, and this node is told before it goes on. Only
        // if the whole host was away somebody may speak who could not be heard.
        if let Phase::Waiting { until } | Phase::Listening { until } = &mut self.phase
            && time >= self.config.lease
        {
            *until = (*until).max(now + self.config.lease);
        }
    }

    /// The kernel of the active node answered, and said how long ago its agent was alive.
    fn answered(&mut self, now: Instant, node: NodeId, agent_age: Duration, sink: Sink<'_>) {
        let Some(heard) = self.heard.as_mut().filter(|heard| heard.node == node) else { return };
        heard.at = now;
        heard.agent = heard.agent.max(now - agent_age);
        heard.lost = false;
        if let Phase::Waiting { .. } = self.phase {
            self.phase = Phase::Standby;
            sink(Action::End(Outcome::Standby));
            sink(Action::Publish);
        }
        self.consider(now, sink);
    }

    /// Probes to this host were sent, one after another, and not answered.
    fn unanswered(&mut self, now: Instant, node: NodeId, sink: Sink<'_>) {
        if let Some(heard) = self.heard.as_mut().filter(|heard| heard.node == node) {
            heard.lost = true;
            self.consider(now, sink);
        }
    }

    /// Notes a word of the active node. A wait for its lease begins anew.
    fn hear(&mut self, now: Instant, node: NodeId, sink: Sink<'_>) {
        self.heard = Some(Heard { node, at: now, agent: now, silent: false, lost: false });
        self.told = None;
        match self.phase {
            Phase::Waiting { .. } => sink(Action::End(Outcome::Standby)),
            Phase::Listening { .. } => {}
            _ => return,
        }
        self.phase = Phase::Standby;
        sink(Action::Publish);
    }
}
