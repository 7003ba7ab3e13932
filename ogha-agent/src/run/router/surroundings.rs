//! What changes of the host mean for a router.

use std::{net::IpAddr, sync::Arc};

use futures_util::FutureExt as _;
use ogha_common::router::Input;
use tracing::{debug, warn};

use super::RouterHost;
use crate::{
    kernel::Kernel,
    net::{announce::Announcer, survey::Survey},
    run::{footing, history::History, inbox::Inbox, prepare, sources},
};

impl RouterHost {
    /// The interface of its addresses.
    pub fn interface(&self) -> &str {
        &self.footing.interface.name
    }

    /// Something was detached from an interface.
    pub fn doubt(&mut self) {
        self.footing.doubt();
    }

    /// The host was looked at; `programs`: whether they are attached to the interface.
    pub fn surveyed(
        &mut self,
        whose: (usize, &Inbox),
        survey: &Survey,
        programs: Result<(), String>,
        kernel: &mut Kernel,
        history: &mut History,
    ) {
        let mut outcome = self.footing.look(survey, programs);
        self.stale |= outcome.anew || outcome.new_mac;
        if outcome.homeless {
            self.move_home();
        } else if self.stale {
            match self.reopen(whose, kernel) {
                Ok(()) => self.stale = false,
                Err(e) => debug!(instance = self.config.name, "sockets are not open again: {e:#}"),
            }
        }
        if outcome.unguarded {
            self.input(Input::Unguarded, kernel, history);
            // Not before the programs are back.
            outcome.addresses.all = true;
        }
        let what = || footing::misplaced(survey, &self.footing.interface.name, &self.vips);
        self.addresses.observed(outcome.addresses, what, &mut self.jobs);
        if outcome.risen {
            self.input(Input::Risen, kernel, history);
        }
    }

    /// This node's own address went. Where none is configured, another one of the interface takes its place.
    fn move_home(&mut self) {
        let vips = self.addresses_only();
        let config = &self.config;
        let interface = &self.footing.interface;
        let found = interface.own_address(config.family(), config.address, &vips).now_or_never();
        if let Some(Ok(own)) = found {
            let (instance, before) = (&config.name, self.footing.own);
            warn!(
                instance,
                "this node's own address is {own} now, it was {before}; peers that know it by \
                 {before} need it in their configuration"
            );
            self.footing.own = own;
            self.stale = true;
        }
    }

    /// Opens the sockets again of an interface that is another one now, and tells the kernel of its
    /// Ethernet address.
    fn reopen(
        &mut self,
        (index, inbox): (usize, &Inbox),
        kernel: &mut Kernel,
    ) -> anyhow::Result<()> {
        let (vips, interface) = (self.addresses_only(), &self.footing.interface);
        self.announcer = Announcer::open(interface)?;
        kernel.set_vips(self.slot(), &vips, interface.mac)?;
        let speaker = prepare::speaker(&self.config, interface, self.footing.own, &vips)?;
        self.vrrp = Arc::new(prepare::open_vrrp(&self.config, interface, speaker, &vips)?);
        self.adverts.abort();
        let (name, socket) = (self.config.name.as_str(), Arc::clone(&self.vrrp));
        self.adverts = sources::adverts(index, name, socket, inbox.clone());
        Ok(())
    }

    /// The maps are new: tells the kernel again what the instance is about. Its gate is closed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn refill(&mut self, kernel: &mut Kernel, history: &mut History) -> anyhow::Result<()> {
        self.configure(kernel)?;
        self.input(Input::Unguarded, kernel, history);
        Ok(())
    }

    fn addresses_only(&self) -> Vec<IpAddr> {
        self.vips.iter().map(|&(address, _)| address).collect()
    }
}
