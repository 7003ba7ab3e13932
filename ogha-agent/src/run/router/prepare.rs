//! Makes the host of a router from its configuration: everything that can be refused, before anything
//! is attached.

use std::{net::IpAddr, sync::Arc};

use ogha_common::{
    election,
    maps::{self, Passage},
    router::{Found, Input, Router},
    units::NodeId,
};

use super::{Jobs, NO_TERM, RouterHost};
use crate::{
    clock, config,
    kernel::Kernel,
    net::{addresses::Addresses, announce::Announcer, interface::Interface},
    run::{
        address_worker::AddressWorker,
        footing::Footing,
        history::History,
        hooks::{self, Hooks},
        host::{Executor, VirtualAddresses},
        prepare,
        retry::Trouble,
        sources,
        supervise::Supervisor,
    },
};

impl RouterHost {
    /// Opens what the router needs: its sockets.
    ///
    /// # Errors
    /// When any of it is not to be had; nothing is attached then.
    pub async fn prepare(
        index: usize,
        node: &config::Node,
        config: &config::Instance,
        interface: &Interface,
        supervisor: &Supervisor,
    ) -> anyhow::Result<Self> {
        let vips: Vec<_> = config.virtual_addresses.iter().map(|v| (v.address, v.prefix)).collect();
        let addresses: Vec<IpAddr> = vips.iter().map(|&(address, _)| address).collect();
        let own = interface.own_address(config.family(), config.address, &addresses).await?;
        let speaker = prepare::speaker(config, interface, own, &addresses)?;
        let vrrp = Arc::new(prepare::open_vrrp(config, interface, speaker, &addresses)?);
        let links = Addresses::open(&interface.name, interface.index, supervisor.handle())?;
        let router = Router::new(election::Config {
            priority: config.priority,
            advert_interval: config.vrrp.advert_interval,
            preempt: config.vrrp.preempt,
            version: prepare::version(&config.vrrp),
            address: speaker,
        });
        let prefixes = vips.clone();
        let links = VirtualAddresses { interface: links, vips: vips.clone() };
        let name = config.name.as_str();
        let trouble = |what| Trouble::new(name, what);
        let adverts = sources::adverts(index, name, Arc::clone(&vrrp), supervisor.inbox().clone());
        Ok(Self {
            index,
            config: config.clone(),
            router,
            addresses: AddressWorker::new(name),
            jobs: Jobs(Executor::new(index, name, supervisor.clone(), links)),
            vips,
            footing: Footing::new(name, interface, own, &prefixes),
            stale: false,
            adverts,
            announcer: Announcer::open(interface)?,
            vrrp,
            watch: prepare::watch(config)?,
            listening: false,
            timeline: None,
            hooks: Hooks::new(&node.name, config),
            command: hooks::start(config, supervisor),
            gate_trouble: trouble("set the gate"),
            lease_trouble: trouble("renew the lease of the gate"),
            announce_trouble: trouble("announce the addresses"),
            conflict: None,
        })
    }

    /// Tells the kernel what the instance is about, and starts the router. Its clocks begin now: what
    /// loading the programs took, and what was sent meanwhile, is no silence.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self, kernel: &mut Kernel, history: &mut History) -> anyhow::Result<()> {
        let slot = self.slot();
        if kernel.gate(slot)?.term != NO_TERM.get() {
            // Of a database that had this place in an older configuration.
            kernel.set_gate(slot, maps::Gate::default())?;
        }
        self.configure(kernel)?;
        if self.config.database.port().is_some() {
            self.look_for_listener();
        }
        let open = kernel.passage(slot, clock::now().ns())? == Passage::Open;
        let found = if open { Found::Open } else { Found::Shut };
        self.input(Input::Started(found), kernel, history);
        Ok(())
    }

    /// Tells the kernel what the instance is about.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn configure(&mut self, kernel: &mut Kernel) -> anyhow::Result<()> {
        let slot = self.slot();
        let addresses: Vec<IpAddr> = self.vips.iter().map(|&(a, _)| a).collect();
        kernel.set_vips(slot, &addresses, self.footing.interface.mac)?;
        kernel.forget_peers(slot)?;
        if let Some(port) = self.config.database.port() {
            kernel.set_port(port, slot)?;
        }
        kernel.set_watch(slot, self.watch)?;
        let node = |peer: &config::Peer| (peer.address(), NodeId::of(&peer.name));
        let senders: Vec<_> = self.config.peers.iter().map(node).collect();
        kernel.set_advertisers(slot, self.config.vrid, self.config.vrrp.version, &senders)
    }
}
