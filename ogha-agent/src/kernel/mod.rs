//! The data plane: loads, attaches and pins it, reads and writes its maps.
//!
//! The only user of aya. The programs and maps outlive the agent: a [`Kernel`] that is dropped
//! leaves them as they are, the next [`Kernel::start`] takes them over without a gap, and only
//! [`unload`] removes them.

mod advert;
mod attach;
mod btf;
mod checks;
mod claim;
mod events;
mod layout;
mod lease;
mod links;
mod load;
mod log;
mod place;
mod probe;
mod prove;
mod raw;
mod resident;
mod vips;
mod watch;

use std::{fs, io, net::IpAddr, path::Path};

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
};
use ogha_common::maps::{
    AdvertCounters, AdvertKey, Advertiser, ArpCounters, Endpoint, Gate, Granters, Lease,
    MAX_INSTANCES, Offer, Origin, Peer, PeerKey, PortCounters, ProbeCounters, Refused, Stamp, Vip,
    Watch, name,
};

pub use self::{
    checks::privileges,
    claim::{Claim, claimed},
    events::Events,
    log::Log,
    place::{Hook, Place},
    resident::{Resident, resident},
    vips::pinned_addresses,
    watch::{Findings, Guard},
};
use crate::net::interface::Interface;
use layout::{Next, Pinned};
use vips::Vips;

/// The maps of a data plane that is attached.
pub struct Kernel {
    vips: Vips,
    gates: Array<MapData, Plain<Gate>>,
    ports: HashMap<MapData, u32, u32>,
    port_counters: PerCpuArray<MapData, Plain<PortCounters>>,
    arp_counters: PerCpuArray<MapData, Plain<ArpCounters>>,
    watches: Array<MapData, Plain<Watch>>,
    endpoints: HashMap<MapData, Plain<Endpoint>, u32>,
    offers: Array<MapData, Plain<Offer>>,
    peers: HashMap<MapData, Plain<PeerKey>, Plain<Peer>>,
    refusals: HashMap<MapData, Plain<Origin>, Plain<Refused>>,
    granters: Array<MapData, Plain<Granters>>,
    leases: Array<MapData, Plain<Lease>>,
    probe_counters: PerCpuArray<MapData, Plain<ProbeCounters>>,
    advertisers: HashMap<MapData, Plain<AdvertKey>, Plain<Advertiser>>,
    advert_counters: PerCpuArray<MapData, Plain<AdvertCounters>>,
    events: Option<RingBuf<MapData>>,
    log: Option<Log>,
    hooks: place::Hooks,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

/// What a map holds, for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);

// SAFETY: `bytemuck::Pod` asks for more than aya's: no padding, any bytes are a value.
unsafe impl<T: bytemuck::Pod> aya::Pod for Plain<T> {}

impl Kernel {
    /// Attaches the data plane to the interfaces, by generic XDP, in the current network namespace.
    ///
    /// Where one is pinned in `bpf_dir` already, its maps are kept with what they hold, and its
    /// programs are replaced: no packet goes unseen. Of one that another version has made, the maps are
    /// kept whose types are the same.
    ///
    /// # Errors
    ///
    /// If privileges, the kernel's type information or the BPF file system are missing, if an
    /// interface is gone, or if the kernel refuses. A first start that fails leaves nothing behind.
    pub fn start(bpf_dir: &Path, interfaces: &[Interface]) -> anyhow::Result<Self> {
        let places: Vec<_> = interfaces.iter().map(Place::generic).collect();
        Self::start_at(bpf_dir, &places)
    }

    /// The same, native where that is wanted and works. It may take some seconds then, if a driver
    /// takes its link down for it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and if a driver that must take the program does not.
    pub fn start_at(bpf_dir: &Path, places: &[Place]) -> anyhow::Result<Self> {
        checks::privileges()?;
        let types = btf::Types::of_the_kernel()?;
        checks::interfaces(places.iter().map(|place| &place.interface))?;
        checks::bpf_dir(bpf_dir)?;
        let found = layout::pinned(bpf_dir, load::build())?;
        let started = Self::begin(bpf_dir, places, &types, found);
        if started.is_err() && found == Pinned::Nothing {
            // The first error is the one to tell.
            let _ = unload(bpf_dir);
        }
        started.with_context(|| format!("starting the data plane in {}", bpf_dir.display()))
    }

