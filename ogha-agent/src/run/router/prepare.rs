//! Makes the host of a router from its configuration: everything that can be refused, before anything
//! is attached.

use std::{net::IpAddr, sync::Arc};

use ogha_common::{
    election,
    maps::{self, Passage, Watch},
    router::{Found, Input, Router},
    units::NodeId,
};
use tokio::runtime::Runtime;

use super::{AddressHolder, NO_TERM, RouterHost, Trouble};
use crate::{
    clock, config,
    kernel::Kernel,
    net::{addresses::Addresses, announce::Announcer, interface::Interface},
    run::{hooks::Hooks, inbox::Inbox, prepare, sources, story::History},
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
        inbox: &Inbox,
        background: &Runtime,
    ) -> anyhow::Result<Self> {
        let vips: Vec<_> = config.virtual_addresses.iter().map(|v| (v.address, v.prefix)).collect();
        let addresses: Vec<IpAddr> = vips.iter().map(|&(address, _)| address).collect();
        let own = interface.own_address(config.family(), config.address, &addresses).await?;
        let speaker = prepare::speaker(config, interface, own, &addresses)?;
        let peers = config.peers.iter().map(config::Peer::address).collect();
        let vrrp = Arc::new(prepare::open_vrrp(config, interface, speaker, peers, &addresses)?);
        let links = Addresses::open(&interface.name, interface.index, background.handle())?;
        let router = Router::new(election::Config {
            priority: config.priority,
            advert_interval: config.vrrp.advert_interval,
            preempt: config.vrrp.preempt,
            version: prepare::version(&config.vrrp),
            address: speaker,
        });
        let handle = background.handle();
        Ok(Self {
            index,
            config: config.clone(),
            router,
            addresses: AddressHolder::start(index, inbox.clone(), links, vips.clone(), handle),
            vips,
            interface: interface.clone(),
            announcer: Announcer::open(interface)?,
            vrrp,
            watch: Watch::default(),
            listening: false,
            story: None,
            hooks: Hooks::start(&node.name, config, handle),
            gate_trouble: Trouble::new("set the gate"),
            lease_trouble: Trouble::new("renew the lease of the gate"),
            announce_trouble: Trouble::new("announce the addresses"),
            conflict: None,
        })
    }

    /// Tells the kernel what the instance is about, and starts the router. Its clocks begin now: what
    /// loading the programs took, and what was sent meanwhile, is no silence.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(
        &mut self,
        inbox: &Inbox,
        kernel: &mut Kernel,
        history: &mut History,
    ) -> anyhow::Result<()> {
        let slot = self.slot();
        let addresses: Vec<IpAddr> = self.vips.iter().map(|&(a, _)| a).collect();
        kernel.set_vips(slot, &addresses, self.interface.mac)?;
        if kernel.gate(slot)?.term != NO_TERM.get() {
            // Of a database that had this place in an older configuration.
            kernel.set_gate(slot, maps::Gate::default())?;
        }
        kernel.forget_peers(slot)?;
        self.watch.agent = std::process::id();
        if let Some(port) = self.config.database.port() {
            kernel.set_port(port, slot)?;
            self.watch.port = u32::from(port);
            self.watch.netns = prepare::own_netns()?;
            self.look_for_listener();
        }
        kernel.set_watch(slot, self.watch)?;
        let node = |peer: &config::Peer| (peer.address(), NodeId::of(&peer.name));
        let senders: Vec<_> = self.config.peers.iter().map(node).collect();
        kernel.set_advertisers(slot, self.config.vrid, self.config.vrrp.version, &senders)?;
        sources::adverts(self.index, Arc::clone(&self.vrrp), inbox.clone());
        let open = kernel.passage(slot, clock::now().ns())? == Passage::Open;
        let found = if open { Found::Open } else { Found::Shut };
        self.input(Input::Started(found), kernel, history);
        Ok(())
    }
}
