//! An address without a database (`kind = "none"`): plain VRRP over the kernel's gate, between two agents
//! and beside keepalived.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use ogha_common::{maps::Passage, units::Instant};
use ogha_tests::lab::{
    Host, Keepalived, Watcher,
    adverts::Adverts,
    clock,
    pair::{FIRST, GENEROUS, SECOND, VIP},
    router::{Router, Routers, Settings},
    watcher::Seen,
};

const SECOND_LONG: Duration = Duration::from_secs(1);
const OFTEN: Duration = Duration::from_millis(10);
/// Many lines in the log of a scenario; a flood has thousands.
const MANY_LINES: usize = 200;

/// Adverts once a second to the group, so that what happens can be looked at, on a busy machine too.
fn slow() -> Settings {
    Settings { advert_interval: Some(SECOND_LONG), multicast: true, ..Settings::default() }
}

fn start(routers: &Routers) {
    routers.nodes.iter().for_each(|node| node.agent.start().unwrap());
}

/// The first serves, the second is its backup.
fn at_work(routers: &Routers) {
    routers.nodes[0].agent.start().unwrap();
    routers.wait_until_serving(0).unwrap();
    routers.nodes[1].agent.start().unwrap();
    routers.wait_until_backup(1).unwrap();
}

fn assert_no_flood(routers: &Routers) {
    for node in &routers.nodes {
        let lines = node.agent.log().lines().count();
        assert!(lines < MANY_LINES, "{lines} lines\n{}", routers.last_words());
    }
}

/// How often the gate of that host has opened.
fn openings(seen: &Seen, host: &Host) -> usize {
    let opened = |change: &&ogha_tests::lab::watcher::Change| {
        change.host == host.name() && change.passage == Some(Passage::Open)
    };
    seen.changes.iter().filter(opened).count()
}

/// Two gates are never open together, but for as long as the machine itself stood still.
fn assert_one_holder(seen: &Seen, routers: &Routers) {
    let stood: Duration = seen.stalls.iter().map(|(_, length)| *length).sum();
    assert!(seen.two_holders <= stood, "{seen:?}\n{}", routers.last_words());
}

fn log_says(router: &Router, words: &str) -> bool {
    router.agent.log().contains(words)
}

/// Two agents with peers and default settings are started together: one of them serves, the other is
/// its backup, and so it stays.
#[test]
fn of_two_that_start_together_one_serves() {
    let routers = Routers::new("together", &Settings::default()).unwrap();
    start(&routers);
    let active = routers.wait_until_one_serves().unwrap();
    routers.wait_until_backup(1 - active).unwrap();
    let watcher = watch(&routers);
    thread::sleep(3 * SECOND_LONG);
    let seen = watcher.stop().unwrap();
    // What was there when the watcher began counts as a change.
    assert!(seen.changes.len() <= 2, "{seen:?}\n{}", routers.last_words());
    assert_one_holder(&seen, &routers);
    assert_no_flood(&routers);
}

/// The active agent is stopped and started, again and again: each time the other one serves at once,
/// and the one that returns is its backup.
#[test]
fn after_a_failover_and_a_return_one_serves() {
    let routers = Routers::new("return", &Settings::default()).unwrap();
    at_work(&routers);
    let watcher = watch(&routers);
    for stopped in [0, 1, 0] {
        routers.nodes[stopped].agent.stop().unwrap();
        routers.wait_until_serving(1 - stopped).unwrap();
        routers.nodes[stopped].agent.start().unwrap();
        routers.wait_until_backup(stopped).unwrap();
        thread::sleep(SECOND_LONG);
        assert!(routers.nodes[1 - stopped].is_open(), "{}", routers.last_words());
    }
    let seen = watcher.stop().unwrap();
    assert_one_holder(&seen, &routers);
    assert_no_flood(&routers);
}

/// The two lose each other and find each other again: while they are apart both may serve, as VRRP has
/// it, and soon after they meet exactly one does, which is the one of higher priority.
#[test]
fn who_lose_each_other_and_meet_again_are_one_active_and_one_backup() {
    let routers = Routers::new("apart", &Settings::default()).unwrap();
    at_work(&routers);
    for _ in 0..3 {
        routers.nodes[1].host.link().cut().unwrap();
        let alone = || Ok(routers.nodes[1].is_open().then_some(()));
        clock::wait_until("the second to serve alone", GENEROUS, OFTEN, alone).unwrap();
        assert!(routers.nodes[0].is_open());
        routers.nodes[1].host.link().restore().unwrap();
        routers.wait_until_backup(1).unwrap();
        assert!(routers.nodes[0].is_open(), "{}", routers.last_words());
    }
    assert_no_flood(&routers);
}

