//! The state of an instance and the way of an input through it: first it becomes a fact, then the phase
//! is asked what follows.

use super::{
    Action, Blocker, Cause, Command, Config, Database, Input, Loss, Notice, PhaseName, Record,
    Refusal,
    cluster::{Cluster, Known},
    command::Operator,
    commits::Commits,
    context::{Context, Sink},
    facts::Facts,
    phase::Phase,
};
use crate::{
    election::{self, Election},
    units::{Instant, NodeId, Term},
    wire::probe,
};

/// The decisions of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core {
    pub(super) known: Known,
    pub(super) election: Election,
    pub(super) phase: Phase,
}

impl Core {
    /// A core that waits for [`Input::Started`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut election = Election::new(config.election);
        // Rule 8: the role follows the database.
        election.set_eligible(false);
        Self {
            known: Known {
                config,
                facts: Facts::default(),
                cluster: Cluster::default(),
                operator: Operator::default(),
                commits: Commits::default(),
            },
            election,
            phase: Phase::Initial,
        }
    }

    /// One input; the actions come out in the order in which they must be carried out.
    pub fn handle(&mut self, now: Instant, input: Input, sink: Sink<'_>) {
        self.with(now, input.name(), sink, |cx, phase| (cx.handle(phase, input), ()));
    }

    /// An operator command. It is accepted or refused at once; what comes of it is seen in the status
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
        self.with(now, "operator command", sink, |cx, phase| cx.command(phase, command))
    }

    fn with<T>(
        &mut self,
        now: Instant,
        input: &'static str,
        sink: Sink<'_>,
        step: impl FnOnce(&mut Context<'_>, Phase) -> (Phase, T),
    ) -> T {
        let phase = ::core::mem::take(&mut self.phase);
        let (known, election) = (&mut self.known, &mut self.election);
        known.facts.stale |= known.has_not_run(now);
        let (phase, result) = step(&mut Context { known, election, now, input, sink }, phase);
        self.phase = phase;
        result
    }

    /// When [`Input::Tick`] is due; `None` before the start.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        if self.phase == Phase::Initial {
            return None;
        }
        let own = self.phase.timer(&self.known).into_iter().chain(self.known.operator.force_until);
        own.chain(self.election.next_timer()).min()
    }

    /// The phase, for people and for tests.
    #[must_use]
    pub fn phase(&self) -> PhaseName {
        self.phase.name()
    }

    /// Why this node takes over, or closes or has closed its gate.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.phase.cause()
    }

    /// The record that this node goes by.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        self.known.record()
    }

    /// The VRRP state.
    #[must_use]
    pub fn vrrp(&self) -> election::State {
        self.election.state()
    }

    /// The database, as it was last observed.
    #[must_use]
    pub fn database(&self) -> Database {
        self.known.facts.database
    }

    /// The term of the record; zero without one.
    #[must_use]
    pub fn term(&self) -> Term {
        self.known.term()
    }

    /// Whether an operator has paused failovers here or at a peer.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.known.is_paused()
    }

    /// How often the database was started again in place since this agent began, or since it last served
    /// for ten minutes.
    #[must_use]
    pub fn restarts(&self) -> u8 {
        self.known.facts.restarts
    }

    /// What a forced failover to this node would lose.
    #[must_use]
    pub fn loss_if_forced(&self) -> Loss {
        self.known.loss_if_forced()
    }

    /// To whom this node hands the role over, while it does.
    #[must_use]
    pub fn switching_to(&self) -> Option<NodeId> {
        match (&self.phase, self.phase.cause()) {
            (Phase::Serving(serving), _) => serving.switchover.map(|switchover| switchover.to),
            (Phase::Closing(_), Some(Cause::Switchover(to))) => Some(to),
            (Phase::Fenced(_), Some(Cause::Switchover(to))) => {
                self.known.is_designated().then_some(to)
            }
            _ => None,
        }
    }

    /// Why the phase does not go on by itself now, where a rule stands against it.
    #[must_use]
    pub fn blocker(&self) -> Option<Blocker> {
        match &self.phase {
            Phase::Closing(closing) => closing.blocker(),
            Phase::TakingOver(takeover) => takeover.blocker(&self.known),
            Phase::Restarting(restart) => restart.blocker(&self.known),
            Phase::Standby(standby) => standby.reported,
            _ => None,
        }
    }

    /// To whom this node grants a lease: the primary of its record, until it wants its place.
    #[must_use]
    pub fn grant(&self) -> Option<NodeId> {
        let primary = self.known.record()?.primary;
        let config = &self.known.config;
        let wants_its_place = matches!(
            self.phase(),
            PhaseName::Withdrawing
                | PhaseName::Waiting
                | PhaseName::Proposing
                | PhaseName::Persisting
        );
        (config.grants() && primary != config.node && !wants_its_place).then_some(primary)
    }

    /// What this node tells its peers.
    #[must_use]
    pub fn status(&self) -> probe::Status {
        let record = self.known.record();
        probe::Status {
            term: self.known.term(),
            primary: record.map(|record| record.primary),
            in_sync: record.map(|record| record.in_sync.members()).unwrap_or_default(),
            phase: self.wire_phase(),
            role: self.known.facts.database.role(),
            restarting: self.known.operator.stopping,
            paused: self.known.operator.marks.paused,
            hung: self.known.facts.hangs.here() || self.cause() == Some(Cause::DatabaseHung),
            priority: self.known.config.priority,
            lsn: self.known.facts.database.lsn(),
        }
    }

    fn wire_phase(&self) -> probe::Phase {
        match &self.phase {
            Phase::Initial | Phase::Listening(_) => probe::Phase::Listening,
            Phase::Standby(_) => probe::Phase::Standby,
            Phase::TakingOver(takeover) if takeover.waits() => probe::Phase::Standby,
            Phase::TakingOver(_) | Phase::Restarting(_) => probe::Phase::TakingOver,
            // Rule 5: until the kernel has the closed gate, this node serves.
            Phase::Serving(_) | Phase::Closing(_) => probe::Phase::Serving,
            Phase::Fenced(_) => probe::Phase::Fenced,
        }
    }
}

