//! Databases that restart by themselves: crash recovery of the primary, and of a standby that is being
//! promoted.

use std::time::Instant;

use nix::sys::signal::Signal;
use ogha_tests::lab::{Pair, pair::GENEROUS};

use crate::stage::{
    assert_nothing_is_lost, has_in_sync, pair, seconds, settings, throughout, until,
    wait_until_one_serves,
};

/// A backend of the primary is killed, so that all its backends are, and crash recovery begins: held up
/// for longer than a standby may be silent. The healthy standby is not thrown out for that it receives
/// nothing meanwhile. Then `end` ends the recovery's process, or lets it go on: a node serves, and no
/// acknowledged row is lost.
fn crash_recovery_takes_long(name: &str, end: Signal) {
    let pair = Pair::start(name, &settings()).unwrap();
    let [first, _] = &pair.nodes;
    let session = first.database.session().unwrap();
    // Something to recover, so that the process can be met.
    session.rows("create table bulk as select generate_series(1, 200000) as id").unwrap();
    let writer = pair.writer();
    writer.wait_for(50, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    let backend = session.value("select pg_backend_pid()").unwrap().parse().unwrap();
    first.database.signal_process(backend, Signal::SIGKILL).unwrap();
    let startup = first.database.wait_for_process("startup").unwrap();
    first.database.signal_process(startup, Signal::SIGSTOP).unwrap();
    throughout(seconds(4), || {
        let instance = first.agent.instance().unwrap();
        assert!(has_in_sync(&instance, "db2"), "{instance}\n{}", first.agent.log());
    });
    // The agent may have killed it by now: a database that answers nothing is stopped in the end.
    let _ = first.database.signal_process(startup, end);
    wait_until_one_serves(&pair, GENEROUS).unwrap();
    assert_nothing_is_lost(&pair, &record);
}

/// The recovery fails: its database is gone then.
#[test]
fn a_crash_recovery_that_fails_late_leaves_a_node_that_serves() {
    crash_recovery_takes_long("recovery-fails", Signal::SIGKILL);
}

/// The recovery succeeds in the end.
#[test]
fn a_crash_recovery_that_ends_late_leaves_a_node_that_serves() {
    crash_recovery_takes_long("recovery-ends", Signal::SIGCONT);
}

/// The primary's host loses its power. The standby is told to promote, and its receiver, which ends too
/// slowly, is killed: the server restarts all its processes and has forgotten the promotion. It is promoted
/// once more, and serves within seconds.
#[test]
fn a_promotion_that_is_forgotten_is_ordered_again() {
    let pair = pair("promotion-forgotten");
    let [first, second] = &pair.nodes;
    let receiver = second.database.wait_for_process("walreceiver").unwrap();
    // It still waits for the dark host, and has all that came from there.
    first.host.power_off().unwrap();
    second.database.signal_process(receiver, Signal::SIGSTOP).unwrap();
    until(second, "the promotion to be ordered", |i| i["phase"] == "promoting");
    std::thread::sleep(seconds(1));
    second.database.signal_process(receiver, Signal::SIGKILL).unwrap();
    let killed = Instant::now();
    wait_until_one_serves(&pair, seconds(20)).unwrap();
    println!("it served {:?} after its receiver was killed", killed.elapsed());
    assert!(!second.database.is_in_recovery().unwrap());
}
