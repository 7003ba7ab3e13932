//! `gs_ctl start` and `restart`: what the mode makes of the PostgreSQL beneath.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{
    super::{
        SCHEMA,
        report::{log, raw},
        server::{CONNECT, Recorded},
    },
    Call, FAILED, stop,
};

/// Included by the server's configuration, and written at each start.
const SETTINGS: &str = "opengauss-sim.conf";

pub(super) fn start(call: &Call<'_>) -> u8 {
    // A busy lock is a failure with exit code 0 here, and nowhere else.
    let Some(_lock) = call.lock("start") else { return 0 };
    call.begin("gs_ctl started");
    if matches!(call.node.recorded(), Recorded::Alive(_)) {
        log(" another server might be running; Please use the restart command\n");
        return 0;
    }
    launch(call, call.options.mode.as_deref())
}

pub(super) fn restart(call: &Call<'_>) -> u8 {
    let Some(_lock) = call.lock("restart") else { return 0 };
    call.begin("gs_ctl restarted ");
    let recorded = call.node.recorded_mode();
    let mode = call.options.shutdown.as_deref().unwrap_or("fast");
    if !stop::shut_down(call, mode) && mode == "immediate" {
        stop::kill_by_directory(call);
    }
    launch(call, call.options.mode.as_deref().or(recorded.as_deref()))
}

/// Starts the server in a mode and says how that went.
pub(super) fn launch(call: &Call<'_>, mode: Option<&str>) -> u8 {
    log("waiting for server to start...\n");
    match run(call, mode) {
        Ok(()) => {
            call.dot();
            raw("\n\n");
            log(" done\n");
            log(&format!("server started ({})\n", call.shown()));
            0
        }
        Err(error) => {
            raw("\n");
            log(&format!(" stopped waiting\n{error:#}\n"));
            log("could not start server\nExamine the log output.\n");
            FAILED
        }
    }
}

/// Without a mode the server comes up writable, which is the trap of the real one.
pub(super) fn run(call: &Call<'_>, mode: Option<&str>) -> Result<()> {
    let mode = match mode {
        None => None,
        Some(known @ ("primary" | "standby" | "cascade_standby" | "pending" | "normal")) => {
            Some(known)
        }
        Some(other) => anyhow::bail!("FATAL:  the options of -M is not recognized: {other}"),
    };
    let (node, dir) = (call.node, call.node.data_dir());
    let signal = dir.join("standby.signal");
    let was_standby = signal.exists();
    let follows = matches!(mode, Some("standby" | "cascade_standby" | "pending"));
    if follows {
        fs::write(&signal, "").context("standby.signal")?;
    }
    node.record(role(mode), "Starting")?;
    configure(call, mode)?;
    let mut command = node.program("pg_ctl");
    command.args(["start", "-s", "-w", "-D"]).arg(dir).arg("-l").arg(node.log());
    let output = command.output().context("cannot run pg_ctl")?;
    // A pending server refuses connections, and pg_ctl takes that for a server that runs.
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if was_standby && !follows {
        node.ask("select pg_catalog.pg_promote()", CONNECT)?;
    }
    node.record_mode(mode)?;
    if mode == Some("pending") {
        return node.record("Pending", "Need repair");
    }
    if !follows {
        node.ask(SCHEMA, CONNECT).context("openGauss's functions")?;
    }
    node.record(role(mode), "Normal")?;
    watch(&node.bin_dir)
}

fn role(mode: Option<&str>) -> &'static str {
    match mode {
        Some("standby") => "Standby",
        Some("cascade_standby") => "Cascade Standby",
        Some("pending") => "Pending",
        _ => "Primary",
    }
}

/// What the node's file says about the server, and whom it follows.
fn configure(call: &Call<'_>, mode: Option<&str>) -> Result<()> {
    let (node, dir) = (call.node, call.node.data_dir());
    let here = node.here();
    let peer = node.others().next();
    let source = peer.filter(|_| mode != Some("pending")).map_or(String::new(), |peer| {
        let host = if peer.address.is_empty() {
            peer.socket_dir.display().to_string()
        } else {
            peer.address.clone()
        };
        let (port, user, name) = (peer.port, &node.user, &here.name);
        format!("host={host} port={port} user={user} application_name={name} connect_timeout=2")
    });
    let listen = if here.address.is_empty() { "" } else { "*" };
    let text = format!(
        "port = {}\nlisten_addresses = '{listen}'\nunix_socket_directories = '{}'\n\
         primary_conninfo = '{source}'\nhot_standby = {}\nwal_log_hints = on\n\
         wal_keep_size = '256MB'\nwal_retrieve_retry_interval = '100ms'\n\
         recovery_target_timeline = 'latest'\n",
        here.port,
        here.socket_dir.display(),
        if mode == Some("pending") { "off" } else { "on" },
    );
    fs::write(dir.join(SETTINGS), text).context(SETTINGS)?;
    let path = dir.join("postgresql.conf");
    let main = fs::read_to_string(&path).context("postgresql.conf")?;
    let include = format!("include_if_exists = '{SETTINGS}'");
    if !main.contains(&include) {
        fs::write(&path, format!("{main}\n{include}\n")).context("postgresql.conf")?;
    }
    Ok(())
}

/// Leaves the process behind that keeps the state file.
fn watch(bin_dir: &Path) -> Result<()> {
    let mut command = Command::new(bin_dir.join("opengauss-sim"));
    command.arg("watch").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let leave = || nix::unistd::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(leave) };
    command.spawn().context("cannot start the watch")?;
    Ok(())
}
