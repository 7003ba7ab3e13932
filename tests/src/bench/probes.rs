//! Round trips of probes that the peer's kernel answers, beside those of datagrams that a program on
//! the same host sends back: on an idle machine, and on one whose processors are taken.

use std::{
    fmt::{self, Display},
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ogha_agent::{kernel::Kernel, net::interface::Interface};
use serde_json::{Value, json};

use super::{
    cases::{INSTANCE, OWN_ADDRESS},
    load::{self, Load},
    peer::{self, PROBES},
    report::Results,
};
use crate::lab::{Host, Lab, host::INTERFACE};

const PROBER: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 12);
/// Where the program that sends datagrams back listens.
const ECHO: u16 = 26113;
/// Where it runs; the one who asks runs on the other.
const SERVERS_CPU: usize = 1;
const PROBERS_CPU: usize = 0;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(1);
/// When an answer is taken for lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What else the machine does.
const LOADS: [(&str, usize, Option<usize>); 3] = [
    ("idle", 0, None),
    ("4 busy loops", 4, None),
    ("32 on the server's CPU", 32, Some(SERVERS_CPU)),
];

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answerer {
    Xdp,
    Program,
}

/// What was seen of one answerer under one load.
#[derive(Clone, Debug)]
pub struct Line {
    load: &'static str,
    answerer: Answerer,
    /// Sorted.
    round_trips: Vec<Duration>,
    lost: usize,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Report(Vec<Line>);

/// Asks both so often under each load.
///
/// # Errors
/// Without root, and if the lab cannot be built.
pub fn run(questions: usize) -> Result<Report> {
    let lab = Lab::new("bench-probes")?;
    let switch = lab.switch("switch")?;
    let server = lab.host("server", &switch, OWN_ADDRESS)?;
    let prober = lab.host("prober", &switch, PROBER)?;
    let _kernel = server.namespace().enter(|| data_plane(&server))?;
    let _echo = Echo::start(&server)?;
    let mut lines = Vec::new();
    for (name, loops, cpu) in LOADS {
        let _load = Load::start(loops, cpu);
        for answerer in [Answerer::Xdp, Answerer::Program] {
            eprintln!("{name}: {questions} questions to {}", answerer.name());
            let asked = prober.namespace().enter(|| ask(answerer, questions))?;
            lines.push(Line { load: name, answerer, ..asked });
        }
    }
    Ok(Report(lines))
}

fn data_plane(server: &Host) -> Result<Kernel> {
    let mut kernel = Kernel::start(&server.bpf_dir(), &[Interface::find(INTERFACE)?])?;
    kernel.set_peers(INSTANCE, &[peer::PEER])?;
    kernel.set_self(INSTANCE, peer::offer())?;
    kernel.set_endpoints(INSTANCE, &[OWN_ADDRESS.into()], PROBES)?;
    Ok(kernel)
}

/// A thread that sends every datagram back.
struct Echo(Arc<AtomicBool>);

impl Echo {
    fn start(server: &Host) -> Result<Self> {
        let socket = server.namespace().enter(|| UdpSocket::bind((OWN_ADDRESS, ECHO)))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let _ = load::stay_on(SERVERS_CPU);
            let mut buffer = [0; 256];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Ok(Self(stop))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// In the prober's namespace, and in a thread of its own.
fn ask(answerer: Answerer, questions: usize) -> Result<Line> {
    // As an agent would: without it the one who asks is late, and not the one who answers.
    let _ = load::stay_on(PROBERS_CPU);
    let socket = UdpSocket::bind(SocketAddrV4::new(PROBER, PROBES))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let port = if answerer == Answerer::Xdp { PROBES } else { ECHO };
    let (mut round_trips, mut lost) = (Vec::with_capacity(questions), 0);
    for _ in 0..questions {
        let datagram = peer::datagram(crate::lab::clock::now().ns());
        let sent = Instant::now();
        socket.send_to(&datagram, (OWN_ADDRESS, port))?;
        match answer(&socket, answerer, &datagram) {
            Ok(()) => round_trips.push(sent.elapsed()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => lost += 1,
            Err(error) => return Err(error).context("waiting for an answer"),
        }
        thread::sleep(PAUSE);
    }
    ensure!(!round_trips.is_empty(), "{} answers nothing", answerer.name());
    round_trips.sort_unstable();
    Ok(Line { load: "", answerer, round_trips, lost })
}

/// Waits for the answer to that very question; one that comes too late is none.
fn answer(socket: &UdpSocket, answerer: Answerer, question: &[u8]) -> std::io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        let length = socket.recv(&mut buffer)?;
        let answers = match answerer {
            Answerer::Xdp => peer::answers(&buffer[..length], question),
            Answerer::Program => &buffer[..length] == question,
        };
        if answers {
            return Ok(());
        }
    }
}

impl Answerer {
    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "XDP",
            Self::Program => "a program",
        }
    }
}

impl Line {
    /// In microseconds.
    fn percentile(&self, hundredths: usize) -> f64 {
        let last = self.round_trips.len().saturating_sub(1);
        let time = self.round_trips.get(last * hundredths / 100).copied().unwrap_or_default();
        time.as_secs_f64() * 1e6
    }
}

impl Results for Report {
    /// `{"probes":[{"load":..,"answerer":"XDP","p50_us":..,"p99_us":..,"max_us":..,"answers":..,
    /// "lost":..}]}`.
    fn json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "load": line.load,
                "answerer": line.answerer.name(),
                "p50_us": line.percentile(50).round(),
                "p99_us": line.percentile(99).round(),
                "max_us": line.percentile(100).round(),
                "answers": line.round_trips.len(),
                "lost": line.lost,
            })
        };
        json!({ "probes": self.0.iter().map(line).collect::<Vec<_>>() })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "round trips, microseconds\n")?;
        writeln!(f, "| load | answered by | p50 | p99 | max | lost |")?;
        write!(f, "| --- | --- | ---: | ---: | ---: | ---: |")?;
        for line in &self.0 {
            let [p50, p99, max] = [50, 99, 100].map(|hundredths| line.percentile(hundredths));
            let (load, answerer, lost) = (line.load, line.answerer.name(), line.lost);
            write!(f, "\n| {load} | {answerer} | {p50:.0} | {p99:.0} | {max:.0} | {lost} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let round_trips = (0..=100).map(Duration::from_micros).collect();
        let line = Line { load: "idle", answerer: Answerer::Xdp, round_trips, lost: 1 };
        let report = Report(vec![line]);
        assert!(report.to_string().ends_with("| idle | XDP | 50 | 99 | 100 | 1 |"), "{report}");
        assert_eq!(report.json()["probes"][0]["answers"], 101);
    }
}
