//! openGauss's tools, simulated in front of a real PostgreSQL, and the agent's driver against them.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod pair;
mod steps;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ogha_agent::database::{
    Database as _, Role, Step,
    opengauss::{gs_ctl::Query, state_file::StateFile},
};
use ogha_tests::opengauss::Faults;
use pair::{Pair, eventually, quick};

/// The primary dies. The driver sees the new primary long before `gs_ctl failover` looks at it.
#[tokio::test]
async fn a_promotion_is_seen_before_gs_ctl_returns() {
    let pair = Pair::start();
    let driver = pair.standby.driver().await;
    let seen = driver.observe().await;
    assert_eq!(
        (seen.role, seen.state.as_str(), seen.writable),
        (Role::Standby, "normal", false),
        "{seen:?}"
    );
    assert!(seen.lsn.is_some() && seen.process.pid().is_some() && seen.error.is_none(), "{seen:?}");

    // A long second, so that a busy machine cannot be the reason.
    pair.standby.set_faults(&Faults { tick_ms: 10_000, ..Faults::default() });
    pair.primary.kill();
    let begun = Instant::now();
    driver.perform(Step::Promote).await.unwrap();
    let took = begun.elapsed();
    println!("from the order to promote to the first look that saw it: {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");

    let seen = driver.observe().await;
    assert_eq!(
        (seen.role, seen.state.as_str(), seen.writable),
        (Role::Primary, "normal", true),
        "{seen:?}"
    );
    assert!(seen.lsn.is_some());
    let (code, text) = pair.standby.tool("gs_ctl", &["failover"]);
    assert_eq!(code, 1, "the first one still runs: {text}");
    assert!(text.contains("Another gs_ctl command is still running,failover failed !"), "{text}");
    eventually("the trigger is used up", || !pair.standby.data().join("failover").exists());
}

/// The same with the tools' real second: what `gs_ctl` itself takes.
#[tokio::test]
async fn a_failover_takes_gs_ctl_a_second() {
    let pair = Pair::start();
    pair.standby.set_faults(&Faults::default());
    pair.primary.kill();
    let begun = Instant::now();
    let (code, text) = pair.standby.tool("gs_ctl", &["failover"]);
    println!("gs_ctl failover: {:?}", begun.elapsed());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(code, 0);
    let words = ["failover term (1)\n", " waiting for server to failover...\n.", " done\n"];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert!(text.ends_with(&format!(" failover completed ({})\n", pair.standby.data().display())));
}

/// A dead former primary: `gs_ctl failover` says "completed" and 0. The driver does not believe it.
#[tokio::test]
async fn a_lie_is_not_believed() {
    let pair = Pair::start();
    pair.primary.kill();
    let (code, text) = pair.primary.tool("gs_ctl", &["failover"]);
    assert_eq!(code, 0);
    assert!(
        text.contains("Getting state from gaussdb.state!") && text.contains("failover completed")
    );

    let driver = pair.primary.driver().await;
    let error = driver.perform(Step::Promote).await.unwrap_err().to_string();
    assert!(error.contains("was not seen to accept writes"), "{error}");
    assert!(error.contains("no server runs there"), "{error}");
    let seen = driver.observe().await;
    assert_eq!((seen.role, seen.state.as_str(), seen.writable), (Role::Unknown, "stopped", false));
    assert_eq!(driver.query().await.unwrap(), Query::Down);
}

/// A server that ignores the order: the command times out, and its trigger is taken back.
#[tokio::test]
async fn a_failed_failover_leaves_no_trigger() {
    let pair = Pair::start();
    pair.standby.set_faults(&Faults { failover_ignored: true, ..quick() });
    let (code, text) = pair.standby.tool("gs_ctl", &["failover", "-t", "3"]);
    assert_eq!(code, 1);
    assert!(text.contains(" failover timeout after 3 seconds."), "{text}");
    let trigger = pair.standby.data().join("failover");
    assert!(trigger.exists(), "the tool leaves it behind");

    let driver = pair.standby.driver().await;
    let error = driver.perform(Step::Promote).await.unwrap_err().to_string();
    assert!(error.contains("failover failed"), "{error}");
    assert!(!trigger.exists(), "the driver does not");
    assert_eq!(driver.observe().await.role, Role::Standby);
}

