//! An agent that is late, or stopped for a while, is no failure.

use std::{thread, time::Duration};

use ogha_tests::bench::{load::Load, starvation};

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
