//! What the demonstration has shown, for people and for programs.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    failover::{Fault, Measured, Run},
    median, millis,
};
use crate::lab::agent::Kind;

/// All floors and runs.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whose tools stood in front of the databases.
    pub kind: Kind,
    /// Promotions alone.
    pub floors: Vec<Duration>,
    /// Failovers.
    pub runs: Vec<Run>,
}

impl Report {
    pub(super) const fn new(kind: Kind) -> Self {
        Self { kind, floors: Vec::new(), runs: Vec::new() }
    }

    /// True if everything was as it must be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.runs.is_empty() && self.runs.iter().all(|run| run.problems.is_empty())
    }

    /// The faults that were shown, each once.
    fn faults(&self) -> impl Iterator<Item = Fault> {
        let shown = |fault: &Fault| self.runs.iter().any(|run| run.fault == *fault);
        Fault::all().iter().copied().filter(shown)
    }

    fn outcomes(&self, fault: Fault) -> impl Iterator<Item = &Measured> {
        let runs = self.runs.iter().filter(move |run| run.fault == fault);
        runs.filter_map(|run| run.outcome.as_ref())
    }

    /// How often runs were begun again because the machine stood still before the fault.
    fn begun_again(&self, fault: Fault) -> usize {
        self.runs.iter().filter(|run| run.fault == fault).map(|run| run.disturbed).sum()
    }

    /// The run that stands for a fault: the one with the median outage.
    fn typical(&self, fault: Fault) -> Option<&Measured> {
        let outages: Vec<_> = self.outcomes(fault).map(|outcome| outcome.outage).collect();
        let middle = median(&outages);
        self.outcomes(fault).find(|outcome| outcome.outage == middle)
    }

    /// `{"floor_ms":..,"faults":[{"fault":..,"outage_ms":..,"lost_writes":..,"timeline":[..]}]}`,
    /// and more: `outage_ms` is the median, `lost_writes` and `two_holders_ms` are of all runs
    /// together, `timeline` is the new primary's of the run with the median outage.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "good": self.is_good(),
            "floor_ms": round(median(&self.floors)),
            "floors_ms": self.floors.iter().copied().map(round).collect::<Vec<_>>(),
            "faults": self.faults().map(|fault| self.fault_json(fault)).collect::<Vec<_>>(),
        })
    }

    fn fault_json(&self, fault: Fault) -> Value {
        let typical = self.typical(fault);
        let problems: Vec<_> = self
            .runs
            .iter()
            .filter(|run| run.fault == fault)
            .flat_map(|run| &run.problems)
            .collect();
        json!({
            "fault": fault.name(),
            "outage_ms": typical.map(|outcome| round(outcome.outage)),
            "over_the_floor_ms": typical.map(|outcome| {
                ((millis(outcome.outage) - millis(median(&self.floors))) * 1000.0).round() / 1000.0
            }),
            "lost_writes": self.outcomes(fault).map(|outcome| outcome.lost.len()).sum::<usize>(),
            "two_holders_ms":
                round(self.outcomes(fault).map(|outcome| outcome.two_holders).sum()),
            "reaction_us": typical
                .and_then(|outcome| outcome.reaction)
                .map(|reaction| reaction.as_micros() as u64),
            "stall_ms": typical.map(|outcome| round(outcome.stall)),
            "begun_again": self.begun_again(fault),
            "runs_ms":
                self.outcomes(fault).map(|outcome| round(outcome.outage)).collect::<Vec<_>>(),
            "client_met": typical.map(client_met),
            "gates": typical.map(gates),
            "timeline": typical.map_or_else(Vec::new, |outcome| steps(&outcome.history)),
            "old_primary_timeline": typical
                .and_then(|outcome| outcome.old_history.as_ref())
                .map(steps),
            "problems": problems,
        })
    }
}

/// Milliseconds, to the microsecond.
fn round(time: Duration) -> f64 {
    (millis(time) * 1000.0).round() / 1000.0
}

fn client_met(outcome: &Measured) -> Value {
    let met = outcome.failures.iter().map(|(kind, count)| (format!("{kind:?}"), json!(count)));
    Value::Object(met.collect())
}

fn gates(outcome: &Measured) -> Value {
    let changes = outcome.gates.iter().map(|(after, change)| {
        let passage = change.passage.map(|passage| format!("{passage:?}").to_lowercase());
        json!({"offset_us": after.as_micros() as u64, "host": change.host, "gate": passage})
    });
    Value::Array(changes.collect())
}

