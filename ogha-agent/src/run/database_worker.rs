//! The rules by which the database is observed, and by which orders to it are carried out.
//!
//! Orders that change its role are carried out one after another; for whom commits wait is set beside
//! them, and observations go on meanwhile. A stop, which keeps a database from being written, waits for
//! nothing: what is under way is given up. What was seen before an order ended says nothing after it.

use std::{collections::VecDeque, time::Duration};

use anyhow::Context as _;
use ogha_common::{
    failover::{Input, NodeSet, Order},
    units::{Instant, NodeId},
};
use tracing::{error, info, warn};

use super::{
    ports::{End, Job, JobId, Lane, Ports, Slot, no_end},
    retry::Trouble,
};
use crate::database::{Observation, Step};

/// How often the database is observed when nothing happens.
const OBSERVE_EVERY: Duration = Duration::from_millis(150);
/// When an observation is given up. Each of its parts has a deadline of its own; this one is for what
/// hangs all the same, as a read of a file does on a dead disk.
const OBSERVE_LIMIT: Duration = Duration::from_secs(5);
/// How often, and how many times, the database's tools are told about the new primary.
const TOOLS_EVERY: Duration = Duration::from_secs(30);
const TOOLS_TRIES: u32 = 20;
const TOOLS_LIMIT: Duration = Duration::from_secs(600);
/// What a step may take beyond the time that it gives itself.
const GRACE: Duration = Duration::from_secs(30);
/// A checkpoint of a busy primary.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(900);
/// A rejoin may copy all data.
const REJOIN_LIMIT: Duration = Duration::from_secs(3 * 24 * 3600);

/// What an instance's configuration says of its database.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The instance, for the log.
    pub instance: String,
    /// The peers by name.
    pub names: Vec<(NodeId, String)>,
    /// Commits wait for whom the core says; else replication is the operator's business.
    pub synchronous: bool,
    /// How long a clean stop may take.
    pub demotion_timeout: Duration,
    /// How long a promotion, or a start, may take.
    pub promotion_timeout: Duration,
}

/// What is done to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// The core's order.
    Do(Order),
    /// Its role is lost: it must not come up writable, whoever starts it.
    Disarm,
}

impl Ask {
    /// Whether it is worth more than the one under way.
    fn preempts(self, under_way: Self) -> bool {
        match self {
            Self::Do(Order::Stop) => true,
            Self::Do(Order::Promote) => {
                !matches!(under_way, Self::Disarm | Self::Do(Order::Stop | Order::Demote))
            }
            // What waits for longest is the newest.
            Self::Do(Order::Synchronize(_)) => matches!(under_way, Self::Do(Order::Synchronize(_))),
            _ => false,
        }
    }

    /// Whether the core must see the database before it hears how that ended.
    fn is_seen_first(self) -> bool {
        let Self::Do(order) = self else { return false };
        matches!(order, Order::Promote | Order::Start | Order::Follow(_) | Order::Rejoin(_))
    }

    fn did(self, ok: bool) -> Option<Input> {
        match self {
            Self::Do(order) => Some(Input::DatabaseDid { order, ok }),
            Self::Disarm => None,
        }
    }
}

/// Orders that are carried out one after another.
#[derive(Debug)]
struct Orders {
    slot: Slot,
    under_way: Option<Ask>,
    limit: Duration,
    waiting: VecDeque<Ask>,
    /// One that has ended, and whose outcome the core hears after the next observation.
    ended: Option<(Ask, bool)>,
    /// The order that failed last: the same one is not repeated before a pause.
    failed: Option<Ask>,
    trouble: Trouble,
}

impl Orders {
    fn new(lane: Lane, trouble: Trouble) -> Self {
        Self {
            slot: Slot::new(lane),
            under_way: None,
            limit: Duration::ZERO,
            waiting: VecDeque::new(),
            ended: None,
            failed: None,
            trouble,
        }
    }

    /// A new order. Says whether one that was under way was given up for it.
    fn ask(
        &mut self,
        ask: Ask,
        settings: &Settings,
        ports: &mut impl Ports,
        out: &mut Vec<Input>,
    ) -> bool {
        if self.under_way == Some(ask) || self.waiting.contains(&ask) {
            return false;
        }
        let mut gave_up = false;
        let first =
            self.under_way.or(self.ended.map(|(ask, _)| ask)).or(self.waiting.front().copied());
        if let Some(first) = first
            && ask.preempts(first)
        {
            let (given_up, by) = (settings.say(first), settings.say(ask));
            info!(instance = settings.instance, "database: {given_up} aborted by {by}");
            self.slot.abort(ports);
            out.extend(self.ended.take().and_then(|(ask, ok)| ask.did(ok)));
            out.extend(self.waiting.drain(..).filter_map(|ask| ask.did(false)));
            gave_up = self.under_way.is_some();
            out.extend(self.under_way.take().and_then(|ask| ask.did(false)));
        }
        self.waiting.push_back(ask);
        gave_up
    }