/// With `preempt` the higher priority takes the role back when it returns, and the other yields.
#[test]
fn with_preempt_the_higher_priority_takes_the_role_back() {
    let settings = Settings { preempt: true, ..Settings::default() };
    let routers = Routers::new("preempt", &settings).unwrap();
    routers.nodes[1].agent.start().unwrap();
    routers.wait_until_serving(1).unwrap();
    routers.nodes[0].agent.start().unwrap();
    routers.wait_until_serving(0).unwrap();
    routers.wait_until_backup(1).unwrap();
    routers.nodes[0].agent.stop().unwrap();
    routers.wait_until_serving(1).unwrap();
    assert_no_flood(&routers);
}

/// Without, who serves goes on when a higher priority returns.
#[test]
fn without_preempt_the_higher_priority_stays_backup() {
    let routers = Routers::new("calm", &Settings::default()).unwrap();
    routers.nodes[1].agent.start().unwrap();
    routers.wait_until_serving(1).unwrap();
    routers.nodes[0].agent.start().unwrap();
    routers.wait_until_backup(0).unwrap();
    thread::sleep(3 * SECOND_LONG);
    assert!(routers.nodes[1].is_open() && !routers.nodes[0].is_open());
}

/// Beside a keepalived of priority 150 that sends an advert each second, an agent of priority 100 that is
/// configured for ten a second and knows it as its peer stays backup; when keepalived is gone it serves.
#[test]
fn beside_a_keepalived_of_higher_priority_it_stays_backup() {
    let settings = Settings { multicast: true, ..Settings::default() };
    let routers = Routers::new("keepalived", &settings).unwrap();
    let [ours, theirs] = &routers.nodes;
    let keepalived = Keepalived::start(&theirs.host, VIP, 150, SECOND_LONG).unwrap();
    clock::wait_until("keepalived to be active", GENEROUS, OFTEN, || {
        Ok((keepalived.takeovers()? > 0).then_some(()))
    })
    .unwrap();
    ours.agent.start().unwrap();
    routers.wait_until_backup(0).unwrap();
    let watcher = watch(&routers);
    thread::sleep(20 * SECOND_LONG);
    let seen = watcher.stop().unwrap();
    assert_eq!(openings(&seen, &ours.host), 0, "{seen:?}\n{}", routers.last_words());
    assert_eq!(keepalived.takeovers().unwrap(), 1);
    assert_no_flood(&routers);
    drop(keepalived);
    routers.wait_until_serving(0).unwrap();
}

/// A keepalived of lower priority yields to the agent, and takes over when the agent is stopped.
#[test]
fn a_keepalived_of_lower_priority_is_its_backup() {
    let routers = Routers::new("keepalived90", &slow()).unwrap();
    let [ours, theirs] = &routers.nodes;
    ours.agent.start().unwrap();
    routers.wait_until_serving(0).unwrap();
    let keepalived = Keepalived::start(&theirs.host, VIP, 90, SECOND_LONG).unwrap();
    thread::sleep(6 * SECOND_LONG);
    assert_eq!(keepalived.takeovers().unwrap(), 0, "{}", theirs.host.last_words("keepalived"));
    ours.agent.stop().unwrap();
    clock::wait_until("keepalived to take over", GENEROUS, OFTEN, || {
        Ok((keepalived.takeovers()? > 0).then_some(()))
    })
    .unwrap();
}

/// A `state_dir` that can be neither written nor made is no matter; it is logged once. Nor is a missing
/// key.
#[test]
fn a_state_dir_that_cannot_be_written_is_no_matter() {
    let state_dir = Some("/proc/none/ogha".into());
    let routers = Routers::new("readonly", &Settings { state_dir, ..Settings::default() }).unwrap();
    for agent in routers.nodes.iter().map(|node| &node.agent) {
        agent.edit_config(&agent.key_path().display().to_string(), "/proc/none/key").unwrap();
    }
    at_work(&routers);
    for stopped in [0, 1] {
        routers.nodes[stopped].agent.stop().unwrap();
        routers.wait_until_serving(1 - stopped).unwrap();
        routers.nodes[stopped].agent.start().unwrap();
        routers.wait_until_backup(stopped).unwrap();
    }
    for node in &routers.nodes {
        let complaints = node.agent.log().matches("cannot write the history").count();
        // Of each agent that has run there: two.
        assert!(complaints <= 2, "{complaints}\n{}", routers.last_words());
        assert!(log_says(node, "cannot write the history"), "{}", routers.last_words());
    }
    assert_no_flood(&routers);
}

