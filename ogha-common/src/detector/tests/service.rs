//! The rules about agents and databases, by name.

use super::{rules::words, *};

#[test]
fn agent_dead_is_not_host_dead() {
    let mut bench = Bench::healthy(1);
    let begin = bench.now;
    for _ in 0..400 {
        let age = ms(bench.now - begin + 5);
        bench.round(move |_| Some(Facts { agent_age: age, ..GOOD }));
    }
    assert_eq!(words(&bench), ["healthy", "agent slow", "agent dead"]);
}

#[test]
fn an_agent_that_is_stopped_for_less_than_its_timeout_is_slow_at_most() {
    let mut bench = Bench::healthy(1);
    for age in (0..10).flat_map(|_| (0..2990).step_by(10)) {
        bench.round(|_| Some(Facts { agent_age: ms(age), ..GOOD }));
        assert!(bench.verdict().is_good());
    }
}

#[test]
fn an_agent_whose_host_was_away_had_no_chance_to_beat() {
    let silent = Facts { agent_age: ms(10_000), ..GOOD };
    let mut bench = Bench::healthy(1);
    bench.silence(1000);
    bench.rounds(299, move |_| Some(silent));
    assert_ne!(bench.word(), "agent dead");
    bench.rounds(2, move |_| Some(silent));
    assert_eq!(bench.word(), "agent dead", "seen silent for agent_timeout");

    // Both machines were paused: nothing was missed.
    let mut bench = Bench::healthy(1);
    bench.now += 10_000;
    bench.slept += 10_000;
    bench.tick();
    bench.round(move |_| Some(silent));
    assert_ne!(bench.word(), "agent dead");
}

#[test]
fn strangers_only_make_suspicion() {
    let signs = [
        Passive::RequestStall(ms(60_000)),
        Passive::SynUnanswered(1_000_000),
        Passive::SynRefused(1_000_000),
    ];
    for sign in signs {
        let mut bench = Bench::healthy(1);
        bench.input(Input::Passive(Some(sign)));
        // A flood fills the accept queue as well: no second kind of evidence.
        bench.rounds(1000, |_| Some(queue(128)));
        bench.check(CheckOutcome::Refused);
        // Nor is it one that nobody answers.
        for _ in 0..100 {
            bench.now += 1;
            bench.check(CheckOutcome::NoAnswer);
        }
        assert_eq!(words(&bench), ["healthy", "suspect"], "{sign:?}");
        bench.rounds(9, |_| Some(hung()));
        assert_eq!(bench.word(), "hung", "its own agent knows");
    }
}

#[test]
fn a_check_that_fails_alone_confirms_nothing() {
    let mut bench = Bench::healthy(1);
    bench.check(CheckOutcome::NoAnswer);
    assert_eq!(bench.word(), "suspect");
    bench.rounds(MISSES, |_| Some(queue(1)));
    assert_eq!(bench.word(), "suspect");
}

#[test]
fn a_check_during_an_own_stall_says_nothing() {
    let mut bench = Bench::healthy(1);
    bench.input(Input::Passive(Some(Passive::RequestStall(ms(250)))));
    let began = at(bench.now);
    bench.now += 300;
    bench.tick();
    bench.input(Input::Check { began, outcome: CheckOutcome::NoAnswer });
    bench.round(|_| Some(GOOD));
    let passive = Suspicion::Database(Sign::Passive(Passive::RequestStall(ms(250))));
    assert_eq!(bench.verdict(), Verdict::Suspect(passive));
    bench.input(Input::Passive(None));
    bench.rounds(9, |_| Some(GOOD));
    assert_eq!(bench.word(), "healthy", "the check counts for nothing");
}

#[test]
fn checks_count_in_the_order_in_which_they_began() {
    let mut bench = Bench::healthy(1);
    bench.input(Input::Passive(Some(Passive::SynUnanswered(5))));
    bench.input(Input::Check { began: at(9), outcome: CheckOutcome::Answered });
    bench.input(Input::Check { began: at(4), outcome: CheckOutcome::NoAnswer });
    assert_eq!(bench.word(), "suspect");
}

#[test]
fn facts_are_those_of_the_newest_probe() {
    let mut bench = Bench::healthy(2);
    let first = bench.now;
    bench.send();
    bench.now += 10;
    bench.send();
    bench.reply(0, bench.now, NO_LISTENER);
    bench.reply(1, first, GOOD);
    assert_eq!(bench.word(), "database dead", "the other path's reply is older");
    assert_eq!(bench.detector.facts(), Some(&NO_LISTENER));
}
