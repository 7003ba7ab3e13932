//! Stopping in order, fences, and the ways back into the cluster.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use ogha_agent::database::{Database, Lost, Role, Step, open};

use super::{
    cluster::{Cluster, eventually, send},
    eventually_async,
};

pub const SOON: Duration = Duration::from_secs(30);

pub async fn driver(cluster: &Cluster, peer: &Cluster) -> Arc<dyn Database> {
    // The driver's log, shown with a test that fails.
    drop(tracing_subscriber::fmt().with_test_writer().try_init());
    open(&cluster.kind(), cluster.with([peer])).await.unwrap()
}

pub fn to(peer: &Cluster) -> Step {
    Step::Rejoin(peer.name.to_owned())
}

pub fn lost(database: &dyn Database) -> Option<Lost> {
    database.progress().borrow().as_ref().and_then(|progress| progress.lost.clone())
}

/// The primary dies with rows that its standby never got; the standby is promoted and writes on.
pub async fn parted(settings: &str) -> (Cluster, Cluster) {
    let old = Cluster::primary_with(settings);
    let new = old.standby();
    old.sql("create table t as select 1 as n");
    let end = old.sql("select pg_current_wal_lsn()");
    let received = format!("select pg_last_wal_replay_lsn() >= '{end}'");
    eventually("the standby has all", || new.sql(&received) == "t");
    // Killed as well, so that it does not find the rows in its socket.
    send(new.receiver(), Signal::SIGSTOP);
    old.sql("insert into t select generate_series(100, 199)");
    old.kill();
    new.kill();
    new.start();
    driver(&new, &old).await.perform(Step::Promote).await.unwrap();
    new.sql("insert into t values (2)");
    assert_eq!(new.sql("select count(*) from t"), "2");
    (old, new)
}

fn is_a_standby_with_all_rows(old: &Cluster, new: &Cluster) {
    new.sql("insert into t values (3)");
    eventually("it has the new row", || old.sql("select count(*) from t") == "3");
    assert_eq!(old.sql("select pg_is_in_recovery(), count(*) from t"), "t|3");
    assert_eq!(old.sql("show port"), old.port());
    assert_eq!(new.sql("select application_name from pg_stat_replication"), old.name);
}

/// A primary is stopped in order: its standby has everything. It is started by hand, and is a primary
/// again; fenced, it is none; told to start as the primary that it was, it is.
#[tokio::test]
async fn what_was_demoted_and_fenced_is_no_primary_when_started_by_hand() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let database = driver(&primary, &standby).await;
    database.perform(Step::Checkpoint).await.unwrap();
    primary.sql("create table t as select generate_series(1, 1000)");
    database.perform(Step::Demote(SOON)).await.unwrap();
    assert_eq!(primary.processes(), [0; 0]);
    assert_eq!(standby.sql("select count(*) from t"), "1000");
    database.perform(Step::Demote(SOON)).await.expect("it is shut down");

    assert!(primary.try_start());
    assert_eq!(primary.sql("select pg_is_in_recovery()"), "f", "nothing keeps it from that yet");
    database.perform(Step::StopImmediate).await.unwrap();
    let error = database.perform(Step::Demote(SOON)).await.unwrap_err().to_string();
    assert!(error.contains("not shut down cleanly"), "{error}");
    database.perform(Step::Disarm).await.unwrap();
    assert!(primary.try_start());
    assert_eq!(primary.sql("select pg_is_in_recovery()"), "t");
    assert_eq!(primary.sql("create table no (n int)"), "");
    database.perform(Step::StopImmediate).await.unwrap();

    database.perform(Step::Start(SOON)).await.unwrap();
    assert!(database.writable().await);
    database.perform(Step::Start(SOON)).await.expect("it runs");
    // A standby's own signal is nobody's fence.
    let other = driver(&standby, &primary).await;
    other.perform(Step::Demote(SOON)).await.unwrap_err();
    other.perform(Step::Disarm).await.unwrap();
    other.perform(Step::Start(SOON)).await.unwrap();
    assert_eq!(other.observe().await.role, Role::Standby);
}

/// A server that the driver started is in a session of its own.
#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let database = driver(&primary, &standby).await;
    database.perform(Step::Demote(SOON)).await.unwrap();
    database.perform(Step::Start(SOON)).await.unwrap();
    let pid = primary.main_pid();
    let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid.try_into().unwrap())));
    assert_ne!(session.unwrap(), nix::unistd::getsid(None).unwrap());
    database.perform(Step::Demote(SOON)).await.unwrap();
    primary.append("postgresql.auto.conf", "shared_buffers = nonsense\n");
    let error = database.perform(Step::Start(SOON)).await.unwrap_err();
    assert!(format!("{error:#}").contains("nonsense"), "{error:#}");
}