/// The active agent gets a SIGTERM: its gate is closed and its address gone, and the last that is heard of
/// it is that it gives up the role. The other serves after its skew, not after three adverts, and
/// when the first agent is back it stays backup.
#[test]
fn sigterm_hands_the_role_over_within_the_skew() {
    let routers = Routers::new("sigterm", &slow()).unwrap();
    at_work(&routers);
    let adverts = Adverts::start(&routers.client).unwrap();
    let watcher = watch(&routers);
    let stopped = clock::now();
    routers.nodes[0].agent.stop().unwrap();
    assert!(!routers.nodes[0].is_open());
    assert!(!routers.nodes[0].holds_the_address().unwrap());
    routers.wait_until_serving(1).unwrap();
    routers.nodes[0].agent.start().unwrap();
    routers.wait_until_backup(0).unwrap();
    thread::sleep(5 * SECOND_LONG);
    let seen = watcher.stop().unwrap();
    let adverts = adverts.stop().unwrap();
    let of_first: Vec<_> =
        adverts.iter().filter(|heard| heard.source == FIRST && heard.at > stopped).collect();
    assert_eq!(of_first.len(), 1, "{adverts:?}\n{}", routers.last_words());
    assert_eq!(of_first[0].priority, 0, "{adverts:?}");
    let closed = seen.first_change(routers.nodes[0].host.name(), stopped).unwrap();
    assert!(closed.at <= of_first[0].at + OFTEN, "the role was free before the gate was closed");
    let opened = opening(&seen, &routers.nodes[1].host, stopped);
    let took = opened.since(of_first[0].at);
    assert!(took < 2 * SECOND_LONG, "{took:?}\n{}", routers.last_words());
    assert_eq!(openings(&seen, &routers.nodes[0].host), 1, "{seen:?}\n{}", routers.last_words());
    assert_one_holder(&seen, &routers);
}

/// Watches the gates, from their present state on.
fn watch(routers: &Routers) -> Watcher {
    let watcher = Watcher::start(&routers.hosts());
    thread::sleep(Duration::from_millis(300));
    watcher
}

fn opening(seen: &Seen, host: &Host, after: Instant) -> Instant {
    let opened = |change: &&ogha_tests::lab::watcher::Change| {
        change.host == host.name() && change.at > after && change.passage == Some(Passage::Open)
    };
    seen.changes.iter().find(opened).unwrap().at
}

/// A backup says nothing: neither while it waits, nor when it is stopped.
#[test]
fn a_backup_sends_nothing() {
    let routers = Routers::new("silent", &slow()).unwrap();
    routers.nodes[0].agent.start().unwrap();
    routers.wait_until_serving(0).unwrap();
    let adverts = Adverts::start(&routers.client).unwrap();
    routers.nodes[1].agent.start().unwrap();
    routers.wait_until_backup(1).unwrap();
    thread::sleep(5 * SECOND_LONG);
    routers.nodes[1].agent.stop().unwrap();
    thread::sleep(SECOND_LONG);
    let adverts = adverts.stop().unwrap();
    let from = |address: Ipv4Addr| adverts.iter().filter(|heard| heard.source == address).count();
    assert_eq!(from(SECOND), 0, "{adverts:?}");
    assert!(from(FIRST) >= 4, "{adverts:?}");
}

/// The active agent is killed: the other serves only after the gate that the dead one left has lapsed.
/// When the first agent is back it does not take the address back.
#[test]
fn a_killed_agent_that_returns_is_backup() {
    let routers = Routers::new("killed", &slow()).unwrap();
    at_work(&routers);
    let watcher = watch(&routers);
    let killed = clock::now();
    routers.nodes[0].agent.kill().unwrap();
    routers.wait_until_serving(1).unwrap();
    let took = clock::now().since(killed);
    assert!(took < 10 * SECOND_LONG, "{took:?}\n{}", routers.last_words());
    routers.nodes[0].agent.start().unwrap();
    routers.wait_until_backup(0).unwrap();
    thread::sleep(5 * SECOND_LONG);
    let seen = watcher.stop().unwrap();
    assert_eq!(openings(&seen, &routers.nodes[0].host), 1, "{seen:?}\n{}", routers.last_words());
    assert_one_holder(&seen, &routers);
}

