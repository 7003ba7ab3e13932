//! What a rejoin would do is said before it is done, and saying it touches nothing.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
};

use nix::sys::signal::Signal;
use ogha_agent::database::{Plan, Step, Way, kept, plan};

use super::{
    cluster::{Cluster, eventually, send},
    rejoin::{SOON, driver, lost, parted, to},
};

async fn planned(of: &Cluster, peer: &Cluster) -> Plan {
    plan(&of.kind(), of.with([peer]), peer.name).await.unwrap()
}

/// Every file below a directory: what it is, how long, when it was changed, and its number.
fn listing(dir: &Path) -> BTreeMap<String, (u32, u64, i64, i64, u64)> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let seen = (meta.mode(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino());
            all.insert(path.display().to_string(), seen);
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    all
}

/// The plan of a node whose server does not run, which is as it was afterwards.
async fn planned_untouched(of: &Cluster, peer: &Cluster) -> Plan {
    let dir = of.data().parent().unwrap().to_owned();
    let before = listing(&dir);
    let plan = planned(of, peer).await;
    let after = listing(&dir);
    assert_eq!(before, after);
    assert!(of.runs().is_none());
    plan
}

/// A killed primary with rows of its own: the plan names the positions, the rows and the files that the
/// rejoin then really loses and keeps. What it has kept is named by the next plan, with its size.
#[tokio::test]
async fn a_rewind_is_foretold() {
    let (old, new) = parted("wal_log_hints = on\n").await;
    let plan = planned_untouched(&old, &new).await;
    assert_eq!((plan.way, plan.obstacles.len(), plan.left.len()), (Way::Rewind, 0, 0), "{plan}");
    let loses = plan.loses.clone().unwrap();
    assert!(loses.contains("1 committed transactions; rows: 100 inserted, 0 updated"), "{loses}");
    let wal = &plan.keeps[0];
    assert!(wal.place.to_str().unwrap().contains(".ogha-lost-") && wal.bytes >= 16 << 20, "{plan}");
    assert!(plan.keeps[1].what.contains("postgresql.conf"), "{plan}");

    let database = driver(&old, &new).await;
    database.perform(to(&new)).await.unwrap();
    let lost = lost(&*database).unwrap();
    let words = format!("timeline 1 from {} to {}", lost.from, lost.to);
    assert!(loses.starts_with(&words), "{loses}: {words}");
    let again = planned(&old, &new).await;
    assert_eq!((again.way, again.loses), (Way::Nothing, None));
    let [left] = &again.left[..] else { panic!("{:?}", again.left) };
    assert_eq!((&left.path, left.bytes >= 16 << 20), (&lost.kept, true), "{left}");
    assert_eq!(kept(&old.kind()).await.unwrap(), again.left);
    let progress = database.progress().borrow().clone().unwrap();
    assert_eq!(progress.kept, again.left);
}

/// Without hints it would be copied: the plan says why, how much is to be moved aside, and what in the
/// data directory keeps a copy from taking its place.
#[tokio::test]
async fn a_copy_is_foretold_with_what_is_in_its_way() {
    let (old, new) = parted("wal_log_hints = off\n").await;
    let plan = planned_untouched(&old, &new).await;
    assert_eq!((plan.way, plan.is_possible()), (Way::Copy, true), "{plan}");
    assert!(plan.why.iter().any(|why| why.contains("wal_log_hints = on")), "{plan}");
    let before = &plan.keeps[0];
    assert!(before.place.to_str().unwrap().contains(".ogha-before-"), "{plan}");
    assert!(before.bytes > 20 << 20 && before.what == "the former data directory", "{plan}");

    symlink("/elsewhere", old.data().join("pg_tblspc/16384")).unwrap();
    let plan = planned_untouched(&old, &new).await;
    assert!(!plan.is_possible());
    assert!(
        plan.to_string().contains("REFUSED   the database has tablespaces in /elsewhere"),
        "{plan}"
    );
}

/// A user without the rights that `pg_rewind` needs: a copy is foretold, and which right is missing.
#[tokio::test]
async fn a_missing_right_is_named() {
    let (old, new) = parted("wal_log_hints = on\n").await;
    new.sql("create role repl login replication");
    old.append("postgresql.auto.conf", "primary_conninfo = 'user=repl'\n");
    let plan = planned_untouched(&old, &new).await;
    assert_eq!(plan.way, Way::Copy, "{plan}");
    let named = |plan: &Plan, words: &str| plan.why.iter().any(|why| why.contains(words));
    assert!(named(&plan, "user repl at n2 may not call pg_ls_dir"), "{plan}");
    for function in [
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    ] {
        new.sql(&format!("grant execute on function pg_catalog.{function} to repl"));
    }
    let plan = planned_untouched(&old, &new).await;
    assert!(named(&plan, "may not order a CHECKPOINT"), "{plan}");
    new.sql("grant pg_checkpoint to repl");
    let plan = planned_untouched(&old, &new).await;
    assert_eq!(plan.way, Way::Rewind, "{plan}");
}

/// After a switchover nothing is lost; a standby that was away too long is copied; one that runs would
/// be stopped.
#[tokio::test]
async fn a_standby_is_foretold_to_follow_or_to_be_copied() {
    let old = Cluster::primary();
    let new = old.standby();
    let (first, second) = (driver(&old, &new).await, driver(&new, &old).await);
    first.perform(Step::Demote(SOON)).await.unwrap();
    second.perform(Step::Promote).await.unwrap();
    new.sql("create table t (n int)");
    let plan = planned_untouched(&old, &new).await;
    assert_eq!((plan.way, &plan.loses, plan.stops), (Way::Follow, &None, false), "{plan}");
    for _ in 0..3 {
        new.sql("insert into t values (1); select pg_switch_wal()");
        new.sql("insert into t values (1); checkpoint");
    }
    let plan = planned_untouched(&old, &new).await;
    assert_eq!((plan.way, plan.is_possible()), (Way::Copy, true), "{plan}");
    assert!(plan.why[0].contains("n2 has no WAL from"), "{plan}");
    assert!(plan.keeps[0].what.contains("removed once the copy works"), "{plan}");
}

/// Another cluster and one that is behind are refused; a primary that runs is not stopped by a plan.
#[tokio::test]
async fn a_refusal_is_foretold() {
    let old = Cluster::primary();
    let stranger = Cluster::primary();
    let pid = old.main_pid();
    let plan = planned(&old, &stranger).await;
    assert!(!plan.is_possible() && plan.stops, "{plan}");
    assert!(plan.obstacles[0].contains("different database clusters"), "{plan}");

    let standby = old.standby();
    send(standby.receiver(), Signal::SIGSTOP);
    old.sql("create table t as select generate_series(1, 1000)");
    let plan = planned(&old, &standby).await;
    assert!(plan.obstacles[0].contains("not behind but ahead"), "{plan}");
    assert_eq!(old.main_pid(), pid);
    assert!(!old.data().join("standby.signal").exists());
    standby.kill();
    eventually("the standby is gone", || standby.runs().is_none());
    let plan = planned(&old, &standby).await;
    assert!(plan.obstacles[0].contains("cannot ask n2 for its history"), "{plan}");
}