/// (a) After a switchover the former primary only needs to be told whom to follow.
#[tokio::test]
async fn after_a_switchover_nothing_is_lost_and_nothing_copied() {
    let old = Cluster::primary();
    let new = old.standby();
    old.sql("create table t as select 1 as n");
    let (first, second) = (driver(&old, &new).await, driver(&new, &old).await);
    first.perform(Step::Demote(SOON)).await.unwrap();
    second.perform(Step::Promote).await.unwrap();
    new.sql("insert into t values (2)");
    first.perform(to(&new)).await.unwrap();
    is_a_standby_with_all_rows(&old, &new);
    assert_eq!(lost(&*first), None);
    assert_eq!(first.progress().borrow().as_ref().unwrap().phase, "done");
    assert_eq!(old.beside(), [""; 0]);
    // Again: it follows already.
    let pid = old.main_pid();
    first.perform(to(&new)).await.unwrap();
    assert_eq!(old.main_pid(), pid);
    // And back.
    second.perform(Step::Demote(SOON)).await.unwrap();
    first.perform(Step::Promote).await.unwrap();
    second.perform(to(&old)).await.unwrap();
    assert_eq!(second.observe().await.timeline, Some(3));
}

/// (a) A primary was killed, and its standby had all of it.
#[tokio::test]
async fn a_killed_primary_without_own_writes_needs_no_rewind() {
    let old = Cluster::primary_with("autovacuum = off\n");
    let new = old.standby();
    let (first, second) = (driver(&old, &new).await, driver(&new, &old).await);
    first.perform(Step::Synchronize(vec!["n2".to_owned()])).await.unwrap();
    old.sql("create table t as select 1 as n");
    old.sql("checkpoint");
    let end = || old.sql("select pg_current_wal_insert_lsn()");
    let received = || new.sql(&format!("select pg_last_wal_receive_lsn() >= '{}'", end()));
    eventually("the standby has all", || received() == "t");
    old.kill();
    second.perform(Step::Promote).await.unwrap();
    new.sql("insert into t values (2)");
    first.perform(to(&new)).await.unwrap();
    is_a_standby_with_all_rows(&old, &new);
    assert_eq!((lost(&*first), old.beside()), (None, Vec::new()));
    assert_eq!(old.sql("show synchronous_standby_names"), "");
}

/// (b) It is rewound; what only it had is told, and its log kept.
#[tokio::test]
async fn what_a_rewound_primary_had_alone_is_told_and_kept() {
    let (old, new) = parted("wal_log_hints = on\n").await;
    let database = driver(&old, &new).await;
    database.perform(to(&new)).await.unwrap();
    is_a_standby_with_all_rows(&old, &new);
    let lost = lost(&*database).expect("rows were lost");
    assert_eq!(lost.timeline, 1);
    assert!(lost.bytes > 100 * 28, "{lost}");
    let seen = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!(
            "{}/pg_waldump -p {} -t {} -s {}",
            Cluster::tools().display(),
            lost.kept.display(),
            lost.timeline,
            lost.from
        ))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&seen.stdout);
    assert!(text.matches("Heap").count() >= 100, "{text}");
    assert!(fs::read_to_string(lost.kept.join("README")).unwrap().contains(&lost.from));
    assert_eq!(old.beside().len(), 1, "{:?}", old.beside());
}

/// (c) Without hints it cannot be rewound: it is copied, and the former directory kept.
#[tokio::test]
async fn what_cannot_be_rewound_is_copied_and_kept() {
    let (old, new) = parted("wal_log_hints = off\n").await;
    let database = driver(&old, &new).await;
    let system = fs::read(old.data().join("global/pg_control")).unwrap();
    database.perform(to(&new)).await.unwrap();
    is_a_standby_with_all_rows(&old, &new);
    let lost = lost(&*database).expect("rows were lost");
    assert!(lost.kept.to_str().unwrap().contains(".ogha-before-"), "{lost}");
    let kept = fs::read(lost.kept.join("global/pg_control")).unwrap();
    assert_eq!(kept[..8], system[..8], "the same cluster's");
    assert_eq!(old.beside().len(), 1, "{:?}", old.beside());
}

/// (c) A standby that was away too long: the log that it lacks has gone. Nothing is lost, and the
/// former directory goes.
#[tokio::test]
async fn a_standby_that_was_away_too_long_is_copied() {
    let primary = Cluster::primary();
    let standby = primary.standby();
    let database = driver(&standby, &primary).await;
    standby.stop();
    for _ in 0..3 {
        primary.sql("create table if not exists t (n int); select pg_switch_wal()");
        primary.sql("insert into t values (1); checkpoint");
    }
    database.perform(to(&primary)).await.unwrap();
    eventually("it has the rows", || standby.sql("select count(*) from t") == "3");
    assert_eq!((lost(&*database), standby.beside()), (None, Vec::new()));
}

