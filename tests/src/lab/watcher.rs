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
    maps::{Gate, Passage, name},
    units::Instant,
};

use super::{Host, clock};

const INTERVAL: Duration = Duration::from_millis(1);

/// The pinned map of a host's gates, open.
struct Gates(Array<MapData, [u8; size_of::<Gate>()]>);

impl Gates {
    fn open(host: &Host) -> Result<Self> {
        let path = host.bpf_dir().join(name::GATES);
        let data = MapData::from_pin(&path)
            .with_context(|| format!("no gates at {}: does an agent run?", path.display()))?;
        Ok(Self(Array::try_from(Map::from_map_data(data)?)?))
    }

    fn get(&self, instance: u32) -> Result<Gate> {
        Ok(bytemuck::pod_read_unaligned(&self.0.get(&instance, 0)?))
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
    Ok(gate(host, instance)?.passage(clock::now().ns()))
}

/// When two hosts had an open gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TwoHolders {
    /// All such time together, as far as samples tell.
    pub total: Duration,
    /// The first such moment.
    pub first: Option<Instant>,
    /// How often all gates were looked at.
    pub samples: u64,
}

/// A thread that looks at the gates of some hosts every millisecond until stopped. A host without
/// power holds nothing.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<TwoHolders>>,
}

impl Watcher {
    /// Begins to look.
    #[must_use]
    pub fn start(hosts: &[Arc<Host>]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let hosts: Vec<_> = hosts.iter().map(|host| (Arc::clone(host), None)).collect();
        let thread = thread::spawn(move || watch(hosts, &stopped));
        Self { stop, thread: Some(thread) }
    }

    /// What was seen.
    ///
    /// # Errors
    /// If the thread has panicked.
    pub fn stop(mut self) -> Result<TwoHolders> {
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

type Watched = Vec<(Arc<Host>, Option<Gates>)>;

fn watch(mut hosts: Watched, stop: &AtomicBool) -> TwoHolders {
    let mut seen = TwoHolders::default();
    let mut last = None;
    while !stop.load(Ordering::SeqCst) {
        // The second look: between two gates' readings one may have closed and the other opened.
        let both = open_gates(&mut hosts) > 1 && open_gates(&mut hosts) > 1;
        let now = clock::now();
        if both {
            seen.first.get_or_insert(now);
            seen.total += last.map_or(INTERVAL, |last| now.since(last));
        }
        last = both.then_some(now);
        seen.samples += 1;
        thread::sleep(INTERVAL);
    }
    seen
}

fn open_gates(hosts: &mut Watched) -> usize {
    hosts.iter_mut().map(|(host, gates)| usize::from(is_open(host, gates))).sum()
}

fn is_open(host: &Host, gates: &mut Option<Gates>) -> bool {
    if !host.is_powered() {
        // After the next boot there will be other maps.
        *gates = None;
        return false;
    }
    if gates.is_none() {
        *gates = Gates::open(host).ok();
    }
    let gate = gates.as_ref().and_then(|gates| gates.get(0).ok());
    gate.is_some_and(|gate| gate.passage(clock::now().ns()) == Passage::Open)
}
