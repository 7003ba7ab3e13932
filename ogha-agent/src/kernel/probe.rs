//! The maps of the probes.

use std::net::IpAddr;

use anyhow::Context as _;
use aya::maps::MapError;
use ogha_common::{
    maps::{Endpoint, Offer, Origin, Peer, PeerKey, ProbeCounters, Refused},
    units::NodeId,
};

use super::{Kernel, Plain, check, lease::BPF_F_LOCK, vips::key};

const BPF_NOEXIST: u64 = 1;

impl Kernel {
    /// Sets where an instance takes probes. From then on the kernel answers them.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_endpoints(
        &mut self,
        instance: u32,
        addresses: &[IpAddr],
        port: u16,
    ) -> anyhow::Result<()> {
        check(instance)?;
        let endpoint =
            |address: &IpAddr| Endpoint { address: key(*address).address, port: u32::from(port) };
        let wanted: Vec<Endpoint> = addresses.iter().map(endpoint).collect();
        self.drop_endpoints(instance, &wanted)?;
        for (address, endpoint) in addresses.iter().zip(wanted) {
            self.endpoints
                .insert(Plain(endpoint), instance, 0)
                .with_context(|| format!("taking probes at UDP port {port} of {address}"))?;
        }
        Ok(())
    }

    /// Sets what an instance offers to its peers. When this returns the kernel has it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_self(&mut self, instance: u32, offer: Offer) -> anyhow::Result<()> {
        check(instance)?;
        self.offers
            .set(instance, Plain(offer), BPF_F_LOCK)
            .context("setting the probe status (map SELF)")
    }

    /// Sets the peers of an instance. What was heard of those that it had already stays.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_peers(&mut self, instance: u32, nodes: &[NodeId]) -> anyhow::Result<()> {
        check(instance)?;
        let stale = self
            .peers
            .keys()
            .filter(|entry| match entry {
                Ok(Plain(key)) => {
                    key.instance == instance && !nodes.iter().any(|node| node.get() == key.node)
                }
                Err(_) => true,
            })
            .collect::<Result<Vec<_>, MapError>>()
            .context("reading the peers")?;
        for key in stale {
            self.peers.remove(&key).context("removing a peer")?;
        }
        for node in nodes {
            let key = peer_key(instance, *node);
            if self.peer(instance, *node)?.is_none() {
                self.peers
                    .insert(Plain(key), Plain(Peer::default()), BPF_NOEXIST)
                    .context("adding a peer")?;
            }
        }
        Ok(())
    }

    /// What was heard of a peer; `None` if it is none.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn peer(&self, instance: u32, node: NodeId) -> anyhow::Result<Option<Peer>> {
        match self.peers.get(&Plain(peer_key(instance, node)), BPF_F_LOCK) {
            Ok(Plain(peer)) => Ok(Some(peer)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("reading what was heard of a peer"),
        }
    }

    /// Sets from which addresses refusals are noted: those of the configured peers. What was noted of
    /// those that it had already stays.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_origins(&mut self, instance: u32, addresses: &[IpAddr]) -> anyhow::Result<()> {
        check(instance)?;
        let wanted: Vec<Origin> = addresses.iter().map(|at| origin(instance, *at)).collect();
        let stale = self
            .refusals
            .keys()
            .filter(|entry| match entry {
                Ok(Plain(key)) => key.instance == instance && !wanted.contains(key),
                Err(_) => true,
            })
            .collect::<Result<Vec<_>, MapError>>()
            .context("reading from where datagrams were refused")?;
        for key in stale {
            self.refusals.remove(&key).context("removing an address of a peer")?;
        }
        for key in wanted {
            match self.refusals.insert(Plain(key), Plain(Refused::default()), BPF_NOEXIST) {
                Ok(()) => {}
                Err(_) if self.refusals.get(&Plain(key), 0).is_ok() => {}
                Err(error) => return Err(error).context("adding an address of a peer"),
            }
        }
        Ok(())
    }

    /// What was refused of the datagrams from an address.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn refused(&self, instance: u32, address: IpAddr) -> anyhow::Result<Refused> {
        match self.refusals.get(&Plain(origin(instance, address)), 0) {
            Ok(Plain(refused)) => Ok(refused),
            Err(MapError::KeyNotFound) => Ok(Refused::default()),
            Err(error) => Err(error).context("reading what was refused of a peer"),
        }
    }

    /// Probes at an instance's endpoint, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn probe_counters(&self, instance: u32) -> anyhow::Result<ProbeCounters> {
        let values =
            self.probe_counters.get(&instance, 0).context("reading the probes' counters")?;
        Ok(values.iter().fold(ProbeCounters::default(), |sum, Plain(cpu)| sum.merge(cpu)))
    }

    /// No probe is taken or answered any more.
    pub(super) fn forget_probes(&mut self, instance: u32) -> anyhow::Result<()> {
        self.drop_endpoints(instance, &[])?;
        self.set_peers(instance, &[])?;
        self.set_origins(instance, &[])?;
        self.set_self(instance, Offer::default())
    }

    fn drop_endpoints(&mut self, instance: u32, but: &[Endpoint]) -> anyhow::Result<()> {
        let stale = self
            .endpoints
            .iter()
            .filter(
                |entry| !matches!(entry, Ok((Plain(e), i)) if *i != instance || but.contains(e)),
            )
            .map(|entry| entry.map(|(endpoint, _)| endpoint))
            .collect::<Result<Vec<_>, MapError>>()
            .context("reading where probes are taken")?;
        for endpoint in stale {
            self.endpoints.remove(&endpoint).context("removing where probes are taken")?;
        }
        Ok(())
    }
}

fn origin(instance: u32, address: IpAddr) -> Origin {
    Origin { address: key(address).address, instance }
}

fn peer_key(instance: u32, node: NodeId) -> PeerKey {
    PeerKey { instance, reserved: 0, node: node.get() }
}
