//! The loop: one input, drain the actions, re-arm the one timer.
//!
//! The loop runs on a thread of its own, with real-time priority where it may, and does nothing
//! slow: files, netlink and the database are the business of `workers` on background threads,
//! whose outcomes come back through the `inbox`.

mod commands;
mod health;
mod hooks;
mod hosted;
mod inbox;
mod instance;
mod notices;
mod orders;
mod pace;
mod peer;
mod peers;
mod prepare;
mod referee;
mod router;
mod sources;
mod status;
mod story;
mod workers;

use std::time::Duration;

use anyhow::Context as _;
use ogha_common::units::Instant;
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};
use tracing::{info, warn};

use self::{hosted::Hosted, inbox::Message, story::History};
use crate::{
    cli::Failure,
    clock,
    config::Config,
    control::{protocol::Request, server::Server},
    kernel::{self, Kernel},
    net::interface::Interface,
};

/// Real-time priority of the loop: above ordinary work, below the kernel's own threads (50).
const REALTIME_PRIORITY: i32 = 20;

/// A timer that fires so late means that this agent was not running. Below that it is the grain
/// of the timers.
const STALL: Duration = Duration::from_millis(5);

/// How long the end of the agent waits for what its instances have to do before.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Runs the agent until it is told to end (SIGTERM, SIGINT).
///
/// # Errors
/// A [`Failure`] of code 2 when something that the agent needs is not there or is taken: an
/// interface, a port, a key file, privileges, BTF. Nothing stays attached that was not attached
/// before. Anything else when it cannot go on.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let background = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("ogha-worker")
        .enable_all()
        .build()
        .context("cannot start the background threads")?;
    let foreground = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the loop")?;
    let result = foreground.block_on(async {
        let agent = Agent::start(config, &background).await.map_err(Failure::start_up)?;
        if config.node.realtime {
            be_realtime();
        }
        agent.run().await
    });
    background.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Without real-time priority a busy machine makes the loop late; that costs availability, not
/// safety, so it is no error.
fn be_realtime() {
    let param = libc::sched_param { sched_priority: REALTIME_PRIORITY };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 names this thread, and `param` lives as long as the call.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const param) } != 0 {
        let error = std::io::Error::last_os_error();
        warn!("no real-time priority ({error}); a busy machine will make this agent late");
    }
}

struct Agent {
    node: String,
    kernel: Kernel,
    instances: Vec<Hosted>,
    history: History,
    inbox: mpsc::UnboundedReceiver<Message>,
}

