//! Every fault under every arbiter: how long clients were without service, what was lost, whether two
//! nodes held the address, and what state remained.

mod cell;
mod fault;
mod mayhem;
mod place;

use std::{
    fmt::{self, Display},
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};

pub use self::{cell::Cell, fault::Fault, mayhem::Mayhem, place::Arbiter};
use super::report::Results;
use crate::lab::floor;

/// What to try.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which faults; all if empty.
    pub faults: Vec<String>,
    /// Under whom; all if empty.
    pub arbiters: Vec<Arbiter>,
    /// How often everything is killed at once.
    pub mayhem: usize,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Report {
    floor: Duration,
    cells: Vec<Cell>,
    mayhem: Option<Mayhem>,
}

/// Carries the plan out, telling on standard error what it does.
///
/// # Errors
/// If a fault has no such name, or the lab cannot be built.
pub fn run(plan: &Plan) -> Result<Report> {
    let faults = chosen(&plan.faults)?;
    let arbiters = if plan.arbiters.is_empty() { Arbiter::all() } else { &plan.arbiters };
    let mut floors =
        [floor::promotion_alone()?, floor::promotion_alone()?, floor::promotion_alone()?];
    floors.sort_unstable();
    let mut cells = Vec::new();
    for fault in faults {
        for &arbiter in arbiters {
            let cell = cell::run(fault, arbiter)?;
            eprintln!("{cell}");
            cells.push(cell);
        }
    }
    let mayhem = (plan.mayhem > 0).then(|| mayhem::run(plan.mayhem)).transpose()?;
    Ok(Report { floor: floors[1], cells, mayhem })
}

fn chosen(names: &[String]) -> Result<Vec<Fault>> {
    if names.is_empty() {
        return Ok(Fault::all().to_vec());
    }
    let find = |name: &String| {
        let fault = Fault::all().iter().copied().find(|fault| fault.name() == name);
        let known: Vec<_> = Fault::all().iter().map(|fault| fault.name()).collect();
        let known = known.join(", ");
        fault.ok_or_else(|| anyhow::anyhow!("no fault is called {name:?}; there are {known}"))
    };
    names.iter().filter(|name| *name != "none").map(find).collect()
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outage =
            self.outage.map_or_else(|| "no end".into(), |o| format!("{:.1} ms", millis(o)));
        let lost = self.lost.map_or_else(|| "?".into(), |lost| lost.to_string());
        write!(
            f,
            "{:<20} {:<8} {:>12} {:>6} {:>12} {}",
            self.fault.name(),
            self.arbiter.name(),
            outage,
            lost,
            format!("{:.1} ms", millis(self.two_holders)),
            self.last
        )
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "floor: {:.1} ms, a promotion alone (median of 3)\n", millis(self.floor))?;
        writeln!(
            f,
            "{:<20} {:<8} {:>12} {:>6} {:>12} final",
            "fault", "arbiter", "outage", "lost", "two holders"
        )?;
        self.cells.iter().try_for_each(|cell| writeln!(f, "{cell}"))?;
        self.mayhem.iter().try_for_each(|mayhem| writeln!(f, "\n{mayhem}"))
    }
}

impl Results for Report {
    /// `{"floor_ms":..,"cells":[{"fault":..,"arbiter":..,"outage_ms":..,"lost_writes":..,
    /// "two_holders_ms":..,"final":..,"gates":[..]}],"mayhem":{..}}`; `outage_ms` is null where no write
    /// came back.
    fn json(&self) -> Value {
        json!({
            "floor_ms": millis(self.floor),
            "cells": self.cells.iter().map(Cell::json).collect::<Vec<_>>(),
            "mayhem": self.mayhem.as_ref().map(Mayhem::json),
        })
    }
}
