//! `gs_ctl stop`.

use std::{fs, thread, time::Duration};

use nix::sys::signal::Signal;
use ogha_agent::database::pidfile;

use super::{
    super::{
        report::{log, raw},
        server::{Recorded, send},
    },
    Call, FAILED,
};

pub(super) fn stop(call: &Call<'_>) -> u8 {
    call.begin("gs_ctl stopped ");
    match call.node.recorded() {
        Recorded::Nothing => return call.no_pid_file("."),
        Recorded::Dead(_) => {
            // Nobody to signal: that is a success.
            raw("server stopped\n");
            return 0;
        }
        Recorded::Alive(_) => {}
    }
    let mode = call.options.shutdown.as_deref().unwrap_or("fast");
    if shut_down(call, mode) {
        return 0;
    }
    if mode == "immediate" {
        log("stop failed, killing gaussdb by force ...\n");
        kill_by_directory(call);
        log("server stopped\n");
        return 0;
    }
    raw(" failed\n");
    log(&format!(" server does not shut down ({})\n", call.shown()));
    FAILED
}

/// Signals the server and waits; true if it has gone.
pub(super) fn shut_down(call: &Call<'_>, mode: &str) -> bool {
    let Recorded::Alive(pid) = call.node.recorded() else { return true };
    let signal = if mode == "immediate" { Signal::SIGQUIT } else { Signal::SIGINT };
    // It may have ended just now.
    let _ = send(pid, signal);
    raw("waiting for server to shut down...");
    for _ in 0..call.options.rounds() {
        call.dot();
        if !pidfile::serves(pid, call.node.data_dir()) {
            raw(" done\nserver stopped\n");
            return true;
        }
    }
    false
}

/// Shuts the server down without a word, however long it takes.
pub(super) fn quietly(call: &Call<'_>) {
    let Recorded::Alive(pid) = call.node.recorded() else { return };
    // It may have ended just now.
    let _ = send(pid, Signal::SIGINT);
    while pidfile::serves(pid, call.node.data_dir()) {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Kills every server process that works in the data directory.
pub(super) fn kill_by_directory(call: &Call<'_>) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in pids.filter(|pid| pidfile::is_named_server(*pid)) {
        if pidfile::serves(pid, call.node.data_dir()) {
            let _ = send(pid, Signal::SIGKILL);
        }
    }
    while matches!(call.node.recorded(), Recorded::Alive(_)) {
        thread::sleep(Duration::from_millis(10));
    }
}
