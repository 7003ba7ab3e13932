//! The status never advises what does harm, and what does harm is refused or says what it costs.

use std::{fs, thread};

use ogha_tests::lab::{Pair, clock, pair::GENEROUS};

use crate::stage::{
    OFTEN, Undisturbed, has_in_sync, order, pair, said, seconds, settings, throughout, until,
    waits_for,
};

/// Whether one of the words is there, whatever its case.
fn says_one_of(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// The standby's agent is started, the primary's is not yet: its database runs, and the standby receives
/// from it. The status there never advises to force a failover; who orders one all the same is refused,
/// and told why. When the primary's agent starts, it serves.
#[test]
fn a_standby_that_receives_is_never_told_to_take_over() {
    let pair = Pair::without_agents("advice-force", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    second.agent.start().unwrap();
    until(second, "the second agent to listen or stand by", |i| i["database"]["role"] == "standby");
    throughout(seconds(10), || {
        let instance = second.agent.instance().unwrap();
        assert!(!waits_for(&instance).contains("--force"), "{instance}");
    });
    let (code, text) = order(&second.agent, &["failover", "--force"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("stream") && text.contains("db1"), "{text}");
    assert!(second.database.is_in_recovery().unwrap());
    first.agent.start().unwrap();
    pair.wait_until_serving(0).unwrap();
    assert!(second.database.is_in_recovery().unwrap());
}

/// The same order where the primary's agent was killed a moment ago, and its database works on.
#[test]
fn a_force_beside_a_primary_that_streams_is_refused() {
    let pair = pair("force-streams");
    let [first, second] = &pair.nodes;
    let (paused, text) = order(&second.agent, &["pause"]);
    assert_eq!(paused, Some(0), "{text}");
    until(first, "the first node to hear of the pause", |i| i["peers"][0]["paused"] == true);
    first.agent.kill().unwrap();
    until(second, "the first agent to be silent", |i| i["peers"][0]["agent"] == "silent");
    throughout(seconds(5), || {
        let instance = second.agent.instance().unwrap();
        assert!(!waits_for(&instance).contains("--force"), "{instance}");
    });
    let (code, text) = order(&second.agent, &["failover", "--force"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("stream") && text.contains("db1"), "{text}");
    assert!(second.database.is_in_recovery().unwrap());
    assert!(!first.database.is_in_recovery().unwrap());
}

const REJECTED: &str = "\
local all all reject
host all all 127.0.0.1/32 reject
host all all ::1/128 reject
host replication all 192.0.2.0/24 trust
";

/// The standby's database lets its agent in no more (`pg_hba.conf`), and goes on receiving. The status
/// there does not advise to rejoin, which would stop it, and says that the login failed. When the rules are
/// right again, all is as before.
#[test]
fn a_standby_that_lets_nobody_in_is_not_to_rejoin() {
    let pair = pair("advice-rejoin");
    let [first, second] = &pair.nodes;
    let main = second.database.main_pid().unwrap();
    let path = second.database.data_dir().join("pg_hba.conf");
    let rules = fs::read_to_string(&path).unwrap();
    let session = second.database.session().unwrap();
    second.database.set_access(REJECTED).unwrap();
    let end =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'ogha'";
    session.rows(end).unwrap();
    thread::sleep(seconds(1));
    let no_rejoin = || {
        let instance = second.agent.instance().unwrap();
        assert!(!waits_for(&instance).contains("rejoin"), "{instance}");
    };
    throughout(seconds(8), no_rejoin);
    // One that is started then knows no better.
    second.agent.stop().unwrap();
    second.agent.start().unwrap();
    until(second, "the second agent to answer", |_| true);
    throughout(seconds(8), no_rejoin);
    let people = said(&second.agent.command(&["status"]).unwrap());
    let reasons = ["login", "log in", "pg_hba", "authentication", "rejects", "access denied"];
    assert!(says_one_of(&people, &reasons), "{people}\n{}", second.host.last_words("agent"));
    let replication = "select count(*) from pg_stat_replication where state = 'streaming'";
    let primary = first.database.session().unwrap();
    assert_eq!(primary.value(replication).unwrap(), "1");
    fs::write(&path, rules).unwrap();
    session.rows("select pg_reload_conf()").unwrap();
    clock::wait_until("the standby to let its agent in", GENEROUS, OFTEN, || {
        let instance = second.agent.instance()?;
        Ok((instance["database"]["role"] == "standby").then_some(()))
    })
    .unwrap();
    assert_eq!(second.database.main_pid().unwrap(), main);
}

/// An operator orders a healthy standby, in sync, to rejoin. Nothing is to be done: its database is not
/// stopped, and he is told that it is a standby already.
#[test]
fn a_healthy_standby_is_not_made_to_rejoin() {
    let pair = pair("rejoin-healthy");
    let before = Undisturbed::now(&pair);
    let second = &pair.nodes[1];
    let main = second.database.main_pid().unwrap();
    // What it does at its start, it may still be doing.
    let text = clock::wait_until("the node to be idle", GENEROUS, OFTEN, || {
        let (_, text) = order(&second.agent, &["rejoin"]);
        Ok((!text.contains("another operation is under way")).then_some(text))
    })
    .unwrap();
    assert!(text.contains("standby of db1"), "{text}");
    assert_eq!(second.database.main_pid().unwrap(), main, "{text}\n{}", second.agent.log());
    before.assert(&pair);
}

/// The standby was away while clients wrote, and the primary's host is dark. A forced failover says
/// that writes which db1 acknowledged since may be lost (and how many octets, where that is known).
#[test]
fn a_force_says_what_it_loses() {
    let pair = pair("force-loses");
    let [first, second] = &pair.nodes;
    second.database.stop().unwrap();
    until(first, "the second node to leave the set", |i| !has_in_sync(i, "db2"));
    let writer = pair.writer();
    writer.wait_for(50, GENEROUS).unwrap();
    writer.stop().unwrap();
    first.host.power_off().unwrap();
    second.database.start().unwrap();
    until(second, "the second node to wait", |i| waits_for(i).contains("--force"));
    let (code, forced) = order(&second.agent, &["failover", "--force"]);
    assert_eq!(code, Some(0), "{forced}");
    assert!(says_one_of(&forced, &["lost", "lose"]) && forced.contains("db1"), "{forced}");
}