/// A rejoin is killed while `pg_rewind` works. Whoever starts the server then, it does not start; the
/// rejoin is asked for again, and copies.
#[tokio::test]
async fn a_rejoin_that_is_killed_half_way_is_repeated() {
    let (mut old, new) = parted("wal_log_hints = on\n").await;
    // The worst moment: the signal has been removed, the control file not yet written.
    old.replace_tools([(
        "pg_rewind",
        "case \"$*\" in *--dry-run*) exec @BIN@/pg_rewind \"$@\";; esac\n\
         rm -r \"$3\"/standby.signal \"$3\"/pg_xact; touch \"$3\"/half-done; exec sleep 600",
    )]);
    let database = driver(&old, &new).await;
    let half_done = || old.data().join("half-done").exists();
    tokio::select! {
        outcome = database.perform(to(&new)) => panic!("{outcome:?}"),
        () = async { while !half_done() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
    }
    assert_eq!(database.progress().borrow().as_ref().unwrap().phase, "failed");
    assert!(!old.data().join("standby.signal").exists());
    assert!(!old.try_start(), "a half-rewound server started");
    let error = database.perform(Step::Start(SOON)).await.unwrap_err().to_string();
    assert!(error.contains("was interrupted"), "{error}");

    // Another agent, which knows only what is on the disk. It is killed while it copies.
    old.bin_dir = None;
    let copy = old.path("data.ogha-new");
    let script = format!("touch {}/half-copied; exec sleep 600", copy.display());
    old.replace_tools([("pg_basebackup", &script)]);
    let database = driver(&old, &new).await;
    let half_done = || copy.join("half-copied").exists();
    tokio::select! {
        outcome = database.perform(to(&new)) => panic!("{outcome:?}"),
        () = async { while !half_done() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
    }
    assert!(!old.try_start(), "a half-rewound server started");

    old.bin_dir = None;
    let database = driver(&old, &new).await;
    database.perform(to(&new)).await.unwrap();
    is_a_standby_with_all_rows(&old, &new);
    let told = lost(&*database).expect("it is still told");
    assert!(told.kept.join("README").exists(), "{told}");
    let beside = old.beside();
    assert!(beside.iter().any(|name| name.contains("before")) && beside.len() == 2, "{beside:?}");
}

/// The host fails between the two renames: there is no data directory, and the rejoin goes on.
#[tokio::test]
async fn a_rejoin_that_is_killed_between_the_renames_is_repeated() {
    let (mut old, new) = parted("wal_log_hints = off\n").await;
    let mark = old.path("data/started");
    old.replace_tools([("pg_ctl", &format!("touch {}; exec sleep 600", mark.display()))]);
    let database = driver(&old, &new).await;
    tokio::select! {
        outcome = database.perform(to(&new)) => panic!("{outcome:?}"),
        () = async { while !mark.exists() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
    }
    // It was past both; the second is taken back, and the journal as it was before it.
    fs::rename(old.data(), old.path("data.ogha-new")).unwrap();
    let journal = old.path("data.ogha-rejoin/journal.json");
    let text = fs::read_to_string(&journal).unwrap();
    assert!(text.contains("\"Whole\""), "{text}");
    fs::write(&journal, text.replace("\"Whole\"", "\"Copied\"")).unwrap();
    assert!(!old.try_start());

    old.bin_dir = None;
    let database = driver(&old, &new).await;
    let error = database.perform(Step::Start(SOON)).await.unwrap_err().to_string();
    assert!(error.contains("was interrupted"), "{error}");
    database.perform(to(&new)).await.unwrap();
    is_a_standby_with_all_rows(&old, &new);
    assert!(lost(&*database).is_some());
    assert_eq!(old.beside().len(), 1, "{:?}", old.beside());
}

/// Another cluster's node is refused, and so is an upstream that is behind.
#[tokio::test]
async fn what_must_not_be_joined_is_refused() {
    let old = Cluster::primary();
    let stranger = Cluster::primary();
    let database = open(&old.kind(), old.with([&stranger])).await.unwrap();
    // Both are called n1 here; the step names the peer.
    let error = database.perform(to(&stranger)).await.unwrap_err().to_string();
    assert!(error.contains("different database clusters"), "{error}");

    let primary = Cluster::primary();
    let standby = primary.standby();
    send(standby.receiver(), Signal::SIGSTOP);
    primary.sql("create table t as select generate_series(1, 1000)");
    let database = driver(&primary, &standby).await;
    database.perform(Step::StopImmediate).await.unwrap();
    let error = database.perform(to(&standby)).await.unwrap_err().to_string();
    assert!(error.contains("not behind but ahead"), "{error}");
    // It starts as a standby until that is settled.
    assert!(primary.try_start());
    assert_eq!(primary.sql("select pg_is_in_recovery()"), "t");
    let mode = fs::metadata(primary.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    eventually_async(|| database.observe(), |seen| seen.role == Role::Standby).await;
}
