//! What an instance needs of the world: clock, kernel maps, network, and whoever does slow work.
//!
//! What a port does at once is a method. What takes time is a [`Job`]: the instance starts it, goes on,
//! and hears of its end by a [`Message`](super::message::Message). The instance keeps each job's
//! deadline itself; a port only carries jobs out, and may never end one.

use std::{io, net::IpAddr, time::Duration};

use ogha_common::{
    detector::{CheckOutcome, vitals::Look},
    failover::{Marks, Record, Ruling},
    maps::{self, Gate, LeaseGrants, Offer, PortCounters, Refused, Watch},
    units::{Instant, NodeId, Priority},
    wire::probe::Probe,
};

use super::{hook_event, timeline::Timeline};
use crate::database::{Observation, Step};

/// A clock, and whoever carries jobs out.
pub trait Work {
    /// `CLOCK_BOOTTIME`.
    fn now(&self) -> Instant;
    /// Starts a job. One of the same lane that was aborted has ended before this one begins.
    fn start(&mut self, id: JobId, job: Job);
    /// The job's end is of no interest any more. What it was about may happen all the same.
    fn abort(&mut self, id: JobId);
}

/// The surroundings of one instance.
pub trait Ports: Work {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    fn monotonic_ns(&self) -> u64;

    /// Sets the gate. When this returns the kernel has it.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set_gate(&mut self, gate: Gate) -> anyhow::Result<()>;
    /// The gate as the kernel has it, and what the kernel has heard of its lease.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn gate(&self) -> anyhow::Result<(Gate, LeaseGrants)>;
    /// Sets whose grants the kernel counts.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set_granters(&mut self, nodes: &[NodeId]) -> anyhow::Result<()>;
    /// Sets what the kernel tells the peers.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set_self(&mut self, offer: Offer) -> anyhow::Result<()>;
    /// What the kernel has heard of a peer.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn peer(&self, node: NodeId) -> anyhow::Result<maps::Peer>;
    /// What the kernel refused of the datagrams from an address of a peer.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn refused(&self, address: IpAddr) -> anyhow::Result<Refused>;
    /// Sets what the tracepoints watch.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set_watch(&mut self, watch: Watch) -> anyhow::Result<()>;
    /// TCP on the database's port.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn port_counters(&self) -> anyhow::Result<PortCounters>;

    /// Sends a probe by that socket.
    ///
    /// # Errors
    /// The socket's.
    fn send_probe(&mut self, socket: usize, to: IpAddr, probe: &Probe) -> io::Result<()>;
    /// Whether this end of the paths that begin at that socket can be used.
    fn is_usable(&self, socket: usize) -> bool;
    /// Sends an advert.
    ///
    /// # Errors
    /// The socket's.
    fn send_advert(&mut self, priority: Priority) -> io::Result<()>;
    /// Tells the LAN who holds the addresses.
    ///
    /// # Errors
    /// The first that could not be sent.
    fn announce(&mut self) -> anyhow::Result<()>;

    /// What the kernel shows of the database here, whose main process that is. `thorough`: something is
    /// suspect.
    fn look(&self, main: Option<u32>, thorough: bool) -> Look;
    /// Whether the database's port has a listener.
    fn is_listening(&self) -> bool;
    /// Whether that process certainly is not the database's main process any more.
    fn is_gone(&self, pid: u32) -> bool;

    /// An event timeline has ended.
    fn record(&mut self, timeline: Timeline);
    /// The operator's command is to hear of that.
    fn run_hook(&mut self, event: hook_event::Event);
}

/// Whose job it is. A lane has one job at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The database is observed. (The second lane takes over from an observation that says nothing.)
    Observe(u8),
    /// The database's role changes.
    Role,
    /// For whom commits wait changes.
    Commits,
    /// The database's tools are told.
    Tools,
    /// The disk is written.
    Disk,
    /// Whether the disk can be written is checked.
    DiskCheck,
    /// The addresses are put on the interface, or taken off it.
    Addresses,
    /// The arbiter is asked for a record.
    Propose,
    /// The arbiter is asked for the current record.
    Consult,
    /// The arbiter is asked whether it is there.
    ProbeArbiter,
    /// A database is checked: a peer's, or this node's.
    Check(Option<NodeId>),
    /// The database here is written to, to see whether it can be.
    Write,
}

