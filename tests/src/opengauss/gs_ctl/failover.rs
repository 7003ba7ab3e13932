//! `gs_ctl failover`: it asks, looks each second, and may not tell the truth.

use std::{fs, thread, time::Duration};

use nix::errno::Errno;

use super::{
    super::{
        report::{log, raw},
        server::Recorded,
        state::State,
    },
    Call, FAILED,
};

pub(super) fn failover(call: &Call<'_>) -> u8 {
    let Some(_lock) = call.lock("failover") else { return FAILED };
    call.begin("gs_ctl failover ");
    log(&format!("failover term ({})\n", call.options.term()));
    // Before any check, like the real one.
    drop(fs::write(call.node.data_dir().join("term_file"), call.options.term().to_ne_bytes()));
    let pid = match call.node.recorded() {
        Recorded::Nothing => return call.no_pid_file(""),
        Recorded::Alive(pid) | Recorded::Dead(pid) => pid,
    };
    match role(call).as_str() {
        "Primary" => return completed(call),
        "Standby" | "Cascade Standby" => {}
        "Unknown" => {
            log(" cannot failover server:server mode is unknown\n");
            return FAILED;
        }
        _ => {
            log(" cannot failover server; server is not in standby or cascade standby mode\n");
            return FAILED;
        }
    }
    promote(call, pid)
}

/// By SQL, or out of the state file of whoever wrote it.
fn role(call: &Call<'_>) -> String {
    if call.node.recorded_mode().as_deref() == Some("pending") {
        return "Pending".to_owned();
    }
    call.node.live_role().unwrap_or_else(|_| {
        log("Getting state from gaussdb.state!\n");
        State::read(call.node.data_dir()).map_or("Unknown".to_owned(), |state| state.role)
    })
}

fn promote(call: &Call<'_>, pid: u32) -> u8 {
    log(if call.options.no_wait {
        " server starting failover\n"
    } else {
        " waiting for server to failover...\n"
    });
    let faults = call.node.faults();
    let mut replaying = Duration::from_millis(faults.failover_delay_ms);
    for round in 0..call.options.rounds() {
        let before_next = replaying.min(faults.tick());
        if !faults.failover_ignored && replaying <= faults.tick() {
            thread::sleep(before_next);
            if let Err(error) = signal(call, pid, round) {
                log(&format!(" could not send failover signal (PID: {pid}): {}\n", error.desc()));
                drop(fs::remove_file(call.node.trigger()));
                return FAILED;
            }
        } else {
            // The file lies there, and the server does not heed it yet.
            drop(fs::File::create(call.node.trigger()));
        }
        replaying = replaying.saturating_sub(faults.tick());
        if call.options.no_wait {
            return 0;
        }
        call.dot();
        if role(call) == "Primary" {
            raw("\n");
            log(" done\n");
            drop(fs::remove_file(call.node.trigger()));
            drop(call.node.record("Primary", "Normal"));
            drop(call.node.record_mode(Some("primary")));
            return completed(call);
        }
    }
    raw("\n");
    log(&format!(
        " failover timeout after {} seconds. please manually check the cluster status or backtrack log.\n",
        call.options.rounds()
    ));
    log(&format!(" failover failed ({})\n", call.shown()));
    FAILED
}

fn signal(call: &Call<'_>, pid: u32, round: u32) -> Result<(), Errno> {
    call.node.trigger_failover(pid)?;
    if round == 0 {
        drop(call.node.record("Standby", "Promoting"));
    }
    Ok(())
}

fn completed(call: &Call<'_>) -> u8 {
    log(&format!(" failover completed ({})\n", call.shown()));
    0
}
