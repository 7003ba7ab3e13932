//! Who holds an open gate, looked at all the time: two at once must never be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use ogha_common::{
    maps::{Gate, Lease, Passage, name},
    units::Instant,
};

use super::{Host, clock};

const INTERVAL: Duration = Duration::from_millis(1);
/// A look that is later than that is written down.
const STALL: Duration = Duration::from_millis(10);

/// A host's pinned maps of gates and of leases, open.
struct Gates {
    gates: Array<MapData, [u8; size_of::<Gate>()]>,
    leases: Array<MapData, [u8; size_of::<Lease>()]>,
}

impl Gates {
    fn open(host: &Host) -> Result<Self> {
        let open = |name: &str| -> Result<Map> {
            let path = host.bpf_dir().join(name);
            let data = MapData::from_pin(&path)
                .with_context(|| format!("no map {}: does an agent run?", path.display()))?;
            Ok(Map::from_map_data(data)?)
        };
        Ok(Self { gates: open(name::GATES)?.try_into()?, leases: open(name::LEASES)?.try_into()? })
    }

    fn get(&self, instance: u32) -> Result<Gate> {
        Ok(bytemuck::pod_read_unaligned(&self.gates.get(&instance, 0)?))
    }

    fn passage(&self, instance: u32) -> Result<Passage> {
        let lease: Lease = bytemuck::pod_read_unaligned(&self.leases.get(&instance, 0)?);
        Ok(self.get(instance)?.passage(&lease.grants, clock::now().ns()))
    }
}

/// The gate of an instance as the kernel of that host has it now.
///
/// # Errors
/// If no agent has pinned it.
pub fn gate(host: &Host, instance: u32) -> Result<Gate> {
    Gates::open(host)?.get(instance)
}

/// What the gate lets pass at this moment.
///
/// # Errors
/// If no agent has pinned it.
pub fn passage(host: &Host, instance: u32) -> Result<Passage> {
    Gates::open(host)?.passage(instance)
}

/// A gate that lets other things pass than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was seen.
    pub at: Instant,
    /// Of which host.
    pub host: String,
    /// What it lets pass now; `None`: the host has no gate, or no power.
    pub passage: Option<Passage>,
}

/// What a watcher has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How long two hosts had an open gate, as far as samples tell.
    pub two_holders: Duration,
    /// The first such moment.
    pub first: Option<Instant>,
    /// How often all gates were looked at.
    pub samples: u64,
    /// Every change of a gate, in the order of time.
    pub changes: Vec<Change>,
    /// When the machine itself stood still, as a virtual machine does whose host is busy: the
    /// ends of such times and their lengths. Nobody in the lab can be faster than they allow.
    pub stalls: Vec<(Instant, Duration)>,
}

impl Seen {
    /// The first change of that host's gate after `fault`.
    #[must_use]
    pub fn first_change(&self, host: &str, fault: Instant) -> Option<&Change> {
        self.changes.iter().find(|change| change.host == host && change.at > fault)
    }

    /// The longest stall that ended in that time.
    #[must_use]
    pub fn longest_stall(&self, from: Instant, to: Instant) -> Duration {
        let within = self.stalls.iter().filter(|(at, _)| from <= *at && *at <= to);
        within.map(|(_, length)| *length).max().unwrap_or_default()
    }
}

/// A thread that looks at the gates of some hosts every millisecond until stopped. A host without
/// power holds nothing.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

impl Watcher {
    /// Begins to look.
    #[must_use]
    pub fn start(hosts: &[Arc<Host>]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let hosts = hosts.iter().map(Watched::new).collect();
        let thread = thread::spawn(move || watch(hosts, &stopped));
        Self { stop, thread: Some(thread) }
    }

    /// What was seen.
    ///
    /// # Errors
    /// If the thread has panicked.
    pub fn stop(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("stopped twice")?;
        thread.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

struct Watched {
    host: Arc<Host>,
    gates: Option<Gates>,
    last: Option<Passage>,
}

impl Watched {
    fn new(host: &Arc<Host>) -> Self {
        Self { host: Arc::clone(host), gates: None, last: None }
    }

    fn look(&mut self) -> Option<Passage> {
        if !self.host.is_powered() {
            // After the next boot there will be other maps.
            self.gates = None;
        } else if self.gates.is_none() {
            self.gates = Gates::open(&self.host).ok();
        }
        self.gates.as_ref()?.passage(0).ok()
    }

    fn change(&mut self) -> Option<Change> {
        let passage = self.look();
        let changed = std::mem::replace(&mut self.last, passage) != passage;
        changed.then(|| Change { at: clock::now(), host: self.host.name().into(), passage })
    }
}

fn watch(mut hosts: Vec<Watched>, stop: &AtomicBool) -> Seen {
    be_realtime();
    let mut seen = Seen::default();
    let mut last = None;
    let mut slept = clock::now();
    while !stop.load(Ordering::SeqCst) {
        for host in &mut hosts {
            seen.changes.extend(host.change());
        }
        let open = |host: &Watched| host.last == Some(Passage::Open);
        // Looked at again: between two gates' readings one may have closed and the other opened.
        let two = hosts.iter().filter(|host| open(host)).count() > 1
            && hosts.iter_mut().filter_map(Watched::look).filter(|p| *p == Passage::Open).count()
                > 1;
        let now = clock::now();
        if two {
            seen.first.get_or_insert(now);
            seen.two_holders += last.map_or(INTERVAL, |last| now.since(last));
        }
        last = two.then_some(now);
        seen.samples += 1;
        let stood = now.since(slept).saturating_sub(INTERVAL);
        if stood >= STALL {
            seen.stalls.push((now, stood));
        }
        slept = now;
        thread::sleep(INTERVAL);
    }
    seen
}

/// Before all others, so that a late look means a machine that stood still, not a busy one. Where
/// that is not allowed, a busy one may look the same.
fn be_realtime() {
    let param = libc::sched_param { sched_priority: 60 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameter lives for the call; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
}
