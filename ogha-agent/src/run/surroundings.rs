//! The agent's end of what changes on its host: it waits for interfaces that are not there yet, keeps the data
//! plane in force, and tells each instance how it stands.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use nix::net::if_::if_nametoindex;
use ogha_common::{maps::name, units::Instant};
use tokio::{
    runtime::Handle as Runtime,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{Agent, inbox::Message, prepare, retry::Trouble, sources, supervise::Supervisor};
use crate::{
    clock,
    config::{Config, Database, Instance},
    kernel::{self, Guard, Kernel},
    net::{
        addresses::{self, Addresses},
        interface::Interface,
        path::source_towards,
        survey::Survey,
    },
    service::Service,
};

/// How often an interface, or an address, that is not there yet is looked for.
const OFTEN: Duration = Duration::from_millis(100);
/// What cannot be put right within that time is no fence: the programs would end with this agent.
const UNPINNED: Duration = Duration::from_secs(3);
/// How long the start waits for netlink to remove what a former configuration has left.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the agent knows of its data plane's place.
#[derive(Debug)]
pub(super) struct Surroundings {
    config: Config,
    supervisor: Supervisor,
    guard: Guard,
    /// The interfaces that the programs were loaded for, by their names and as they were then.
    loaded: Vec<Interface>,
    /// Those that the instances need.
    needed: Vec<String>,
    reloading: bool,
    trouble: Trouble,
    broken: Vec<String>,
    broken_since: Option<Instant>,
    /// Something was detached from an interface, since the instances were told.
    detached: bool,
    last: Option<Survey>,
}

impl Surroundings {
    /// All is as it was loaded.
    pub(super) fn new(
        config: &Config,
        guard: Guard,
        loaded: Vec<Interface>,
        supervisor: Supervisor,
    ) -> Self {
        Self {
            config: config.clone(),
            supervisor,
            guard,
            needed: loaded.iter().map(|interface| interface.name.clone()).collect(),
            loaded,
            reloading: false,
            trouble: Trouble::new("", "attach the BPF programs again"),
            broken: Vec::new(),
            broken_since: None,
            detached: false,
            last: None,
        }
    }

    /// Looks at the data plane, puts right what can be at once, and has the rest loaded again.
    fn tend(&mut self, survey: &Survey) {
        if self.reloading {
            return;
        }
        let mut found = self.guard.check();
        self.detached |= found.detached;
        for repaired in &found.repaired {
            warn!("{repaired}");
        }
        let mut stale = false;
        for name in &self.needed {
            let Some(link) = survey.link(name) else { continue };
            match self.loaded.iter().find(|loaded| loaded.name == *name) {
                Some(loaded) if loaded.index == link.index => {
                    stale |= link.mac.is_some_and(|mac| mac != loaded.mac);
                }
                Some(_) => found.broken.push(format!("interface {name} was made anew")),
                None => found.broken.push(format!("interface {name} is there again")),
            }
        }
        for broken in found.broken.iter().filter(|broken| !self.broken.contains(broken)) {
            warn!("{broken}");
        }
        let due = self.trouble.retry.is_due(clock::now());
        if due && (stale || !found.broken.is_empty()) {
            self.reload();
        }
        let since = self.broken_since.or_else(|| Some(clock::now()));
        self.broken_since = since.filter(|_| !found.broken.is_empty());
        self.broken = found.broken;
    }

    /// Loads the programs again on a background thread, and attaches them to the interfaces that there are.
    fn reload(&mut self) {
        let there = |name: &String| Interface::find(name).ok();
        let interfaces: Vec<_> = self.needed.iter().filter_map(there).collect();
        if interfaces.is_empty() {
            return;
        }
        self.reloading = true;
        let (config, inbox) = (self.config.clone(), self.supervisor.inbox().clone());
        let job = async move {
            let places = interfaces.iter().map(|at| prepare::place(&config, at));
            let places = join_all(places).await;
            let bpf_dir = config.node.bpf_dir;
            let start = move || Kernel::start_at(&bpf_dir, &places);
            let kernel = tokio::task::spawn_blocking(start).await;
            let kernel = kernel.context("loading the programs").flatten();
            // The loop may have ended.
            let _ =
                inbox.send(Message::Reloaded(kernel.map(|kernel| (Box::new(kernel), interfaces))));
        };
        drop(self.supervisor.spawn_job("loading of the BPF programs".to_owned(), job));
    }

    /// Whether the programs see what comes in and goes out at that interface, as it is now, and would go on
    /// doing so without this agent.
    fn programs(&self, survey: &Survey, interface: &str) -> Result<(), String> {
        if self.broken_since.is_some_and(|since| clock::now().since(since) >= UNPINNED) {
            let what = self.broken.join("; ");
            return Err(format!("the BPF programs are not safely in place ({what})"));
        }
        match survey.link(interface) {
            Some(link) if self.guard.is_attached(link.index) => Ok(()),
            _ => Err(format!("the BPF programs are not attached to {interface}")),
        }
    }
}

impl Agent {
    /// The host's interfaces and addresses were looked at.
    pub(super) fn surveyed(&mut self, survey: Survey) {
        self.surroundings.tend(&survey);
        self.tell(&survey);
        self.surroundings.last = Some(survey);
    }

    fn tell(&mut self, survey: &Survey) {
        let detached = std::mem::take(&mut self.surroundings.detached);
        let inbox = self.surroundings.supervisor.inbox();
        for (index, one) in self.hosted.iter_mut().enumerate() {
            let programs = self.surroundings.programs(survey, one.interface());
            let (kernel, history) = (&mut self.kernel, &mut self.history);
            if detached {
                one.doubt();
            }
            one.surveyed((index, inbox), survey, programs, kernel, history);
        }
    }

    /// The programs were loaded again, or could not be. The maps are the same, unless their pins were gone.
    pub(super) fn reloaded(
        &mut self,
        reloaded: anyhow::Result<(Box<Kernel>, Vec<Interface>)>,
    ) -> anyhow::Result<()> {
        self.surroundings.reloading = false;
        let now = clock::now();
        let Some((mut kernel, loaded)) = self.surroundings.trouble.note(now, reloaded) else {
            return Ok(());
        };
        let inbox = self.surroundings.supervisor.inbox().clone();
        let guard = &mut self.surroundings.guard;
        let events = guard.map_id(name::EVENTS);
        let other_maps = guard.retake()?;
        if guard.map_id(name::EVENTS) != events {
            sources::kernel_events(kernel.take_events()?, inbox.clone());
        }
        if let Some(log) = kernel.take_log() {
            sources::kernel_log(log, inbox)?;
        }
        (self.kernel, self.surroundings.loaded) = (*kernel, loaded);
        info!("the BPF programs were loaded and attached again");
        if other_maps {
            warn!("the maps of the data plane are new: every gate is closed");
            for one in &mut self.hosted {
                one.refill(&mut self.kernel, &mut self.history)?;
            }
        }
        if let Some(survey) = self.surroundings.last.take() {
            self.surveyed(survey);
        }
        Ok(())
    }
}

/// Waits until the host has the interfaces and own addresses that the instances need: at boot they may come
/// late.
///
/// # Errors
/// When one is there that can't be used, which time does not heal.
pub(super) async fn wait_for_interfaces(config: &Config) -> anyhow::Result<()> {
    let mut logged = None;
    while let Some(missing) = missing(config).await? {
        if logged.as_ref() != Some(&missing) {
            warn!("waiting for the network of this host: {missing}");
            Service::of_environment().status(&format!("waiting for the network: {missing}"));
            logged = Some(missing);
        }
        sleep(OFTEN).await;
    }
    if logged.is_some() {
        info!("the network of this host is there");
    }
    Ok(())
}

/// The first thing that is not there.
async fn missing(config: &Config) -> anyhow::Result<Option<String>> {
    for instance in &config.instances {
        if let Err(e) = ready(instance).await? {
            return Ok(Some(format!("instance {}: {e:#}", instance.name)));
        }
    }
    Ok(None)
}

/// The outer error is one that time does not heal.
async fn ready(instance: &Instance) -> anyhow::Result<anyhow::Result<()>> {
    let interface = match Interface::find(&instance.interface) {
        Ok(interface) => interface,
        Err(e) if if_nametoindex(instance.interface.as_str()).is_ok() => return Err(e),
        Err(e) => return Ok(Err(e)),
    };
    let vips: Vec<IpAddr> = instance.virtual_addresses.iter().map(|vip| vip.address).collect();
    let own = interface.own_address(instance.family(), instance.address, &vips).await;
    let speaker = own.and_then(|own| prepare::speaker(instance, &interface, own, &vips));
    if let Err(e) = speaker {
        return Ok(Err(e));
    }
    if !matches!(instance.database, Database::None { .. }) {
        for peer in instance.peers.iter().flat_map(|peer| &peer.addresses[1..]) {
            if source_towards(*peer).is_err() {
                return Ok(Err(anyhow::anyhow!("there is no route to the peer's address {peer}")));
            }
        }
    }
    Ok(Ok(()))
}

/// Takes the addresses off this host that the last agent held and that are none any more in the
/// configuration. What cannot be removed is logged.
pub(super) async fn remove_left_addresses(config: &Config, background: &Runtime) {
    let wanted = || config.instances.iter().flat_map(|instance| &instance.virtual_addresses);
    let mut left = kernel::pinned_addresses(&config.node.bpf_dir);
    left.retain(|old| wanted().all(|vip| vip.address != *old));
    if left.is_empty() {
        return;
    }
    let remove = async {
        let open = Addresses::open("", 0, background)?;
        let removal = open.remove_left(&left, addresses::marks_are_kept());
        match timeout(PATIENCE, removal).await {
            Ok(removed) => removed,
            Err(_) => bail!("netlink did not answer within {PATIENCE:?}"),
        }
    };
    if let Err(e) = remove.await {
        warn!("cannot remove addresses that are no virtual addresses any more: {e:#}");
    }
}
