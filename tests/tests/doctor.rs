//! `check` and `doctor` name what a person would find: who keeps whom out, what drops what is sent, and
//! addresses that nobody looks for.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{fs, process::Command};

use ogha_tests::lab::{
    Pair,
    agent::{Agent, Kind, Settings},
};

fn settings() -> Settings {
    Settings::patient(Kind::Postgresql)
}

/// What a command that reads the configuration says, and its exit code.
fn said(agent: &Agent, command: &str) -> (Option<i32>, String) {
    let config = agent.config_path();
    let output = agent.run(&[command, "--config", config.to_str().unwrap()]).unwrap();
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    (output.status.code(), text.concat())
}

fn finds(agent: &Agent, words: &str) {
    let (_, text) = said(agent, "doctor");
    assert!(text.contains(words), "{words}: {text}");
}

/// A pair at work: nothing fails. Then a line of `pg_hba.conf` that asks the agent for a password, before
/// it is in force; and one that lets the other node in no more, by which its rejoin would fail: both
/// nodes name it. A user without rights for `pg_rewind` is named with what is missing.
#[test]
fn doctor_names_the_line_that_keeps_a_login_out() {
    let pair = Pair::start("doctor-logins", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    for node in &pair.nodes {
        let (code, text) = said(&node.agent, "doctor");
        assert_eq!(code, Some(0), "{text}");
        for words in [
            "lets the agent in",
            "a rejoin is let in at",
            "the database listens at the virtual addresses",
            "no firewall here drops probes or adverts",
            "the virtual addresses belong to networks of eth0",
            "is on a BPF file system",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    let path = second.database.data_dir().join("pg_hba.conf");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("local all all scram-sha-256\n{good}")).unwrap();
    let (code, text) = said(&second.agent, "doctor");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("line 1 (`local all all scram-sha-256`)"), "{text}");
    fs::write(&path, format!("host all\n{good}")).unwrap();
    finds(&second.agent, "line 1 of");

    let refused = format!("host replication all 192.0.2.11/32 reject\n{good}");
    second.database.set_access(&refused).unwrap();
    finds(&first.agent, "a rejoin would not be let in at db2");
    finds(&second.agent, "line 1 (`host replication all 192.0.2.11");
    second.database.set_access(&good).unwrap();

    let session = first.database.session().unwrap();
    session.rows("create role repl login replication").unwrap();
    session.rows("alter system set primary_conninfo = 'user=repl'").unwrap();
    finds(&first.agent, "user repl at db2 may not call pg_ls_dir");
}

/// Where its database listens elsewhere, and where a firewall of the host drops what the agent sends.
#[test]
fn doctor_names_a_firewall_and_what_is_not_listened_at() {
    let pair = Pair::without_agents("doctor-wall", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    let rules = [
        "add table inet wall",
        "add chain inet wall out { type filter hook output priority 0 ; }",
        "add rule inet wall out udp dport 26112 drop",
        "add rule inet wall out ip protocol 112 drop",
    ];
    for rule in rules {
        let mut nft = Command::new("nft");
        nft.args(rule.split(' '));
        let output = first.host.output(nft, None).unwrap();
        assert!(output.status.success(), "{rule}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let (code, text) = said(&first.agent, "doctor");
    assert_eq!(code, Some(1), "{text}");
    for what in ["probes (UDP port 26112)", "adverts (IP protocol 112)"] {
        let words = format!("a firewall of this host drops {what} to 192.0.2.12");
        assert!(text.contains(&words), "{words}: {text}");
    }

    second.database.stop().unwrap();
    second.database.append_settings("listen_addresses = '192.0.2.12'").unwrap();
    second.database.start().unwrap();
    finds(
        &second.agent,
        "the database does not listen at 192.0.2.10 (listen_addresses = '192.0.2.12')",
    );
}

/// A virtual address that belongs to no network of its interface.
#[test]
fn an_address_outside_the_networks_is_named() {
    let pair = Pair::without_agents("doctor-net", &settings()).unwrap();
    let agent = &pair.nodes[0].agent;
    let (code, good) = said(agent, "check");
    assert!(code == Some(0) && !good.contains("warning"), "{good}");
    agent.edit_config("192.0.2.10", "198.51.100.10").unwrap();
    let words = "virtual address 198.51.100.10 is in no network of eth0 (192.0.2.11/24";
    let (code, text) = said(agent, "check");
    assert!(code == Some(0) && text.contains(words), "{text}");
    finds(agent, words);
}
