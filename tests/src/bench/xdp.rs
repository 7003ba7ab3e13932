//! Nanoseconds a packet through the XDP program, by `BPF_PROG_TEST_RUN`.
//!
//! The programs are loaded anew, for a host of the lab and its BPF file system: the maps of an agent
//! that runs on this machine are others. The kernel runs a program many times on one packet. A path that
//! rewrites the packet would find its own answer the second time: there a small program comes first,
//! restores the packet and tail-calls ours. Where ours would know the packet again and refuse it, as it does
//! with a probe, the small program also makes the node forget that it was there. The same small program
//! before one that does nothing is then what is subtracted. Each round measures every path, so that what else the machine does meets all
//! alike, and proves by the counters that each run took the path.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use ogha_agent::{kernel::Kernel, net::interface::Interface};
use ogha_common::maps::name;

use super::{
    assembly,
    bpf::{self, Jump, Program},
    cases::{self, Again, Case, Counters, INSTANCE, OWN_ADDRESS},
    peer,
    report::{Path, Report, median},
};
use crate::lab::{Host, Lab, host::INTERFACE};

/// Packets at a time.
const BATCH: u32 = 25_000;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often each path.
    pub rounds: usize,
    /// Packets a round and path.
    pub repeat: u32,
}

/// Measures all paths.
///
/// # Errors
/// Without root, if the kernel refuses, and if a frame does not take its path.
pub fn run(plan: Plan) -> Result<Report> {
    let lab = Lab::new("bench")?;
    let switch = lab.switch("switch")?;
    let host = lab.host("node", &switch, OWN_ADDRESS)?;
    host.namespace().enter(|| Bench::start(&host)?.measure(plan))
}

/// A path and what runs it.
struct Course {
    case: Case,
    /// Ours, or what restores the packet and becomes ours.
    program: Program,
    /// The same without ours.
    baseline: Program,
    /// The kernel empties a map of programs when nobody holds it any more.
    _jumps: Vec<Jump>,
}

struct Bench {
    kernel: Kernel,
    clock: Program,
    harness: Program,
    /// The MAC of the interface, and the pin of what is attached to it.
    mac: [u8; 6],
    pin: PathBuf,
    peers: OwnedFd,
    /// What probes find at the database's port.
    _listener: TcpListener,
}

impl Bench {
    /// In the network namespace of the host.
    fn start(host: &Arc<Host>) -> Result<Self> {
        let interface = Interface::find(INTERFACE)?;
        let pin = host.bpf_dir().join(format!("links/xdp_{}", interface.index));
        let mut kernel = Kernel::start(&host.bpf_dir(), &[interface])?;
        kernel.set_vips(INSTANCE, &[cases::VIP.into()], host.mac())?;
        kernel.set_port(cases::PORT, INSTANCE)?;
        kernel.set_peers(INSTANCE, &[peer::PEER])?;
        kernel.set_self(INSTANCE, peer::offer())?;
        kernel.set_endpoints(INSTANCE, &[OWN_ADDRESS.into()], peer::PROBES)?;
        let peers = bpf::pinned(&host.bpf_dir().join(name::PEERS));
        Ok(Self {
            kernel,
            clock: Program::load(&assembly::clock())?,
            harness: Program::load(&assembly::pass())?,
            mac: host.mac(),
            pin,
            peers: peers.context("getting the map of the peers")?,
            _listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, cases::PORT))?,
        })
    }

    fn measure(mut self, plan: Plan) -> Result<Report> {
        // The first round warms up; it is short, and does not count.
        self.round(plan.repeat / 100 + 1)?;
        let mut report = Report {
            repeat: plan.repeat,
            harness: Vec::new(),
            clock: Vec::new(),
            paths: cases::all(self.mac).iter().map(path).collect(),
        };
        for _ in 0..plan.rounds {
            let (harness, clock, paths) = self.round(plan.repeat)?;
            report.harness.push(harness);
            report.clock.push(clock);
            for (path, ns) in report.paths.iter_mut().zip(paths) {
                path.rounds.push(ns);
            }
        }
        Ok(report)
    }

    /// The harness, the clock and each path.
    fn round(&mut self, repeat: u32) -> Result<(f64, f64, Vec<f64>)> {
        // Anew each time, for a probe is believed only while what it echoes is young.
        let cases = cases::all(self.mac);
        let (harness, clock, _) = compare(&self.harness, &self.clock, &cases[0].frame, repeat)?;
        let mut paths = Vec::new();
        for case in cases {
            self.kernel.set_gate(INSTANCE, case.gate)?;
            let course = Course::new(case, &self.pin, &self.peers)?;
            let Course { case, program, baseline, .. } = &course;
            let before = counters(&self.kernel)?;
            let (baseline, ns, verdict) = compare(baseline, program, &case.frame, repeat)?;
            prove(case, verdict, repeat, before, counters(&self.kernel)?)?;
            paths.push(ns - baseline);
        }
        Ok((harness, clock - harness, paths))
    }
}