/// The active agent is killed, and another one started at once: it finds its gate open, by a lease that
/// has not ended, and goes on. The backup does not notice.
#[test]
fn a_killed_agent_that_returns_within_its_lease_goes_on() {
    let settings = Settings { advert_interval: Some(5 * SECOND_LONG), ..slow() };
    let routers = Routers::new("resumed", &settings).unwrap();
    at_work(&routers);
    let watcher = watch(&routers);
    routers.nodes[0].agent.kill().unwrap();
    routers.nodes[0].agent.start().unwrap();
    thread::sleep(20 * SECOND_LONG);
    routers.wait_until_serving(0).unwrap();
    routers.wait_until_backup(1).unwrap();
    let seen = watcher.stop().unwrap();
    assert_eq!(openings(&seen, &routers.nodes[1].host), 0, "{seen:?}\n{}", routers.last_words());
    assert_eq!(openings(&seen, &routers.nodes[0].host), 1, "{seen:?}\n{}", routers.last_words());
    assert!(log_says(&routers.nodes[0], "restarted while its gate was open"));
}

/// The role is to be taken back by the higher priority just as the agent that serves is killed, whose gate
/// stays open for its lease: that lease is waited for.
#[test]
fn a_dead_agents_lease_is_waited_for_by_who_preempts() {
    let settings = Settings { preempt: true, ..slow() };
    let routers = Routers::new("preempt-dead", &settings).unwrap();
    for pause in [500, 1500, 2500, 3500] {
        routers.nodes[1].agent.start().unwrap();
        routers.wait_until_serving(1).unwrap();
        let watcher = watch(&routers);
        routers.nodes[0].agent.start().unwrap();
        clock::wait_until("the first agent to listen", GENEROUS, OFTEN, || {
            Ok(routers.nodes[0].agent.instance().ok())
        })
        .unwrap();
        thread::sleep(Duration::from_millis(pause));
        routers.nodes[1].agent.kill().unwrap();
        routers.wait_until_serving(0).unwrap();
        let seen = watcher.stop().unwrap();
        assert_one_holder(&seen, &routers);
        routers.nodes[0].agent.stop().unwrap();
    }
}

/// A router that is alone serves after its Active_Down_Interval, counted from when its programs are
/// loaded, on a machine that is busy too.
#[test]
fn a_lone_router_on_a_busy_machine_serves_in_time() {
    let routers = Routers::new("lone", &Settings { ordinary: true, ..slow() }).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        })
        .collect();
    let router = &routers.nodes[0];
    router.agent.start().unwrap();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        clock::wait_until(what, GENEROUS, OFTEN, || Ok(done().then_some(()))).unwrap();
        clock::now()
    };
    let began = wait("the agent to begin", &|| log_says(router, "started"));
    let served = wait("the router to serve", &|| router.is_open());
    stop.store(true, Ordering::Relaxed);
    loops.into_iter().for_each(|busy| busy.join().unwrap());
    // Three adverts and the skew are 3.6 s, and a pause is made up for by one advert, once.
    let took = served.since(began);
    assert!(took < Duration::from_millis(6500), "{took:?}\n{}", routers.last_words());
    assert!(took > 3 * SECOND_LONG, "{took:?}");
}

/// `status` speaks of the role, the gate and the addresses, and of no record; the history and the hook
/// have the changes of roles; operator commands about databases are refused with a reason.
#[test]
fn status_history_hooks_and_refusals() {
    let hook = std::env::temp_dir().join(format!("ogha-router-hook-{}", std::process::id()));
    let script = "#!/bin/sh\necho \"$OGHA_EVENT: $OGHA_CAUSE\" >>$0.$OGHA_NODE\n";
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = Settings { hook: Some(hook.clone()), ..Settings::default() };
    let routers = Routers::new("words", &settings).unwrap();
    at_work(&routers);
    let [first, second] = &routers.nodes;
    let page = first.agent.command(&["status"]).unwrap();
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("serving, active") && page.contains(&VIP.to_string()), "{page}");
    for word in ["record", "database", "term", "in sync", "IN SYNC", "probes"] {
        assert!(!page.contains(word), "{word}: {page}");
    }
    for order in ["switchover", "pause", "resume", "rejoin"] {
        let output = first.agent.command(&[order]).unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{order}: {error}");
        assert!(error.contains("has no database"), "{order}: {error}");
    }
    first.agent.stop().unwrap();
    routers.wait_until_serving(1).unwrap();
    let history = second.agent.history().unwrap();
    let last = history["failovers"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["outcome"], "serving", "{history}");
    assert!(last["cause"].as_str().unwrap().contains("gave up"), "{history}");
    let log = |node: &Router| hook.with_extension(node.host.name());
    let hooks = log(second);
    clock::wait_until("the hooks", GENEROUS, OFTEN, || {
        let text = fs::read_to_string(&hooks).unwrap_or_default();
        let events: Vec<_> = text.lines().filter_map(|line| line.split(':').next()).collect();
        Ok((events == ["standby", "serving"]).then_some(()))
    })
    .unwrap();
    for file in [&hook, &log(first), &hooks] {
        fs::remove_file(file).unwrap();
    }
}
