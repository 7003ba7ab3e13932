//! What a benchmark has measured, for people and for programs: here, of the XDP program.

use std::fmt::{self, Display};

use serde_json::{Value, json};

/// What came of a benchmark. It is shown as a table.
pub trait Results: Display {
    /// The same for programs.
    fn json(&self) -> Value;
}

/// What a path takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Its name.
    pub name: &'static str,
    /// Nanoseconds a packet beyond the harness, one value a round.
    pub rounds: Vec<f64>,
    /// Nanoseconds that it should take at most.
    pub budget_ns: Option<f64>,
}

/// All paths, and what they are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Packets a round.
    pub repeat: u32,
    /// Nanoseconds a packet of a program that does nothing, one value a round.
    pub harness: Vec<f64>,
    /// The same for one reading of the lease's clock, beyond the harness.
    pub clock: Vec<f64>,
    /// The paths.
    pub paths: Vec<Path>,
}

impl Results for Report {
    /// `{"harness_ns":..,"clock_ns":..,"rounds":..,"repeat":..,"paths":[{"name":..,"ns":..,
    /// "lowest_ns":..,"budget_ns":..}]}`: medians over the rounds; `budget_ns` may be null.
    fn json(&self) -> Value {
        let path = |path: &Path| {
            json!({
                "name": path.name,
                "ns": tenths(median(&path.rounds)),
                "lowest_ns": tenths(lowest(&path.rounds)),
                "budget_ns": path.budget_ns,
            })
        };
        json!({
            "harness_ns": tenths(median(&self.harness)),
            "clock_ns": tenths(median(&self.clock)),
            "rounds": self.harness.len(),
            "repeat": self.repeat,
            "paths": self.paths.iter().map(path).collect::<Vec<_>>(),
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rounds, repeat) = (self.harness.len(), self.repeat);
        writeln!(
            f,
            "ns a packet beyond the harness, median of {rounds} rounds of {repeat} runs\n"
        )?;
        writeln!(f, "| path | ns | lowest | budget |")?;
        writeln!(f, "| --- | ---: | ---: | ---: |")?;
        for path in &self.paths {
            let (middle, lowest) = (median(&path.rounds), lowest(&path.rounds));
            let budget = match path.budget_ns {
                None => "-".into(),
                Some(budget) if middle <= budget => format!("{budget}"),
                Some(budget) => format!("{budget}, exceeded"),
            };
            writeln!(f, "| {} | {middle:.1} | {lowest:.1} | {budget} |", path.name)?;
        }
        let (harness, clock) = (median(&self.harness), median(&self.clock));
        write!(f, "\nharness {harness:.1} ns; one reading of the lease's clock {clock:.1} ns")
    }
}

fn tenths(ns: f64) -> f64 {
    (ns * 10.0).round() / 10.0
}

/// The middle one, or the lower of the two in the middle; zero of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

fn lowest(values: &[f64]) -> f64 {
    values.iter().copied().min_by(f64::total_cmp).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let path =
            |name, rounds: &[f64], budget_ns| Path { name, rounds: rounds.into(), budget_ns };
        Report {
            repeat: 1000,
            harness: vec![12.04, 30.0, 11.0],
            clock: vec![20.0, 21.0, 90.0],
            paths: vec![
                path("established-open", &[50.0, 23.06, 22.0], Some(40.0)),
                path("arp-reply", &[95.0, 91.0, 99.0], Some(90.0)),
                path("advert", &[7.0, 9.0, 8.0], None),
            ],
        }
    }

    #[test]
    fn programs_get_medians() {
        let expected = json!({
            "harness_ns": 12.0,
            "clock_ns": 21.0,
            "rounds": 3,
            "repeat": 1000,
            "paths": [
                {"name": "established-open", "ns": 23.1, "lowest_ns": 22.0, "budget_ns": 40.0},
                {"name": "arp-reply", "ns": 95.0, "lowest_ns": 91.0, "budget_ns": 90.0},
                {"name": "advert", "ns": 8.0, "lowest_ns": 7.0, "budget_ns": null},
            ],
        });
        assert_eq!(report().json(), expected);
    }

    #[test]
    fn people_see_which_budget_is_exceeded() {
        let table = report().to_string();
        for line in [
            "| established-open | 23.1 | 22.0 | 40 |",
            "| arp-reply | 95.0 | 91.0 | 90, exceeded |",
            "| advert | 8.0 | 7.0 | - |",
            "harness 12.0 ns; one reading of the lease's clock 21.0 ns",
        ] {
            assert!(table.lines().any(|l| l == line), "{line}\nis not in\n{table}");
        }
    }

    #[test]
    fn the_median_is_one_of_the_values() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
