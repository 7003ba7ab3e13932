//! What the loop hosts: an instance with a database, or a router without one.

use ogha_common::{failover, router, units::Instant as Moment};

use super::{
    history::History, inbox::Inbox, message::Message, prepare, router::RouterHost, seat::Seat,
    supervise::Supervisor,
};
use crate::{
    config,
    control::view,
    kernel::Kernel,
    net::{interface::Interface, survey::Survey},
};

/// One instance of the configuration.
#[derive(Debug)]
pub enum Hosted {
    /// The database decides where the role belongs.
    Database(Box<Seat>),
    /// `kind = "none"`: VRRP's election does.
    Router(Box<RouterHost>),
}

impl Hosted {
    /// Opens what the instance needs.
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
        Ok(if matches!(config.database, config::Database::None { .. }) {
            let router = RouterHost::prepare(index, node, config, interface, supervisor).await?;
            Self::Router(Box::new(router))
        } else {
            let seat = prepare::prepare(index, node, config, interface, supervisor).await?;
            Self::Database(Box::new(seat))
        })
    }

    /// Tells the kernel what the instance is about, and starts it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self, kernel: &mut Kernel, history: &mut History) -> anyhow::Result<()> {
        match self {
            Self::Database(seat) => {
                let (instance, mut host) = seat.ports(kernel, history);
                prepare::start(instance, &mut host)
            }
            Self::Router(router) => router.start(kernel, history),
        }
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Database(seat) => &seat.effects.name,
            Self::Router(router) => router.name(),
        }
    }

    /// The further interfaces that it needs.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> + '_ {
        let seat = match self {
            Self::Database(seat) => Some(seat),
            Self::Router(_) => None,
        };
        seat.into_iter().flat_map(|seat| seat.effects.sockets.interfaces())
    }

    /// The interface of its addresses.
    pub fn interface(&self) -> &str {
        match self {
            Self::Database(seat) => &seat.effects.footing.interface.name,
            Self::Router(router) => router.interface(),
        }
    }

    /// Something was detached from an interface: its number says no longer that it is the same.
    pub fn doubt(&mut self) {
        match self {
            Self::Database(seat) => seat.effects.footing.doubt(),
            Self::Router(router) => router.doubt(),
        }
    }

    /// The host was looked at; `programs`: whether they are attached to the instance's interface.
    pub fn surveyed(
        &mut self,
        whose: (usize, &Inbox),
        survey: &Survey,
        programs: Result<(), String>,
        kernel: &mut Kernel,
        history: &mut History,
    ) {
        match self {
            Self::Database(seat) => seat.surveyed(whose, survey, programs, kernel, history),
            Self::Router(router) => router.surveyed(whose, survey, programs, kernel, history),
        }
    }

    /// The maps are new: tells the kernel again what the instance is about.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn refill(&mut self, kernel: &mut Kernel, history: &mut History) -> anyhow::Result<()> {
        match self {
            Self::Database(seat) => seat.refill(kernel, history),
            Self::Router(router) => router.refill(kernel, history),
        }
    }

    /// When [`Hosted::wake`] is due.
    pub fn next_timer(&self) -> Option<Moment> {
        match self {
            Self::Database(seat) => seat.instance.next_timer(),
            Self::Router(router) => router.next_timer(),
        }
    }

    /// Fires the timers that are due. `due`: when this was due. (A router notices by itself that it
    /// was late.)
    pub fn wake(&mut self, due: Option<Moment>, kernel: &mut Kernel, history: &mut History) {
        match self {
            Self::Database(seat) => {
                let (instance, mut host) = seat.ports(kernel, history);
                instance.wake(due, &mut host);
            }
            Self::Router(router) => router.wake(kernel, history),
        }
    }

    /// A message of the surroundings.
    pub fn take(&mut self, message: Message, kernel: &mut Kernel, history: &mut History) {
        match self {
            Self::Database(seat) => {
                let (instance, mut host) = seat.ports(kernel, history);
                instance.take(message, &mut host);
            }
            Self::Router(router) => router.take(message, kernel, history),
        }
    }

    /// Takes on what may change while it runs.
    pub fn reconfigure(&mut self, config: &config::Instance) {
        match self {
            Self::Database(seat) => {
                seat.instance.reconfigure(config);
                seat.effects.hooks.reconfigure(config.hooks.clone());
            }
            Self::Router(router) => router.reconfigure(config),
        }
    }

    /// The agent is told to end.
    pub fn stop(&mut self, kernel: &mut Kernel, history: &mut History) {
        match self {
            Self::Database(seat) => {
                let (instance, mut host) = seat.ports(kernel, history);
                instance.input(failover::Input::Stopping, &mut host);
            }
            Self::Router(router) => router.input(router::Input::Stopping, kernel, history),
        }
    }

    /// Whether all is done that has to be done before the agent ends.
    pub fn has_stopped(&self) -> bool {
        match self {
            Self::Database(_) => true,
            Self::Router(router) => router.has_stopped(),
        }
    }

    /// The status.
    ///
    /// # Errors
    /// When the kernel's maps cannot be read.
    pub fn view(
        &self,
        now: Moment,
        kernel: &Kernel,
        history: &History,
    ) -> anyhow::Result<view::InstanceView> {
        match self {
            Self::Database(seat) => seat.instance.view(now, &seat.effects, kernel, history),
            Self::Router(router) => router.view(now, kernel, history),
        }
    }
}
