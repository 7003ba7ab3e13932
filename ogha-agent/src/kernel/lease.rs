//! The maps of the lease that peers grant.

use anyhow::{Context as _, ensure};
use ogha_common::{
    maps::{Granters, Lease, LeaseGrants, MAX_GRANTERS, Passage},
    units::NodeId,
};

use super::{Kernel, Plain, check};

/// The value is copied as a whole: whoever reads it never sees it half written.
pub(super) const BPF_F_LOCK: u64 = 4;

impl Kernel {
    /// Sets who must grant an instance's lease; nobody: only the agent renews it. When this returns
    /// the kernel counts no grant by the list that was there before.
    ///
    /// # Errors
    ///
    /// If there are too many, or the kernel refuses.
    pub fn set_granters(&mut self, instance: u32, nodes: &[NodeId]) -> anyhow::Result<()> {
        check(instance)?;
        ensure!(
            nodes.len() <= MAX_GRANTERS,
            "{} peers in sync, but ogha handles at most {MAX_GRANTERS}",
            nodes.len()
        );
        let mut granters = Granters::default();
        for (place, node) in granters.nodes.iter_mut().zip(nodes) {
            *place = node.get();
        }
        self.granters.set(instance, Plain(granters), 0).context("setting who grants the lease")
    }

    /// What the kernel has learnt from the peers about an instance's lease.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn heard(&self, instance: u32) -> anyhow::Result<LeaseGrants> {
        Ok(self.leases.get(&instance, BPF_F_LOCK).context("reading the lease")?.0.grants)
    }

    /// What an instance's gate does at `now_ns` of `CLOCK_BOOTTIME`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn passage(&self, instance: u32, now_ns: u64) -> anyhow::Result<Passage> {
        Ok(self.gate(instance)?.passage(&self.heard(instance)?, now_ns))
    }

    /// Forgets all peers of an instance, what they have said, and whose grants count: no probe is taken
    /// or answered, and only the agent renews the lease.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn forget_peers(&mut self, instance: u32) -> anyhow::Result<()> {
        self.forget_probes(instance)?;
        self.forget_lease(instance)
    }

    /// The instance is no more: neither is what its peers have said.
    pub(super) fn forget_lease(&mut self, instance: u32) -> anyhow::Result<()> {
        self.set_granters(instance, &[])?;
        self.leases.set(instance, Plain(Lease::default()), BPF_F_LOCK).context("ending a lease")
    }
}