/// A hung standby is told to promote itself, the order is given up, the standby wakes up: it stays
/// a standby.
#[tokio::test]
async fn a_promotion_that_is_given_up_does_not_happen_later() {
    let pair = Pair::start();
    let driver = pair.standby.driver().await;
    assert_eq!(driver.observe().await.role, Role::Standby);
    pair.standby.signal(Signal::SIGSTOP);
    let trigger = pair.standby.data().join("failover");
    let order = driver.perform(Step::Promote);
    let trigger_seen = async {
        while !trigger.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = order => panic!("a hung server was promoted: {outcome:?}"),
        () = trigger_seen => {}
    }
    assert!(!trigger.exists());
    pair.standby.signal(Signal::SIGCONT);
    assert_eq!(pair.standby.gsql("select 1"), "1");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(pair.standby.gsql("select pg_is_in_recovery()"), "t");
    assert!(!trigger.exists(), "the killed tool has not created it again");
}

/// The state file is kept while the server lives, and stays as it was when the server is killed.
#[tokio::test]
async fn the_state_file_is_true_until_the_server_dies() {
    let pair = Pair::start();
    let read = |host: &pair::Host| {
        let file =
            StateFile::parse(&std::fs::read(host.data().join("gaussdb.state")).unwrap()).unwrap();
        (file.role, file.state)
    };
    assert_eq!(read(&pair.primary), (Role::Primary, "normal"));
    eventually("the standby is seen", || read(&pair.standby) == (Role::Standby, "normal"));
    pair.primary.kill();
    eventually("the loss is seen", || read(&pair.standby) == (Role::Standby, "need repair"));
    assert_eq!(read(&pair.primary), (Role::Primary, "normal"));
    let driver = pair.standby.driver().await;
    let seen = driver.observe().await;
    assert!(seen.state.starts_with("need repair: "), "{seen:?}");
    pair.standby.ok("gs_ctl", &["failover"]);
    eventually("the role is seen", || read(&pair.standby) == (Role::Primary, "normal"));
}

/// A hung server: `gs_ctl query` needs five seconds to print old news with exit code 0. The driver
/// needs one, and takes the file for a hint at the role.
#[tokio::test]
async fn a_hung_server_is_not_taken_for_a_primary() {
    let pair = Pair::start();
    let driver = pair.primary.driver().await;
    assert!(driver.observe().await.writable);
    assert!(
        matches!(driver.query().await.unwrap(), Query::Live(state) if state.role == Role::Primary)
    );
    pair.primary.signal(Signal::SIGSTOP);
    // The connection that is open already belongs to a process that does not hang.
    let driver = pair.primary.driver().await;
    let begun = Instant::now();
    let seen = driver.observe().await;
    println!("an observation of a hung server: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(
        (seen.role, seen.state.as_str(), seen.writable),
        (Role::Unknown, "unreachable", false),
        "the state file says Primary, and is no observation"
    );
    assert_eq!((seen.lsn, seen.process.pid()), (None, pair.primary.runs()));
    let query = driver.query().await.unwrap();
    assert!(matches!(&query, Query::Stale { file, .. } if file.role == Role::Primary), "{query:?}");
    driver.perform(Step::StopImmediate).await.unwrap();
    assert_eq!(pair.primary.runs(), None);
}