    fn begin(
        bpf_dir: &Path,
        places: &[Place],
        types: &btf::Types,
        found: Pinned,
    ) -> anyhow::Result<Self> {
        let next = if found == Pinned::Other {
            tracing::warn!(bpf_dir = %bpf_dir.display(), "replacing the data plane of another version");
            let mut next = Next::aside(bpf_dir)?;
            load::maps(&next)?;
            next.keep()?;
            next
        } else {
            Next::in_place(bpf_dir)
        };
        let logged = log::is_wanted();
        let mut ebpf = load::load(&next, places, types, logged)?;
        let mut stamp: Array<MapData, Plain<Stamp>> = take(&mut ebpf, name::STAMP)?;
        // Until all is in place, a start that is cut short shall be known as such.
        stamp.set(0, Plain(Stamp::default()), 0).context("taking the stamp off")?;
        let mut kernel = Self::from_maps(&mut ebpf)?;
        kernel.log = logged.then(|| Log::of(&mut ebpf, places)).transpose()?;
        kernel.vips.fill_slots()?;
        kernel.hooks = load::attach(&mut ebpf, &bpf_dir.join(links::DIRECTORY), places)?;
        for (interface, hook) in &kernel.hooks {
            tracing::info!(interface, %hook, "attached");
        }
        if found == Pinned::Other {
            places.iter().for_each(|place| links::drop_clsact(&place.interface));
        }
        next.settle()?;
        stamp.set(0, Plain(Stamp { build: load::build() }), 0).context("setting the stamp")?;
        Ok(kernel)
    }

