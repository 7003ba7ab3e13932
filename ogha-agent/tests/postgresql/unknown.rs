//! What could not be observed is unknown, and never dead.

use std::{
    fs::{self, File},
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
        stat::Mode,
    },
    unistd::mkfifo,
};
use ogha_agent::database::{Nodes, Observation, Process, Role, Step, open};

use super::{
    cluster::{Cluster, eventually, send},
    eventually_async,
};

/// A server that answers lives, whatever is in the place of its pid file; without an answer nothing
/// is known, and nothing is waited for.
#[tokio::test]
async fn a_pid_file_that_cannot_be_read() {
    type Make = fn(&std::path::Path);
    let kinds: [(&str, Make); 4] = [
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a FIFO", |path| mkfifo(path, Mode::S_IRWXU).unwrap()),
        ("garbage", |path| fs::write(path, "what is this\n").unwrap()),
        ("half a line", |path| fs::write(path, "1").unwrap()),
    ];
    let primary = Cluster::primary();
    let main = primary.main_pid();
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    assert!(database.observe().await.writable);
    let path = primary.data().join("postmaster.pid");
    let kept = primary.path("kept.pid");
    for (what, make) in kinds {
        fs::rename(&path, &kept).unwrap();
        make(&path);
        let begun = Instant::now();
        let seen = database.observe().await;
        assert_eq!((seen.role, seen.writable), (Role::Primary, true), "{what}: {seen:?}");
        assert_eq!(seen.process, Process::Running(main), "{what}: {seen:?}");
        // One that has never connected finds no socket.
        let fresh = open(&primary.kind(), Nodes::default()).await.unwrap();
        let seen = fresh.observe().await;
        assert_eq!(seen.process, Process::Unknown, "{what}: {seen:?}");
        assert_ne!(seen.state, "stopped", "{what}");
        assert!(seen.error.is_some_and(|why| why.contains("postmaster.pid")), "{what}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        if path.is_dir() {
            fs::remove_dir(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        fs::rename(&kept, &path).unwrap();
    }
    // Without one at all, a server is at work there.
    fs::rename(&path, &kept).unwrap();
    let fresh = open(&primary.kind(), Nodes::default()).await.unwrap();
    let seen = fresh.observe().await;
    assert_eq!(seen.process, Process::Unknown, "{seen:?}");
    assert_eq!(database.observe().await.process, Process::Running(main));
    fs::rename(&kept, &path).unwrap();
    primary.stop();
    let seen = fresh.observe().await;
    assert_eq!((seen.process, seen.state.as_str()), (Process::Gone, "stopped"), "{seen:?}");
}

/// A fence does not wait for a file that cannot be read.
#[tokio::test]
async fn a_stop_without_a_pid_file() {
    let primary = Cluster::primary();
    let path = primary.data().join("postmaster.pid");
    fs::remove_file(&path).unwrap();
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    database.perform(Step::StopImmediate).await.unwrap();
    assert_eq!(primary.processes(), [0; 0]);
}

/// No descriptor is left: the kept session goes on answering, and a server that stops meanwhile is
/// not known to be dead until somebody can look.
#[test]
fn descriptors_that_are_used_up() {
    const ALONE: &str = "OGHA_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        // The limit holds for the process, and other tests run in this one.
        let mut own = Command::new(std::env::current_exe().unwrap());
        own.args(["--exact", "unknown::descriptors_that_are_used_up", "--nocapture"]);
        // What it prints is one test's result, and would be taken for this one's.
        let output = own.env(ALONE, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(without_descriptors());
}

async fn without_descriptors() {
    let primary = Cluster::primary();
    let main = primary.main_pid();
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    assert!(database.observe().await.writable);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let mut crowd = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        crowd.push(file);
    }
    for _ in 0..5 {
        let seen = database.observe().await;
        assert_eq!((seen.role, seen.writable), (Role::Primary, true), "{seen:?}");
        assert_eq!(seen.process, Process::Running(main), "{seen:?}");
    }
    send(main, Signal::SIGQUIT);
    eventually_async(|| database.observe(), |seen| seen.role == Role::Unknown).await;
    // The session has given its own back.
    while let Ok(file) = File::open("/dev/null") {
        crowd.push(file);
    }
    let blind = eventually_async(|| database.observe(), |seen| seen.process.pid().is_none()).await;
    assert_eq!((blind.process, blind.state.as_str()), (Process::Unknown, "unknown"), "{blind:?}");
    assert!(blind.error.is_some_and(|why| why.contains("Too many open files")));
    drop(crowd);
    let seen = eventually_async(|| database.observe(), |seen| seen.process == Process::Gone).await;
    assert_eq!(seen.state, "stopped");
}

/// A backend is killed, and the server recovers: its main process lives all the time.
#[tokio::test]
async fn a_server_that_recovers_from_a_crash_lives() {
    let primary = Cluster::primary();
    let main = primary.main_pid();
    let database = open(&primary.kind(), Nodes::default()).await.unwrap();
    assert!(database.observe().await.writable);
    let mut busy = primary.busy();
    let backend = primary.sql("select pid from pg_stat_activity where wait_event = 'PgSleep'");
    send(backend.parse().unwrap(), Signal::SIGKILL);
    busy.wait().unwrap();
    let mut words = Vec::new();
    let begun = Instant::now();
    loop {
        let seen = database.observe().await;
        assert_eq!(seen.process, Process::Running(main), "{seen:?}");
        if seen.role == Role::Unknown {
            words.push(seen.state);
        } else if !words.is_empty() || primary.log().matches("ready to accept").count() > 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{words:?}");
    }
    println!("the words of a crash recovery: {words:?}");
    let known = ["recovery", "starting", "shutting down", "unreachable"];
    assert!(words.iter().all(|word| known.contains(&word.as_str())), "{words:?}");
    assert!(words.iter().any(|word| word == "recovery"), "{words:?}");
}

/// A login that fails is named, and is not a server that has stopped.
#[tokio::test]
async fn a_login_that_is_refused() {
    let primary = Cluster::primary();
    let main = primary.main_pid();
    let refused = |seen: &Observation| seen.state == "login refused";
    for rule in ["local all all reject\n", "local all all scram-sha-256\n"] {
        fs::write(primary.data().join("pg_hba.conf"), rule).unwrap();
        primary.signal(Signal::SIGHUP);
        let seen = {
            let begun = Instant::now();
            loop {
                let database = open(&primary.kind(), Nodes::default()).await.unwrap();
                let seen = database.observe().await;
                if refused(&seen) || begun.elapsed() > Duration::from_secs(20) {
                    break seen;
                }
            }
        };
        assert!(refused(&seen), "{rule}: {seen:?}");
        assert_eq!((seen.role, seen.process), (Role::Unknown, Process::Running(main)));
        let why = seen.error.unwrap();
        assert!(why.contains("cannot log in") && why.contains("pg_hba.conf"), "{why}");
    }
    eventually("its main process lives", || primary.runs() == Some(main));
}