/// `gs_om -t refreshconf` works with both nodes up, and its failures say what to do.
#[tokio::test]
async fn refreshconf() {
    let pair = Pair::start();
    let driver = pair.primary.driver().await;
    driver.perform(Step::AfterFailover).await.unwrap();
    pair.primary.set_faults(&Faults { refreshconf_fails: true, ..quick() });
    let error = driver.perform(Step::AfterFailover).await.unwrap_err().to_string();
    assert!(
        error.contains("expected while one is down") && error.contains("lost connection"),
        "{error}"
    );

    pair.primary.set_faults(&quick());
    // Nothing keeps a standby from being promoted beside a living primary.
    pair.standby.ok("gs_ctl", &["failover"]);
    let error = driver.perform(Step::AfterFailover).await.unwrap_err().to_string();
    assert!(error.contains("there are two"), "{error}");
    let (code, text) = pair.primary.tool("gs_om", &["-t", "status", "--detail"]);
    assert_eq!(code, 0);
    assert!(text.contains("cluster_state   : Unavailable"), "{text}");
}

/// The old primary comes back: as a standby after a build, which must not run while it is primary.
#[tokio::test]
async fn the_old_primary_is_built_again() {
    let pair = Pair::start();
    let (code, text) = pair.primary.tool("gs_ctl", &["build"]);
    assert_eq!(code, 1);
    assert!(text.contains("The local server run as Primary,build cannot be executed."), "{text}");
    pair.primary.kill();
    pair.standby.ok("gs_ctl", &["failover"]);
    pair.standby.gsql("create table t as select 7 as n");
    // The stand-in's rewind reads the timeline from the control file, which a checkpoint writes.
    pair.standby.gsql("checkpoint");
    pair.primary.ok("gs_ctl", &["build", "-b", "auto"]);
    eventually("it follows the new primary", || pair.primary.gsql("select n from t") == "7");
    let seen = pair.primary.driver().await.observe().await;
    assert_eq!((seen.role, seen.state.as_str()), (Role::Standby, "normal"));
}

/// Pending: the server runs and lets nobody in until it is told what it is.
#[tokio::test]
async fn a_pending_server_waits_for_its_role() {
    let pair = Pair::start();
    pair.standby.ok("gs_ctl", &["stop", "-m", "fast"]);
    let (code, text) = pair.standby.tool("gs_ctl", &["status"]);
    assert_eq!((code, text.ends_with("no server running\n")), (3, true));
    pair.standby.ok("gs_ctl", &["start", "-M", "pending"]);
    let (code, text) = pair.standby.tool("gs_ctl", &["failover"]);
    assert_eq!(code, 1);
    assert!(text.contains("cannot failover server; server is not in standby"), "{text}");
    let driver = pair.standby.driver().await;
    let seen = driver.observe().await;
    assert_eq!((seen.role, seen.writable), (Role::Unknown, false), "{seen:?}");
    assert!(
        matches!(driver.query().await.unwrap(), Query::Live(state) if state.role == Role::Unknown)
    );
    pair.standby.ok("gs_ctl", &["notify", "-M", "standby"]);
    assert_eq!(driver.observe().await.role, Role::Standby);
}

/// Odd exit codes and words of a server that is not there.
#[test]
fn a_server_that_is_down() {
    let pair = Pair::start();
    pair.standby.ok("gs_ctl", &["stop", "-m", "immediate"]);
    let expect = |tool: &str, arguments: &[&str], code: i32, words: &str| {
        let (seen, text) = pair.standby.tool(tool, arguments);
        assert_eq!(seen, code, "{tool} {arguments:?}: {text}");
        assert!(text.contains(words), "{tool} {arguments:?}: {text}");
    };
    expect("gs_ctl", &["query"], 1, "postmaster.pid\" does not exist\n");
    expect("gs_ctl", &["stop"], 1, "Is server running?\n");
    expect("gs_ctl", &["frobnicate"], 1, "is not simulated");
    expect(
        "gsql",
        &["-d", "postgres", "-p", "26000", "-c", "select 1"],
        2,
        "failed to connect Unknown:26000.",
    );
    pair.primary.ok("gs_ctl", &["start", "-M", "standby"]);
    assert_eq!(pair.primary.gsql("select pg_is_in_recovery()"), "f", "it ran already");
}
