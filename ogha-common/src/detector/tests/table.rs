//! Signals -> verdict, as data. The verdict is compared as the line that a person reads.

use std::string::ToString as _;

use super::*;

/// A thing that happens to a detector of two paths, which begins healthy.
#[derive(Clone, Copy, Debug)]
enum Signal {
    /// So many probes on each path, answered so: by both paths, or by the first alone, or by none.
    Both(u32, Facts),
    First(u32, Facts),
    Silence(u32),
    /// So many unanswered probes, while those of the peer arrive on the second path.
    Heard(u32),
    /// A path that cannot be used, or can again.
    Down(u8),
    Up(u8),
    Passive(Passive),
    Quiet,
    Check(CheckOutcome),
    /// No processor for so many milliseconds.
    Stall(u64),
    /// Asleep for so many milliseconds.
    Sleep(u64),
}

use CheckOutcome::{Answered, NoAnswer, Refused, Unknown};
use Signal::{Both, Check, Down, First, Heard, Quiet, Silence, Sleep, Stall, Up};

const STALLED: Signal = Signal::Passive(Passive::RequestStall(ms(250)));
const LAPSED: Facts = Facts { gate: Passage::Lapsed, agent_age: ms(200), ..GOOD };
const SLOW: Facts = Facts { agent_age: ms(750), ..GOOD };
const EXITED: Facts = Facts { agent_exited: true, agent_age: ms(40), ..GOOD };
const EXITED_LONG: Facts = Facts { agent_age: ms(3100), ..EXITED };
const BOTH_DEAD: Facts = Facts { agent_age: ms(3100), ..NO_LISTENER };
const NO_PORT: Facts = Facts { listener: None, queue: None, ..GOOD };

const fn restarting() -> Facts {
    let mut facts = EXITED;
    facts.status.restarting = true;
    facts
}

type Row = (&'static [Signal], &'static str);

const ROWS: &[Row] = &[
    // The host.
    (&[], "healthy"),
    (&[Both(9, GOOD)], "healthy"),
    (&[Both(1, NO_PORT)], "healthy"),
    (&[Silence(2)], "healthy"),
    (
        &[Silence(3)],
        "host dead: 3 probes missed on path 0, 3 probes missed on path 1, \
         last sign of life 40.0ms ago",
    ),
    (&[Silence(3), Both(1, GOOD)], "suspect: it is back: 1 of 6 good replies"),
    (&[Silence(3), Both(4, GOOD)], "healthy"),
    (&[First(3, GOOD)], "suspect: path 1 is lost: 3 probes were not answered"),
    (&[First(3, GOOD), Both(1, GOOD)], "suspect: it is back: 1 of 6 good replies"),
    (&[Heard(3)], "suspect: its probes arrive, but 3 of ours were not answered"),
    (&[Silence(3), Heard(1)], "suspect: its probes arrive, but 4 of ours were not answered"),
    (&[Down(1), Silence(2)], "healthy"),
    (&[Down(1), Silence(3)], "host dead: 3 probes missed on path 0, last sign of life 40.0ms ago"),
    (&[Down(1), First(9, GOOD)], "healthy"),
    (&[Down(0), Down(1), Silence(9)], "suspect: no path to it can be used at this end"),
    (&[Silence(3), Down(0), Down(1), Up(0)], "suspect: no reply yet"),
    // This node.
    (&[Stall(50)], "healthy"),
    (&[Silence(2), Stall(50), Silence(2)], "healthy"),
    (&[Silence(3), Stall(60)], "suspect: this node got no processor for 60.0ms, no reply since"),
    (
        &[Both(1, NO_LISTENER), Sleep(5000)],
        "suspect: this node was suspended for 5.0s, no reply since",
    ),
    (&[Silence(3), Stall(60), Both(4, GOOD)], "healthy"),
    // The agent.
    (&[Both(1, SLOW)], "agent slow: no heartbeat for 750.0ms"),
    (&[Both(1, LAPSED)], "suspect: its gate lapsed, its agent is silent for 200.0ms"),
    (&[Both(1, EXITED)], "suspect: its agent's process is gone, no heartbeat for 40.0ms"),
    (&[Both(1, restarting())], "healthy"),
    (&[Both(1, AGENT_SILENT)], "agent dead: no heartbeat for 3.0s, its process is there"),
    (&[Both(1, EXITED_LONG)], "agent dead: no heartbeat for 3.1s, its process is gone"),
    (&[Both(1, AGENT_SILENT), Both(1, GOOD)], "suspect: it is back: 2 of 6 good replies"),
    // The database.
    (
        &[Both(1, NO_LISTENER)],
        "database dead: nobody listens on its port, as somebody did 20.0ms ago",
    ),
    (
        &[Both(1, BOTH_DEAD)],
        "database dead: nobody listens on its port, as somebody did 20.0ms ago",
    ),
    (&[Both(1, NO_LISTENER), Both(3, GOOD)], "healthy"),
    (&[Both(1, queue(2)), Both(1, queue(1)), Both(1, queue(0))], "healthy"),
    (&[Both(3, queue(2))], "suspect: 2 connections are not accepted (room for 128), not confirmed"),
    (
        &[First(1, queue(128))],
        "suspect: 128 connections are not accepted (room for 128), not confirmed",
    ),
    (
        &[Both(3, queue(2)), Check(NoAnswer)],
        "suspect: 2 connections are not accepted (room for 128), not confirmed",
    ),
    (&[Both(3, queue(2)), Check(NoAnswer), Check(Answered), Both(3, GOOD)], "healthy"),
    (&[STALLED], "suspect: requests have no response for 250.0ms, not confirmed"),
    (&[STALLED, Quiet], "healthy"),
    (&[STALLED, Check(Answered)], "suspect: requests have no response for 250.0ms, not confirmed"),
    (&[STALLED, Check(Refused)], "suspect: requests have no response for 250.0ms, not confirmed"),
    (
        &[STALLED, Check(NoAnswer), Check(Unknown)],
        "suspect: requests have no response for 250.0ms, not confirmed",
    ),
    (&[Both(1, hung())], "hung: its own agent reports that it hangs"),
    (
        &[Both(1, hung()), Check(NoAnswer)],
        "hung: its own agent reports that it hangs, and a check was not answered",
    ),
    (&[Both(1, hung()), Both(9, GOOD)], "healthy"),
    (&[Check(NoAnswer)], "suspect: a check was not answered, nothing else says that it hangs"),
    (&[Check(Refused)], "suspect: a check was refused, nothing else says that it hangs"),
    (&[Check(Unknown)], "healthy"),
    (&[Check(NoAnswer), Check(Answered)], "healthy"),
    // What weighs more comes first.
    (
        &[STALLED, Check(NoAnswer), Both(1, AGENT_SILENT)],
        "agent dead: no heartbeat for 3.0s, its process is there",
    ),
    (&[STALLED, First(3, SLOW)], "suspect: requests have no response for 250.0ms, not confirmed"),
];

