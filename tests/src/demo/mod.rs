//! The demonstration: real databases, a client that writes through the VIP, a fault, and how long
//! the client was without service, beside the floor.

mod failover;
mod report;
mod scenario;

use std::time::Duration;

use anyhow::Result;

pub use self::{
    failover::{Fault, Measured, Run},
    report::{Report, steps},
    scenario::run as fail_over,
};
use crate::lab::{
    agent::{Kind, Settings},
    floor,
};

/// What to show.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which faults, in this order.
    pub faults: Vec<Fault>,
    /// How often each.
    pub runs: usize,
    /// How often the floor is measured.
    pub floors: usize,
    /// Whose tools stand in front of the databases.
    pub kind: Kind,
}

/// Carries the plan out, telling on standard error what it does.
///
/// # Errors
/// If the lab cannot be built. What goes wrong in it is part of the report.
pub fn run(plan: &Plan) -> Result<Report> {
    let mut report = Report::new(plan.kind);
    // Floors and failovers by turns: what else the machine does meets both alike.
    for round in 0..plan.runs.max(plan.floors) {
        if round < plan.floors {
            eprintln!("floor: a promotion alone ({} of {})", round + 1, plan.floors);
            let floor = floor::promotion_alone()?;
            eprintln!("  {:.1} ms", millis(floor));
            report.floors.push(floor);
        }
        for fault in plan.faults.iter().copied().filter(|_| round < plan.runs) {
            eprintln!("{}: {} ({} of {})", fault.name(), fault.description(), round + 1, plan.runs);
            let run = fail_over(fault, &settings(plan.kind))?;
            eprintln!("  {run}");
            report.runs.push(run);
        }
    }
    Ok(report)
}

/// A lease grant is waited out when a host goes dark, so it is short here: five probes.
fn settings(kind: Kind) -> Settings {
    Settings { kind, lease: Duration::from_millis(50), ..Settings::default() }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The middle one, or the lower of the two in the middle; zero of none.
fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_values() {
        let times = |ms: &[u64]| ms.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        assert_eq!(median(&times(&[3, 1, 2])), Duration::from_millis(2));
        assert_eq!(median(&times(&[4, 1, 2, 3])), Duration::from_millis(2));
        assert_eq!(median(&[]), Duration::ZERO);
    }
}
