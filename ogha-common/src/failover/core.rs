//! The state of an instance and the way of an input through it.

use ::core::time::Duration;

use super::{
    Action, Arbiter, Cause, Config, Database, Hindrance, Input, Lease, NodeSet, Notice, Order,
    Record, Renewal, Ruling, Step,
    hearing::{Heard, PeerView},
    members::Membership,
    operator::Switchover,
    rejoin::Return,
};
use crate::{
    election::{self, Election},
    units::{Instant, Term},
    wire::probe,
};

/// After so long, that the database was started again in place counts no more.
const SERVED_LONG: Duration = Duration::from_secs(600);

/// Where actions go, in order.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Action);

/// Where an instance is. Each variant owns its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Takes over: takes its word back.
    Withdrawing {
        /// The end of what it waits for in any case.
        until: Instant,
        /// Why it takes over.
        cause: Cause,
    },
    /// Takes over as soon as its promise to the old primary has run out.
    Waiting {
        /// The end of the promise.
        until: Instant,
        /// Why it takes over.
        cause: Cause,
    },
    /// Takes over: the arbiter is asked.
    Proposing {
        /// The record that names this node.
        record: Record,
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
    Opening {
        /// The lease of the gate.
        lease: Lease,
    },
    /// The gate is open.
    Serving(Renewal),
    /// The kernel is told to close the gate; a database that hangs, or that hands over, is stopped
    /// before that is told.
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

/// The decisions of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// Up to when all that was heard of the peers has been told.
    pub(super) looked_at: Instant,
    /// The last hindrance told, so that it is told once.
    pub(super) told: Option<Hindrance>,
    /// The takeover under way, or the last one, had to promote.
    pub(super) promoted: bool,
    /// This node has been part of the cluster: a database here that comes up as a second primary
    /// is stopped. (A pair that was never a pair is left alone.)
    pub(super) member: bool,
    /// The agent is about to end, to be started again.
    pub(super) restarting: bool,
    /// Since when this node listens for others, to tell what it heard since.
    pub(super) listening_since: Instant,
    /// The arbiter has said what stands, since the start.
    pub(super) consulted: bool,
    /// For whom commits wait, as was last done; `None`: not known.
    pub(super) synchronized: Option<NodeSet>,
    /// Whose grants the kernel counts.
    pub(super) granters: NodeSet,
    /// The last agent's gate was taken up, and what it had asked of the arbiter may be granted yet: the
    /// kernel counts whose grants it counted, till a record of this agent stands.
    pub(super) inherited: bool,
    /// Who joins or leaves the in-sync set.
    pub(super) membership: Membership,
    /// How the database here finds back to the others.
    pub(super) returning: Return,
    /// An operator has paused failovers here.
    pub(super) paused: bool,
    /// An operator moves the role.
    pub(super) switchover: Option<Switchover>,
    /// An operator forces this node, as soon as the arbiter has said what stands.
    pub(super) forced: bool,
    /// When this node last began to ask for its next record.
    pub(super) asked_at: Instant,
    /// How often the database was started again in place since this agent began, or since it last served
    /// for [`SERVED_LONG`].
    pub(super) restarts: u8,
    /// When a takeover that another node should do first is this one's business.
    pub(super) deferred_until: Option<Instant>,
    /// When a backup looks again whether it is to take over.
    pub(super) look_again_at: Option<Instant>,
    #[cfg(any(test, feature = "mutations"))]
    pub(super) broken: Option<super::Rule>,
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
            looked_at: Instant::default(),
            told: None,
            promoted: false,
            member: false,
            restarting: false,
            listening_since: Instant::default(),
            consulted: false,
            synchronized: None,
            granters: NodeSet::EMPTY,
            inherited: false,
            membership: Membership::default(),
            returning: Return::default(),
            paused: false,
            switchover: None,
            forced: false,
            asked_at: Instant::default(),
            restarts: 0,
            deferred_until: None,
            look_again_at: None,
            #[cfg(any(test, feature = "mutations"))]
            broken: None,
        }
    }

    /// One input; the actions come out in the order in which they must be carried out.
    pub fn handle(&mut self, now: Instant, input: Input, sink: Sink<'_>) {
        match input {
            Input::Started { record, open, paused } => self.start(now, record, open, paused, sink),
            Input::Tick => self.tick(now, sink),
            Input::Stalled(time) => self.stalled(now, time),
            Input::Advert { node, advert } => self.advert(now, node, advert, sink),
            Input::AdvertStamped { node, at } => self.advert_stamped(node, at, sink),
            Input::Peer { node, status, at } => self.peer(now, node, status, at, sink),
            Input::Answered { node, agent_age } => self.answered(now, node, agent_age, sink),
            Input::Looked { at } => self.looked(now, at, sink),
            Input::Unanswered { node } => self.unanswered(now, node, sink),
            Input::Granted { node, term, until } => self.granted(node, term, until),
            Input::DatabaseDied { at, sign } => self.database_died(now, at, sign, sink),
            Input::DatabaseHung { at } => self.database_hung(now, at, sink),
            Input::Database(database) => self.observed(now, database, sink),
            Input::DatabaseDid { order, ok } => self.database_did(now, order, ok, sink),
            Input::Persisted(term) => self.persisted(now, term, sink),
            Input::PersistFailed(term) => self.persist_failed(now, term, sink),
            Input::Ruled(ruling) => self.ruled(now, ruling, sink),
            Input::Consulted(record) => self.consulted(now, record, sink),
            Input::GateSet(order) => self.gate_set(now, order, sink),
            Input::GateFailed(order) => self.gate_failed(now, order, sink),
            Input::GrantersSet(granters) => self.granters_set(now, granters, sink),
            Input::Withdrawn { promised_until } => self.withdrawn(now, promised_until, sink),
            Input::AddressesHeld => {
                self.addresses_held = true;
                self.open_if_ready(now, sink);
            }
            Input::Lapsed => self.lapsed(now, sink),
            Input::Stopping => self.stopping(now, sink),
        }
    }

    /// When [`Input::Tick`] is due; `None` before the start.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Initial => return None,
            Phase::Listening { until } | Phase::Waiting { until, .. } => Some(until),
            Phase::Promoting { give_up_at, lease } => Some(give_up_at.min(lease.renew_at)),
            Phase::Serving(renewal) => {
                let mut due = renewal.lease.renew_at;
                for at in [renewal.announce_at(), self.membership_timer(), self.switchover_timer()]
                {
                    due = due.min(at.unwrap_or(due));
                }
                Some(due)
            }
            Phase::Standby => self.return_timer().into_iter().chain(self.look_again_at).min(),
            Phase::Fenced { .. } => self.return_timer(),
            Phase::Withdrawing { .. }
            | Phase::Proposing { .. }
            | Phase::Persisting { .. }
            | Phase::Claiming
            | Phase::Closing { .. }
            | Phase::Opening { .. } => None,
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
            in_sync: self.record.map(|record| record.in_sync.members()).unwrap_or_default(),
            phase: self.wire_phase(),
            role: self.database.role,
            restarting: self.restarting,
            paused: self.paused,
            priority: self.config.priority,
            lsn: self.database.lsn,
        }
    }

    fn wire_phase(&self) -> probe::Phase {
        match self.phase {
            Phase::Initial | Phase::Listening { .. } => probe::Phase::Listening,
            Phase::Standby | Phase::Withdrawing { .. } | Phase::Waiting { .. } => {
                probe::Phase::Standby
            }
            Phase::Proposing { .. }
            | Phase::Persisting { .. }
            | Phase::Claiming
            | Phase::Promoting { .. }
            | Phase::Opening { .. } => probe::Phase::TakingOver,
            // Rule 5: until the kernel has the closed gate, this node serves.
            Phase::Closing { .. } if !self.keeps(super::Rule::ClosedBeforeReported) => {
                probe::Phase::Fenced
            }
            Phase::Serving(_) | Phase::Closing { .. } => probe::Phase::Serving,
            Phase::Fenced { .. } => probe::Phase::Fenced,
        }
    }

    pub(super) fn is_named(&self) -> bool {
        self.record.is_some_and(|record| record.primary == self.config.node)
    }

    /// No record says that another node is the primary.
    pub(super) fn is_unreplaced(&self) -> bool {
        self.record.is_none_or(|record| record.primary == self.config.node)
    }

    fn tick(&mut self, now: Instant, sink: Sink<'_>) {
        self.drive_election(now, election::Input::Tick, sink);
        match self.phase {
            Phase::Listening { until } if now >= until => self.listened(now, sink),
            Phase::Waiting { until, .. } if now >= until => {
                sink(Action::Step(Step::PromiseRanOut));
                self.propose_takeover(now, sink);
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
            Phase::Standby => {
                self.look_again_at = self.look_again_at.filter(|&at| now < at);
                self.consider(now, sink);
                self.come_back(now, sink);
            }
            Phase::Fenced { .. } => self.come_back(now, sink),
            _ => {}
        }
    }

    fn serve(&mut self, now: Instant, mut renewal: Renewal, sink: Sink<'_>) {
        let Some(lease) = self.renew(now, renewal.lease, sink) else { return };
        renewal.lease = lease;
        if now.since(renewal.opened) >= SERVED_LONG {
            self.restarts = 0;
        }
        if renewal.announce_at().is_some_and(|at| now >= at) {
            renewal.announced += 1;
            sink(Action::Announce);
        }
        self.phase = Phase::Serving(renewal);
        self.tend_members(now, sink);
        self.tend_switchover(now, sink);
    }

    /// What came of an order to the database.
    fn database_did(&mut self, now: Instant, order: Order, ok: bool, sink: Sink<'_>) {
        match order {
            Order::Promote if !ok => self.promotion_failed(now, sink),
            Order::Start => self.restarted(now, ok, sink),
            Order::Synchronize(set) => self.synchronized(now, set, ok, sink),
            Order::Stop => self.stopped(now, sink),
            Order::Checkpoint => self.checkpointed(now, ok, sink),
            Order::Demote => self.demoted(now, ok, sink),
            Order::Follow(_) | Order::Rejoin(_) => self.returned(now, order, ok),
            Order::Promote | Order::AfterFailover => {}
        }
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
                self.take_over(now, now, Cause::Elected, None, sink);
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
                | Phase::Opening { .. }
                | Phase::Serving(_)
        )
    }

    /// What the arbiter says of a record that was proposed.
    fn ruled(&mut self, now: Instant, ruling: Ruling, sink: Sink<'_>) {
        if let Phase::Proposing { record } = self.phase {
            self.ruled_on_takeover(now, record, ruling, sink);
        } else {
            self.ruled_on_members(now, ruling, sink);
        }
    }

    /// What stands at the arbiter. It alone knows: what was remembered may be older, or was never
    /// granted.
    fn consulted(&mut self, now: Instant, record: Option<Record>, sink: Sink<'_>) {
        self.consulted = true;
        if let Some(stands) = record {
            self.adopt(now, stands, sink);
        }
        if ::core::mem::take(&mut self.forced) {
            self.force_now(now, sink);
        } else if self.phase == Phase::Standby {
            self.bootstrap(now, sink);
        }
    }

    /// Whether the arbiter keeps the record.
    pub(super) fn has_register(&self) -> bool {
        self.config.database && self.config.arbiter == Arbiter::Etcd
    }
}
