//! `gs_ctl notify`: what a pending server is to become.

use anyhow::{Context as _, Result};

use super::{
    super::{
        report::{log, raw},
        server::{CONNECT, Recorded},
    },
    Call, FAILED, start, stop,
};

pub(super) fn notify(call: &Call<'_>) -> u8 {
    call.begin("gs_ctl notify ");
    let Some(mode) = call.options.mode.as_deref() else {
        raw("the parameter of notify must be specified\n");
        return FAILED;
    };
    if !matches!(call.node.recorded(), Recorded::Alive(_)) {
        return call.no_pid_file("");
    }
    if call.node.recorded_mode().as_deref() != Some("pending") {
        log(
            " only support notify server in pending mode; or notify server to primary in normal mode",
        );
        return FAILED;
    }
    log("waiting for server to response... ");
    let mode_name = match mode {
        "primary" => "Primary",
        "standby" => "Standby",
        _ => "Cascade Standby",
    };
    match change(call, mode) {
        Ok(()) => {
            log("done");
            log(&format!("notify server completed, mode change to {mode_name}\n"));
            0
        }
        Err(error) => {
            log("failed");
            log(&format!(
                " notify server failed, notify {mode_name}, current is Pending: {error:#}\n"
            ));
            FAILED
        }
    }
}

/// PostgreSQL takes its readers in only after a new start, which takes longer than the real notice.
fn change(call: &Call<'_>, mode: &str) -> Result<()> {
    stop::quietly(call);
    start::run(call, Some("standby"))?;
    if mode == "primary" {
        call.node.ask("select pg_catalog.pg_promote()", CONNECT).context("the promotion")?;
        call.node.record_mode(Some("primary"))?;
    }
    Ok(())
}