/// The steps of the last failover in what `history --json` says.
#[must_use]
pub fn steps(history: &Value) -> Vec<Value> {
    let last = history["failovers"].as_array().and_then(|failovers| failovers.last());
    last.and_then(|failover| failover["steps"].as_array().cloned()).unwrap_or_default()
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floor = median(&self.floors);
        writeln!(f, "databases: {}", self.kind.name())?;
        writeln!(
            f,
            "floor: {:.1} ms, a promotion alone, from the command to the first write (of {}: {})\n",
            millis(floor),
            self.floors.len(),
            list(&self.floors)
        )?;
        writeln!(
            f,
            "{:<16} {:>10} {:>10} {:>14} {:>6} {:>12} {:>10}",
            "fault", "outage", "floor", "over the floor", "lost", "two holders", "reaction"
        )?;
        self.faults().try_for_each(|fault| self.row(f, fault, floor))?;
        self.faults().try_for_each(|fault| self.timeline(f, fault))?;
        for run in &self.runs {
            for problem in &run.problems {
                writeln!(f, "PROBLEM, {}: {problem}", run.fault.name())?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn row(&self, f: &mut fmt::Formatter<'_>, fault: Fault, floor: Duration) -> fmt::Result {
        let Some(typical) = self.typical(fault) else {
            return writeln!(f, "{:<16} no failover", fault.name());
        };
        let lost: usize = self.outcomes(fault).map(|outcome| outcome.lost.len()).sum();
        let two: Duration = self.outcomes(fault).map(|outcome| outcome.two_holders).sum();
        let ms = |time: Duration| format!("{:.1} ms", millis(time));
        writeln!(
            f,
            "{:<16} {:>10} {:>10} {:>14} {:>6} {:>12} {:>10}",
            fault.name(),
            ms(typical.outage),
            ms(floor),
            format!("{:+.1} ms", millis(typical.outage) - millis(floor)),
            lost,
            ms(two),
            typical.reaction.map_or_else(|| "?".into(), ms),
        )?;
        let runs: Vec<_> = self.outcomes(fault).map(|outcome| outcome.outage).collect();
        if runs.len() > 1 {
            writeln!(f, "  of {} runs: {}", runs.len(), list(&runs))
        } else {
            Ok(())
        }
    }

    fn timeline(&self, f: &mut fmt::Formatter<'_>, fault: Fault) -> fmt::Result {
        let Some(typical) = self.typical(fault) else { return Ok(()) };
        writeln!(f, "\n{}: {}", fault.name(), fault.description())?;
        timeline(f, "the new primary's agent, from its first sign", &steps(&typical.history))?;
        if let Some(history) = &typical.old_history {
            timeline(f, "the old primary's agent, from its first sign", &steps(history))?;
        }
        writeln!(f, "  the gates, from the fault")?;
        for (after, change) in &typical.gates {
            let gate = change.passage.map_or_else(|| "gone".into(), |gate| format!("{gate:?}"));
            let gate = gate.to_lowercase();
            writeln!(f, "  {:>10.2} ms  {}: {gate}", millis(*after), change.host)?;
        }
        if !typical.stall.is_zero() {
            let stall = millis(typical.stall);
            writeln!(f, "  of the outage, the machine itself stood still for up to {stall:.1} ms")?;
        }
        if self.begun_again(fault) > 0 {
            let times = self.begun_again(fault);
            writeln!(f, "  begun again {times} times: the machine stood still before the fault")?;
        }
        if !typical.failures.is_empty() {
            writeln!(f, "  the client met {:?}", typical.failures)?;
        }
        Ok(())
    }
}

fn timeline(f: &mut fmt::Formatter<'_>, title: &str, steps: &[Value]) -> fmt::Result {
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title}")?;
    for step in steps {
        let offset = step["offset_us"].as_f64().unwrap_or_default() / 1000.0;
        writeln!(f, "  {offset:>10.2} ms  {}", step["step"].as_str().unwrap_or("?"))?;
    }
    Ok(())
}

fn list(times: &[Duration]) -> String {
    times.iter().map(|time| format!("{:.1}", millis(*time))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(outage_ms: u64, step: &str) -> Measured {
        Measured {
            outage: Duration::from_millis(outage_ms),
            lost: Vec::new(),
            two_holders: Duration::ZERO,
            reaction: Some(Duration::from_micros(1500)),
            stall: Duration::ZERO,
            failures: [(crate::lab::writer::Failure::Refused, 7)].into(),
            gates: Vec::new(),
            history: json!({"failovers": [{"steps": [{"step": step, "offset_us": 1250}]}]}),
            old_history: None,
        }
    }

    fn report(outages_ms: &[u64]) -> Report {
        let fault = Fault::DatabaseKilled;
        let runs = outages_ms.iter().map(|ms| {
            let outcome = Some(outcome(*ms, &format!("step of {ms}")));
            Run { fault, outcome, problems: Vec::new(), disturbed: 0 }
        });
        let floors = vec![Duration::from_millis(50)];
        Report { kind: Kind::Postgresql, floors, runs: runs.collect() }
    }

    #[test]
    fn the_median_run_stands_for_its_fault() {
        let report = report(&[90, 70, 80]);
        let json = report.json();
        assert_eq!(json["floor_ms"], 50.0);
        let fault = &json["faults"][0];
        assert_eq!(fault["fault"], "database-killed");
        assert_eq!(fault["outage_ms"], 80.0);
        assert_eq!(fault["over_the_floor_ms"], 30.0);
        assert_eq!(fault["lost_writes"], 0);
        assert_eq!(fault["timeline"], json!([{"step": "step of 80", "offset_us": 1250}]));
        assert_eq!(fault["client_met"], json!({"Refused": 7}));
        let text = report.to_string();
        assert!(text.contains("80.0 ms") && text.contains("1.25 ms  step of 80"), "{text}");
        assert!(report.is_good());
    }

    #[test]
    fn a_run_with_a_problem_is_not_good_and_neither_is_none() {
        let mut bad = report(&[80]);
        bad.runs[0].problems.push("two hosts had an open gate".into());
        assert!(!bad.is_good());
        assert!(bad.to_string().contains("PROBLEM, database-killed: two hosts"));
        assert_eq!(bad.json()["good"], false);
        assert!(!report(&[]).is_good());
    }
}
