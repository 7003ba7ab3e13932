//! `gs_ctl status`: the only command with an exit code of 3.

use std::fs;

use super::{
    super::{report::raw, server::Recorded},
    Call,
};

pub(super) fn status(call: &Call<'_>) -> u8 {
    call.begin("gs_ctl status");
    let Recorded::Alive(pid) = call.node.recorded() else {
        raw("no server running\n");
        return 3;
    };
    raw(&format!("gs_ctl: server is running (PID: {pid})\n"));
    raw(&fs::read_to_string(call.node.data_dir().join("postmaster.opts")).unwrap_or_default());
    0
}
