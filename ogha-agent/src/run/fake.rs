//! Ports of nothing but memory, for unit tests.

use std::{io, net::IpAddr, time::Duration};

use anyhow::ensure;
use ogha_common::{
    detector::vitals::Look,
    maps::{self, Gate, LeaseGrants, Offer, PortCounters, Refused, Watch},
    units::{Instant, NodeId, Priority},
    wire::probe::Probe,
};

use super::{
    hook_event,
    ports::{Job, JobId, Ports, Work},
    timeline::Timeline,
};

/// A world in which time passes when the test says so.
#[derive(Debug, Default)]
pub struct Fake {
    now: Duration,
    /// The kernel's gate.
    pub gate: Gate,
    /// What the kernel has heard of the lease.
    pub heard: LeaseGrants,
    /// The kernel refuses what it is told.
    pub refuses: bool,
    /// The kernel says that all is well, and does nothing.
    pub deaf: bool,
    /// How often it was told something.
    pub writes: u32,
    jobs: Vec<(JobId, Job)>,
    /// The jobs that were aborted.
    pub aborted: Vec<Job>,
}

impl Fake {
    /// What the clock says.
    pub fn now(&self) -> Instant {
        Instant::from_ns(1) + Duration::from_secs(1000) + self.now
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// The jobs under way, oldest first.
    pub fn jobs(&self) -> Vec<Job> {
        self.jobs.iter().map(|(_, job)| job.clone()).collect()
    }

    /// With their identities.
    pub fn jobs_with_ids(&self) -> Vec<(JobId, Job)> {
        self.jobs.clone()
    }

    /// The oldest job ends.
    pub fn take_job(&mut self) -> (JobId, Job) {
        self.jobs.remove(0)
    }

    /// The job of which that is true ends.
    pub fn take(&mut self, which: impl Fn(&Job) -> bool) -> JobId {
        let place = self.jobs.iter().position(|(_, job)| which(job)).expect("such a job");
        self.jobs.remove(place).0
    }

    fn write(&mut self) -> anyhow::Result<bool> {
        self.writes += 1;
        ensure!(!self.refuses, "the kernel refuses");
        Ok(!self.deaf)
    }
}

impl Work for Fake {
    fn now(&self) -> Instant {
        Self::now(self)
    }

    fn start(&mut self, id: JobId, job: Job) {
        self.jobs.push((id, job));
    }

    fn abort(&mut self, id: JobId) {
        let place = self.jobs.iter().position(|(other, _)| *other == id);
        self.aborted.extend(place.map(|place| self.jobs.remove(place).1));
    }
}

impl Ports for Fake {
    fn monotonic_ns(&self) -> u64 {
        self.now().ns()
    }

    fn set_gate(&mut self, gate: Gate) -> anyhow::Result<()> {
        if self.write()? {
            self.gate = gate;
        }
        Ok(())
    }

    fn gate(&self) -> anyhow::Result<(Gate, LeaseGrants)> {
        Ok((self.gate, self.heard))
    }

    fn set_granters(&mut self, _: &[NodeId]) -> anyhow::Result<()> {
        self.write().map(drop)
    }

    fn set_self(&mut self, _: Offer) -> anyhow::Result<()> {
        self.write().map(drop)
    }

    fn peer(&self, _: NodeId) -> anyhow::Result<maps::Peer> {
        Ok(maps::Peer::default())
    }

    fn refused(&self, _: IpAddr) -> anyhow::Result<Refused> {
        Ok(Refused::default())
    }

    fn set_watch(&mut self, _: Watch) -> anyhow::Result<()> {
        self.write().map(drop)
    }

    fn port_counters(&self) -> anyhow::Result<PortCounters> {
        Ok(PortCounters::default())
    }

    fn send_probe(&mut self, _: usize, _: IpAddr, _: &Probe) -> io::Result<()> {
        Ok(())
    }

    fn is_usable(&self, _: usize) -> bool {
        true
    }

    fn send_advert(&mut self, _: Priority) -> io::Result<()> {
        Ok(())
    }

    fn announce(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn look(&self, _: Option<u32>, _: bool) -> Look {
        Look::default()
    }

    fn is_listening(&self) -> bool {
        true
    }

    fn is_gone(&self, _: u32) -> bool {
        false
    }

    fn record(&mut self, _: Timeline) {}

    fn run_hook(&mut self, _: hook_event::Event) {}
}
