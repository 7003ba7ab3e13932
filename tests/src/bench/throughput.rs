//! TCP through an interface with nothing at it, with an XDP program that lets everything pass, and with
//! ogha's programs and an open gate.

use std::{
    fmt::{self, Display},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ogha_agent::{
    kernel::{self, Kernel},
    net::interface::Interface,
};
use serde_json::{Value, json};

use super::{
    assembly,
    bpf::{Mode, Program},
    cases::{self, INSTANCE, OWN_ADDRESS, PORT, VIP},
    report::{Results, median},
};
use crate::lab::{Host, Lab, host::INTERFACE};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 12);
const BLOCK: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often each.
    pub rounds: usize,
    /// How long each time.
    pub time: Duration,
}

/// What is at the node's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attached {
    Nothing,
    Pass,
    Ogha,
}

/// Whose the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToVip,
    FromVip,
}

const ATTACHED: [Attached; 3] = [Attached::Nothing, Attached::Pass, Attached::Ogha];
const WAYS: [Way; 2] = [Way::ToVip, Way::FromVip];

/// Gigabits a second, one value a round, for each way and what was attached.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rates: [[Vec<f64>; ATTACHED.len()]; WAYS.len()],
}

/// Measures all by turns.
///
/// # Errors
/// Without root, and if the lab cannot be built.
pub fn run(plan: Plan) -> Result<Report> {
    let lab = Lab::new("bench-tcp")?;
    let switch = lab.switch("switch")?;
    let node = lab.host("node", &switch, OWN_ADDRESS)?;
    let client = lab.host("client", &switch, CLIENT)?;
    let mut address = Command::new("ip");
    address.args(["address", "add", &format!("{VIP}/32"), "dev", INTERFACE]);
    ensure!(node.output(address, None)?.status.success(), "the node does not take the address");
    let listener = node.namespace().enter(|| TcpListener::bind((VIP, PORT)))?;
    let mut report = Report::default();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for turn in 0..ATTACHED.len() {
            // Another begins each time: what comes first after a pause may be faster.
            let at = (turn + round) % ATTACHED.len();
            let _attached = ATTACHED[at].to(&node)?;
            for (way, rates) in WAYS.iter().zip(&mut report.rates) {
                rates[at].push(way.measure(&client, &listener, plan.time)?);
            }
        }
    }
    Ok(report)
}

/// Takes away what was attached.
enum Guard {
    Nothing,
    Pass(#[expect(dead_code, reason = "the program goes with its link")] OwnedFd),
    Ogha(Arc<Host>),
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Self::Ogha(node) = self {
            // The lab removes what stays.
            let _ = kernel::unload(&node.bpf_dir());
        }
    }
}

impl Attached {
    fn to(self, node: &Arc<Host>) -> Result<Guard> {
        let found = || node.namespace().enter(|| Interface::find(INTERFACE));
        Ok(match self {
            Self::Nothing => Guard::Nothing,
            Self::Pass => {
                let index = found()?.index;
                let program = Program::load(&assembly::pass())?;
                Guard::Pass(node.namespace().enter(|| program.attach(index, Mode::Generic))?)
            }
            Self::Ogha => {
                let guard = Guard::Ogha(Arc::clone(node));
                let interface = found()?;
                let start = || Kernel::start(&node.bpf_dir(), &[interface]);
                let mut kernel = node.namespace().enter(start)?;
                kernel.set_vips(INSTANCE, &[VIP.into()], node.mac())?;
                kernel.set_port(PORT, INSTANCE)?;
                kernel.set_gate(INSTANCE, cases::open())?;
                guard
            }
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Pass => "XDP_PASS",
            Self::Ogha => "ogha",
        }
    }
}

impl Way {
    /// Gigabits a second through a new connection.
    fn measure(self, client: &Host, listener: &TcpListener, time: Duration) -> Result<f64> {
        let to = SocketAddr::from((VIP, PORT));
        let near = client.namespace().enter(|| TcpStream::connect_timeout(&to, PATIENCE));
        let near = near.context("connecting to the virtual address")?;
        let (far, _) = listener.accept()?;
        for end in [&near, &far] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
        }
        match self {
            Self::ToVip => transfer(near, far, time),
            Self::FromVip => transfer(far, near, time),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ToVip => "to the VIP",
            Self::FromVip => "from the VIP",
        }
    }
}

