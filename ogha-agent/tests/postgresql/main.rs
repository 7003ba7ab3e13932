//! The PostgreSQL driver against a real server. As root the servers run as the user `postgres`, and
//! the driver reaches them through `peer` authentication; else all runs as the user of the test.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod awaited;
mod cluster;
mod dry_run;
mod promotion;
mod rejoin;
mod synchronize;
mod unknown;

use std::time::{Duration, Instant};

use cluster::{Cluster, eventually};
use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use ogha_agent::database::{Nodes, Process, Role, Step, open};

/// A primary and its standby are told apart, by role, position and state.
#[tokio::test]
async fn observe_a_primary_and_its_standby() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let first = open(&primary.kind(), primary.with([&standby])).await.unwrap();
    let second = open(&standby.kind(), standby.with([&primary])).await.unwrap();

    let seen = first.observe().await;
    assert_eq!((seen.role, seen.state.as_str()), (Role::Primary, "normal"), "{seen:?}");
    assert!(seen.writable && seen.error.is_none());
    assert_eq!(seen.process, Process::Running(primary.main_pid()));
    assert_eq!(seen.timeline, Some(1));
    let identifier = primary.sql("select system_identifier from pg_control_system()");
    assert_eq!(seen.system_identifier, identifier.parse().ok());
    let replication = &seen.replication[0];
    assert!(replication.streaming && !replication.awaited && !replication.confirmed, "{seen:?}");
    assert_eq!((replication.peer.as_str(), replication.state.as_str()), ("n2", "streaming"));

    primary.sql("create table t as select generate_series(1, 1000)");
    let written = first.observe().await.lsn.unwrap();
    assert!(written > seen.lsn.unwrap());
    let seen = eventually_async(|| second.observe(), |now| now.lsn >= Some(written)).await;
    assert_eq!((seen.role, seen.state.as_str(), seen.writable), (Role::Standby, "normal", false));
    assert!(!second.writable().await);
    let upstream = seen.upstream.clone().unwrap();
    assert_eq!((upstream.peer.as_deref(), upstream.streaming), (Some("n1"), true), "{seen:?}");
    assert_eq!(seen.timeline, Some(1));

    const ROUNDS: u32 = 500;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        assert_eq!(first.observe().await.role, Role::Primary);
    }
    println!("one observation of a primary: {:?}", begun.elapsed() / ROUNDS);

    primary.signal(Signal::SIGKILL);
    let alone = eventually_async(|| second.observe(), |now| now.state != "normal").await;
    assert_eq!((alone.role, alone.state.as_str()), (Role::Standby, "disconnected"));

    let begun = Instant::now();
    for _ in 0..ROUNDS {
        assert!(!second.writable().await);
    }
    println!("one look at writability: {:?}", begun.elapsed() / ROUNDS);
}

/// The primary is killed; the standby is promoted and takes writes.
#[tokio::test]
async fn promote_the_standby_of_a_dead_primary() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    primary.sql("create table t as select generate_series(1, 1000) as n");
    let database = open(&standby.kind(), Nodes::default()).await.unwrap();
    let before = database.observe().await;
    assert_eq!(before.role, Role::Standby);

    primary.signal(Signal::SIGKILL);
    let begun = Instant::now();
    database.perform(Step::Promote).await.unwrap();
    println!("from the order to promote to the first accepted write: {:?}", begun.elapsed());

    assert!(database.writable().await);
    let after = database.observe().await;
    assert_eq!((after.role, after.writable), (Role::Primary, true));
    assert!(after.lsn > before.lsn);
    assert_eq!(
        standby.sql("insert into t values (1001); select count(*) from t"),
        "INSERT 0 1\n1001"
    );
    // A second order finds it done.
    database.perform(Step::Promote).await.unwrap();
    database.perform(Step::AfterFailover).await.unwrap();
}

/// `default_transaction_read_only` keeps a primary from being taken for one that accepts writes.
#[tokio::test]
async fn a_read_only_primary_is_not_writable() {
    let primary = Cluster::primary();
    primary.sql("alter system set default_transaction_read_only = on");
    primary.sql("select pg_reload_conf()");
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    let seen = eventually_async(|| database.observe(), |seen| !seen.writable).await;
    assert_eq!((seen.role, seen.state.as_str()), (Role::Primary, "read only"));
}

