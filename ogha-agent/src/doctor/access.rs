//! Who lets whom in: `pg_hba.conf` here for the agent and the peers, and `primary_conninfo` at the peers.

use super::Findings;
use crate::{
    config::{Instance, Server},
    database::{Access, Decides, Login, Reach},
};

/// Ways that need no password: the agent has none.
const WITHOUT_PASSWORD: [&str; 2] = ["peer", "trust"];

/// Whether the agent is let in, now and at its next login.
pub(super) fn examine_own(findings: &mut Findings, server: &Server, access: &Access) {
    let file = access.file.display();
    for (line, why) in &access.broken {
        findings.fail(format!(
            "line {line} of {file} cannot be read: {why}. The server keeps the rules that it had, and \
             does not start again: put the line right, and reload"
        ));
    }
    let (database, user) = (server.dbname.as_str(), server.user.as_str());
    let advice =
        format!("put `local {database} {user} peer` above all other lines of {file}, and reload");
    match access.decides(Login { database, user, from: None }) {
        Decides::Line(rule) if WITHOUT_PASSWORD.contains(&rule.method.as_str()) => {
            findings.ok(format!("{rule} of {file} lets the agent in"));
        }
        Decides::Line(rule) => findings.fail(format!(
            "{rule} of {file} keeps the agent's own login out, for ogha has no password: {advice}"
        )),
        Decides::None => {
            findings.fail(format!("no line of {file} lets the agent's own login in: {advice}"));
        }
        Decides::Unknown => {}
    }
}

/// Whether a peer's rejoin would be let in here, as that user.
pub(super) fn examine_peers(
    findings: &mut Findings,
    instance: &Instance,
    user: &str,
    access: &Access,
) {
    let dbname = instance.database.server().map_or("postgres", |server| server.dbname.as_str());
    let file = access.file.display();
    for peer in &instance.peers {
        let name = &peer.name;
        for address in &peer.addresses {
            let from = Some(*address);
            let refused = |database| match access.decides(Login { database, user, from }) {
                Decides::Line(rule) if rule.method != "reject" => None,
                Decides::Line(rule) => Some(format!("{rule} of {file} refuses")),
                Decides::None => Some(format!("no line of {file} lets in")),
                Decides::Unknown => None,
            };
            let host = if address.is_ipv4() { 32 } else { 128 };
            if let Some(refused) = refused("replication") {
                findings.fail(format!(
                    "{refused} user {user} of {name} ({address}) to replicate, so that {name} cannot \
                     rejoin this node: add `host replication {user} {address}/{host} scram-sha-256`, and \
                     reload"
                ));
            } else if let Some(refused) = refused(dbname) {
                findings.warn(format!(
                    "{refused} user {user} of {name} ({address}) to database {dbname}, so that {name} \
                     cannot use pg_rewind and would copy the whole database: add `host {dbname} {user} \
                     {address}/{host} scram-sha-256`, and reload"
                ));
            }
        }
    }
}

/// Whether a rejoin of this node would be let in at a peer.
pub(super) fn examine_reach(
    findings: &mut Findings,
    name: &str,
    reached: &anyhow::Result<Reach>,
    own: Option<u64>,
) {
    match reached {
        Ok(Reach { system, .. }) if own.is_some_and(|own| own != *system) => findings.fail(format!(
            "{name} has a database with system identifier {system}, and this node another: they are no \
             copies of each other. Build one of them anew from the other"
        )),
        Ok(Reach { user, lacking: None, .. }) => {
            findings.ok(format!("a rejoin is let in at {name} as user {user}, for pg_rewind too"));
        }
        Ok(Reach { user, lacking: Some(lacking), .. }) => findings.warn(format!(
            "user {user} at {name} {lacking}. Until then a rejoin copies the whole database"
        )),
        Err(error) => {
            let why = format!("{error:#}");
            if is_away(&why) {
                findings.warn(format!("whether a rejoin would be let in at {name} is not known: {why}"));
            } else {
                findings.fail(format!(
                    "a rejoin would not be let in at {name}: {why}. Set primary_conninfo here too, on a \
                     primary as well: ALTER SYSTEM SET primary_conninfo = 'user=.. password=..' (or a \
                     passfile); ogha adds host, port and application_name"
                ));
            }
        }
    }
}

