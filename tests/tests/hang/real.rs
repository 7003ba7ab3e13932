//! Real hangs are found, and replaced; a debugger is none.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};

use crate::stage::{GENEROUS, assert_untouched, hung_after, pair};

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