impl Course {
    fn new(case: Case, pin: &FilePath, peers: &OwnedFd) -> Result<Self> {
        let ours = Program::of_link(pin)?;
        let nothing = Program::load(&assembly::pass())?;
        if case.again == Again::AsItIs {
            return Ok(Self { case, program: ours, baseline: nothing, _jumps: Vec::new() });
        }
        let forget = (case.again == Again::Forgotten).then(|| peer::forget(peers.as_raw_fd()));
        let jumps = vec![Jump::to(&ours)?, Jump::to(&nothing)?];
        let before = |jump| Program::load(&assembly::restore(&case.frame, forget.as_ref(), jump));
        let (program, baseline) = (before(&jumps[0])?, before(&jumps[1])?);
        Ok(Self { case, program, baseline, _jumps: jumps })
    }
}

fn path(case: &Case) -> Path {
    Path { name: case.name, rounds: Vec::new(), budget_ns: case.budget_ns }
}

fn counters(kernel: &Kernel) -> Result<Counters> {
    Ok(Counters {
        port: kernel.port_counters(INSTANCE)?,
        arp: kernel.arp_counters(INSTANCE)?,
        probes: kernel.probe_counters(INSTANCE)?,
    })
}

/// Did every run take the path? `Kernel` sums over the CPUs, and nobody else sends to the host.
fn prove(case: &Case, verdict: u32, repeat: u32, before: Counters, after: Counters) -> Result<()> {
    let Case { name, verdict: expected, .. } = case;
    ensure!(verdict == *expected, "{name}: the program returned {verdict}, not {expected}");
    match case.counter {
        None => ensure!(before == after, "{name}: the path has no counter, but one has moved"),
        Some(counter) => {
            let moved = counter(&after) - counter(&before);
            ensure!(moved == u64::from(repeat), "{name}: {moved} of {repeat} took the path");
        }
    }
    Ok(())
}

/// Nanoseconds a run of the one and of the other, and what the other returned last. They take turns
/// in batches of some milliseconds, and the median batch counts: one in which the machine did something
/// else changes nothing.
fn compare(one: &Program, other: &Program, packet: &[u8], repeat: u32) -> Result<(f64, f64, u32)> {
    let (mut of_one, mut of_other, mut verdict) = (Vec::new(), Vec::new(), 0);
    for batch in batches(repeat) {
        of_one.push(time(one, packet, batch)?.0);
        let (ns, returned) = time(other, packet, batch)?;
        of_other.push(ns);
        verdict = returned;
    }
    Ok((median(&of_one), median(&of_other), verdict))
}

/// Batches of at most [`BATCH`] that make `repeat` together.
fn batches(repeat: u32) -> impl Iterator<Item = u32> {
    (0..repeat).step_by(BATCH as usize).map(move |done| (repeat - done).min(BATCH))
}

/// Nanoseconds of this thread's own processor time a run, and what the last one returned. What the
/// machine does beside is left out; the kernel's own figure would be in whole nanoseconds.
fn time(program: &Program, packet: &[u8], repeat: u32) -> Result<(f64, u32)> {
    let before = own_time()?;
    let verdict = program.run(packet, repeat).context("running a program on a packet")?;
    let taken = own_time()?.saturating_sub(before);
    Ok((taken.as_secs_f64() * 1e9 / f64::from(repeat), verdict))
}

fn own_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_make_the_whole() {
        assert_eq!(batches(2 * BATCH + 1).collect::<Vec<_>>(), [BATCH, BATCH, 1]);
        assert_eq!(batches(BATCH).collect::<Vec<_>>(), [BATCH]);
        assert_eq!(batches(1).collect::<Vec<_>>(), [1]);
    }
}
