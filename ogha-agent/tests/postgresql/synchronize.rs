//! Whom commits wait for, and a standby that follows another primary.

use std::time::Duration;

use nix::sys::signal::Signal;
use ogha_agent::database::{Database, Replication, Role, Step, open};

use super::{
    cluster::{Cluster, eventually, send},
    eventually_async,
};

pub async fn n2(database: &dyn Database) -> Replication {
    database.observe().await.replication[0].clone()
}

pub fn wait_for(names: &[&str]) -> Step {
    Step::Synchronize(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Commits wait for a standby that dies; they go on when nobody is waited for any more, and the
/// order to do so does not hang itself.
#[tokio::test]
async fn commits_hang_for_a_dead_standby_until_nobody_is_waited_for() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    primary.sql("create table t (n int)");
    let database = open(&primary.kind(), primary.with([&standby])).await.unwrap();
    database.perform(wait_for(&["n2"])).await.unwrap();
    let seen = eventually_async(|| database.observe(), |seen| seen.replication[0].confirmed).await;
    assert!(seen.replication[0].awaited, "{seen:?}");
    assert_eq!(primary.sql("insert into t values (1)"), "INSERT 0 1");

    standby.kill();
    let mut client = primary.client("insert into t values (2)");
    let hangs = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    eventually("the commit waits", || primary.sql(hangs) == "1");
    eventually_async(|| database.observe(), |seen| seen.replication[0].state == "absent").await;
    std::thread::sleep(Duration::from_millis(500));
    assert!(client.try_wait().unwrap().is_none(), "the commit returned without the standby");
    let cut = n2(&*database).await;
    assert!(cut.awaited && !cut.confirmed, "nobody else is called as the setting says: {cut:?}");

    database.perform(wait_for(&[])).await.unwrap();
    eventually("the commit returns", || client.try_wait().unwrap().is_some());
    assert!(client.wait().unwrap().success());
    assert_eq!(primary.sql("select count(*) from t"), "2");
}

/// A standby that lags is waited for at once, and has confirmed only when it has caught up.
#[tokio::test]
async fn confirmed_only_after_catching_up() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let database = open(&primary.kind(), primary.with([&standby])).await.unwrap();
    let flushed = "select count(flush_lsn) from pg_stat_replication";
    eventually("the standby confirms something", || primary.sql(flushed) == "1");
    let receiver = standby.receiver();
    send(receiver, Signal::SIGSTOP);
    primary.sql("create table t as select generate_series(1, 10000)");

    database.perform(wait_for(&["n2"])).await.unwrap();
    for _ in 0..20 {
        let seen = n2(&*database).await;
        assert!(seen.awaited && !seen.confirmed && seen.lag > Some(0), "{seen:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    send(receiver, Signal::SIGCONT);
    let seen = eventually_async(|| database.observe(), |seen| seen.replication[0].confirmed).await;
    assert!(seen.replication[0].awaited);
}

/// What postgresql.conf says gives way, on a standby as well, so that it does not hang once promoted.
#[tokio::test]
async fn a_standby_is_prepared_to_wait_for_nobody() {
    let primary = Cluster::primary_with("synchronous_standby_names = '*'\n");
    let standby = primary.standby();
    let database = open(&standby.kind(), standby.with([&primary])).await.unwrap();
    assert_eq!(standby.sql("show synchronous_standby_names"), "*");
    database.perform(wait_for(&[])).await.unwrap();
    assert_eq!(standby.sql("show synchronous_standby_names"), "");
    primary.kill();
    database.perform(Step::Promote).await.unwrap();
    assert_eq!(standby.sql("create table t (n int)"), "CREATE TABLE");
}

/// `*` makes commits wait for somebody, and so for nobody in particular; ogha names the peer.
#[tokio::test]
async fn a_star_is_no_guarantee() {
    let primary = Cluster::primary_with("synchronous_standby_names = '*'\n");
    let standby = primary.standby();
    let database = open(&primary.kind(), primary.with([&standby])).await.unwrap();
    let sync = "select sync_state from pg_stat_replication";
    eventually("the server calls it sync", || primary.sql(sync) == "sync");
    assert!(!n2(&*database).await.awaited);
    database.perform(wait_for(&["n2"])).await.unwrap();
    assert!(n2(&*database).await.awaited);
    assert_eq!(primary.sql("show synchronous_standby_names"), "FIRST 1 (\"n2\")");
    primary.sql("alter system set synchronous_commit = local");
    primary.sql("select pg_reload_conf()");
    eventually_async(|| database.observe(), |seen| !seen.replication[0].awaited).await;
}

/// Two standbys of one primary, which dies: one is promoted, the other follows it and keeps what its
/// connection said beside the place.
#[tokio::test]
async fn a_standby_follows_the_new_primary() {
    let primary = Cluster::primary();
    let (second, third) = (primary.standby(), primary.standby_called("n3"));
    primary.sql("create table t as select 1 as n");
    let promoted = open(&second.kind(), second.with([&primary, &third])).await.unwrap();
    // Of the peers, all at one address here, the driver knows the one that it is told of.
    let follower = open(&third.kind(), third.with([&second])).await.unwrap();
    third.sql(
        "alter system set primary_conninfo = 'host=127.0.0.1 port=1 hostaddr=127.0.0.1 \
         application_name=x connect_timeout=7 password=''it\\''s'''",
    );
    third.sql("select pg_reload_conf()");

    primary.kill();
    promoted.perform(Step::Promote).await.unwrap();
    follower.perform(Step::Follow("n2".to_owned())).await.unwrap();
    second.sql("insert into t values (2)");
    eventually("it has the new row", || third.sql("select count(*) from t") == "2");
    let conninfo = third.sql("show primary_conninfo");
    assert!(conninfo.contains("connect_timeout=7 password='it\\'s'"), "{conninfo}");
    assert!(conninfo.contains("application_name=n3"), "{conninfo}");
    assert!(!conninfo.contains("hostaddr"), "{conninfo}");
    assert_eq!(second.sql("select application_name from pg_stat_replication"), "n3");
    let seen = follower.observe().await;
    assert_eq!((seen.role, seen.timeline), (Role::Standby, Some(2)), "{seen:?}");

    let error = promoted.perform(Step::Follow("n3".to_owned())).await.unwrap_err().to_string();
    assert!(error.contains("is no standby"), "{error}");
}
