//! Signals and verdicts as a table, the rules by name, random operations, two nodes with loss.

extern crate std;

mod own;
mod random;
mod rules;
mod service;
mod table;
mod two_nodes;

use std::vec::Vec;

use super::*;
use crate::{
    maps::Passage,
    units::{Lsn, Priority, Term},
    wire::probe::{Phase, Role, Status},
};

/// The probe interval.
const INTERVAL: Duration = ms(10);
/// `detect_multiplier`.
const MISSES: u32 = 3;
/// `agent_timeout`.
const TIMEOUT: Duration = ms(3000);
/// `return_multiplier`, as it follows.
const RETURN: u8 = 6;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn at(ms: u64) -> Instant {
    Instant::from_ns((1_000_000 + ms) * 1_000_000)
}

fn config() -> Config {
    Config::new(INTERVAL, MISSES as u8, TIMEOUT)
}

const GOOD: Facts = Facts {
    listener: Some(true),
    queue: Some(AcceptQueue { waiting: 0, limit: 128 }),
    gate: Passage::Open,
    agent_age: ms(5),
    agent_exited: false,
    status: Status {
        term: Term::new(7),
        primary: None,
        in_sync: crate::units::Members::NONE,
        phase: Phase::Serving,
        role: Role::Primary,
        restarting: false,
        paused: false,
        hung: false,
        priority: Priority::DEFAULT,
        lsn: Lsn::new(0),
    },
};

const NO_LISTENER: Facts = Facts { listener: Some(false), queue: None, ..GOOD };
const AGENT_SILENT: Facts = Facts { agent_age: TIMEOUT, ..GOOD };

const fn queue(waiting: u32) -> Facts {
    Facts { queue: Some(AcceptQueue { waiting, limit: 128 }), ..GOOD }
}

const fn hung() -> Facts {
    let mut facts = GOOD;
    facts.status.hung = true;
    facts
}

/// A detector and its clock, in milliseconds.
struct Bench {
    now: u64,
    /// How long the machine slept: `CLOCK_MONOTONIC` is behind by so much.
    slept: u64,
    detector: Detector,
    /// The changes that came out.
    changes: Vec<Verdict>,
}

impl Bench {
    fn new(paths: usize) -> Self {
        let detector = Detector::new(config(), paths);
        let mut bench = Self { now: 0, slept: 0, detector, changes: Vec::new() };
        bench.tick();
        bench
    }

    /// With all paths up and nothing wrong.
    fn healthy(paths: usize) -> Self {
        let mut bench = Self::new(paths);
        bench.round(|_| Some(GOOD));
        assert_eq!(bench.verdict(), Verdict::Healthy);
        bench
    }

    fn verdict(&self) -> Verdict {
        self.detector.verdict()
    }

    fn input(&mut self, input: Input) {
        self.changes.extend(self.detector.handle(at(self.now), input));
    }

    fn tick(&mut self) {
        self.input(Input::Tick { monotonic_ns: at(self.now - self.slept).ns() });
    }

    fn send(&mut self) {
        (0..self.detector.used as u8).for_each(|path| self.input(Input::Sent { path }));
    }

    fn reply(&mut self, path: u8, sent: u64, facts: Facts) {
        self.input(Input::Reply { path, sent: at(sent), facts });
    }

    /// A probe on each path, the replies a millisecond later, and the tick at the grace's end.
    fn round(&mut self, reply: impl Fn(u8) -> Option<Facts>) {
        self.send();
        let sent = self.now;
        self.now += 1;
        for path in 0..self.detector.used as u8 {
            if let Some(facts) = reply(path) {
                self.reply(path, sent, facts);
            }
        }
        self.now += 9;
        self.tick();
    }

    fn rounds(&mut self, count: u32, reply: impl Fn(u8) -> Option<Facts>) {
        (0..count).for_each(|_| self.round(&reply));
    }

    /// Rounds without a reply.
    fn silence(&mut self, rounds: u32) {
        self.rounds(rounds, |_| None);
    }

    fn check(&mut self, outcome: CheckOutcome) {
        self.input(Input::Check { began: at(self.now), outcome });
    }

    fn word(&self) -> &'static str {
        self.verdict().as_str()
    }
}
