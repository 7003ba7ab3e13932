//! The maps of VRRP's adverts.

use std::net::IpAddr;

use anyhow::Context as _;
use aya::maps::MapError;
use ogha_common::{
    maps::{AdvertCounters, AdvertKey, Advertiser},
    units::{NodeId, Vrid},
};

use super::{Kernel, Plain, check, vips::key};

impl Kernel {
    /// Sets whose adverts are signs of life: the kernel writes their time into
    /// [`Peer::last_advert_ns`](ogha_common::maps::Peer::last_advert_ns). `version`: 2 or 3.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_advertisers(
        &mut self,
        instance: u32,
        vrid: Vrid,
        version: u8,
        peers: &[(IpAddr, NodeId)],
    ) -> anyhow::Result<()> {
        check(instance)?;
        self.forget_advertisers(instance)?;
        let vrid = u32::from(vrid.get());
        let own = Advertiser { node: 0, instance, version: u32::from(version) };
        let known = peers
            .iter()
            .map(|(address, node)| (key(*address).address, Advertiser { node: node.get(), ..own }));
        for (source, advertiser) in known.chain([([0; 16], own)]) {
            self.advertisers
                .insert(Plain(AdvertKey { source, vrid }), Plain(advertiser), 0)
                .context("adding a sender of adverts")?;
        }
        Ok(())
    }

    /// Adverts of the instance's virtual router, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn advert_counters(&self, instance: u32) -> anyhow::Result<AdvertCounters> {
        let values =
            self.advert_counters.get(&instance, 0).context("reading the adverts' counters")?;
        Ok(values.iter().fold(AdvertCounters::default(), |sum, Plain(cpu)| sum.merge(cpu)))
    }

    pub(super) fn forget_advertisers(&mut self, instance: u32) -> anyhow::Result<()> {
        let stale = self
            .advertisers
            .iter()
            .filter(|entry| !matches!(entry, Ok((_, Plain(of))) if of.instance != instance))
            .map(|entry| entry.map(|(key, _)| key))
            .collect::<Result<Vec<_>, MapError>>()
            .context("reading whose adverts are heard")?;
        for key in stale {
            self.advertisers.remove(&key).context("removing a sender of adverts")?;
        }
        Ok(())
    }
}
