//! Whether commits really wait for a peer, whatever somebody has changed by hand.

use std::time::Duration;

use ogha_agent::database::{Database, Replication, Role, Step, open};

use super::{
    cluster::{Cluster, eventually},
    eventually_async,
    synchronize::{n2, wait_for},
};

/// A primary whose commits wait for its standby, which has confirmed everything.
async fn pair() -> (Cluster, Cluster, std::sync::Arc<dyn Database>) {
    let primary = Cluster::primary();
    let standby = primary.standby();
    primary.sql("create table t (n int)");
    let database = open(&primary.kind(), primary.with([&standby])).await.unwrap();
    database.perform(wait_for(&["n2"])).await.unwrap();
    let seen = eventually_async(|| database.observe(), |seen| seen.replication[0].confirmed).await;
    assert!(seen.replication[0].awaited, "{seen:?}");
    (primary, standby, database)
}

async fn until(database: &dyn Database, holds: impl Fn(&Replication) -> bool) -> Replication {
    let seen = eventually_async(|| database.observe(), |seen| holds(&seen.replication[0])).await;
    seen.replication[0].clone()
}

/// The setting is reset by hand, and the stream cut: the standby is not awaited, although nothing
/// that ogha ordered has failed. Ordered anew, it is.
#[tokio::test]
async fn a_setting_that_was_reset_by_hand() {
    let (primary, standby, database) = pair().await;
    primary.sql("alter system set synchronous_standby_names = ''");
    primary.sql("select pg_reload_conf()");
    until(&*database, |n2| !n2.awaited).await;
    standby.kill();
    until(&*database, |n2| n2.state.starts_with("absent")).await;
    assert!(!n2(&*database).await.awaited);
    assert_eq!(primary.sql("insert into t values (1)"), "INSERT 0 1");
    standby.start();
    until(&*database, |n2| n2.streaming).await;
    database.perform(wait_for(&["n2"])).await.unwrap();
    assert!(n2(&*database).await.awaited);
}

/// A clone of the standby has its name and comes from elsewhere: commits return by its confirmation,
/// and the standby is not awaited, whether it receives or not.
#[tokio::test]
async fn a_clone_with_the_standbys_name() {
    let (primary, standby, database) = pair().await;
    let clone = primary.stranger_called("n2");
    let shared = until(&*database, |n2| !n2.awaited).await;
    assert!(shared.state.contains("this host calls itself \"n2\""), "{shared:?}");
    let error = database.perform(wait_for(&["n2"])).await.unwrap_err().to_string();
    assert!(error.contains("commits cannot wait for n2 alone"), "{error}");

    standby.kill();
    let cut = until(&*database, |n2| !n2.streaming).await;
    assert!(!cut.awaited && !cut.confirmed, "{cut:?}");
    assert_eq!(primary.sql("insert into t values (1)"), "INSERT 0 1", "the clone confirms");
    clone.kill();
    let alone = until(&*database, |n2| n2.state == "absent").await;
    assert!(alone.awaited, "{alone:?}");
}

/// What hand-made and Debian's pairs call their standbys; ogha's own order to follow renames it a
/// moment later. Commits hang until the new name is ordered, and it is seen that they would.
#[tokio::test]
async fn a_standby_that_is_renamed() {
    for name in ["walreceiver", "15/main"] {
        let primary = Cluster::primary();
        let standby = primary.standby();
        primary.sql("create table t (n int)");
        let conninfo = format!("host=127.0.0.1 port={} application_name={name}", primary.port());
        standby.sql(&format!("alter system set primary_conninfo = '{conninfo}'"));
        standby.sql("select pg_reload_conf()");
        let named = format!(
            "select count(*) from pg_stat_replication where state = 'streaming' and application_name = '{name}'"
        );
        eventually("it is called so", || primary.sql(&named) == "1");
        let database = open(&primary.kind(), primary.with([&standby])).await.unwrap();
        let follower = open(&standby.kind(), standby.with([&primary])).await.unwrap();
        database.perform(wait_for(&["n2"])).await.unwrap();
        assert!(n2(&*database).await.awaited, "{name}");
        let setting = format!("FIRST 1 (\"{name}\")");
        assert_eq!(primary.sql("show synchronous_standby_names"), setting);

        follower.perform(Step::Follow("n1".to_owned())).await.unwrap();
        let renamed = until(&*database, |n2| n2.streaming && !n2.awaited).await;
        assert!(renamed.state.contains("does not name \"n2\""), "{renamed:?}");
        let mut client = primary.client("insert into t values (1)");
        let hangs = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
        eventually("the commit waits", || primary.sql(hangs) == "1");
        database.perform(wait_for(&["n2"])).await.unwrap();
        eventually("the commit returns", || client.try_wait().unwrap().is_some());
        assert!(n2(&*database).await.awaited);
        assert_eq!(primary.sql("show synchronous_standby_names"), "FIRST 1 (\"n2\")");
    }
}

