//! What can't be done is tried again with growing pauses, and logged when it changes.

use std::{fs, thread};

use ogha_tests::lab::pair::GENEROUS;

use crate::stage::{has_in_sync, pair, seconds, until};

/// The most lines that may be logged, and steps told, in the time that is watched.
const LINES: usize = 12;

/// The standby's database stops, and the primary's server can't write its settings any more, so commits
/// can't be let go on without it. The agent tries again, and logs a few lines, not hundreds a second. When
/// the server can write again, clients can too.
#[test]
fn a_setting_that_can_not_be_changed_fills_no_log() {
    let pair = pair("alter-system-fails");
    let [first, second] = &pair.nodes;
    // The server writes this file and renames it.
    let obstacle = first.database.data_dir().join("postgresql.auto.conf.tmp");
    fs::create_dir(&obstacle).unwrap();
    second.database.stop().unwrap();
    // Long enough that it has tried, and failed.
    until(first, "the setting to have failed", |_| first.agent.log().contains("postgresql.auto"));
    let lines = || first.agent.log().lines().count();
    let history = || first.agent.history().unwrap().to_string().len();
    let before = (lines(), history());
    thread::sleep(seconds(5));
    let (logged, told) = (lines() - before.0, history() - before.1);
    fs::remove_dir(&obstacle).unwrap();
    assert!(logged < LINES, "{logged} lines in 5 s\n{}", first.host.last_words("agent"));
    assert!(told < 100 * LINES, "{told} octets of history in 5 s");
    pair.writer().wait_for(5, GENEROUS).unwrap();
    until(first, "the standby to have left the set", |i| !has_in_sync(i, "db2"));
}

/// The directory of the node's state can't be written, and the standby's database stops. The record can't
/// be changed; the agent logs a few lines, says in its status what it waits for or goes on, and when the
/// directory is writable again, clients can write.
#[test]
fn a_record_that_can_not_be_written_fills_no_log() {
    let pair = pair("record-fails");
    let [first, second] = &pair.nodes;
    let state = first.host.state_dir();
    let aside = state.with_extension("aside");
    fs::rename(&state, &aside).unwrap();
    second.database.stop().unwrap();
    thread::sleep(seconds(5));
    let lines = || first.agent.log().lines().count();
    let before = lines();
    thread::sleep(seconds(5));
    let logged = lines() - before;
    // The agent may have made it anew by then.
    if state.exists() {
        fs::remove_dir_all(&state).unwrap();
    }
    fs::rename(&aside, &state).unwrap();
    assert!(logged < LINES, "{logged} lines in 5 s\n{}", first.host.last_words("agent"));
    pair.writer().wait_for(5, GENEROUS).unwrap();
}
