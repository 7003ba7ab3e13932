//! The ports of an instance on a real host: the kernel's maps, sockets, and jobs on background threads.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc, time::Duration};

use anyhow::bail;
use ogha_common::{
    detector::{CheckOutcome, vitals::Look},
    maps::{self, Gate, LeaseGrants, Offer, PortCounters, Refused, Watch},
    units::{Instant, NodeId, Priority},
    wire::probe::Probe,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

use super::{
    footing::Footing,
    history::History,
    hook_event, hooks, inbox,
    message::Message,
    ports::{Answer, End, Job, JobId, Lane, Ports, Work},
    supervise::Supervisor,
    timeline::Timeline,
};
use crate::{
    arbiter::{Answers, Arbiter},
    clock, config,
    database::{
        Database, Progress, Written,
        pidfile::{self, Life},
        ping::Pinger,
        vitals::Writing,
    },
    kernel::Kernel,
    limits,
    net::{
        addresses::Addresses, announce::Announcer, listeners, probe::ProbeSockets, vrrp::VrrpSocket,
    },
    store::Store,
};

/// How long the parts of an arbiter are given to say that they are there.
const ARBITER_PROBE: Duration = Duration::from_secs(4);

/// What one instance has of its host.
#[derive(Debug)]
pub struct Effects {
    /// The instance's name.
    pub name: String,
    /// Its index in the maps.
    pub slot: u32,
    /// The interface of its addresses, and how it stands.
    pub footing: Footing,
    /// The sockets are of an interface, or an address, that is no more.
    pub stale: bool,
    /// This node's own address, for whom it concerns; none where the host does not have it.
    pub own: watch::Sender<Option<IpAddr>>,
    /// Its virtual addresses.
    pub vips: Vec<(IpAddr, u8)>,
    /// Where probes go out.
    pub sockets: ProbeSockets,
    /// Where adverts go out.
    pub vrrp: Arc<VrrpSocket>,
    /// Where announcements go out.
    pub announcer: Announcer,
    /// Who hears adverts.
    pub adverts: AbortHandle,
    /// Its database.
    pub server: config::Database,
    /// How far a rejoin is.
    pub progress: watch::Receiver<Option<Progress>>,
    /// The session that writes to it, to check its storage.
    pub writing: Writing,
    /// The operator's command.
    pub hooks: hooks::Sender,
    /// Who does slow work.
    pub executor: Executor,
}

/// The ports of one instance.
pub struct Host<'a> {
    /// The kernel's side.
    pub kernel: &'a mut Kernel,
    /// The timelines.
    pub history: &'a mut History,
    /// What the instance has of its own.
    pub effects: &'a mut Effects,
}

impl Work for Host<'_> {
    fn now(&self) -> Instant {
        clock::now()
    }

    fn start(&mut self, id: JobId, job: Job) {
        self.effects.executor.start(id, job);
    }

    fn abort(&mut self, id: JobId) {
        self.effects.executor.abort(id);
    }
}

impl Ports for Host<'_> {
    fn monotonic_ns(&self) -> u64 {
        clock::monotonic_ns()
    }

    fn set_gate(&mut self, gate: Gate) -> anyhow::Result<()> {
        // No fence without programs: nothing enforces what is written there.
        if let Some(why) = self.effects.footing.unguarded()
            && (gate.state == maps::GATE_OPEN || gate.claimed != 0)
        {
            bail!("{why}");
        }
        self.kernel.set_gate(self.effects.slot, gate)
    }

    fn gate(&self) -> anyhow::Result<(Gate, LeaseGrants)> {
        Ok((self.kernel.gate(self.effects.slot)?, self.kernel.heard(self.effects.slot)?))
    }

    fn set_granters(&mut self, nodes: &[NodeId]) -> anyhow::Result<()> {
        self.kernel.set_granters(self.effects.slot, nodes)
    }

    fn set_self(&mut self, offer: Offer) -> anyhow::Result<()> {
        self.kernel.set_self(self.effects.slot, offer)
    }

    fn peer(&self, node: NodeId) -> anyhow::Result<maps::Peer> {
        Ok(self.kernel.peer(self.effects.slot, node)?.unwrap_or_default())
    }

    fn refused(&self, address: IpAddr) -> anyhow::Result<Refused> {
        self.kernel.refused(self.effects.slot, address)
    }

    fn set_watch(&mut self, watch: Watch) -> anyhow::Result<()> {
        self.kernel.set_watch(self.effects.slot, watch)
    }

    fn port_counters(&self) -> anyhow::Result<PortCounters> {
        self.kernel.port_counters(self.effects.slot)
    }

    fn send_probe(&mut self, socket: usize, to: IpAddr, probe: &Probe) -> io::Result<()> {
        self.effects.sockets.send(socket, to, probe)
    }

    fn is_usable(&self, socket: usize) -> bool {
        self.effects.sockets.is_usable(socket)
    }

    fn send_advert(&mut self, priority: Priority) -> io::Result<()> {
        self.effects.vrrp.send(priority)
    }

    fn announce(&mut self) -> anyhow::Result<()> {
        let vips: Vec<_> = self.effects.vips.iter().map(|&(address, _)| address).collect();
        self.effects.announcer.announce(&vips)
    }

    fn look(&self, main: Option<u32>, thorough: bool) -> Look {
        self.effects.writing.look(main, thorough)
    }

    fn is_listening(&self) -> bool {
        self.effects.server.port().is_some_and(listeners::listening)
    }

    fn is_gone(&self, pid: u32) -> bool {
        let server = self.effects.server.server();
        server.is_none_or(|server| pidfile::life(pid, &server.data_dir) == Life::Gone)
    }

    fn record(&mut self, timeline: Timeline) {
        self.history.add(&self.effects.name, &timeline);
    }

    fn run_hook(&mut self, event: hook_event::Event) {
        self.effects.hooks.send(event);
    }
}