    /// Starts the next order, if none is under way and it need not pause.
    fn go_on(&mut self, settings: &Settings, ports: &mut impl Ports, out: &mut Vec<Input>) {
        while self.under_way.is_none() && self.ended.is_none() {
            let Some(&ask) = self.waiting.front() else { return };
            if self.failed == Some(ask) && !self.trouble.retry.is_due(ports.now()) {
                return;
            }
            self.waiting.pop_front();
            match settings.step(ask) {
                Ok(Some((step, limit))) => {
                    self.under_way = Some(ask);
                    self.limit = limit;
                    self.slot.start(limit, Job::Database(step), ports);
                }
                Ok(None) => out.extend(ask.did(true)),
                Err(e) => {
                    self.note(ask, &Err(format!("{e:#}")), settings, ports.now());
                    out.extend(ask.did(false));
                }
            }
        }
    }

    /// The order under way has ended; says whether it was one.
    fn ended(
        &mut self,
        result: &Result<(), String>,
        settings: &Settings,
        now: Instant,
        out: &mut Vec<Input>,
    ) {
        let Some(ask) = self.under_way.take() else { return };
        self.note(ask, result, settings, now);
        if ask.is_seen_first() {
            self.ended = Some((ask, result.is_ok()));
        } else {
            out.extend(ask.did(result.is_ok()));
        }
    }

    fn note(&mut self, ask: Ask, result: &Result<(), String>, settings: &Settings, now: Instant) {
        match result {
            Ok(()) => {
                self.failed = None;
                self.trouble.worked();
            }
            Err(reason) => {
                if self.failed.replace(ask) != Some(ask) {
                    self.trouble.retry.succeeded();
                }
                self.trouble.failed(now, &format!("{}: {reason}", settings.say(ask)));
            }
        }
    }

    /// When the lane has something to do by itself.
    fn next_timer(&self) -> Option<Instant> {
        let paused = self.under_way.is_none() && self.ended.is_none();
        let retry = self.waiting.front().filter(|_| paused).and_then(|_| self.trouble.retry.at());
        self.slot.deadline().into_iter().chain(retry).min()
    }
}

/// The worker of one instance's database.
#[derive(Debug)]
pub struct DatabaseWorker {
    settings: Settings,
    roles: Orders,
    commits: Orders,
    /// The observation under way is in the one; the other may end one that says nothing any more.
    observing: [Slot; 2],
    current: usize,
    /// When the observation in it began.
    asked: Instant,
    observe_at: Option<Instant>,
    again: bool,
    hangs: Trouble,
    tools: Slot,
    tools_tries: u32,
    tools_at: Option<Instant>,
}

impl DatabaseWorker {
    /// How long a clean stop may take from now on.
    pub fn set_demotion_timeout(&mut self, timeout: Duration) {
        self.settings.demotion_timeout = timeout;
    }

