//! What changes of the host mean for an instance with a database.

use std::net::IpAddr;

use futures_util::FutureExt as _;
use ogha_common::failover::Input;
use tracing::{debug, warn};

use super::{footing, history::History, inbox::Inbox, prepare, seat::Seat};
use crate::{kernel::Kernel, net::survey::Survey};

impl Seat {
    /// The host was looked at; `programs`: whether they are attached to the instance's interface.
    pub fn surveyed(
        &mut self,
        (index, inbox): (usize, &Inbox),
        survey: &Survey,
        programs: Result<(), String>,
        kernel: &mut Kernel,
        history: &mut History,
    ) {
        let was_unguarded = self.effects.footing.unguarded().is_some();
        let mut outcome = self.effects.footing.look(survey, programs);
        if outcome.anew || outcome.new_mac {
            self.effects.stale = true;
        }
        if outcome.homeless {
            self.move_home(kernel);
        }
        let own = Some(self.effects.footing.own).filter(|_| !outcome.homeless);
        self.effects.own.send_if_modified(|known| std::mem::replace(known, own) != own);
        if self.effects.stale && !outcome.homeless {
            let opened =
                prepare::reopen(&mut self.effects, &self.instance.config, (index, inbox), kernel);
            match opened {
                Ok(()) => self.effects.stale = false,
                Err(e) => debug!(instance = self.effects.name, "sockets are not open again: {e:#}"),
            }
        }
        let (instance, mut host) = self.ports(kernel, history);
        if outcome.unguarded {
            instance.input(Input::Unguarded, &mut host);
            // Not before the programs are back.
            outcome.addresses.all = true;
        } else if was_unguarded {
            instance.input(Input::Guarded, &mut host);
        }
        let (name, vips) = (host.effects.footing.interface.name.clone(), host.effects.vips.clone());
        let what = || footing::misplaced(survey, &name, &vips);
        instance.addresses_seen(outcome.addresses, what, &mut host);
        if outcome.risen {
            instance.input(Input::Risen, &mut host);
        }
    }

    /// This node's own address went. Where none is configured, another one of the interface takes its place.
    fn move_home(&mut self, kernel: &mut Kernel) {
        let (effects, config) = (&mut self.effects, &self.instance.config);
        let vips: Vec<IpAddr> = effects.vips.iter().map(|&(address, _)| address).collect();
        let interface = effects.footing.interface.clone();
        let found = interface.own_address(config.family(), config.address, &vips).now_or_never();
        let Some(Ok(own)) = found else { return };
        let before = effects.footing.own;
        let moved =
            effects.sockets.rebind(before, own).and_then(|()| prepare::listen(kernel, effects));
        match moved {
            Ok(()) => {
                warn!(
                    instance = effects.name,
                    "this node's own address is {own} now, it was {before}; peers that know it by \
                     {before} need it in their configuration"
                );
                effects.footing.own = own;
                effects.stale = true;
            }
            Err(e) => debug!(instance = effects.name, "cannot move to {own}: {e:#}"),
        }
    }

    /// The maps are new: tells the kernel again what the instance is about. Its gate is closed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn refill(&mut self, kernel: &mut Kernel, history: &mut History) -> anyhow::Result<()> {
        let (instance, mut host) = self.ports(kernel, history);
        prepare::configure(instance, &mut host)?;
        instance.refill(&mut host)?;
        prepare::listen(host.kernel, host.effects)
    }
}
