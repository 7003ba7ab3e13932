//! An agent that is late, or stopped for a while, is no failure. These tests load the machine: nothing
//! else runs beside them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use ogha_tests::{
    bench::{load::Load, starvation},
    lab::{
        Pair,
        agent::{Kind, Settings},
        pair::GENEROUS,
    },
};

/// Ten busy loops leave two agents without real-time priority little of the processors, for a quarter
/// of a minute: nothing moves.
#[test]
fn starved_agents_do_not_fail_over() {
    let pair = starvation::start("starved").unwrap();
    let load = Load::start(10, None);
    let work = || {
        thread::sleep(Duration::from_secs(15));
        Ok(())
    };
    let calm = starvation::watch(&pair, work).unwrap();
    drop(load);
    assert_eq!((calm.failovers, calm.gate_changes), (0, 0), "{}", calm.log);
}

/// Each agent is stopped again and again, for less than `agent_timeout` each time: nothing moves.
#[test]
fn agents_that_are_stopped_for_a_while_do_not_fail_over() {
    let pair = starvation::start("stopped").unwrap();
    let work = || starvation::stop_again_and_again(&pair, 2);
    let calm = starvation::watch(&pair, work).unwrap();
    assert_eq!((calm.failovers, calm.gate_changes), (0, 0), "{}", calm.log);
}

/// Nothing is wrong for a while, and the processors are busy: nothing moves.
#[test]
fn a_busy_machine_is_no_fault() {
    let pair = Pair::start("busy", &Settings::patient(Kind::Postgresql)).unwrap();
    let before = pair.nodes[0].agent.instance().unwrap();
    let writer = pair.writer();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        thread::sleep(Duration::from_secs(5));
        stop.store(true, Ordering::Relaxed);
    });
    writer.wait_for(1, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    assert_eq!(record.lost(&pair.nodes[0].database).unwrap(), Vec::<i64>::new());
    let after = pair.nodes[0].agent.instance().unwrap();
    assert_eq!(before["term"], after["term"], "{}", pair.agents_last_words());
    assert_eq!(after["phase"], "serving");
}