    /// The worker of a database that was not observed yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let trouble = |what| Trouble::new(&settings.instance, what);
        Self {
            roles: Orders::new(Lane::Role, trouble("carry out an order to the database")),
            commits: Orders::new(Lane::Commits, trouble("set for whom commits wait")),
            observing: [Slot::new(Lane::Observe(0)), Slot::new(Lane::Observe(1))],
            current: 0,
            asked: Instant::default(),
            observe_at: None,
            again: false,
            hangs: trouble("observe the database"),
            tools: Slot::new(Lane::Tools),
            tools_tries: 0,
            tools_at: None,
            settings,
        }
    }

    /// The core's order.
    pub fn order(&mut self, order: Order, ports: &mut impl Ports, out: &mut Vec<Input>) {
        match order {
            Order::AfterFailover => {
                self.tools_tries = 0;
                self.tell_tools(ports);
            }
            Order::Synchronize(_) => {
                let ask = Ask::Do(order);
                if self.commits.ask(ask, &self.settings, ports, out) {
                    self.observe_afresh(ports);
                }
                self.commits.go_on(&self.settings, ports, out);
            }
            _ => self.change_role(Ask::Do(order), ports, out),
        }
    }

    /// The database's role is lost: it must not come up writable.
    pub fn disarm(&mut self, ports: &mut impl Ports, out: &mut Vec<Input>) {
        self.change_role(Ask::Disarm, ports, out);
    }

    fn change_role(&mut self, ask: Ask, ports: &mut impl Ports, out: &mut Vec<Input>) {
        if self.roles.ask(ask, &self.settings, ports, out) {
            self.observe_afresh(ports);
        }
        self.roles.go_on(&self.settings, ports, out);
    }

    /// Something may have happened: observe it now, or again if that is under way.
    pub fn observe(&mut self, ports: &mut impl Ports) {
        if self.observing[self.current].is_busy() {
            self.again = true;
        } else {
            self.start_observation(ports);
        }
    }

    fn start_observation(&mut self, ports: &mut impl Ports) {
        self.asked = ports.now();
        self.observing[self.current].start(OBSERVE_LIMIT, Job::Observe, ports);
    }

    /// When the last observation began.
    #[must_use]
    pub fn asked(&self) -> Instant {
        self.asked
    }

    /// What an observation under way has seen may be from before an order ended.
    fn observe_afresh(&mut self, ports: &mut impl Ports) {
        if self.observing[self.current].is_busy() {
            self.current = 1 - self.current;
        }
        self.again = false;
        self.start_observation(ports);
    }

    /// A job of this worker has ended. What an observation saw comes out if it says something; the
    /// core must have it before [`DatabaseWorker::observed`] is called.
    pub fn ended(
        &mut self,
        id: JobId,
        end: End,
        ports: &mut impl Ports,
        out: &mut Vec<Input>,
    ) -> Option<Observation> {
        match (id.lane, end) {
            (Lane::Observe(lane), End::Observed(seen)) => {
                let lane = usize::from(lane);
                let counts = self.observing[lane].ended(id) && lane == self.current;
                return counts.then_some(seen);
            }
            (Lane::Role, End::Done(result)) if self.roles.slot.ended(id) => {
                self.order_ended(Lane::Role, &result, ports, out);
            }
            (Lane::Commits, End::Done(result)) if self.commits.slot.ended(id) => {
                self.order_ended(Lane::Commits, &result, ports, out);
            }
            (Lane::Tools, End::Done(result)) if self.tools.ended(id) => {
                self.tools_updated(result, ports);
            }
            _ => {}
        }
        None
    }

    fn order_ended(
        &mut self,
        lane: Lane,
        result: &Result<(), String>,
        ports: &mut impl Ports,
        out: &mut Vec<Input>,
    ) {
        let now = ports.now();
        let orders = if lane == Lane::Role { &mut self.roles } else { &mut self.commits };
        orders.ended(result, &self.settings, now, out);
        orders.go_on(&self.settings, ports, out);
        self.observe_afresh(ports);
    }

    /// The core has what the last observation saw, or that says nothing: now it may hear of orders
    /// that ended before.
    pub fn observed(&mut self, ports: &mut impl Ports, out: &mut Vec<Input>) {
        self.hangs.worked();
        self.after_observation(ports, out);
    }

    fn after_observation(&mut self, ports: &mut impl Ports, out: &mut Vec<Input>) {
        self.observe_at = Some(ports.now() + OBSERVE_EVERY);
        for orders in [&mut self.roles, &mut self.commits] {
            out.extend(orders.ended.take().and_then(|(ask, ok)| ask.did(ok)));
            orders.go_on(&self.settings, ports, out);
        }
        if std::mem::take(&mut self.again) {
            self.observe(ports);
        }
    }

    /// When [`DatabaseWorker::tick`] is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let observe = match self.observing[self.current].deadline() {
            Some(deadline) => Some(deadline),
            None => self.observe_at,
        };
        let stale = self.observing[1 - self.current].deadline();
        let tools = self.tools.deadline().or(self.tools_at);
        let orders = [self.roles.next_timer(), self.commits.next_timer()];
        orders.into_iter().chain([observe, stale, tools]).flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, ports: &mut impl Ports, out: &mut Vec<Input>) {
        for lane in [Lane::Role, Lane::Commits] {
            let orders = if lane == Lane::Role { &mut self.roles } else { &mut self.commits };
            if orders.slot.give_up(now, ports) {
                let limit = orders.limit;
                self.order_ended(lane, &Err(no_end(limit)), ports, out);
            } else {
                orders.go_on(&self.settings, ports, out);
            }
        }
        self.observing[1 - self.current].give_up(now, ports);
        if self.observing[self.current].give_up(now, ports) {
            // Nothing was seen; what has ended is told all the same.
            self.hangs.failed(now, &no_end(OBSERVE_LIMIT));
            self.after_observation(ports, out);
        } else if self.observe_at.is_some_and(|at| now >= at) {
            self.observe_at = None;
            if !self.observing[self.current].is_busy() {
                self.observe(ports);
            }
        }
        if self.tools.give_up(now, ports) {
            self.tools_updated(Err(no_end(TOOLS_LIMIT)), ports);
        } else if self.tools_at.is_some_and(|at| now >= at) {
            self.tell_tools(ports);
        }
    }

    fn tell_tools(&mut self, ports: &mut impl Ports) {
        self.tools_at = None;
        self.tools_tries += 1;
        self.tools.start(TOOLS_LIMIT, Job::Database(Step::AfterFailover), ports);
    }

    fn tools_updated(&mut self, result: Result<(), String>, ports: &impl Ports) {
        let (instance, attempt) = (&self.settings.instance, self.tools_tries);
        match result {
            Ok(()) => info!(instance, "the database's tools were updated with the new primary"),
            Err(reason) if attempt < TOOLS_TRIES => {
                warn!(
                    instance,
                    attempt, "cannot update the database's tools with the new primary: {reason}"
                );
                self.tools_at = Some(ports.now() + TOOLS_EVERY);
            }
            Err(reason) => error!(
                instance,
                "cannot update the database's tools with the new primary after {attempt} attempts; \
                 do it by hand: {reason}"
            ),
        }
    }
}

