//! Unknown is not dead: the agent can't look, and the database answers. Nothing moves.

use std::{fs, os::unix::net::UnixStream, ptr, thread};

use ogha_tests::lab::{Pair, clock, pair::GENEROUS, sql::Session, tamper::Stand};

use crate::stage::{OFTEN, Undisturbed, pair, seconds};

const SPARE: usize = 8;
const CONNECTIONS: usize = 40;

/// `postmaster.pid` of the primary is something else for so long, as often as there are times, while the
/// database answers all clients. It is not stopped, and nobody takes over.
fn the_pid_file_is_hidden(name: &str, stand: Stand, times_ms: &[u64]) {
    let pair = pair(name);
    let before = Undisturbed::now(&pair);
    for time in times_ms {
        let hidden = pair.nodes[0].database.hide_pid_file(stand).unwrap();
        thread::sleep(std::time::Duration::from_millis(*time));
        drop(hidden);
        thread::sleep(seconds(2));
        before.assert(&pair);
    }
}

/// It is a directory.
#[test]
fn a_pid_file_that_can_not_be_read_is_no_death() {
    the_pid_file_is_hidden("pid-directory", Stand::Directory, &[1200, 5000]);
}

/// It is a FIFO: who opens it without care waits for ever.
#[test]
fn a_pid_file_that_hangs_is_no_death() {
    the_pid_file_is_hidden("pid-fifo", Stand::Fifo, &[1200, 5000]);
}

/// It is gone, as when somebody has cleaned up.
#[test]
fn a_pid_file_that_is_gone_is_no_death() {
    the_pid_file_is_hidden("pid-gone", Stand::Nothing, &[1200, 3000]);
}

/// The serving node's agent may open a few more descriptors than it has, and connections to its control
/// socket take them all and are idle: it can't look at its database for want of descriptors. Nothing
/// moves, and when they close it answers again.
#[test]
fn an_agent_without_descriptors_stops_no_database() {
    let pair = pair("descriptors");
    let first = &pair.nodes[0];
    let before = Undisturbed::now(&pair);
    let pid = first.agent.pid().unwrap();
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let most = open() + SPARE;
    limit_descriptors(pid, most);
    let socket = first.agent.socket_path();
    let idle: Vec<_> = (0..CONNECTIONS).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    thread::sleep(seconds(8));
    assert!(open() + 2 > most, "they do not run out: {} of {most}", open());
    drop(idle);
    clock::wait_until("the agent to answer again", GENEROUS, OFTEN, || {
        first.agent.instance().map(Some)
    })
    .unwrap();
    before.assert(&pair);
}

fn limit_descriptors(pid: i32, most: usize) {
    let limit = libc::rlimit { rlim_cur: most as u64, rlim_max: most as u64 };
    // SAFETY: one system call, which reads the limit and writes nothing.
    let result =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Clients take every connection that the primary has, and the agent's own are ended: the server says
/// that there are too many. That is an answer: nothing moves, also while the standby may still be told so.
#[test]
fn a_database_without_a_free_connection_is_no_dead_one() {
    let pair = pair("connections");
    let before = Undisturbed::now(&pair);
    let sessions = take_all_connections(&pair);
    let end =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'ogha'";
    let mut more = Vec::new();
    for _ in 0..40 {
        sessions[0].rows(end).unwrap();
        more.extend(pair.nodes[0].database.session());
        thread::sleep(seconds(1) / 8);
    }
    drop((sessions, more));
    thread::sleep(seconds(1));
    before.assert(&pair);
}

fn take_all_connections(pair: &Pair) -> Vec<Session> {
    let mut sessions = Vec::new();
    while let Ok(session) = pair.nodes[0].database.session() {
        sessions.push(session);
        assert!(sessions.len() < 200);
    }
    sessions
}

/// An operator makes transactions read-only by default at the primary, as before an upgrade. It is a
/// healthy primary that does what it was told: it is not stopped, and nobody takes over.
#[test]
fn a_primary_that_is_read_only_by_default_is_not_stopped() {
    let pair = pair("read-only");
    let before = Undisturbed::now(&pair);
    let session = pair.nodes[0].database.session().unwrap();
    session.rows("alter system set default_transaction_read_only = on").unwrap();
    session.rows("select pg_reload_conf()").unwrap();
    thread::sleep(seconds(6));
    let session = pair.nodes[0].database.session().unwrap();
    session.rows("alter system reset default_transaction_read_only").unwrap();
    session.rows("select pg_reload_conf()").unwrap();
    thread::sleep(seconds(1));
    before.assert(&pair);
}