/// One job of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    /// Whose.
    pub lane: Lane,
    /// Grows with each job of the lane.
    pub number: u64,
}

/// What takes time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Observe the database: [`End::Observed`].
    Observe,
    /// Take that step: [`End::Done`].
    Database(Step),
    /// Write the record and flush it: [`End::Done`].
    Save(Record),
    /// Write what else must outlive the agent: [`End::Done`].
    SaveMarks(Marks),
    /// See whether the record is on disk, and could be written: [`End::Kept`].
    CheckDisk,
    /// Put the addresses on the interface, or take them off: [`End::Done`].
    HoldAddresses(bool),
    /// Ask the arbiter for that record: [`End::Ruled`].
    Propose(Record),
    /// Ask the arbiter for the current record: [`End::Consulted`].
    Consult,
    /// Ask each part of the arbiter whether it is there: [`End::Answered`].
    ProbeArbiter,
    /// Check that database: [`End::Checked`].
    Check(Option<NodeId>),
    /// Write to the database here, to see whether it can: [`End::Wrote`].
    Write,
}

impl Job {
    /// Whether it has to be done even where this process is short of something. What only looks can look
    /// again.
    #[must_use]
    pub const fn must_go_on(&self) -> bool {
        match self {
            Self::Database(_)
            | Self::Save(_)
            | Self::SaveMarks(_)
            | Self::HoldAddresses(_)
            | Self::Propose(_)
            | Self::Consult => true,
            Self::Observe | Self::Write | Self::CheckDisk | Self::ProbeArbiter | Self::Check(_) => {
                false
            }
        }
    }
}

/// How a job ended. An error is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// What the database is.
    Observed(Observation),
    /// Its effect was seen, or why not.
    Done(Result<(), String>),
    /// The arbiter's answer to a proposal.
    Ruled(Ruling),
    /// The current record, as the arbiter has it.
    Consulted(Result<Option<Record>, String>),
    /// Which parts of the arbiter answered.
    Answered(Vec<Answer>),
    /// Whether the record that was last written is on disk; or why it could not be kept there.
    Kept(Result<bool, String>),
    /// What came of a check.
    Checked(CheckOutcome),
    /// A write was done; or the server cannot be asked to; or why it was not made.
    Wrote(Result<bool, String>),
}

/// One of the addresses or endpoints that make the arbiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where it is.
    pub place: String,
    /// In what time it answered, or why it did not.
    pub came: Result<Duration, String>,
}

/// The job of a lane that is under way, with its deadline. Of one that was aborted, or that is late,
/// nothing is heard any more.
#[derive(Debug)]
pub struct Slot {
    lane: Lane,
    number: u64,
    deadline: Option<Instant>,
}

impl Slot {
    /// A lane without a job.
    #[must_use]
    pub fn new(lane: Lane) -> Self {
        Self { lane, number: 0, deadline: None }
    }

    /// Whether a job is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.deadline.is_some()
    }

    /// When the job under way is given up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Starts a job in the place of the one under way.
    pub fn start(&mut self, limit: Duration, job: Job, ports: &mut impl Work) {
        self.abort(ports);
        self.number += 1;
        self.deadline = Some(ports.now() + limit);
        ports.start(self.id(), job);
    }

    /// Gives up the job under way, if there is one.
    pub fn abort(&mut self, ports: &mut impl Work) {
        if self.deadline.take().is_some() {
            ports.abort(self.id());
        }
    }

    /// Gives up the job under way if its deadline has passed; says whether.
    pub fn give_up(&mut self, now: Instant, ports: &mut impl Work) -> bool {
        let late = self.deadline.is_some_and(|deadline| now >= deadline);
        if late {
            self.abort(ports);
        }
        late
    }

    /// A job has ended; says whether it is the one under way.
    pub fn ended(&mut self, id: JobId) -> bool {
        self.deadline.is_some() && id == self.id() && self.deadline.take().is_some()
    }

    fn id(&self) -> JobId {
        JobId { lane: self.lane, number: self.number }
    }
}

/// The sentence about a job that was given up.
#[must_use]
pub fn no_end(limit: Duration) -> String {
    format!("it did not end within {limit:?}")
}