impl Settings {
    /// The step that an order means, and its deadline; `None` if there is nothing to do.
    fn step(&self, ask: Ask) -> anyhow::Result<Option<(Step, Duration)>> {
        let promotion = self.promotion_timeout + GRACE;
        let Ask::Do(order) = ask else { return Ok(Some((Step::Disarm, GRACE))) };
        Ok(Some(match order {
            Order::Promote => (Step::Promote, promotion),
            Order::Stop => (Step::StopImmediate, GRACE),
            Order::Checkpoint => (Step::Checkpoint, CHECKPOINT_LIMIT),
            Order::Demote => (Step::Demote(self.demotion_timeout), self.demotion_timeout + GRACE),
            Order::Start => (Step::Start(self.promotion_timeout), promotion),
            Order::Synchronize(_) if !self.synchronous => return Ok(None),
            Order::Synchronize(set) => (Step::Synchronize(self.names_of(set)?), GRACE),
            Order::Follow(node) => (Step::Follow(self.name_of(node)?), promotion),
            Order::Rejoin(node) => (Step::Rejoin(self.name_of(node)?), REJOIN_LIMIT),
            Order::AfterFailover => (Step::AfterFailover, TOOLS_LIMIT),
        }))
    }

    fn name_of(&self, node: NodeId) -> anyhow::Result<String> {
        let found = self.names.iter().find(|(known, _)| *known == node);
        found.map(|(_, name)| name.clone()).context("the node is not configured here")
    }

    fn names_of(&self, set: NodeSet) -> anyhow::Result<Vec<String>> {
        set.iter().map(|node| self.name_of(node)).collect()
    }

    /// For people.
    fn say(&self, ask: Ask) -> String {
        let name = |node| self.name_of(node).unwrap_or_default();
        let Ask::Do(order) = ask else { return "keep it from starting as a primary".to_owned() };
        match order {
            Order::Promote => "promote it".to_owned(),
            Order::Stop => "immediate shutdown".to_owned(),
            Order::Checkpoint => "checkpoint".to_owned(),
            Order::Demote => "fast shutdown".to_owned(),
            Order::Start => "start it".to_owned(),
            Order::Synchronize(set) if set.is_empty() => {
                "disable synchronous replication".to_owned()
            }
            Order::Synchronize(set) => {
                let names = self.names_of(set).unwrap_or_default();
                format!("let commits wait for {}", names.join(", "))
            }
            Order::Follow(node) => format!("follow {}", name(node)),
            Order::Rejoin(node) => format!("rejoin {}", name(node)),
            Order::AfterFailover => "inform its tools".to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "database_worker_tests.rs"]
mod tests;
