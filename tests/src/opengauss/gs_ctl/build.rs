//! `gs_ctl build`: makes this node a standby of whichever other node is primary.

use std::{fs, process::Output};

use anyhow::{Context as _, Result, ensure};

use super::{
    super::{
        node::Peer,
        report::log,
        server::{CONNECT, Recorded},
    },
    Call, FAILED, start, stop,
};

pub(super) fn build(call: &Call<'_>) -> u8 {
    let Some(_lock) = call.lock("build") else { return FAILED };
    let mode = call.options.build.as_deref().unwrap_or("auto");
    call.begin(match mode {
        "full" => "gs_ctl full build ",
        "check" => "gs_ctl build check ",
        _ => "gs_ctl incremental build ",
    });
    if call.node.live_role().is_ok_and(|role| role == "Primary") {
        log("The local server run as Primary,build cannot be executed.\n");
        return FAILED;
    }
    let note = |text: String| drop(fs::write(call.node.data_dir().join("gs_build.pid"), text));
    note(format!("{}\n", std::process::id()));
    // Before anything else, also for a check: without a primary it stays down.
    if matches!(call.node.recorded(), Recorded::Alive(_)) {
        stop::shut_down(call, "fast");
        stop::kill_by_directory(call);
    }
    let Some(primary) = primary(call) else {
        log("could not connect to server.\n");
        log("inc build failed due to primary connection failure, skip full build.\n");
        return FAILED;
    };
    if mode == "check" {
        check(call, primary);
        note("0\n".to_owned());
        return 0;
    }
    drop(call.node.record("Standby", "Building"));
    match copy(call, primary, mode) {
        Ok(done) => log(&format!("{done} build completed({}).\n", call.shown())),
        Err(error) => {
            log(&format!("{error:#}\n"));
            log("inc build failed.\n");
            return FAILED;
        }
    }
    note("0\n".to_owned());
    if call.options.quiet { 0 } else { start::launch(call, Some("standby")) }
}

fn primary<'a>(call: &'a Call<'_>) -> Option<&'a Peer> {
    let asked = "select local_role from pg_stat_get_stream_replications()";
    call.node.others().find(|peer| {
        let answer = call.node.ask_peer(peer, asked, CONNECT);
        let is_primary = answer.is_ok_and(|rows| rows == [[Some("Primary".to_owned())]]);
        let outcome = if is_primary { "success" } else { "failed" };
        log(&format!("build try host({}) port({}) {outcome}\n", peer.address, peer.port));
        is_primary
    })
}

fn copy(call: &Call<'_>, primary: &Peer, mode: &str) -> Result<&'static str> {
    if mode != "full" && call.node.data_dir().join("PG_VERSION").exists() {
        match rewind(call, primary) {
            Ok(()) => return Ok("incremental build"),
            Err(error) if mode == "incremental" => return Err(error),
            Err(error) => log(&format!("{error:#}\ninc build failed, change to full build.\n")),
        }
    }
    base_backup(call, primary)?;
    Ok("full build")
}

/// What a build would do, with the positions that it found on its way.
fn check(call: &Call<'_>, primary: &Peer) {
    let Ok(output) = pg_rewind(call, primary, &["--dry-run"]) else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let position =
        |words: &str| Some(text.split_once(words)?.1.split_whitespace().next().unwrap_or_default());
    if let Some(end) = end_of_log(call) {
        log(&format!("find max lsn success, find max lsn rec ({end}) success.\n"));
    }
    if let Some(common) = position("last common checkpoint at ") {
        log(&format!("find common checkpoint {common}\n"));
        log("find diverge point success\n");
    }
    let result = if output.status.success() { "incremental build" } else { "full build" };
    log(&format!("Build check result : {result}\n"));
}

/// Where the log of a server ends that was shut down.
fn end_of_log(call: &Call<'_>) -> Option<String> {
    let mut command = call.node.program("pg_controldata");
    let output = command.env("LC_ALL", "C").arg(call.node.data_dir()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let value = |name: &str| Some(text.split_once(name)?.1.split_whitespace().next()?.to_owned());
    let end = value("Minimum recovery ending location:")?;
    if end == "0/0" { value("Latest checkpoint location:") } else { Some(end) }
}

fn host(peer: &Peer) -> String {
    if peer.address.is_empty() {
        peer.socket_dir.display().to_string()
    } else {
        peer.address.clone()
    }
}

fn rewind(call: &Call<'_>, primary: &Peer) -> Result<()> {
    let output = pg_rewind(call, primary, &[])?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "gs_rewind: {text}");
    Ok(())
}

fn pg_rewind(call: &Call<'_>, primary: &Peer, arguments: &[&str]) -> Result<Output> {
    let source = format!(
        "host={} port={} user={} dbname=postgres",
        host(primary),
        primary.port,
        call.node.user
    );
    let mut command = call.node.program("pg_rewind");
    command.arg("-D").arg(call.node.data_dir()).arg(format!("--source-server={source}"));
    command.env("LC_ALL", "C").args(arguments).output().context("cannot run pg_rewind")
}

fn base_backup(call: &Call<'_>, primary: &Peer) -> Result<()> {
    let dir = call.node.data_dir();
    // The directory itself stays: it may be a mount, and its owner is the administrator's choice.
    for entry in fs::read_dir(dir).context("cannot list the data directory")?.flatten() {
        let path = entry.path();
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let mut command = call.node.program("pg_basebackup");
    command.arg("-D").arg(dir).args(["-c", "fast", "-X", "stream", "-h"]).arg(host(primary));
    command.arg("-p").arg(primary.port.to_string()).arg("-U").arg(&call.node.user);
    let output = command.output().context("cannot run pg_basebackup")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{text}");
    Ok(())
}
