//! Promotions that are lost on the way.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ogha_agent::database::{Nodes, Role, Step, open};

use super::cluster::{Cluster, eventually, send};

/// The standby loses its WAL receiver while it is told to promote itself: it restarts all its
/// processes, and is a standby that knows of no order. The order is repeated.
#[tokio::test]
async fn a_receiver_that_is_killed_during_the_promotion() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let database = open(&standby.kind(), Nodes::default()).await.unwrap();
    assert_eq!(database.observe().await.role, Role::Standby);
    let startup = standby.sql("select pid from pg_stat_activity where backend_type = 'startup'");
    let receiver = standby.receiver();
    // It must not have obeyed before the receiver dies.
    send(startup.parse().unwrap(), Signal::SIGSTOP);

    let begun = Instant::now();
    let order = {
        let database = std::sync::Arc::clone(&database);
        tokio::spawn(async move { database.perform(Step::Promote).await })
    };
    let ordered = || {
        standby.log().contains("received promote request")
            || standby.data().join("promote").exists()
    };
    while !ordered() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    send(receiver, Signal::SIGKILL);
    tokio::time::timeout(Duration::from_secs(30), order).await.unwrap().unwrap().unwrap();
    assert!(standby.log().contains("reinitializing"), "it restarted: {}", standby.log());
    assert_eq!(standby.sql("create table t (n int)"), "CREATE TABLE");
    assert!(!standby.data().join("promote").exists());
}

/// Nothing can be promoted where no server runs, and that is said at once.
#[tokio::test]
async fn a_server_that_is_down_is_not_promoted_for_a_minute() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let database = open(&standby.kind(), Nodes::default()).await.unwrap();
    assert_eq!(database.observe().await.role, Role::Standby);
    standby.kill();
    eventually("it is gone", || standby.runs().is_none());
    let begun = Instant::now();
    let error = format!("{:#}", database.perform(Step::Promote).await.unwrap_err());
    assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
    assert!(error.contains("no server runs there"), "{error}");
}
