//! The loop: one input, drain the actions, re-arm the one timer.
//!
//! The loop runs on a thread of its own, with real-time priority where it may, and does nothing slow:
//! files, netlink, the arbiter and the database are [`ports::Job`]s on background threads, whose ends
//! come back through the inbox. What an [`instance::Instance`] does with them is synchronous code that
//! knows no clock; `host` gives it a real host, a simulated run another one.

pub mod address_worker;
pub mod arbiter_worker;
mod commands;
mod contradictions;
pub mod database_worker;
pub mod decides;
pub mod disk_worker;
mod facts;
#[cfg(test)]
mod fake;
pub mod footing;
pub mod gate;
pub mod health;
mod history;
pub mod hook_event;
pub mod hooks;
mod host;
mod hosted;
mod inbox;
pub mod instance;
pub mod message;
mod notices;
pub mod pace;
pub mod peer;
pub mod peers;
pub mod ports;
mod prepare;
mod profile;
mod reload;
pub mod retry;
mod router;
mod seat;
pub mod signals;
mod sources;
mod standing;
mod status;
mod supervise;
mod surroundings;
pub mod timeline;
pub mod writes;

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use ogha_common::units::Instant;
use tokio::{runtime, sync::mpsc, time::sleep};
use tracing::{info, warn};

use self::{
    history::History,
    hosted::Hosted,
    inbox::Message,
    reload::Reload,
    signals::{Order, Signals},
    supervise::Supervisor,
    surroundings::Surroundings,
};
use crate::{
    clock,
    config::Config,
    control::{protocol::Request, server::Server},
    failure::Failure,
    kernel::{self, Claim, Guard, Kernel},
    limits,
    net::interface::Interface,
    service::Service,
};

/// Real-time priority of the loop: above ordinary work, below the kernel's own threads (50).
const REALTIME_PRIORITY: i32 = 20;

/// How long the end of the agent waits for the last timelines to be on disk.
const HISTORY_PATIENCE: Duration = Duration::from_millis(200);

/// How long the end of the agent waits for what its instances have to do before.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Runs the agent until it is told to end (SIGTERM, SIGINT). `file`: where the configuration is read again.
///
/// # Errors
/// A [`Failure`] of code 2 when something that the agent needs is not there or is taken: an
/// interface, a port, a key file, privileges, BTF. Nothing stays attached that was not attached
/// before. Anything else when it cannot go on.
pub fn run(config: &Config, file: &Path) -> anyhow::Result<()> {
    limits::prepare();
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
        // Before anything is done that a signal could interrupt.
        let mut signals = Signals::take().context("cannot take signals")?;
        let reload = Reload::new(file, config);
        let agent = tokio::select! {
            biased;
            () = told_to_end(&mut signals) => return Ok(()),
            agent = Agent::start(config, reload, background.handle()) => agent,
        };
        let agent = agent.map_err(Failure::start_up)?;
        limits::trim_memory();
        if config.node.realtime {
            be_realtime();
        }
        agent.run(signals).await
    });
    background.shutdown_timeout(Duration::from_secs(1));
    // A write that hangs must not hold the end up either.
    foreground.shutdown_background();
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
        warn!("cannot set real-time priority ({error}): probes may be late on a busy machine");
    }
}

struct Agent {
    node: String,
    kernel: Kernel,
    hosted: Vec<Hosted>,
    history: History,
    reload: Reload,
    supervisor: Supervisor,
    inbox: mpsc::UnboundedReceiver<Message>,
    service: Service,
    surroundings: Surroundings,
}

impl Agent {
    /// What can be refused comes first and the data plane last, so that an agent that does not
    /// start leaves nothing attached.
    async fn start(
        config: &Config,
        reload: Reload,
        background: &runtime::Handle,
    ) -> anyhow::Result<Self> {
        kernel::privileges()?;
        let (send, inbox) = mpsc::unbounded_channel();
        let supervisor = Supervisor::new(background.clone(), send.clone());
        let server = Server::bind(&config.node.run_dir)?;
        let claim = Claim::take(&config.node.bpf_dir)?;
        surroundings::wait_for_interfaces(config).await?;
        let interfaces = interfaces(config)?;
        let mut hosted = Vec::new();
        for (index, instance) in config.instances.iter().enumerate() {
            let interface = interfaces
                .iter()
                .find(|interface| interface.name == instance.interface)
                .context("every instance's interface was looked up")?;
            let prepared = Hosted::prepare(index, &config.node, instance, interface, &supervisor)
                .await
                .with_context(|| format!("instance {}", instance.name))?;
            hosted.push(prepared);
        }
        let mut history = History::open(&config.node.state_dir);
        let interfaces = with_paths(interfaces, &hosted);
        let places = interfaces.iter().map(|at| prepare::place(config, at));
        let places = futures_util::future::join_all(places).await;
        let mut kernel = Kernel::start_at(&config.node.bpf_dir, &places)?;
        sources::kernel_events(kernel.take_events()?, send.clone());
        if let Some(log) = kernel.take_log() {
            sources::kernel_log(log, send.clone())?;
        }
        let guard = Guard::take(&config.node.bpf_dir, claim)?;
        sources::control(server, send.clone(), &supervisor);
        surroundings::remove_left_addresses(config, background).await;
        for one in &mut hosted {
            one.start(&mut kernel, &mut history)?;
        }
        kernel.forget_instances_from(u32::try_from(hosted.len())?)?;
        info!(node = config.node.name, instances = hosted.len(), "started");
        sources::surveys(&supervisor);
        let surroundings = Surroundings::new(config, guard, interfaces, supervisor.clone());
        let node = config.node.name.clone();
        let service = Service::of_environment();
        Ok(Self { node, kernel, hosted, history, reload, supervisor, inbox, service, surroundings })
    }

