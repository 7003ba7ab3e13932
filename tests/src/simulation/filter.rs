//! A core in which one rule is broken on purpose, to see whether a simulated run finds it out.
//!
//! The core itself knows nothing of it: what goes in and what comes out is changed on the way. Around an
//! unbroken core the filter changes nothing, and notes for the world what the core goes by.

use std::{cell::Cell, rc::Rc};

use ogha_agent::run::decides::Decides;
use ogha_common::{
    failover::{
        Action, Cause, Command, Config, Core, Database, GateOrder, Input, NodeSet, Order,
        PhaseName, Primary, Record, Refusal, Role, Ruling,
    },
    units::{Instant, NodeId},
    wire::probe::{self, Status},
};

use super::{agent::ENDLESS, scribe::Scribe};

/// A rule that keeps two gates from being open at once, or an acknowledged write from being lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A node that starts listens before it does anything.
    ListenFirst,
    /// A gate opens on a database that was seen to accept writes, and on no other.
    OpenOnWritable,
    /// Only a node of the in-sync set is promoted.
    PromoteInSync,
    /// A node withdraws its lease grant before it reads what it had granted.
    Withdraw,
    /// A lease grant is waited out.
    WaitForPromise,
    /// The arbiter is asked for the next term.
    AskArbiter,
    /// A higher term fences.
    HigherTermFences,
    /// What is reported closed the kernel has.
    ClosedBeforeReported,
    /// A lease that has ended is not renewed.
    LapsedStaysLapsed,
    /// The agent renews the lease by itself only where nobody else may be promoted.
    RenewOnlyAlone,
    /// Whose grant is needed is widened before the record.
    WidenBeforeRecord,
    /// And narrowed after it.
    NarrowAfterRecord,
    /// A node is in sync only once it has confirmed all that was acknowledged before.
    ConfirmBeforeRecord,
    /// Commits stop waiting for a node only once the record does not count it in sync.
    ReleaseAfterRecord,
    /// A hung database is stopped before its node reports itself fenced.
    StopBeforeReported,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ListenFirst,
        Self::OpenOnWritable,
        Self::PromoteInSync,
        Self::Withdraw,
        Self::WaitForPromise,
        Self::AskArbiter,
        Self::HigherTermFences,
        Self::ClosedBeforeReported,
        Self::LapsedStaysLapsed,
        Self::RenewOnlyAlone,
        Self::WidenBeforeRecord,
        Self::NarrowAfterRecord,
        Self::ConfirmBeforeRecord,
        Self::ReleaseAfterRecord,
        Self::StopBeforeReported,
    ];
}

/// What the world may know of a core while its agent is at work.
#[derive(Debug, Default)]
pub struct View {
    /// The record that it goes by.
    pub record: Cell<Option<Record>>,
    /// Its phase; `None` before the start.
    pub phase: Cell<Option<PhaseName>>,
    /// Why it takes over, or closes or has closed its gate.
    pub cause: Cell<Option<Cause>>,
    /// When it last decided something.
    pub decided_at: Cell<Instant>,
    /// A loop without an end was found.
    pub spins: Cell<bool>,
    inputs: Cell<(Instant, u64)>,
}

impl View {
    /// Counts the inputs of one moment.
    fn spins(&self, now: Instant) -> bool {
        let (at, count) = self.inputs.get();
        let count = if at == now { count + 1 } else { 0 };
        self.inputs.set((now, count));
        if count > ENDLESS {
            self.spins.set(true);
        }
        self.spins.get()
    }
}

