//! Real hangs are found, and replaced; a debugger is none.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};

use ogha_tests::lab::{
    Pair,
    cgroup::{Cgroup, Version},
    frozen::Freezer,
};

use crate::stage::{GENEROUS, assert_untouched, hung_after, pair, settings};

/// The main process alone is stopped: its backends go on, but nobody can connect any more.
#[test]
fn a_stopped_main_process_is_a_hang() {
    let pair = pair("hang-main");
    let main = pair.nodes[0].database.main_pid().unwrap();
    nix::sys::signal::kill(Pid::from_raw(main), Signal::SIGSTOP).unwrap();
    let took = hung_after(&pair, "stopped by a signal");
    println!("SIGSTOP of the main process: {took:?}");
    pair.wait_until_serving(1).unwrap();
    let writer = pair.writer();
    writer.wait_for(10, GENEROUS).unwrap();
    writer.stop().unwrap();
}

/// The database's control group is frozen, by either version.
#[test]
fn a_frozen_database_is_a_hang() {
    for version in [Version::Two, Version::One] {
        let pair = pair("hang-frozen");
        let Some(group) = Cgroup::new(version).unwrap() else { continue };
        group.take(&pair.nodes[0].database).unwrap();
        group.freeze().unwrap();
        let took = hung_after(&pair, "frozen");
        println!("control group {version:?} frozen: {took:?}");
        pair.wait_until_serving(1).unwrap();
        drop(group);
    }
}

/// No write returns: the main process answers as ever, but nobody can commit. The processes that wait for
/// the disk can't be ended before it answers; they were killed, and that is enough.
#[test]
fn a_disk_that_hangs_is_a_hang() {
    let pair = Pair::without_agents("hang-disk", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    first.database.stop().unwrap();
    let disk = Freezer::under(&first.database).unwrap();
    first.database.start().unwrap();
    first.database.wait_for_standby(second.host.name()).unwrap();
    pair.start_agents().unwrap();
    let writer = pair.writer();
    writer.wait_for(10, GENEROUS).unwrap();
    let before = writer.record().acknowledged.len();
    disk.freeze().unwrap();
    let took = hung_after(&pair, "no write");
    println!("the disk hangs: {took:?}");
    pair.wait_until_serving(1).unwrap();
    writer.wait_for(before + 50, GENEROUS).unwrap();
    let record = writer.stop().unwrap();
    assert_eq!(record.lost(&second.database).unwrap(), [0i64; 0]);
    disk.thaw().unwrap();
    drop(disk);
}

/// A debugger holds the main process for longer than any deadline: nothing is done about it.
#[test]
fn a_debugger_is_no_hang() {
    let pair = pair("hang-debugger");
    let main = pair.nodes[0].database.main_pid().unwrap();
    let mut gdb = Command::new("gdb")
        .args([
            "-q",
            "-batch",
            "-nx",
            "-p",
            &main.to_string(),
            "-ex",
            "shell sleep 6",
            "-ex",
            "detach",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    gdb.wait().unwrap();
    thread::sleep(Duration::from_millis(500));
    assert_untouched(&pair);
}
