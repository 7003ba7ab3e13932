//! A fresh pair, a client that writes, a fault, and a look at what came of it.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use ogha_common::{maps::Passage, units::Instant};

use super::{
    failover::{Fault, Measured, Run},
    millis,
};
use crate::lab::{
    Pair, Watcher,
    agent::Settings,
    client, clock, watcher,
    writer::{Record, Writer},
};

/// How long the client writes before the fault.
const BEFORE: Duration = Duration::from_secs(1);
/// How many writes it does at least before and after the fault.
const WRITES: usize = 50;
/// When a failover has failed.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a run is begun again because the machine stood still.
const MOST_DISTURBED: usize = 5;

/// Builds a pair, lets a client write, strikes, and looks. Begins again where the machine itself
/// stood still so long before the fault that a lease may have ended: that is no failover.
///
/// # Errors
/// If the pair cannot be built. What goes wrong after that is part of the answer.
pub fn run(fault: Fault, settings: &Settings) -> Result<Run> {
    let mut disturbed = 0;
    loop {
        let pair = Pair::without_agents(fault.name(), settings)?;
        let watcher = Watcher::start(&pair.hosts());
        let mut run = Run::new(fault, disturbed);
        let shown = match undisturbed(&pair) {
            Ok(writer) => show(&pair, &mut run, writer, watcher),
            Err(error) => {
                let stall = watcher.stop()?.longest_stall(Instant::default(), clock::now());
                if stall >= settings.lease / 2 && disturbed < MOST_DISTURBED {
                    eprintln!("  begun again: the machine stood still for {:.0} ms", millis(stall));
                    disturbed += 1;
                    continue;
                }
                Err(error.context("before the fault"))
            }
        };
        match shown {
            Ok(outcome) => run.outcome = Some(outcome),
            Err(error) => run.problems.push(format!("{error:#}")),
        }
        if !run.problems.is_empty() {
            run.problems.push(format!("the agents' logs\n{}", pair.agents_last_words()));
        }
        return Ok(run);
    }
}

/// Starts the agents and a client; for a while it writes and nothing moves.
fn undisturbed(pair: &Pair) -> Result<Writer> {
    pair.start_agents()?;
    let before = pair.nodes[0].agent.instance()?;
    let writer = pair.writer();
    thread::sleep(BEFORE);
    writer.wait_for(WRITES, DEADLINE)?;
    let now = pair.nodes[0].agent.instance()?;
    let same = now["phase"] == "serving" && now["failovers"] == before["failovers"];
    ensure!(same, "nothing was done to it, and the first node says {now}");
    Ok(writer)
}

fn show(pair: &Pair, run: &mut Run, writer: Writer, watcher: Watcher) -> Result<Measured> {
    let struck = clock::now();
    run.fault.strike(pair)?;
    failed_over(pair, &writer, struck)?;
    run.check(the_address_moved(pair));
    let record = writer.stop()?;
    let outcome = look(pair, run.fault, struck, &record, watcher)?;
    run.judge(&outcome);
    Ok(outcome)
}

/// Waits until writes flow on the second node.
fn failed_over(pair: &Pair, writer: &Writer, struck: Instant) -> Result<()> {
    // Only the client's own record is looked at in the outage: other questions would lengthen it.
    let later = struck + Duration::from_millis(20);
    clock::wait_until("a write after the fault", DEADLINE, Duration::from_millis(5), || {
        let record = writer.record();
        let last = record.acknowledged.last().map(|write| write.at);
        ensure!(last > Some(later), "the client met {:?}", record.failures);
        Ok(Some(()))
    })?;
    pair.wait_until_serving(1)?;
    ensure!(!pair.nodes[1].database.is_in_recovery()?, "the new primary is in recovery");
    writer.wait_for(WRITES, DEADLINE)
}

/// The second node's gate is open, the first's is not, and the client's kernel knows.
fn the_address_moved(pair: &Pair) -> Result<()> {
    let [first, second] = &pair.nodes;
    let gate = watcher::passage(&second.host, 0)?;
    ensure!(gate == Passage::Open, "the gate of {} is {gate:?}", second.host.name());
    if first.host.is_powered() {
        let gate = watcher::passage(&first.host, 0)?;
        ensure!(gate != Passage::Open, "the gate of {} is still open", first.host.name());
    }
    let (vip, mac) = (pair.vip(), second.host.mac());
    let known = client::neighbour(&pair.client, vip)?;
    ensure!(known == Some(mac), "the client sends to {known:x?} for {vip}");
    for &vip in &pair.vips {
        let answers = client::who_has(&pair.client, vip, Duration::from_millis(200))?;
        ensure!(answers == [mac], "{answers:x?} answer for {vip}");
    }
    Ok(())
}

fn look(
    pair: &Pair,
    fault: Fault,
    struck: Instant,
    record: &Record,
    watcher: Watcher,
) -> Result<Measured> {
    let [first, second] = &pair.nodes;
    let seen = watcher.stop()?;
    ensure!(seen.samples > 0, "nobody looked at the gates");
    let reacts = pair.nodes[fault.first_to_react()].host.name();
    let after = seen.changes.iter().filter(|change| change.at > struck);
    let outage = record.outage(struck).unwrap_or(DEADLINE);
    Ok(Measured {
        outage,
        lost: record.lost(&second.database)?,
        two_holders: seen.two_holders,
        reaction: seen.first_change(reacts, struck).map(|change| change.at.since(struck)),
        stall: seen.longest_stall(struck, struck + outage),
        failures: record.failures.clone(),
        gates: after.map(|change| (change.at.since(struck), change.clone())).collect(),
        history: second.agent.history()?,
        old_history: first.agent.history().ok(),
    })
}
