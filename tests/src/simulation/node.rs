//! A host: what survives what.

use std::{collections::VecDeque, rc::Rc};

use ogha_agent::run::{message::Message, ports::JobId};
use ogha_common::failover::{Marks, Record};

use super::{
    agent::{Agent, Count, Fuse},
    clock::Clock,
    database::Database,
    filter::View,
    kernel::Kernel,
};

/// A host with all that is on it.
#[derive(Debug)]
pub struct Node {
    /// Its clock, since its boot.
    pub clock: Clock,
    /// It has power.
    pub up: bool,
    /// Grows with each boot.
    pub boot: u32,
    /// Gone with the power.
    pub kernel: Kernel,
    /// The agent, but while it is at work.
    pub agent: Option<Box<Agent>>,
    /// The agent that is there, at work or not; `None`: there is none.
    pub running: Option<u32>,
    /// Grows with each agent.
    pub agents: u32,
    /// What has arrived for the agent.
    pub inbox: VecDeque<Message>,
    /// The world's time until which the agent gets no processor.
    pub stalled_until: u64,
    /// When the agent's timer is due, by the host's clock.
    pub due: Option<u64>,
    /// The world's time at which it wakes.
    pub wake_at: u64,
    /// What happens before one of the next effects, counted so.
    pub fuse: Option<(u32, Count, Fuse)>,
    /// The agent's jobs that are under way.
    pub jobs: Vec<JobId>,
    /// What its core goes by.
    pub view: Rc<View>,
    /// Its files stay.
    pub database: Database,
    /// The record on disk.
    pub saved: Option<Record>,
    /// What else must outlive the agent.
    pub marks: Marks,
    /// Nothing can be written.
    pub disk_full: bool,
    /// What is being written hangs.
    pub disk_hangs: bool,
    /// The kernel refuses what the agent writes into its maps.
    pub maps_refuse: bool,
    /// Orders to the database fail.
    pub orders_fail: bool,
    /// Observations fail: SQL is not answered in time.
    pub observations_fail: bool,
    /// Observations are late.
    pub observations_late: bool,
    /// When the write under way began, by which the agent checks the storage.
    pub writing_since: Option<u64>,
    /// An order to stop has failed.
    pub stop_failed: bool,
    /// When its database was last ordered to start, or to be promoted.
    pub ordered_at: Option<u64>,
    /// The host is paused till then, with its clock.
    pub frozen_until: Option<u64>,
    /// When it went on after that.
    pub thawed_at: Option<u64>,
}

impl Node {
    /// A host whose agent is not started yet.
    pub fn new(clock: Clock, kernel: Kernel, database: Database, saved: Option<Record>) -> Self {
        Self {
            clock,
            up: true,
            boot: 0,
            kernel,
            agent: None,
            running: None,
            agents: 0,
            inbox: VecDeque::new(),
            stalled_until: 0,
            due: None,
            wake_at: u64::MAX,
            fuse: None,
            jobs: vec![],
            view: Rc::default(),
            database,
            saved,
            marks: Marks::default(),
            disk_full: false,
            disk_hangs: false,
            maps_refuse: false,
            orders_fail: false,
            observations_fail: false,
            observations_late: false,
            writing_since: None,
            stop_failed: false,
            ordered_at: None,
            frozen_until: None,
            thawed_at: None,
        }
    }

    /// What its clock shows.
    pub fn local(&self, now: u64) -> u64 {
        self.clock.local(now)
    }

    /// The agent is gone, with all that only it knew.
    pub fn end_agent(&mut self) {
        self.agent = None;
        self.running = None;
        self.inbox.clear();
        self.jobs.clear();
        self.stalled_until = 0;
        self.due = None;
        self.wake_at = u64::MAX;
        self.fuse = None;
        self.stop_failed = false;
        self.writing_since = None;
    }
}