impl Context<'_> {
    fn handle(&mut self, phase: Phase, input: Input) -> Phase {
        match input {
            Input::Started { record, open, marks } => {
                self.known.operator.marks = marks;
                Phase::start(self, record, open)
            }
            Input::Tick => self.tick(phase),
            Input::Stalled(time) => {
                self.election.postpone(time);
                self.known.facts.postpone(self.now, time);
                phase.postponed(self, time)
            }
            Input::Advert { node, advert } => self.advert(phase, node, advert),
            Input::AdvertStamped { node, at } => self.advert_stamped(phase, node, at),
            Input::Peer { node, status, at } => self.peer(phase, node, &status, at),
            Input::Answered { node, agent_age, holds } => {
                self.answered(phase, node, agent_age, holds)
            }
            Input::Polled { at } => {
                self.known.facts.polled_at = at;
                phase.polled(self)
            }
            Input::Unanswered { node } => self.unanswered(phase, node),
            Input::Granted { node, term, until } => {
                self.known.facts.granted(&self.known.config, node, term, until);
                phase
            }
            Input::DatabaseDied { at, sign } => {
                self.known.facts.database = Database::Stopped;
                self.known.facts.hangs.over();
                phase.died(self, at, sign)
            }
            Input::DatabaseHung { at } => {
                self.note_hang();
                phase.hung(self, at)
            }
            Input::HangOver => {
                self.hang_over();
                phase
            }
            Input::Contradiction(danger) => {
                self.known.facts.danger = danger;
                phase.contradicted(self, danger)
            }
            Input::Database(database) => self.observed(phase, database),
            Input::DatabaseDid { order, ok } => phase.did(self, order, ok),
            Input::Persisted(term) => phase.persisted(self, term),
            Input::PersistFailed(term) if self.known.config.has_store() => {
                self.notice(Notice::NotOnDisk);
                phase.persisted(self, term)
            }
            Input::PersistFailed(term) => phase.persist_failed(self, term),
            Input::Ruled(ruling) => phase.ruled(self, ruling),
            Input::Consulted(record) => {
                self.known.cluster.consulted = true;
                phase.consulted(self, record)
            }
            Input::GateSet(order) => phase.gate_set(self, order),
            Input::GateFailed(order) => phase.gate_failed(self, order),
            Input::GrantersSet(granters) => phase.granters_set(self, granters),
            Input::Withdrawn { granted_until } => phase.withdrawn(self, granted_until),
            Input::AddressesHeld => phase.addresses_held(self),
            Input::Lapsed => phase.lapsed(self),
            Input::Unguarded => {
                self.known.facts.unguarded = true;
                phase.unguarded(self)
            }
            Input::Guarded => {
                self.known.facts.unguarded = false;
                phase
            }
            Input::Risen => phase.risen(self),
            Input::Stopping => {
                self.known.operator.stopping = true;
                self.publish();
                phase.stopping(self)
            }
        }
    }

    fn tick(&mut self, mut phase: Phase) -> Phase {
        if self.elect(election::Input::Tick) {
            if let Some(active) = &mut self.known.facts.active {
                active.silent = true;
            }
            phase = phase.consider(self);
        }
        self.expire_force();
        phase.tick(self)
    }

    /// Rule 10: an observation that failed changes nothing.
    fn observed(&mut self, phase: Phase, database: Database) -> Phase {
        self.known.cluster.member |= matches!(database, Database::Standby { .. });
        // What comes after a stall may have been waiting since before it.
        self.known.facts.stale = self.known.has_not_run(self.now);
        let before = ::core::mem::replace(&mut self.known.facts.database, database);
        phase.observed(self, &before)
    }
}
