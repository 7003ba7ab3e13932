//! Twenty thousand clusters in virtual time, and each rule broken once.
//!
//! `OGHA_STORIES=1000000` tells more stories, `OGHA_FIRST=500000` begins at another seed, `OGHA_SEED=17`
//! tells that one story in full. A failure says which seeds broke what, and how to hear them again.

use std::{env, time::Instant};

use ogha_tests::simulation::{Failure, Mutation, Rule, Story, Tally, run, tell, tell_one};

/// How many stories a test run tells: about a minute of them. A release tells a million.
const STORIES: u64 = 20_000;
/// Within how many stories a broken rule must be found out.
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
        let story = tell(Story::of(first.seed));
        let lines: Vec<&str> = story.lines().collect();
        let end = lines.len().saturating_sub(200);
        text += &format!("the end of it:\n{}\n", lines[end..].join("\n"));
        text += &format!(
            "in full: OGHA_SEED={} cargo test -p ogha-tests --test simulation no_story -- --nocapture\n",
            first.seed
        );
    }
    text
}

/// Whatever goes wrong, in whatever order: never two gates, no promotion against the rules, no lost
/// write, and in the end somebody serves.
#[test]
fn no_story_ends_badly() {
    if let Some(seed) = number("OGHA_SEED") {
        let story = tell(Story::of(seed));
        println!("{story}");
        assert!(!story.contains("VIOLATION"), "seed {seed}");
        return;
    }
    let first = number("OGHA_FIRST").unwrap_or(0);
    let stories = number("OGHA_STORIES").unwrap_or(STORIES);
    let begun = Instant::now();
    let tally = run(first..first + stories, 20, Story::of);
    println!("{tally}; {:.0} stories a second", stories as f64 / begun.elapsed().as_secs_f64());
    assert!(tally.failures.is_empty(), "{}", complain(&tally));
    assert!(tally.acknowledged > tally.stories, "hardly anything was written: {tally}");
}

/// The same seed is the same story, to the nanosecond.
#[test]
fn a_seed_is_a_story() {
    for seed in [1, 17, 4711] {
        assert_eq!(tell(Story::of(seed)), tell(Story::of(seed)));
    }
}

/// The first run that shows that a rule is broken: one that goes wrong, and does not with all rules kept.
fn found(broken: impl Fn(u64) -> Story + Sync) -> Option<Failure> {
    let mut first = 0;
    while first < PATIENCE {
        let failure = run(first..PATIENCE, 1, &broken).failures.first()?.clone();
        let (_, kept) = tell_one(Story::of(failure.seed));
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
        let found = found(|seed| Story { broken: Some(rule), ..Story::of(seed) });
        let Failure { seed, violation } =
            found.unwrap_or_else(|| panic!("{rule:?} can be broken, and nobody sees it"));
        println!("{rule:?}: seed {seed}: {violation}");
    }
}

/// Each rule of the kernel's side.
#[test]
fn each_rule_of_the_lease_is_needed() {
    for mutation in [Mutation::LatestGrant, Mutation::StaleAnchor] {
        let found = found(|seed| Story { mutation: Some(mutation), ..Story::of(seed) });
        let Failure { seed, violation } =
            found.unwrap_or_else(|| panic!("{mutation:?} can be broken, and nobody sees it"));
        println!("{mutation:?}: seed {seed}: {violation}");
    }
}