/// A stop ends every process, with a busy backend, and says so only then; the server starts again.
#[tokio::test]
async fn stop_at_once() {
    let primary = Cluster::primary();
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    assert!(database.observe().await.writable);
    let mut busy = primary.busy();

    let begun = Instant::now();
    database.perform(Step::StopImmediate).await.unwrap();
    println!("from the order to stop to the end of the last process: {:?}", begun.elapsed());
    assert_eq!(primary.processes(), [0; 0]);
    busy.wait().unwrap();
    let seen = database.observe().await;
    assert_eq!((seen.role, seen.state.as_str()), (Role::Unknown, "stopped"));
    assert_eq!(seen.process, Process::Gone);
    assert!(!seen.writable && seen.error.is_some());
    database.perform(Step::StopImmediate).await.expect("what is stopped is stopped");

    primary.start();
    assert!(database.observe().await.writable, "the connection is opened again");
}

/// A server that cannot obey is killed, with the backends that it leaves behind.
#[tokio::test]
async fn stop_a_hung_server() {
    let primary = Cluster::primary();
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    let mut busy = primary.busy();
    primary.signal(Signal::SIGSTOP);
    database.perform(Step::StopImmediate).await.unwrap();
    assert_eq!(primary.processes(), [0; 0]);
    busy.wait().unwrap();
}

/// The main process is killed while a backend works on: the stop finds the backend.
#[tokio::test]
async fn stop_what_a_killed_server_left() {
    let primary = Cluster::primary();
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    let mut busy = primary.busy();
    primary.signal(Signal::SIGKILL);
    eventually("the main process is gone", || primary.runs().is_none());
    database.perform(Step::StopImmediate).await.unwrap();
    assert_eq!(primary.processes(), [0; 0]);
    busy.wait().unwrap();
}

/// A hung server costs an observation its deadline, no more, and is seen again when it goes on.
#[tokio::test]
async fn a_hung_server_does_not_hang_the_agent() {
    let primary = Cluster::primary();
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    primary.signal(Signal::SIGSTOP);
    for _ in 0..2 {
        let begun = Instant::now();
        let seen = database.observe().await;
        let took = begun.elapsed();
        assert_eq!((seen.role, seen.state.as_str()), (Role::Unknown, "unreachable"), "{seen:?}");
        assert_eq!(seen.process, Process::Running(primary.main_pid()));
        assert!((Duration::from_millis(900)..Duration::from_secs(20)).contains(&took), "{took:?}");
    }
    primary.signal(Signal::SIGCONT);
    eventually_async(|| database.observe(), |seen| seen.writable).await;
}

/// A hung standby is told to promote itself and the order is given up: it stays a standby when it
/// wakes up.
#[tokio::test]
async fn a_promotion_that_is_given_up_does_not_happen_later() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let database = open(&standby.kind(), Nodes::default()).await.unwrap();
    assert_eq!(database.observe().await.role, Role::Standby);
    standby.signal(Signal::SIGSTOP);

    let order = database.perform(Step::Promote);
    let given_up = tokio::time::timeout(Duration::from_millis(300), order).await;
    assert!(given_up.is_err(), "a stopped main process promotes nothing");
    assert!(!standby.data().join("promote").exists());

    standby.signal(Signal::SIGCONT);
    // The main process has worked through its signals when it lets a new connection in.
    assert_eq!(standby.sql("select 1"), "1");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(standby.sql("select pg_is_in_recovery()"), "t");
    // And a later order is obeyed.
    database.perform(Step::Promote).await.unwrap();
}

/// With every connection taken, and none open before, `pg_ctl` promotes.
#[tokio::test]
async fn promote_without_a_connection() {
    let primary = Cluster::primary();
    primary.sql("alter system set max_connections = 5");
    primary.sql("alter system set superuser_reserved_connections = 0");
    primary.restart();
    let standby = primary.standby();
    let mut crowd: Vec<_> = (0..20).map(|_| standby.idle()).collect();
    eventually("no connection is free", || standby.sql("select 1").is_empty());
    let database = open(&standby.kind(), Nodes::default()).await.unwrap();
    let seen = database.observe().await;
    assert_eq!((seen.state.as_str(), seen.process.pid().is_some()), ("too many connections", true));

    let order = database.perform(Step::Promote);
    let promoted = async {
        eventually_async(
            || Box::pin(async { standby.log().contains("received promote request") }),
            |yes| *yes,
        )
        .await;
        for client in &mut crowd {
            client.kill().unwrap();
            client.wait().unwrap();
        }
    };
    let (order, ()) = tokio::join!(order, promoted);
    order.unwrap();
}

async fn eventually_async<'a, T>(
    mut observe: impl FnMut() -> BoxFuture<'a, T>,
    holds: impl Fn(&T) -> bool,
) -> T
where
    T: std::fmt::Debug,
{
    let begun = Instant::now();
    loop {
        let seen = observe().await;
        if holds(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "still {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