impl Agent {
    /// What can be refused comes first and the data plane last, so that an agent that does not
    /// start leaves nothing attached.
    async fn start(config: &Config, background: &Runtime) -> anyhow::Result<Self> {
        kernel::privileges()?;
        let (send, inbox) = mpsc::unbounded_channel();
        let interfaces = interfaces(config)?;
        let server = Server::bind(&config.node.run_dir)?;
        let mut instances = Vec::new();
        for (index, instance) in config.instances.iter().enumerate() {
            let interface = interfaces
                .iter()
                .find(|interface| interface.name == instance.interface)
                .context("every instance's interface was looked up")?;
            let prepared =
                Hosted::prepare(index, &config.node, instance, interface, &send, background)
                    .await
                    .with_context(|| format!("instance {}", instance.name))?;
            instances.push(prepared);
        }
        let mut history = History::open(&config.node.state_dir);
        let interfaces = with_paths(interfaces, &instances);
        let places = interfaces.iter().map(|at| prepare::place(config, at));
        let places = futures_util::future::join_all(places).await;
        let mut kernel = Kernel::start_at(&config.node.bpf_dir, &places)?;
        sources::kernel_events(kernel.take_events()?, send.clone());
        if let Some(log) = kernel.take_log() {
            sources::kernel_log(log);
        }
        sources::control(server, send.clone(), background);
        for instance in &mut instances {
            instance.start(&send, &mut kernel, &mut history)?;
        }
        kernel.forget_instances_from(u32::try_from(instances.len())?)?;
        info!(node = config.node.name, instances = instances.len(), "started");
        Ok(Self { node: config.node.name.clone(), kernel, instances, history, inbox })
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            let due = self.instances.iter().filter_map(Hosted::next_timer).min();
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message)?,
                    None => anyhow::bail!("all sources of input have ended"),
                },
                () = sleep_until(due) => {}
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
            // What has arrived comes before a timer that fires late: else a busy machine would
            // take its own delay for the silence of its peers.
            tokio::task::yield_now().await;
            while let Ok(message) = self.inbox.try_recv() {
                self.take(message)?;
            }
            let now = clock::now();
            let late = due.map_or(Duration::ZERO, |due| now.since(due));
            for instance in &mut self.instances {
                if late >= STALL {
                    instance.stalled(late, &mut self.kernel, &mut self.history);
                }
                instance.tick(now, &mut self.kernel, &mut self.history);
            }
        }
        info!("stopping; the data plane stays loaded, and open gates end with their leases");
        self.stop().await;
        Ok(())
    }

    /// Instances may have to do things in an order before the agent ends: what comes of the one is
    /// waited for before the next.
    async fn stop(&mut self) {
        for instance in &mut self.instances {
            instance.stop(&mut self.kernel, &mut self.history);
        }
        let give_up = clock::now() + STOP_PATIENCE;
        let has_not = |instance: &&Hosted| !instance.has_stopped();
        while self.instances.iter().any(|instance| has_not(&instance)) && clock::now() < give_up {
            let due = self.instances.iter().filter(has_not).filter_map(Hosted::next_timer).min();
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(Message::Addresses(index, wish)) => self.addresses_settled(index, wish),
                    Some(_) => {}
                    None => return,
                },
                () = sleep_until(Some(due.map_or(give_up, |due| due.min(give_up)))) => {}
            }
            let now = clock::now();
            for instance in self.instances.iter_mut().filter(|instance| !instance.has_stopped()) {
                instance.tick(now, &mut self.kernel, &mut self.history);
            }
        }
    }

    fn addresses_settled(&mut self, index: usize, wish: router::Wish) {
        if let Some(router) = self.instances[index].router_mut() {
            router.addresses_settled(wish, &mut self.kernel, &mut self.history);
        }
    }

    fn take(&mut self, message: Message) -> anyhow::Result<()> {
        let (kernel, history) = (&mut self.kernel, &mut self.history);
        match message {
            Message::Control(request, answer) => {
                let response = match request {
                    Request::Status | Request::History => {
                        status::answer(&request, &self.node, &self.instances, kernel, history)
                    }
                    order => {
                        commands::carry_out(order, &self.node, &mut self.instances, kernel, history)
                    }
                };
                // Whoever asked may have gone.
                let _ = answer.send(response);
            }
            Message::Outcome(index, input) => {
                if let Some(instance) = self.instances[index].database_mut() {
                    instance.input(input, kernel, history);
                }
            }
            Message::Observed(index, seen) => {
                if let Some(instance) = self.instances[index].database_mut() {
                    instance.observed(seen, kernel, history);
                }
            }
            Message::Ruled(index, record, ruling) => {
                if let Some(instance) = self.instances[index].database_mut() {
                    instance.ruled(record, ruling, kernel, history);
                }
            }
            Message::Checked(index, check) => {
                if let Some(instance) = self.instances[index].database_mut() {
                    instance.checked(check);
                }
            }
            Message::Addresses(index, wish) => self.addresses_settled(index, wish),
            Message::Advert(index, source, advert) => {
                self.instances[index].advert(source, advert, kernel, history);
            }
            Message::Kernel(event) => {
                if let Some(instance) = self.instances.get_mut(event.instance as usize) {
                    instance.event(event, kernel, history);
                }
            }
            Message::Broken(error) => return Err(error),
        }
        Ok(())
    }
}

/// The interfaces of all instances, each once.
fn interfaces(config: &Config) -> anyhow::Result<Vec<Interface>> {
    let mut names: Vec<&str> = config.instances.iter().map(|i| i.interface.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(Interface::find).collect()
}

/// And those at which further paths to peers begin.
fn with_paths(mut interfaces: Vec<Interface>, instances: &[Hosted]) -> Vec<Interface> {
    for interface in instances.iter().flat_map(Hosted::interfaces) {
        if !interfaces.contains(interface) {
            interfaces.push(interface.clone());
        }
    }
    interfaces
}

/// tokio's timers count whole milliseconds and round up.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep(clock::until(due)).await,
        None => std::future::pending().await,
    }
}
