//! Somebody else confirms in the standby's name: what only he has is not in sync.

use std::{net::Ipv4Addr, process::Command, thread};

use nix::sys::signal::Signal;
use ogha_tests::lab::{
    Pair, Postgres, Template, clock,
    pair::{FIRST, GENEROUS, SECOND},
    postgres::{BIN, PORT},
};

use crate::stage::{OFTEN, ROWS, assert_nothing_is_lost, pair, seconds, try_to_write};

const CLONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 13);

/// Waits until that many receive from the primary and confirm, all under the standby's name.
fn wait_for_receivers(pair: &Pair, count: usize) {
    let session = pair.nodes[0].database.session().unwrap();
    let query = "select count(*) from pg_stat_replication where application_name = 'db2' \
                 and state = 'streaming' and flush_lsn is not null";
    clock::wait_until("all to receive", GENEROUS, OFTEN, || {
        Ok((session.value(query)? == count.to_string()).then_some(()))
    })
    .unwrap();
}

/// Ends the connection that these rows stand for.
fn hang_up(pair: &Pair, condition: &str) {
    let session = pair.nodes[0].database.session().unwrap();
    let end = "select pg_terminate_backend(pid) from pg_stat_replication where";
    session.rows(&format!("{end} {condition}")).unwrap();
}

/// A clone of the standby runs on a third host, with the standby's `application_name`. The real one is
/// cut off the primary; the clone goes on and confirms. Rows are written, the primary is killed: the
/// standby does not serve without what was acknowledged.
#[test]
fn a_clone_confirms_for_nobody_but_itself() {
    // As long as it is held, all databases are copies of one.
    let template = Template::get().unwrap();
    let pair = pair("clone");
    let [first, second] = &pair.nodes;
    let host = pair.lab.host("db3", &pair.switch, CLONE).unwrap();
    let clone = Postgres::standby(&host, &template, FIRST).unwrap();
    let conninfo = format!("host={FIRST} port={PORT} user=postgres application_name=db2");
    clone.append_settings(&format!("primary_conninfo = '{conninfo}'")).unwrap();
    clone.start().unwrap();
    wait_for_receivers(&pair, 2);
    // What ogha polls it cannot know before it has polled.
    thread::sleep(seconds(1));
    pair.switch.cut_port(&first.host, PORT, &second.host).unwrap();
    hang_up(&pair, &format!("client_addr = '{SECOND}'"));
    let record = try_to_write(&pair, seconds(8));
    first.database.kill().unwrap();
    pair.switch.heal().unwrap();
    assert_nothing_is_lost(&pair, &record);
}

/// On the standby's own host a tool archives the WAL, under the standby's name and from its address
/// (`pg_receivewal --synchronous`). The database's receiver hangs; the tool goes on and confirms. Rows are
/// written, the primary is killed: the standby does not serve without what was acknowledged.
#[test]
fn an_archiver_on_the_standbys_host_confirms_for_nobody() {
    let pair = pair("archiver");
    let [first, second] = &pair.nodes;
    let directory = second.host.directory().join("archive");
    std::fs::create_dir(&directory).unwrap();
    let mut command = Command::new(format!("{BIN}/pg_receivewal"));
    command.args(["--synchronous", "--no-loop", "-D"]).arg(&directory);
    command.arg("-d").arg(format!("host={FIRST} port={PORT} user=postgres application_name=db2"));
    let _archiver = second.host.spawn("pg_receivewal", command, None).unwrap();
    wait_for_receivers(&pair, 2);
    thread::sleep(seconds(1));
    second.database.signal_receiver(Signal::SIGSTOP).unwrap();
    let receiver = second.database.wait_for_process("walreceiver").unwrap();
    let session = first.database.session().unwrap();
    let real = "select pid from pg_stat_replication order by backend_start limit 1";
    let real = session.value(real).unwrap();
    hang_up(&pair, &format!("pid = {real}"));
    let record = try_to_write(&pair, seconds(8));
    assert!(record.acknowledged.len() < 1000 * ROWS);
    first.database.kill().unwrap();
    let _ = second.database.signal_process(receiver, Signal::SIGCONT);
    assert_nothing_is_lost(&pair, &record);
}