/// What jobs are about.
pub struct Tools {
    /// The database.
    pub database: Arc<dyn Database>,
    /// The record on disk.
    pub store: Store,
    /// The instance's addresses.
    pub addresses: VirtualAddresses,
    /// Who decides about partitions.
    pub arbiter: Arc<dyn Arbiter>,
    /// Where databases are checked; this node's at its own address.
    pub servers: Vec<(Option<NodeId>, Pinger)>,
    /// That address; none where the host does not have it.
    pub own: watch::Receiver<Option<IpAddr>>,
}

/// Carries jobs out.
pub trait CarryOut: Send + Sync + 'static {
    /// Carries out one job to its end.
    fn carry_out(&self, job: Job) -> impl Future<Output = End> + Send;
}

/// The virtual addresses, on the interface or not.
#[derive(Debug)]
pub struct VirtualAddresses {
    /// The interface's addresses.
    pub interface: Addresses,
    /// Those of the instance.
    pub vips: Vec<(IpAddr, u8)>,
}

impl VirtualAddresses {
    /// Puts all of them on the interface, or takes them off it, whatever becomes of one.
    pub async fn hold(&self, hold: bool) -> Result<(), String> {
        let mut done = Ok(());
        for &(address, prefix) in &self.vips {
            done = done.and(if hold {
                self.interface.add(address, prefix).await
            } else {
                self.interface.remove_everywhere(address).await.map(drop)
            });
        }
        words(done)
    }
}

/// Carries out the jobs of one instance on the background threads.
pub struct Executor<T = Tools> {
    index: usize,
    name: String,
    supervisor: Supervisor,
    tools: Arc<T>,
    /// The last job of each lane: the next one begins when it has ended, or was dropped.
    lanes: HashMap<Lane, (u64, JoinHandle<()>)>,
}

impl<T> std::fmt::Debug for Executor<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: CarryOut> Executor<T> {
    /// An executor for the instance with that index.
    pub fn new(index: usize, name: &str, supervisor: Supervisor, tools: T) -> Self {
        let (name, tools) = (name.to_owned(), Arc::new(tools));
        Self { index, name, supervisor, tools, lanes: HashMap::new() }
    }

    /// Starts a job; the inbox hears of its end.
    pub fn start(&mut self, id: JobId, job: Job) {
        let before = self.lanes.remove(&id.lane).map(|(_, handle)| handle);
        let (tools, inbox, index) =
            (Arc::clone(&self.tools), self.supervisor.inbox().clone(), self.index);
        let name = format!("{:?} of {}", id.lane, self.name);
        let handle = self.supervisor.spawn_job(name, async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let _entitled = job.must_go_on().then(limits::entitle);
            let end = tools.carry_out(job).await;
            // The loop may have ended.
            let _ = inbox.send(inbox::Message::Instance(index, Message::Ended(id, end)));
        });
        self.lanes.insert(id.lane, (id.number, handle));
    }

    /// Ends a job of which nothing needs to be heard.
    pub fn abort(&self, id: JobId) {
        if let Some((number, handle)) = self.lanes.get(&id.lane)
            && *number == id.number
        {
            handle.abort();
        }
    }
}

impl CarryOut for Tools {
    async fn carry_out(&self, job: Job) -> End {
        match job {
            Job::Observe => End::Observed(self.database.observe().await),
            Job::Database(step) => End::Done(words(self.database.perform(step).await)),
            Job::Save(record) => {
                let store = self.store.clone();
                End::Done(self.write(move || store.save(&record)).await)
            }
            Job::SaveMarks(marks) => {
                let store = self.store.clone();
                End::Done(self.write(move || store.save_marks(marks)).await)
            }
            Job::CheckDisk => {
                let store = self.store.clone();
                End::Kept(self.write(move || store.check()).await)
            }
            Job::HoldAddresses(hold) => End::Done(self.addresses.hold(hold).await),
            Job::Propose(record) => End::Ruled(self.arbiter.propose(record).await),
            Job::Consult => End::Consulted(words(self.arbiter.consult().await)),
            Job::ProbeArbiter => {
                let answers = timeout(ARBITER_PROBE, self.arbiter.probe()).await;
                End::Answered(answers.map(read).unwrap_or_default())
            }
            Job::Write => End::Wrote(match self.database.write().await {
                Written::Done => Ok(true),
                Written::Unsupported => Ok(false),
                Written::Refused(reason) => Err(reason),
            }),
            Job::Check(of) => {
                let server = self.servers.iter().find(|(node, _)| *node == of);
                let place = server.and_then(|(node, server)| match node {
                    Some(_) => Some((server, server.address())),
                    None => (*self.own.borrow()).map(|own| (server, own)),
                });
                End::Checked(match place {
                    Some((server, address)) => server.ping(address).await,
                    None => CheckOutcome::Unknown,
                })
            }
        }
    }
}

impl Tools {
    /// On a thread that may hang with the disk. (What was begun there can't be aborted.)
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        match tokio::task::spawn_blocking(write).await {
            Ok(written) => words(written),
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(e) => Err(e.to_string()),
        }
    }
}

fn words<T>(result: anyhow::Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("{e:#}"))
}

fn read(answers: Answers) -> Vec<Answer> {
    let read = |(place, came)| Answer { place, came: words(came) };
    answers.into_iter().map(read).collect()
}