fn apply(bench: &mut Bench, signal: Signal) {
    match signal {
        Both(count, facts) => bench.rounds(count, |_| Some(facts)),
        First(count, facts) => bench.rounds(count, |path| Some(facts).filter(|_| path == 0)),
        Silence(count) => bench.silence(count),
        Heard(count) => (0..count).for_each(|_| {
            bench.silence(1);
            bench.input(Input::Heard { path: 1 });
        }),
        Down(path) => bench.input(Input::Usable { path, usable: false }),
        Up(path) => bench.input(Input::Usable { path, usable: true }),
        Signal::Passive(passive) => bench.input(Input::Passive(Some(passive))),
        Quiet => bench.input(Input::Passive(None)),
        Check(outcome) => {
            bench.now += 1;
            bench.check(outcome);
        }
        Stall(length) => {
            bench.now += length;
            bench.tick();
        }
        Sleep(length) => {
            bench.now += length;
            bench.slept += length;
            bench.tick();
        }
    }
}

#[test]
fn the_table_of_signals() {
    let mut wrong = Vec::new();
    for (signals, expected) in ROWS {
        let mut bench = Bench::healthy(2);
        signals.iter().for_each(|&signal| apply(&mut bench, signal));
        let line = bench.verdict().to_string();
        if line != *expected {
            wrong.push((signals, line, expected));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn who_was_never_heard_is_suspect_and_then_lost() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.verdict().to_string(), "suspect: not heard yet");
    bench.silence(MISSES - 1);
    assert_eq!(bench.verdict().to_string(), "suspect: not heard yet");
    bench.silence(1);
    let line = "host dead: 3 probes missed on path 0, never a sign of life";
    assert_eq!(bench.verdict().to_string(), line);
}

#[test]
fn a_database_that_never_listened_is_told_apart() {
    let mut bench = Bench::new(1);
    bench.round(|_| Some(NO_LISTENER));
    let line = "database dead: nobody listens on its port, and nobody was ever seen to";
    assert_eq!(bench.verdict().to_string(), line);
}

#[test]
fn a_check_is_wanted_where_it_would_tell_more() {
    let rows: &[(&[Signal], bool)] = &[
        (&[], false),
        (&[STALLED], true),
        (&[STALLED, Check(NoAnswer)], true),
        (&[Check(NoAnswer)], true),
        (&[Both(1, NO_LISTENER)], false),
        (&[STALLED, Silence(3)], false),
    ];
    for (signals, wanted) in rows {
        let mut bench = Bench::healthy(2);
        signals.iter().for_each(|&signal| apply(&mut bench, signal));
        assert_eq!(bench.verdict().wants_check(), *wanted, "{signals:?}");
    }
}