/// A core, and a rule that is broken.
#[derive(Debug)]
pub struct Filter {
    core: Core,
    config: Config,
    broken: Option<Rule>,
    view: Rc<View>,
    /// The last lease grant is being read.
    rereads_grant: bool,
    /// Whose grants the kernel is to count once the record says so.
    held: Option<(NodeSet, Option<Instant>)>,
    /// The end of the lease that the core gave itself last.
    lease_until: Instant,
    traced: Option<(&'static str, Rc<Scribe>)>,
}

impl Filter {
    /// A core that keeps all rules but that one.
    pub fn new(
        config: Config,
        broken: Option<Rule>,
        view: Rc<View>,
        traced: Option<(&'static str, Rc<Scribe>)>,
    ) -> Self {
        Self {
            core: Core::new(config),
            config,
            broken,
            view,
            rereads_grant: false,
            held: None,
            lease_until: Instant::default(),
            traced,
        }
    }

    fn breaks(&self, rule: Rule) -> bool {
        self.broken == Some(rule)
    }

    fn is_named(&self) -> bool {
        self.core.record().is_some_and(|record| record.primary == self.config.node)
    }

    fn note(&self, line: impl FnOnce() -> String) {
        if let Some((name, scribe)) = &self.traced {
            scribe.note(&format!("{name} {}", line()));
        }
    }

    fn put(&mut self, now: Instant, input: Input, sink: &mut dyn FnMut(Action)) {
        // Of a loop without an end the last turns are traced.
        if !is_usual(&input) || self.view.inputs.get().1 + 20 > ENDLESS {
            self.note(|| format!("<- {input:?}"));
        }
        if self.view.spins(now) {
            return;
        }
        let mut actions = Vec::new();
        self.core.handle(now, input, &mut |action| actions.push(action));
        self.pass_on(now, actions, sink);
    }

    fn pass_on(&mut self, now: Instant, actions: Vec<Action>, sink: &mut dyn FnMut(Action)) {
        for action in actions {
            if self.broken.is_none() {
                sink(action);
            } else {
                self.act(now, action, sink);
            }
        }
    }

    /// What goes in, changed as the broken rule wants it; `None`: it is not heard.
    fn changed(&self, input: Input) -> Option<Input> {
        let Some(rule) = self.broken else { return Some(input) };
        let own = self.config.node;
        let with_own = |record: Record| Record { in_sync: record.in_sync.with(own), ..record };
        let higher = |term| self.is_named() && term > self.core.term();
        match (rule, input) {
            (Rule::OpenOnWritable, Input::Database(database))
                if self.core.phase() == PhaseName::Promoting =>
            {
                let lsn = database.lsn();
                let primary = Primary { writable: true, lsn, ..Primary::default() };
                Some(Input::Database(Database::Primary(primary)))
            }
            (Rule::ConfirmBeforeRecord, Input::Database(Database::Primary(primary))) => {
                let confirmed = primary.streaming;
                let primary = Primary { confirmed, awaited: confirmed, ..primary };
                Some(Input::Database(Database::Primary(primary)))
            }
            (Rule::PromoteInSync, Input::Peer { node, mut status, at }) => {
                if let Some(in_sync) = self.config.nodes.subset(status.in_sync)
                    && status.primary.is_some()
                {
                    status.in_sync = in_sync.with(own).members();
                }
                Some(Input::Peer { node, status, at })
            }
            (Rule::PromoteInSync, Input::Consulted(record)) => {
                Some(Input::Consulted(record.map(with_own)))
            }
            (Rule::PromoteInSync, Input::Started { record, open, marks }) => {
                Some(Input::Started { record: record.map(with_own), open, marks })
            }
            (Rule::HigherTermFences, Input::Peer { status, .. }) if higher(status.term) => None,
            (Rule::HigherTermFences, Input::Consulted(Some(record))) if higher(record.term) => None,
            (Rule::LapsedStaysLapsed, Input::Lapsed) => None,
            _ => Some(input),
        }
    }

    /// What comes out, changed.
    fn act(&mut self, now: Instant, action: Action, sink: &mut dyn FnMut(Action)) {
        let own = self.config.node;
        if let Action::SetGate { until, .. } | Action::Renew { until } = action {
            self.lease_until = until;
        }
        match (self.broken, action) {
            (Some(Rule::Withdraw), Action::Withdraw) => {
                self.rereads_grant = true;
                sink(action);
            }
            (Some(Rule::AskArbiter), Action::Propose(record)) => {
                self.put(now, Input::Ruled(Ruling::Granted(record.term)), sink);
            }
            (Some(Rule::LapsedStaysLapsed), Action::Renew { until }) => {
                sink(Action::SetGate { order: GateOrder::Open, term: self.core.term(), until });
            }
            (Some(Rule::WidenBeforeRecord), Action::SetGranters(set))
                if self.core.record().is_some_and(|record| !record.others().includes(&set)) =>
            {
                self.held = Some((set, None));
                self.put(now, Input::GrantersSet(set), sink);
            }
            (Some(Rule::NarrowAfterRecord), Action::Propose(record))
                if self.shrinks(&record) && self.config.grants() =>
            {
                sink(Action::SetGranters(record.in_sync.without(own)));
                sink(action);
            }
            (Some(Rule::ReleaseAfterRecord), Action::Propose(record) | Action::Persist(record))
                if self.shrinks(&record) =>
            {
                sink(Action::Database(Order::Synchronize(record.others())));
                sink(action);
            }
            (Some(Rule::StopBeforeReported), Action::Database(order @ Order::Stop))
                if self.core.phase() == PhaseName::Closing
                    && self.core.cause() == Some(Cause::DatabaseHung) =>
            {
                self.put(now, Input::DatabaseDid { order, ok: true }, sink);
            }
            _ => sink(action),
        }
    }

    /// A record by which this node goes on with fewer others.
    fn shrinks(&self, next: &Record) -> bool {
        let serves = self.core.phase() == PhaseName::Serving;
        serves && self.core.record().is_some_and(|before| !next.in_sync.includes(&before.in_sync))
    }

    /// What a core that breaks the rule does by itself.
    fn overdo(
        &mut self,
        now: Instant,
        started: Option<Option<Record>>,
        sink: &mut dyn FnMut(Action),
    ) {
        match self.broken {
            Some(Rule::ListenFirst) => {
                if let Some(record) = started {
                    self.skip_listening(now, record, sink);
                }
            }
            Some(Rule::WaitForPromise) if self.core.phase() == PhaseName::Waiting => {
                let later = now + self.config.agent_timeout * 2;
                self.put(later, Input::Tick, sink);
            }
            Some(Rule::WidenBeforeRecord) => {
                // Long after the record counts the node in.
                let record = self.core.record();
                if let Some((set, since)) = &mut self.held
                    && record.is_some_and(|record| record.others().includes(set))
                {
                    let since = *since.get_or_insert(now);
                    if now >= since + self.config.agent_timeout {
                        sink(Action::SetGranters(*set));
                        self.held = None;
                    }
                }
            }
            Some(Rule::RenewOnlyAlone)
                if self.config.grants() && self.core.phase() == PhaseName::Serving =>
            {
                sink(Action::Renew { until: now + self.config.agent_timeout });
            }
            _ => {}
        }
    }

    /// It has heard everybody, and nobody serves.
    fn skip_listening(
        &mut self,
        now: Instant,
        record: Option<Record>,
        sink: &mut dyn FnMut(Action),
    ) {
        if self.core.phase() != PhaseName::Listening {
            return;
        }
        let later = now + self.config.agent_timeout * 2;
        self.put(later, Input::Consulted(record), sink);
        for node in self.config.nodes.without(self.config.node).iter() {
            let status = Status {
                term: self.core.term(),
                primary: record.map(|record| record.primary),
                in_sync: record.map(|record| record.in_sync.members()).unwrap_or_default(),
                phase: probe::Phase::Listening,
                role: Role::Standby,
                ..self.core.status()
            };
            self.put(later, Input::Peer { node, status, at: later }, sink);
        }
        self.put(later, Input::Tick, sink);
    }

    /// The time that is handed to the core: one that renews what has ended takes it for earlier.
    fn time(&self, now: Instant) -> Instant {
        let revives = self.breaks(Rule::LapsedStaysLapsed)
            && self.core.phase() == PhaseName::Serving
            && now >= self.lease_until;
        if revives { Instant::from_ns(self.lease_until.ns().saturating_sub(1)) } else { now }
    }

    fn look(&self) {
        let (phase, record) = (self.core.phase(), self.core.record());
        if self.view.phase.get() != Some(phase) || self.view.record.get() != record {
            self.note(|| format!("is {phase} by {record:?}"));
        }
        self.view.phase.set(Some(phase));
        self.view.cause.set(self.core.cause());
        self.view.record.set(record);
    }
}

impl Decides for Filter {
    fn handle(&mut self, now: Instant, input: Input, sink: &mut dyn FnMut(Action)) {
        self.view.decided_at.set(now);
        let now = self.time(now);
        let started = match input {
            Input::Started { record, .. } => Some(record),
            _ => None,
        };
        if let Input::Withdrawn { .. } = input {
            self.rereads_grant = false;
        }
        if let Some(input) = self.changed(input) {
            self.put(now, input, sink);
        }
        if self.broken.is_some() {
            self.overdo(now, started, sink);
        }
        self.look();
    }