fn transfer(mut from: TcpStream, mut to: TcpStream, time: Duration) -> Result<f64> {
    let sink = thread::spawn(move || -> std::io::Result<(u64, Duration)> {
        let (mut buffer, mut received) = (vec![0; BLOCK], 0);
        let start = Instant::now();
        loop {
            match to.read(&mut buffer)? {
                0 => return Ok((received, start.elapsed())),
                length => received += length as u64,
            }
        }
    });
    let (block, end) = (vec![7; BLOCK], Instant::now() + time);
    while Instant::now() < end {
        from.write_all(&block)?;
    }
    drop(from);
    let (received, taken) = sink.join().expect("the sink does not panic")?;
    Ok(received as f64 * 8.0 / taken.as_secs_f64() / 1e9)
}

impl Report {
    /// The median over the rounds of what one is in the round to the other in the same.
    fn ratio(&self, way: usize, one: Attached, other: Attached) -> f64 {
        let [one, other] = [one, other].map(|attached| &self.rates[way][attached as usize]);
        median(&one.iter().zip(other).map(|(one, other)| one / other).collect::<Vec<_>>())
    }
}

impl Results for Report {
    /// `{"throughput":[{"way":..,"nothing_gbit_s":..,"xdp_pass_gbit_s":..,"ogha_gbit_s":..,
    /// "ogha_to_xdp_pass":..,"ogha_to_nothing":..,"rounds":..}]}`: medians over the rounds.
    fn json(&self) -> Value {
        let line = |(index, way): (usize, &Way)| {
            let rate =
                |attached: Attached| hundredths(median(&self.rates[index][attached as usize]));
            json!({
                "way": way.name(),
                "nothing_gbit_s": rate(Attached::Nothing),
                "xdp_pass_gbit_s": rate(Attached::Pass),
                "ogha_gbit_s": rate(Attached::Ogha),
                "ogha_to_xdp_pass": hundredths(self.ratio(index, Attached::Ogha, Attached::Pass)),
                "ogha_to_nothing": hundredths(self.ratio(index, Attached::Ogha, Attached::Nothing)),
                "rounds": self.rates[index][0].len(),
            })
        };
        json!({ "throughput": WAYS.iter().enumerate().map(line).collect::<Vec<_>>() })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "TCP, Gbit/s, median of {} rounds (lowest-highest)\n", self.rates[0][0].len())?;
        write!(f, "| data |")?;
        for attached in ATTACHED {
            write!(f, " {} |", attached.name())?;
        }
        writeln!(f, " ogha : XDP_PASS | ogha : nothing |")?;
        write!(f, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        for (index, way) in WAYS.iter().enumerate() {
            write!(f, "\n| {} |", way.name())?;
            for rates in &self.rates[index] {
                let (low, high) = range(rates);
                write!(f, " {:.1} ({low:.1}-{high:.1}) |", median(rates))?;
            }
            let pass = self.ratio(index, Attached::Ogha, Attached::Pass);
            let nothing = self.ratio(index, Attached::Ogha, Attached::Nothing);
            write!(f, " {pass:.2} | {nothing:.2} |")?;
        }
        Ok(())
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, 0.0), |(low, high), &value| (low.min(value), high.max(value)))
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let rates = [vec![10.0, 20.0, 30.0], vec![8.0, 10.0, 10.0], vec![4.0, 10.0, 20.0]];
        let report = Report { rates: [rates.clone(), rates] };
        let json = &report.json()["throughput"][0];
        assert_eq!(
            (&json["ogha_to_xdp_pass"], &json["ogha_to_nothing"]),
            (&1.0.into(), &0.5.into())
        );
        let table = report.to_string();
        assert!(table.contains("| to the VIP | 20.0 (10.0-30.0) | 10.0 (8.0-10.0) |"), "{table}");
    }
}
