//! The in-sync set and what the database really does: a setting that an operator or a tool has changed
//! costs no row that was acknowledged, and no commit waits for ever for a name that nobody has.

use ogha_tests::lab::{
    Pair, clock,
    pair::{FIRST, GENEROUS, SECOND},
    postgres::PORT,
};

use crate::stage::{
    OFTEN, assert_nothing_is_lost, has_in_sync, pair, seconds, settings, try_to_write,
};

/// Something makes the primary acknowledge without its standby. Within moments the agent has set it right,
/// or does not call the standby in sync any more. Then the standby is cut off, rows are written, and the
/// primary is killed: no acknowledged row is lost.
fn is_set_right(name: &str, statement: &str) {
    let pair = pair(name);
    let [first, second] = &pair.nodes;
    let session = first.database.session().unwrap();
    session.rows(statement).unwrap();
    session.rows("select pg_reload_conf()").unwrap();
    let right = clock::wait_until("the setting or the set to be right", seconds(5), OFTEN, || {
        let instance = first.agent.instance()?;
        // A new session, as a client's would be.
        let session = first.database.session()?;
        let names = session.value("show synchronous_standby_names")?;
        let commit = session.value("show synchronous_commit")?;
        let waits = names.contains("db2") && ["on", "remote_apply"].contains(&commit.as_str());
        anyhow::ensure!(waits || !has_in_sync(&instance, "db2"), "{names:?}, {commit}: {instance}");
        Ok(Some(()))
    });
    pair.switch.cut_port(&first.host, PORT, &second.host).unwrap();
    let record = try_to_write(&pair, seconds(6));
    first.database.kill().unwrap();
    pair.switch.heal().unwrap();
    assert_nothing_is_lost(&pair, &record);
    right.unwrap();
}

/// `synchronous_standby_names` is emptied by hand.
#[test]
fn names_that_are_emptied_lose_nothing() {
    is_set_right("names-emptied", "alter system set synchronous_standby_names = ''");
}

/// `synchronous_commit` is turned off for all by hand.
#[test]
fn commits_that_are_made_asynchronous_lose_nothing() {
    is_set_right("commit-off", "alter system set synchronous_commit = off");
}

/// `synchronous_commit` is made local for the role of the clients.
#[test]
fn a_role_that_commits_locally_loses_nothing() {
    is_set_right("commit-role", "alter role postgres set synchronous_commit = local");
}

/// `synchronous_commit` is made local for the database of the clients.
#[test]
fn a_database_that_commits_locally_loses_nothing() {
    is_set_right("commit-database", "alter database postgres set synchronous_commit = local");
}

/// The names are set by hand to one that nobody has: commits wait for nobody who could come. Within
/// seconds they return, and the standby is in sync as before.
#[test]
fn names_that_nobody_has_hold_no_commit_up() {
    let pair = pair("names-nobody");
    let session = pair.nodes[0].database.session().unwrap();
    session.rows("alter system set synchronous_standby_names = 'nobody'").unwrap();
    session.rows("select pg_reload_conf()").unwrap();
    pair.writer().wait_for(20, seconds(15)).unwrap();
    pair.wait_until_in_sync(0).unwrap();
    let counts = format!(
        "select count(*) from pg_stat_replication where client_addr = '{SECOND}' \
         and sync_state in ('sync', 'quorum')"
    );
    clock::wait_until("commits to wait for the standby", GENEROUS, OFTEN, || {
        Ok((session.value(&counts)? == "1").then_some(()))
    })
    .unwrap();
}

/// A standby that was set up by hand, or by Debian's tools, calls itself otherwise than its node when the
/// agents start for the first time. Commits return within seconds, and what the status says is so.
fn a_stranger_name_hangs_nothing(name: &str, cluster_name: Option<&str>) {
    let pair = Pair::without_agents(name, &settings()).unwrap();
    let [first, second] = &pair.nodes;
    let called = cluster_name.unwrap_or("walreceiver");
    let mut lines = format!("primary_conninfo = 'host={FIRST} port={PORT} user=postgres'\n");
    if let Some(name) = cluster_name {
        lines += &format!("cluster_name = '{name}'\n");
    }
    second.database.append_settings(&lines).unwrap();
    second.database.stop().unwrap();
    second.database.start().unwrap();
    first.database.wait_for_standby(called).unwrap();
    for node in &pair.nodes {
        node.agent.start().unwrap();
    }
    pair.wait_until_serving(0).unwrap();
    pair.wait_until_in_sync(0).unwrap();
    let writer = pair.writer();
    for _ in 0..10 {
        let wrote = writer.wait_for(5, seconds(10));
        wrote.unwrap_or_else(|error| {
            let session = first.database.session().unwrap();
            let names = session.value("show synchronous_standby_names").unwrap();
            let rows = session.rows("select application_name, sync_state from pg_stat_replication");
            let instance = first.agent.instance().unwrap();
            panic!("{error:#}\n{names} {rows:?}\n{instance}\n{}", first.agent.log())
        });
        std::thread::sleep(seconds(1) / 2);
    }
    let instance = pair.wait_until_in_sync(0).unwrap();
    let session = first.database.session().unwrap();
    let sync = "select string_agg(sync_state, ',') from pg_stat_replication";
    assert_eq!(session.value(sync).unwrap(), "sync", "{instance}");
}

/// It calls itself `walreceiver`, as one does that has no name.
#[test]
fn a_standby_without_a_name_hangs_no_commit() {
    a_stranger_name_hangs_nothing("named-walreceiver", None);
}

/// It calls itself `15/main`, as Debian's standbys do.
#[test]
fn a_standby_with_debians_name_hangs_no_commit() {
    a_stranger_name_hangs_nothing("named-debian", Some("15/main"));
}
