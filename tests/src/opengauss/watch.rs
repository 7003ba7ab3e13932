//! What openGauss's main process does by itself and PostgreSQL's does not: it keeps `gaussdb.state`
//! true while it lives, and removes the file that asked for a promotion once it has promoted itself.
//!
//! `gs_ctl start` leaves it behind as a process of its own; it ends with the server.

use std::{fs, thread, time::Duration};

use anyhow::Result;

use super::{
    node::Node,
    server::{CONNECT, Recorded},
};

const EVERY: Duration = Duration::from_millis(50);
const STATE: &str = "select local_role, db_state from pg_stat_get_stream_replications()";

/// Runs until the server that runs now has ended. A hung server leaves the file as it was.
///
/// # Errors
/// When the data directory cannot be written.
pub fn run(node: &Node) -> Result<()> {
    let began = node.recorded();
    let (mut session, mut last) = (None, None);
    while matches!(began, Recorded::Alive(_)) && node.recorded() == began {
        session = session.or_else(|| node.connect(CONNECT).ok());
        let answer = session.as_ref().and_then(|session| session.ask(STATE, CONNECT).ok());
        if answer.is_none() {
            session = None;
        }
        let row = answer.and_then(|rows| rows.into_iter().next());
        if let Some([Some(role), Some(db_state)]) = row.as_deref()
            && last != row
        {
            node.record(role, db_state)?;
            if role == "Primary" {
                node.record_mode(Some("primary"))?;
                // Nobody may have asked.
                drop(fs::remove_file(node.trigger()));
            }
            last = row;
        }
        thread::sleep(EVERY);
    }
    Ok(())
}
