//! Twenty thousand clusters in virtual time, and each rule broken once.
//!
//! `OGHA_RUNS=1000000` simulates more runs, `OGHA_FIRST=500000` begins at another seed, `OGHA_SEED=17`
//! traces that one run in full. A failure says which seeds broke what, and how to trace them again.

use std::{env, time::Instant};

use ogha_tests::simulation::{Failure, Mutation, Plan, Rule, Tally, check_one, run, trace};

/// How many runs a test simulates: about a minute of them. A release simulates a million.
const RUNS: u64 = 20_000;
/// Within how many runs a broken rule must be found out.
const PATIENCE: u64 = 60_000;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// The first failures, and the first of them in full.
fn complain(tally: &Tally) -> String {
    let mut text = format!("{tally}\n");
    for failure in tally.failures.iter().take(10) {
        text += &format!("  seed {}: {}\n", failure.seed, failure.violation);
    }
    if let Some(first) = tally.failures.first() {
        let whole = trace(Plan::of(first.seed));
        let lines: Vec<&str> = whole.lines().collect();
        let end = lines.len().saturating_sub(200);
        text += &format!("the end of it:\n{}\n", lines[end..].join("\n"));
        text += &format!(
            "in full: OGHA_SEED={} cargo test -p ogha-tests --test simulation no_simulated_run -- --nocapture\n",
            first.seed
        );
    }
    text
}

/// Whatever goes wrong, in whatever order: never two gates, no promotion against the rules, no lost
/// write, and in the end somebody serves.
#[test]
fn no_simulated_run_ends_badly() {
    if let Some(seed) = number("OGHA_SEED") {
        let text = trace(Plan::of(seed));
        println!("{text}");
        assert!(!text.contains("VIOLATION"), "seed {seed}");
        return;
    }
    let first = number("OGHA_FIRST").unwrap_or(0);
    let runs = number("OGHA_RUNS").unwrap_or(RUNS);
    let begun = Instant::now();
    let tally = run(first..first + runs, 20, Plan::of);
    println!("{tally}; {:.0} runs a second", runs as f64 / begun.elapsed().as_secs_f64());
    assert!(tally.failures.is_empty(), "{}", complain(&tally));
    assert!(tally.acknowledged > tally.runs, "hardly anything was written: {tally}");
}

/// The same seed is the same run, to the nanosecond.
#[test]
fn a_seed_is_one_run() {
    for seed in [1, 17, 4711] {
        assert_eq!(trace(Plan::of(seed)), trace(Plan::of(seed)));
    }
}

/// The first run that shows that a rule is broken: one that goes wrong, and does not with all rules kept.
fn found(broken: impl Fn(u64) -> Plan + Sync) -> Option<Failure> {
    let mut first = 0;
    while first < PATIENCE {
        let failure = run(first..PATIENCE, 1, &broken).failures.first()?.clone();
        let (_, kept) = check_one(Plan::of(failure.seed));
        if kept.as_ref() != Some(&failure.violation) {
            return Some(failure);
        }
        first = failure.seed + 1;
    }
    None
}

/// Each rule of the core, broken on purpose at all nodes by a filter around it.
#[test]
fn each_rule_of_the_core_is_needed() {
    for rule in Rule::ALL {
        let found = found(|seed| Plan { broken: Some(rule), ..Plan::of(seed) });
        let Failure { seed, violation } =
            found.unwrap_or_else(|| panic!("{rule:?} can be broken, and nobody sees it"));
        println!("{rule:?}: seed {seed}: {violation}");
    }
}

/// Each rule of the kernel's side.
#[test]
fn each_rule_of_the_lease_is_needed() {
    for mutation in [Mutation::LatestGrant, Mutation::StaleAnchor] {
        let found = found(|seed| Plan { mutation: Some(mutation), ..Plan::of(seed) });
        let Failure { seed, violation } =
            found.unwrap_or_else(|| panic!("{mutation:?} can be broken, and nobody sees it"));
        println!("{mutation:?}: seed {seed}: {violation}");
    }
}