/// The peer's database does not run, or its host is away.
fn is_away(why: &str) -> bool {
    let words = [
        "Connection refused",
        "timeout expired",
        "No route to host",
        "Network is unreachable",
        "the database system is",
        "did not end within",
    ];
    words.iter().any(|word| why.contains(word))
}

#[cfg(test)]
mod tests {
    use super::super::{EXAMPLE, Level};
    use super::*;

    fn found(rules: &str) -> Vec<(Level, String)> {
        let config = crate::config::Config::parse(EXAMPLE, "ogha.toml".as_ref()).unwrap();
        let instance = &config.instances[0];
        let mut findings = Findings::default();
        let access = Access::parse("/etc/pg_hba.conf".into(), rules);
        examine_own(&mut findings, instance.database.server().unwrap(), &access);
        examine_peers(&mut findings, instance, "repl", &access);
        findings.all.into_iter().map(|finding| (finding.level, finding.text)).collect()
    }

    fn one(rules: &str, level: Level, words: &str) {
        let found = found(rules);
        let named = found.iter().any(|(of, text)| *of == level && text.contains(words));
        assert!(named, "{words}: {found:?}");
    }

    const PEERS: &str = "host replication,postgres repl 192.168.1.0/24 scram-sha-256\n";

    #[test]
    fn the_line_that_keeps_the_agent_out_is_named() {
        let good = format!("local all postgres peer\n{PEERS}");
        let all = found(&good);
        assert!(all.iter().all(|(level, _)| *level == Level::Ok), "{all:?}");
        let password = format!("# comment\nlocal all all md5\n{good}");
        one(
            &password,
            Level::Fail,
            "line 2 (`local all all md5`) of /etc/pg_hba.conf keeps the agent",
        );
        one(
            &format!("local all all reject\n{good}"),
            Level::Fail,
            "line 1 (`local all all reject`)",
        );
        one(PEERS, Level::Fail, "no line of /etc/pg_hba.conf lets the agent's own login in");
    }

    #[test]
    fn a_peer_that_could_not_rejoin_is_named() {
        let local = "local all all peer\n";
        one(
            local,
            Level::Fail,
            "no line of /etc/pg_hba.conf lets in user repl of db2 (192.168.1.12)",
        );
        let replication = format!("{local}host replication repl 192.168.1.12/32 md5\n");
        one(&replication, Level::Warn, "cannot use pg_rewind");
        let reject = format!("{local}host replication all 0.0.0.0/0 reject\n{PEERS}");
        one(&reject, Level::Fail, "line 2 (`host replication all 0.0.0.0/0 reject`)");
    }

    #[test]
    fn a_rejoin_that_would_fail_is_told_from_a_peer_that_is_away() {
        let level = |reached: anyhow::Result<Reach>| {
            let mut findings = Findings::default();
            examine_reach(&mut findings, "db2", &reached, Some(1));
            findings.all.pop().unwrap().level
        };
        let reach = |lacking: Option<&str>| Reach {
            user: "repl".to_owned(),
            system: 1,
            lacking: lacking.map(str::to_owned),
        };
        assert_eq!(level(Ok(reach(None))), Level::Ok);
        assert_eq!(level(Ok(Reach { system: 2, ..reach(None) })), Level::Fail, "no copy");
        assert_eq!(level(Ok(reach(Some("may not call x")))), Level::Warn);
        assert_eq!(level(Err(anyhow::anyhow!("psql failed: Connection refused"))), Level::Warn);
        assert_eq!(level(Err(anyhow::anyhow!("psql failed: no password supplied"))), Level::Fail);
    }
}
