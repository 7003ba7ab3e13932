//! What the loop hosts: an instance with a database, or a router without one.

use std::net::IpAddr;

use ogha_common::{failover, maps::Event, router, units::Instant as Moment, wire::vrrp};
use tokio::runtime::Runtime;

use super::{inbox::Inbox, instance::Instance, router::RouterHost, story::History};
use crate::{config, control::view, kernel::Kernel, net::interface::Interface};

/// One instance of the configuration.
#[derive(Debug)]
pub enum Hosted {
    /// The database decides where the role belongs.
    Database(Box<Instance>),
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
        inbox: &Inbox,
        background: &Runtime,
    ) -> anyhow::Result<Self> {
        if matches!(config.database, config::Database::None { .. }) {
            let router =
                RouterHost::prepare(index, node, config, interface, inbox, background).await?;
            return Ok(Self::Router(Box::new(router)));
        }
        let instance = Instance::prepare(index, node, config, interface, inbox, background).await?;
        Ok(Self::Database(Box::new(instance)))
    }

    /// Tells the kernel what the instance is about, and starts it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(
        &mut self,
        inbox: &Inbox,
        kernel: &mut Kernel,
        history: &mut History,
    ) -> anyhow::Result<()> {
        match self {
            Self::Database(instance) => instance.start(kernel, history),
            Self::Router(router) => router.start(inbox, kernel, history),
        }
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Database(instance) => &instance.config.name,
            Self::Router(router) => router.name(),
        }
    }

    /// The further interfaces that it needs.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> + '_ {
        let instance = self.database();
        instance.into_iter().flat_map(|instance| instance.peers.interfaces())
    }

    /// When [`Hosted::tick`] is due.
    pub fn next_timer(&self) -> Option<Moment> {
        match self {
            Self::Database(instance) => instance.next_timer(),
            Self::Router(router) => router.next_timer(),
        }
    }

    /// The loop was so late. A router notices that by itself.
    pub fn stalled(
        &mut self,
        late: std::time::Duration,
        kernel: &mut Kernel,
        history: &mut History,
    ) {
        if let Self::Database(instance) = self {
            instance.input(failover::Input::Stalled(late), kernel, history);
        }
    }

    /// Fires the timers that are due.
    pub fn tick(&mut self, now: Moment, kernel: &mut Kernel, history: &mut History) {
        match self {
            Self::Database(instance) => instance.tick(now, kernel, history),
            Self::Router(router) => router.tick(now, kernel, history),
        }
    }

    /// A valid advert of another router.
    pub fn advert(
        &mut self,
        source: IpAddr,
        advert: vrrp::Advert,
        kernel: &mut Kernel,
        history: &mut History,
    ) {
        match self {
            Self::Database(instance) => instance.advert(source, advert, kernel, history),
            Self::Router(router) => router.advert(source, advert, kernel, history),
        }
    }

    /// The kernel saw something of this instance.
    pub fn event(&mut self, event: Event, kernel: &mut Kernel, history: &mut History) {
        match self {
            Self::Database(instance) => instance.event(event, kernel, history),
            Self::Router(router) => router.event(event),
        }
    }

    /// The agent is told to end.
    pub fn stop(&mut self, kernel: &mut Kernel, history: &mut History) {
        match self {
            Self::Database(instance) => {
                instance.input(failover::Input::Stopping, kernel, history);
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
            Self::Database(instance) => instance.view(now, kernel, history),
            Self::Router(router) => router.view(now, kernel, history),
        }
    }

    /// The instance, if it has a database.
    pub fn database(&self) -> Option<&Instance> {
        match self {
            Self::Database(instance) => Some(instance),
            Self::Router(_) => None,
        }
    }

    /// The instance that a message about its database, its record or its arbiter is for.
    pub fn database_mut(&mut self) -> Option<&mut Instance> {
        match self {
            Self::Database(instance) => Some(instance),
            Self::Router(_) => None,
        }
    }

    /// The router, if it has no database.
    pub fn router_mut(&mut self) -> Option<&mut RouterHost> {
        match self {
            Self::Database(_) => None,
            Self::Router(router) => Some(router),
        }
    }
}
