//! Random operations. A model that knows only what was sent, answered and stalled says which
//! verdicts there may be.

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Send(u8),
    /// Answers one of the last probes of the path: 0 is the newest.
    Reply(u8, usize, Facts),
    Heard(u8),
    Usable(u8, bool),
    Passive(bool),
    Check(CheckOutcome),
    /// The clock goes on, and then there is a tick; awake or asleep.
    Wait(u64, bool),
}

fn facts() -> impl Strategy<Value = Facts> {
    let listener = prop_oneof![6 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)];
    let age = prop_oneof![6 => 0..100u64, 1 => 0..10_000u64];
    (listener, age, 0..4u32, any::<bool>()).prop_map(|(listener, age, waiting, agent_exited)| {
        let mut facts = Facts { listener, agent_age: ms(age), agent_exited, ..queue(waiting) };
        facts.status.hung = age % 8 == 7;
        facts
    })
}

fn op() -> impl Strategy<Value = Op> {
    use CheckOutcome::{Answered, NoAnswer, Refused, Unknown};
    let outcome = proptest::sample::select(&[Answered, NoAnswer, Refused, Unknown]);
    prop_oneof![
        12 => (0..3u8).prop_map(Op::Send),
        2 => (0..3u8, 0..6usize, facts()).prop_map(|(path, nth, facts)| Op::Reply(path, nth, facts)),
        2 => (0..3u8, 0..2usize).prop_map(|(path, nth)| Op::Reply(path, nth, GOOD)),
        1 => (0..3u8).prop_map(Op::Heard),
        1 => (0..3u8, any::<bool>()).prop_map(|(path, usable)| Op::Usable(path, usable)),
        1 => any::<bool>().prop_map(Op::Passive),
        1 => outcome.prop_map(Op::Check),
        12 => (0..15u64).prop_map(|wait| Op::Wait(wait, false)),
        1 => (0..200u64, any::<bool>()).prop_map(|(wait, asleep)| Op::Wait(wait, asleep)),
    ]
}

/// What the model remembers of a path of two.
#[derive(Default)]
struct Sent {
    unusable: bool,
    all: Vec<u64>,
    newest_answered: Option<u64>,
    /// Sent since the last stall, and since the path was last down.
    outstanding: Vec<u64>,
}

struct Model {
    bench: Bench,
    paths: [Sent; 2],
    alive_at: Option<u64>,
    last_tick: u64,
    /// What the newest reply said, and the probe from which on replies are news.
    facts: Option<Facts>,
    facts_from: u64,
    /// The last check, since the last stall.
    no_answer: bool,
    sign: bool,
    /// Replies since the last verdict that was not good.
    replies: u32,
}