    fn command(
        &mut self,
        now: Instant,
        command: Command,
        sink: &mut dyn FnMut(Action),
    ) -> Result<(), Refusal> {
        let mut actions = Vec::new();
        let answer = self.core.command(now, command, &mut |action| actions.push(action));
        self.pass_on(now, actions, sink);
        self.look();
        answer
    }

    fn next_timer(&self) -> Option<Instant> {
        self.core.next_timer()
    }

    fn status(&self) -> Status {
        let mut status = self.core.status();
        let closes = self.core.phase() == PhaseName::Closing;
        if self.breaks(Rule::ClosedBeforeReported) && closes {
            status.phase = probe::Phase::Fenced;
        }
        status
    }

    fn grant(&self) -> Option<NodeId> {
        let grant = self.core.grant();
        if !self.breaks(Rule::Withdraw) || self.rereads_grant || !self.config.grants() {
            return grant;
        }
        let primary = self.core.record().map(|record| record.primary);
        grant.or(primary.filter(|&primary| primary != self.config.node))
    }

    fn core(&self) -> &Core {
        &self.core
    }
}

/// What comes all the time is not worth a line.
fn is_usual(input: &Input) -> bool {
    matches!(
        input,
        Input::Tick
            | Input::Answered { .. }
            | Input::Peer { .. }
            | Input::Polled { .. }
            | Input::Granted { .. }
            | Input::AdvertStamped { .. }
            | Input::Advert { .. }
            | Input::Database(_)
            | Input::DatabaseHung { .. }
            | Input::HangOver
    )
}