    async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        self.service.ready("running; `ogha-agent status` shows what it does");
        loop {
            let due = self.hosted.iter().filter_map(Hosted::next_timer).min();
            let wake_at = due.into_iter().chain(self.service.next_feed()).min();
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message)?,
                    None => anyhow::bail!("all sources of input have ended"),
                },
                () = sleep_until(wake_at) => {}
                order = signals.next() => match order {
                    Order::End => break,
                    Order::Reload => self.reload.order(None, &self.supervisor),
                },
            }
            // What has arrived comes before a timer that fires late: else a busy machine would
            // take its own delay for the silence of its peers.
            tokio::task::yield_now().await;
            while let Ok(message) = self.inbox.try_recv() {
                self.take(message)?;
            }
            for one in &mut self.hosted {
                one.wake(due, &mut self.kernel, &mut self.history);
            }
            self.service.feed(clock::now());
        }
        self.service.stopping();
        info!("stopping; the data plane stays loaded, and open gates close when their leases end");
        tokio::select! {
            () = self.stop() => {}
            () = told_to_end(&mut signals) => info!("told to end a second time: ending at once"),
        }
        self.history.flush(HISTORY_PATIENCE);
        Ok(())
    }

    /// Instances may have to do things in an order before the agent ends: what comes of the one is
    /// waited for before the next.
    async fn stop(&mut self) {
        let (kernel, history) = (&mut self.kernel, &mut self.history);
        for one in &mut self.hosted {
            one.stop(kernel, history);
        }
        let give_up = clock::now() + STOP_PATIENCE;
        let has_not = |one: &&Hosted| !one.has_stopped();
        while self.hosted.iter().any(|one| has_not(&one)) && clock::now() < give_up {
            let due = self.hosted.iter().filter(has_not).filter_map(Hosted::next_timer).min();
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(Message::Instance(index, message @ message::Message::Ended(..)))
                        if !self.hosted[index].has_stopped() =>
                    {
                        self.hosted[index].take(message, kernel, history);
                    }
                    Some(_) => {}
                    None => return,
                },
                () = sleep_until(Some(due.map_or(give_up, |due| due.min(give_up)))) => {}
            }
            for one in self.hosted.iter_mut().filter(|one| !one.has_stopped()) {
                one.wake(due, kernel, history);
            }
        }
    }

    fn take(&mut self, message: Message) -> anyhow::Result<()> {
        let (kernel, history) = (&mut self.kernel, &mut self.history);
        match message {
            Message::Control(Request::Reload, answer) => {
                self.reload.order(Some(answer), &self.supervisor);
            }
            Message::Reload(read) => {
                self.reload.done(read, &self.node, &mut self.hosted, &self.supervisor);
            }
            Message::Control(request, answer) => {
                let response = match request {
                    Request::Status | Request::History => {
                        let configuration = self.reload.view();
                        status::answer(
                            &request,
                            &self.node,
                            &self.hosted,
                            configuration,
                            kernel,
                            history,
                        )
                    }
                    order => {
                        commands::carry_out(order, &self.node, &mut self.hosted, kernel, history)
                    }
                };
                // Whoever asked may have gone.
                let _ = answer.send(response);
            }
            Message::Instance(index, message) => {
                self.hosted[index].take(message, kernel, history);
            }
            Message::Kernel(event) => {
                if let Some(one) = self.hosted.get_mut(event.instance as usize) {
                    one.take(message::Message::Kernel(event), kernel, history);
                }
            }
            Message::Surveyed(survey) => self.surveyed(survey),
            Message::Reloaded(reloaded) => self.reloaded(reloaded)?,
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
fn with_paths(mut interfaces: Vec<Interface>, hosted: &[Hosted]) -> Vec<Interface> {
    for interface in hosted.iter().flat_map(Hosted::interfaces) {
        if !interfaces.contains(interface) {
            interfaces.push(interface.clone());
        }
    }
    interfaces
}

/// A reload is too late by then.
async fn told_to_end(signals: &mut Signals) {
    while signals.next().await != Order::End {}
}

/// tokio's timers count whole milliseconds and round up.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep(clock::until(due)).await,
        None => std::future::pending().await,
    }
}