    fn from_maps(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            log: None,
            hooks: Vec::new(),
            vips: Vips::new(take(ebpf, name::VIPS)?, take(ebpf, name::VIP_SLOTS)?),
            gates: take(ebpf, name::GATES)?,
            ports: take(ebpf, name::PORTS)?,
            port_counters: take(ebpf, name::PORT_COUNTERS)?,
            arp_counters: take(ebpf, name::ARP_COUNTERS)?,
            watches: take(ebpf, name::WATCHES)?,
            endpoints: take(ebpf, name::ENDPOINTS)?,
            offers: take(ebpf, name::SELF)?,
            peers: take(ebpf, name::PEERS)?,
            refusals: take(ebpf, name::REFUSALS)?,
            granters: take(ebpf, name::GRANTERS)?,
            leases: take(ebpf, name::LEASES)?,
            probe_counters: take(ebpf, name::PROBE_COUNTERS)?,
            advertisers: take(ebpf, name::ADVERTISERS)?,
            advert_counters: take(ebpf, name::ADVERT_COUNTERS)?,
            events: Some(take(ebpf, name::EVENTS)?),
        })
    }

    /// Where what comes in at an interface is seen; `None` if nothing is attached there.
    #[must_use]
    pub fn hook(&self, interface: &str) -> Option<Hook> {
        self.hooks.iter().find(|(name, _)| name == interface).map(|&(_, hook)| hook)
    }

    /// Sets the virtual addresses of an instance, and the MAC that answers for them.
    ///
    /// If it shares none with the addresses that the instance had, its gate is closed first: the
    /// gate was that of another.
    ///
    /// # Errors
    ///
    /// If an address is another instance's, or there are too many.
    pub fn set_vips(
        &mut self,
        instance: u32,
        addresses: &[IpAddr],
        mac: [u8; 6],
    ) -> anyhow::Result<()> {
        check(instance)?;
        let old = self.vips.of(instance, addresses)?;
        if !old.is_empty() && !addresses.iter().any(|new| old.contains(&vips::key(*new))) {
            self.set_gate(instance, Gate::default())?;
        }
        let port = self.port(instance)?;
        self.vips.replace(&old, addresses, Vip { instance, mac, port })
    }

    /// The port of an instance; 0 if it has none.
    fn port(&self, instance: u32) -> anyhow::Result<u16> {
        for entry in self.ports.iter() {
            let (port, owner) = entry.context("reading the ports")?;
            if owner == instance {
                return Ok(port as u16);
            }
        }
        Ok(0)
    }

    /// Sets the TCP port on which an instance's database listens.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_port(&mut self, port: u16, instance: u32) -> anyhow::Result<()> {
        check(instance)?;
        let port = u32::from(port);
        let others = self
            .ports
            .iter()
            .filter(|entry| !matches!(entry, Ok((p, i)) if *i != instance || *p == port))
            .map(|entry| entry.map(|(port, _)| port))
            .collect::<Result<Vec<u32>, MapError>>()
            .context("reading the ports")?;
        for other in others {
            self.ports.remove(&other).context("removing a port")?;
        }
        self.ports.insert(port, instance, 0).with_context(|| format!("adding port {port}"))?;
        self.vips.set_port(instance, port as u16)
    }

    /// Sets what the tracepoints watch for an instance.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_watch(&mut self, instance: u32, watch: Watch) -> anyhow::Result<()> {
        check(instance)?;
        self.watches.set(instance, Plain(watch), 0).context("setting the death watch")
    }

    /// Sets an instance's gate. When this returns the kernel has it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_gate(&mut self, instance: u32, gate: Gate) -> anyhow::Result<()> {
        check(instance)?;
        self.gates.set(instance, Plain(gate), 0).context("setting the gate")
    }

    /// An instance's gate, as the kernel has it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn gate(&self, instance: u32) -> anyhow::Result<Gate> {
        Ok(self.gates.get(&instance, 0).context("reading the gate")?.0)
    }

    /// TCP on an instance's port, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn port_counters(&self, instance: u32) -> anyhow::Result<PortCounters> {
        let values = self.port_counters.get(&instance, 0).context("reading the port's counters")?;
        Ok(values.iter().fold(PortCounters::default(), |sum, Plain(cpu)| sum.merge(cpu)))
    }

    /// ARP for an instance's addresses, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn arp_counters(&self, instance: u32) -> anyhow::Result<ArpCounters> {
        let values = self.arp_counters.get(&instance, 0).context("reading the ARP counters")?;
        Ok(values.iter().fold(ArpCounters::default(), |sum, Plain(cpu)| sum.merge(cpu)))
    }

    /// Forgets the instances from `count` on, which an older configuration may have left: their
    /// gates are closed, their addresses, ports, watches and peers removed.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn forget_instances_from(&mut self, count: u32) -> anyhow::Result<()> {
        for instance in count..MAX_INSTANCES as u32 {
            self.set_vips(instance, &[], [0; 6])?;
            self.set_gate(instance, Gate::default())?;
            self.set_watch(instance, Watch::default())?;
            self.forget_probes(instance)?;
            self.forget_advertisers(instance)?;
            self.forget_lease(instance)?;
        }
        let stale = self
            .ports
            .iter()
            .filter(|entry| !matches!(entry, Ok((_, instance)) if *instance < count))
            .map(|entry| entry.map(|(port, _)| port))
            .collect::<Result<Vec<u32>, MapError>>()
            .context("reading the ports")?;
        for port in stale {
            self.ports.remove(&port).context("removing a port")?;
        }
        Ok(())
    }

    /// The events, once: they have one reader. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// If they were taken already.
    pub fn take_events(&mut self) -> anyhow::Result<Events> {
        Events::new(self.events.take().context("the events have a reader already")?)
    }

    /// The programs' log, once. `None` where TRACE was off for it when they were loaded.
    #[must_use]
    pub fn take_log(&mut self) -> Option<Log> {
        self.log.take()
    }
}

/// Detaches the data plane and removes what is pinned in `bpf_dir`. Returns the number of pins
/// that were there; 0 is no error.
///
/// # Errors
///
/// If a pin cannot be removed.
pub fn unload(bpf_dir: &Path) -> anyhow::Result<usize> {
    let directory = bpf_dir.join(links::DIRECTORY);
    let mut removed = links::drop_all(&directory)?;
    layout::clear(bpf_dir)?;
    for map in name::ALL {
        removed += usize::from(links::remove(&bpf_dir.join(map))?);
    }
    for directory in [directory.as_path(), bpf_dir] {
        match fs::remove_dir(directory) {
            Ok(()) => {}
            // What is left is not ours, or it is where the file system is mounted.
            Err(error) if expected(&error) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("removing {}", directory.display()));
            }
        }
    }
    Ok(removed)
}

fn expected(error: &io::Error) -> bool {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound, ResourceBusy};
    matches!(error.kind(), DirectoryNotEmpty | NotFound | ResourceBusy)
}

fn check(instance: u32) -> anyhow::Result<()> {
    ensure!(
        (instance as usize) < MAX_INSTANCES,
        "instance {instance}: ogha handles at most {MAX_INSTANCES}"
    );
    Ok(())
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<T> {
    let map = ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))?;
    map.try_into().with_context(|| format!("the map {name} is of another kind"))
}