/// Both at once, as at the agents' first start: whatever is ordered when, it ends in commits that
/// wait and return.
#[tokio::test]
async fn a_standby_that_is_renamed_while_commits_are_told_to_wait_for_it() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let conninfo = format!("host=127.0.0.1 port={}", primary.port());
    standby.sql(&format!("alter system set primary_conninfo = '{conninfo}'"));
    standby.sql("select pg_reload_conf()");
    let database = open(&primary.kind(), primary.with([&standby])).await.unwrap();
    let follower = open(&standby.kind(), standby.with([&primary])).await.unwrap();
    let follow = follower.perform(Step::Follow("n1".to_owned()));
    let wait = database.perform(wait_for(&["n2"]));
    let (followed, waited) = tokio::join!(follow, wait);
    followed.unwrap();
    waited.unwrap();
    if !n2(&*database).await.awaited {
        database.perform(wait_for(&["n2"])).await.unwrap();
    }
    until(&*database, |n2| n2.confirmed).await;
    assert_eq!(primary.sql("create table t (n int)"), "CREATE TABLE");
}

/// A role, or a database, whose commits wait for nobody: the standby is not awaited, and whoever
/// orders it hears why.
#[tokio::test]
async fn a_role_that_commits_without_a_standby() {
    let (primary, _standby, database) = pair().await;
    let cases = [
        ("role batch set synchronous_commit = off", "role batch", "role batch reset all"),
        (
            "database postgres set synchronous_commit = local",
            "database postgres",
            "database postgres reset all",
        ),
    ];
    primary.sql("create role batch");
    for (set, whose, reset) in cases {
        primary.sql(&format!("alter {set}"));
        let seen = until(&*database, |n2| !n2.awaited).await;
        assert!(seen.state.contains(whose), "{seen:?}");
        let error = database.perform(wait_for(&["n2"])).await.unwrap_err().to_string();
        assert!(error.contains(whose) && error.contains("wait for no standby"), "{error}");
        primary.sql(&format!("alter {reset}"));
        until(&*database, |n2| n2.awaited).await;
    }
}

/// What somebody made in another schema is not what is asked.
#[tokio::test]
async fn views_of_the_same_names_deceive_nobody() {
    let (primary, standby, _) = pair().await;
    primary.sql("create view public.pg_stat_replication as select 1 as pid where false");
    primary.sql(
        "create function public.pg_is_in_recovery() returns bool language sql as 'select true'",
    );
    primary.sql("alter database postgres set search_path = public, pg_catalog");
    assert_eq!(primary.sql("select pg_is_in_recovery()"), "t");
    let database = open(&primary.kind(), primary.with([&standby])).await.unwrap();
    let seen = eventually_async(
        || database.observe(),
        |seen| seen.replication.first().is_some_and(|n2| n2.confirmed),
    )
    .await;
    assert_eq!((seen.role, seen.writable), (Role::Primary, true));
    assert!(database.writable().await);
}

/// An order that cannot be carried out fails at once: the file of the settings cannot be written.
#[tokio::test]
async fn a_setting_that_cannot_be_written_is_an_error_at_once() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let database = open(&primary.kind(), primary.with([&standby])).await.unwrap();
    std::fs::create_dir(primary.data().join("postgresql.auto.conf.tmp")).unwrap();
    let begun = std::time::Instant::now();
    let error = format!("{:#}", database.perform(wait_for(&["n2"])).await.unwrap_err());
    assert!(error.contains("cannot write synchronous_standby_names"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
