//! The driver's steps beside the promotion: whom commits wait for, stopping in order, fences, and the
//! way back.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use ogha_agent::database::{Database, Observation, Role, Step};

use super::pair::{Host, Pair, eventually};

const SOON: Duration = Duration::from_secs(30);

fn wait_for(names: &[&str]) -> Step {
    Step::Synchronize(names.iter().map(|name| (*name).to_owned()).collect())
}

async fn seen(database: &dyn Database, holds: impl Fn(&Observation) -> bool) -> Observation {
    let begun = Instant::now();
    loop {
        let seen = database.observe().await;
        if holds(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "still {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn mode(host: &Host) -> u32 {
    fs::metadata(host.data()).unwrap().permissions().mode() & 0o777
}

/// Commits wait for a standby that dies, and go on when nobody is waited for any more.
#[tokio::test]
async fn commits_hang_for_a_dead_standby_until_nobody_is_waited_for() {
    let pair = Pair::start();
    let driver = pair.primary.driver().await;
    pair.primary.gsql("create table t (n int)");
    let before = driver.observe().await;
    assert!(before.replication[0].streaming && !before.replication[0].awaited, "{before:?}");
    driver.perform(wait_for(&["n2"])).await.unwrap();
    let now = seen(&driver, |seen| seen.replication[0].confirmed).await;
    assert!(now.replication[0].awaited && now.replication[0].peer == "n2", "{now:?}");
    assert_eq!(pair.primary.gsql("show synchronous_standby_names"), "FIRST 1 (n2)");

    pair.standby.kill();
    let mut client = pair.primary.client("insert into t values (1)");
    let hangs = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    eventually("the commit waits", || pair.primary.gsql(hangs) == "1");
    seen(&driver, |seen| seen.replication[0].state == "absent").await;
    assert!(client.try_wait().unwrap().is_none());
    let cut = driver.observe().await.replication[0].clone();
    assert!(cut.awaited && !cut.confirmed, "nobody else is called as the setting says: {cut:?}");
    driver.perform(wait_for(&[])).await.unwrap();
    eventually("the commit returns", || client.try_wait().unwrap().is_some());
    assert_eq!(pair.primary.gsql("select count(*) from t"), "1");
}

/// A backend is killed and the server recovers: it lives all the time, and has no role meanwhile.
#[tokio::test]
async fn a_server_that_recovers_from_a_crash_lives() {
    let pair = Pair::start();
    let driver = pair.primary.driver().await;
    assert!(driver.observe().await.writable);
    let main = pair.primary.runs();
    let mut client = pair.primary.client("select pg_sleep(600)");
    let asleep = "select pid from pg_stat_activity where wait_event = 'PgSleep'";
    eventually("a backend sleeps", || !pair.primary.gsql(asleep).is_empty());
    let backend = pair.primary.gsql(asleep).parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(backend), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    client.wait().unwrap();
    let begun = Instant::now();
    let mut words = Vec::new();
    loop {
        let seen = driver.observe().await;
        assert_eq!(seen.process.pid(), main, "{seen:?}");
        if seen.role == Role::Unknown {
            words.push(seen.state);
        } else if !words.is_empty() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{words:?}");
    }
    assert!(words.iter().any(|word| word == "recovery"), "{words:?}");
}

/// Stopped in order and fenced, a server does not start whatever an operator types; as the primary
/// that it was, it does.
#[tokio::test]
async fn what_was_demoted_and_fenced_does_not_start_by_hand() {
    let pair = Pair::start();
    let driver = pair.primary.driver().await;
    driver.perform(Step::Checkpoint).await.unwrap();
    pair.primary.gsql("create table t as select 1 as n");
    driver.perform(Step::Demote(SOON)).await.unwrap();
    assert_eq!(pair.primary.runs(), None);
    assert_eq!(pair.standby.gsql("select count(*) from t"), "1");
    driver.perform(Step::Disarm).await.unwrap();
    for arguments in [&["start"][..], &["start", "-M", "primary"], &["restart"]] {
        let (code, text) = pair.primary.tool("gs_ctl", arguments);
        assert_ne!(code, 0, "{arguments:?}: {text}");
        assert_eq!(pair.primary.runs(), None, "{arguments:?}: {text}");
    }
    assert!(pair.primary.data().join("ogha.fenced").exists());
    driver.perform(Step::Start(SOON)).await.unwrap();
    assert!(driver.writable().await);
    assert_eq!(mode(&pair.primary), 0o700);
    assert!(!pair.primary.data().join("ogha.fenced").exists());

    driver.perform(Step::StopImmediate).await.unwrap();
    let error = driver.perform(Step::Demote(SOON)).await.unwrap_err().to_string();
    assert!(error.contains("not shut down cleanly"), "{error}");
}

/// After a switchover the former primary only needs to be started as a standby; it may have been
/// fenced.
#[tokio::test]
async fn after_a_switchover_nothing_is_built() {
    let pair = Pair::start();
    let (first, second) = (pair.primary.driver().await, pair.standby.driver().await);
    first.perform(Step::Demote(SOON)).await.unwrap();
    first.perform(Step::Disarm).await.unwrap();
    second.perform(Step::Promote).await.unwrap();
    pair.standby.gsql("create table t as select 7 as n");
    first.perform(Step::Rejoin("n2".to_owned())).await.unwrap();
    eventually("it follows", || pair.primary.gsql("select n from t") == "7");
    let now = seen(&first, |seen| seen.role == Role::Standby && seen.state == "normal").await;
    assert!(now.upstream.is_some_and(|upstream| upstream.streaming));
    assert!(!pair.primary.data().join("gs_build.pid").exists(), "nothing was built");
    assert_eq!(pair.primary.beside(), [""; 0]);
    assert_eq!(pair.primary.gsql("show synchronous_standby_names"), "");
    let progress = first.progress().borrow().clone().unwrap();
    assert_eq!((progress.phase.as_str(), progress.lost), ("done", None));
}

/// What the old primary has alone is told and kept, and it is built again.
#[tokio::test]
async fn a_primary_with_writes_of_its_own_is_built_again() {
    let pair = Pair::start();
    let (first, second) = (pair.primary.driver().await, pair.standby.driver().await);
    pair.standby.ok("gs_ctl", &["stop", "-m", "fast"]);
    pair.primary.gsql("create table lost as select generate_series(1, 1000)");
    first.perform(Step::Demote(SOON)).await.unwrap();
    pair.standby.ok("gs_ctl", &["start", "-M", "standby"]);
    second.perform(Step::Promote).await.unwrap();
    pair.standby.gsql("create table t as select 7 as n");

    first.perform(Step::Rejoin("n2".to_owned())).await.unwrap();
    eventually("it follows", || pair.primary.gsql("select n from t") == "7");
    assert_eq!(pair.primary.gsql("select to_regclass('lost')"), "");
    let lost = first.progress().borrow().clone().unwrap().lost.expect("a table was lost");
    assert!(lost.bytes > 1000, "{lost}");
    assert!(lost.kept.join("README").exists());
    assert!(fs::read_dir(&lost.kept).unwrap().count() >= 2, "{lost}");
    assert_eq!(pair.primary.beside().len(), 1, "{:?}", pair.primary.beside());
}