impl Model {
    fn new() -> Self {
        Self {
            bench: Bench::new(2),
            paths: Default::default(),
            alive_at: None,
            last_tick: 0,
            facts: None,
            facts_from: 0,
            no_answer: false,
            sign: false,
            replies: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        let before = self.bench.verdict();
        let seen = self.bench.changes.len();
        self.carry_out(op);
        let after = self.bench.verdict();
        let changes = &self.bench.changes[seen..];
        if before.same_kind(&after) {
            assert!(changes.is_empty(), "{before:?} {after:?}");
        } else {
            assert_eq!(changes, [after], "each change comes out once");
        }
        self.returned(before, after);
        self.justified(after);
        let due = self.bench.detector.next_timer().unwrap();
        assert!(due <= at(self.last_tick) + INTERVAL, "the next tick is an interval away at most");
    }

    fn carry_out(&mut self, op: Op) {
        match op {
            Op::Send(path) => self.send(path),
            Op::Reply(path, nth, facts) => self.reply(path, nth, facts),
            Op::Heard(path) => {
                self.bench.input(Input::Heard { path });
                if path < 2 {
                    self.lives(self.bench.now);
                }
            }
            Op::Usable(path, usable) => self.usable(path, usable),
            Op::Passive(stalls) => {
                self.sign = stalls;
                let stall = Some(Passive::RequestStall(ms(300))).filter(|_| stalls);
                self.bench.input(Input::Passive(stall));
            }
            Op::Check(outcome) => {
                self.bench.now += 1;
                self.bench.check(outcome);
                if outcome != CheckOutcome::Unknown {
                    self.no_answer = outcome == CheckOutcome::NoAnswer;
                }
            }
            Op::Wait(wait, asleep) => self.wait(wait, asleep),
        }
    }

    fn send(&mut self, path: u8) {
        self.bench.input(Input::Sent { path });
        let now = self.bench.now;
        if let Some(path) = self.paths.get_mut(usize::from(path)).filter(|path| !path.unusable) {
            path.all.push(now);
            path.outstanding.push(now);
        }
    }

    fn reply(&mut self, path: u8, nth: usize, facts: Facts) {
        let now = self.bench.now;
        let Some(model) = self.paths.get_mut(usize::from(path)) else {
            return self.bench.reply(path, now, facts);
        };
        let Some(&sent) = model.all.iter().rev().nth(nth) else { return };
        let new = model.newest_answered.is_none_or(|newest| sent > newest);
        if new {
            model.newest_answered = Some(sent);
            model.outstanding.retain(|&probe| probe > sent);
            self.lives(sent);
            self.replies += 1;
            if sent >= self.facts_from {
                self.facts = Some(facts);
                self.facts_from = sent;
            }
        }
        self.bench.reply(path, sent, facts);
        let dead = matches!(self.bench.verdict(), Verdict::HostDead(_));
        assert!(!(new && dead), "a reply always clears");
    }

    fn usable(&mut self, path: u8, usable: bool) {
        self.bench.input(Input::Usable { path, usable });
        if let Some(path) = self.paths.get_mut(usize::from(path)) {
            if path.unusable == usable {
                path.outstanding.clear();
            }
            path.unusable = !usable;
        }
    }

    fn wait(&mut self, wait: u64, asleep: bool) {
        self.bench.now += wait;
        self.bench.slept += if asleep { wait } else { 0 };
        let stalled = self.bench.now - self.last_tick >= 50 || (asleep && wait >= 10);
        if stalled {
            self.paths.iter_mut().for_each(|path| path.outstanding.clear());
            self.no_answer = false;
            self.facts_from = self.bench.now;
        }
        self.last_tick = self.bench.now;
        self.bench.tick();
        let dead = !matches!(self.bench.word(), "healthy" | "suspect" | "agent slow");
        assert!(!(stalled && dead), "no bad verdict outlives a stall: {}", self.bench.verdict());
    }

    fn lives(&mut self, at: u64) {
        self.alive_at = self.alive_at.max(Some(at));
    }

    /// Probes that were sent after the last sign of life, and not answered in an interval.
    fn missed(&self, path: &Sent) -> usize {
        let overdue = |sent| sent + 10 <= self.bench.now;
        let after = |sent| self.alive_at.is_none_or(|alive| sent > alive);
        path.outstanding.iter().filter(|&&sent| overdue(sent) && after(sent)).count()
    }

    fn justified(&self, verdict: Verdict) {
        let facts = self.facts;
        match verdict {
            Verdict::HostDead(_) => {
                let usable: Vec<_> = self.paths.iter().filter(|path| !path.unusable).collect();
                let least = usable.iter().map(|path| self.missed(path)).min();
                assert!(least.is_some_and(|missed| missed >= MISSES as usize), "{least:?}");
            }
            Verdict::DatabaseDead(_) => assert_eq!(facts.unwrap().listener, Some(false)),
            Verdict::AgentDead { age, .. } => {
                assert!(age >= TIMEOUT && facts.unwrap().agent_age >= TIMEOUT);
            }
            Verdict::Hung(_) => {
                assert!(facts.unwrap().status.hung);
            }
            Verdict::Healthy => assert!(!self.sign && !self.no_answer),
            Verdict::Suspect(_) | Verdict::AgentSlow { .. } => {}
        }
    }

    fn returned(&mut self, before: Verdict, after: Verdict) {
        if after.unsettles() {
            self.replies = 0;
        }
        let returning = matches!(before, Verdict::Suspect(Suspicion::Returning { .. }));
        if returning && after.is_good() {
            assert!(self.replies >= u32::from(RETURN), "{}", self.replies);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_verdict_is_justified(ops in vec(op(), 0..300)) {
        let mut model = Model::new();
        ops.into_iter().for_each(|op| model.apply(op));
    }
}

/// The operations reach every verdict, else the test above shows nothing.
#[test]
fn random_operations_reach_every_verdict() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut seen: Vec<&str> = Vec::new();
    for _ in 0..500 {
        let mut model = Model::new();
        for op in vec(op(), 300).new_tree(&mut runner).unwrap().current() {
            model.apply(op);
            seen.push(model.bench.word());
        }
    }
    seen.sort_unstable();
    seen.dedup();
    let all =
        ["agent dead", "agent slow", "database dead", "healthy", "host dead", "hung", "suspect"];
    assert_eq!(seen, all);
}
