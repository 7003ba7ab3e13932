//! The database: its role, its settings, and what else would start it.

use std::collections::HashMap;

use super::{Findings, access, addresses, unit};
use crate::{
    config::{Database, Instance},
    database::{self, Observation, Role},
};

pub(super) async fn examine(findings: &mut Findings, node: &str, instance: &Instance) {
    let Some(server) = instance.database.server() else { return };
    let driver = match database::open(&instance.database, instance.nodes(node)).await {
        Ok(driver) => driver,
        Err(e) => return findings.fail(format!("{e:#}")),
    };
    // The first one only sees what is set, the second that it is in force.
    driver.observe().await;
    let seen = driver.observe().await;
    examine_logins(findings, node, instance, &seen).await;
    examine_kept(findings, instance).await;
    if seen.role == Role::Unknown {
        let why = seen.error.unwrap_or_default();
        return findings.fail(format!("the database is {} {why}", seen.state));
    }
    findings.ok(format!("the database is a {}, {}", seen.role.as_str(), seen.state));
    examine_replication(findings, instance, &seen);
    if let Some(pid) = seen.process.pid() {
        unit::examine(findings, server, pid);
    }
    match database::settings(&instance.database).await {
        Ok(settings) => {
            addresses::examine_listening(findings, instance, &settings);
            examine_settings(findings, node, instance, seen.role, &settings);
        }
        Err(e) => findings.warn(format!("cannot read the database's settings: {e:#}")),
    }
}

/// Who is let in here, and whether a rejoin is let in at the peers.
async fn examine_logins(
    findings: &mut Findings,
    node: &str,
    instance: &Instance,
    seen: &Observation,
) {
    let inquiry = match database::inquire(&instance.database, instance.nodes(node)).await {
        Ok(Some(inquiry)) => inquiry,
        Ok(None) => return,
        Err(e) => return findings.warn(format!("{e:#}")),
    };
    let server = instance.database.server();
    match (&inquiry.access, server) {
        (Ok(access), Some(server)) => {
            access::examine_own(findings, server, access);
            let user = inquiry.user.as_deref().unwrap_or(&server.user);
            access::examine_peers(findings, instance, user, access);
        }
        (Err(e), _) => findings.warn(format!("cannot read who is let in: {e:#}")),
        (Ok(_), None) => {}
    }
    for (name, reached) in &inquiry.reached {
        access::examine_reach(findings, name, reached, seen.system_identifier);
    }
}

/// What earlier rejoins have left: nobody else removes it.
async fn examine_kept(findings: &mut Findings, instance: &Instance) {
    match database::kept(&instance.database).await {
        Ok(kept) => kept.iter().for_each(|kept| {
            findings
                .warn(format!("an earlier rejoin has kept {kept}; remove it when nobody needs it"));
        }),
        Err(e) => findings.warn(format!("cannot look for what earlier rejoins have kept: {e:#}")),
    }
}

fn examine_replication(findings: &mut Findings, instance: &Instance, seen: &Observation) {
    if seen.role != Role::Primary {
        return;
    }
    for peer in &seen.replication {
        if !peer.streaming {
            findings.warn(format!("{} does not receive the log: {}", peer.peer, peer.state));
        } else if instance.failover.synchronous && !peer.awaited {
            findings.warn(format!(
                "commits do not wait for {}; the running agent changes that when it has caught up \
                 ({})",
                peer.peer, peer.state
            ));
        } else {
            findings.ok(format!("{} receives the log", peer.peer));
        }
    }
}

fn examine_settings(
    findings: &mut Findings,
    node: &str,
    instance: &Instance,
    role: Role,
    settings: &HashMap<String, String>,
) {
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|now| now == value);
    if is("fsync", "off") {
        findings.fail("fsync = off: a power cut destroys the database; set it on");
    }
    if instance.failover.synchronous
        && (is("synchronous_commit", "off") || is("synchronous_commit", "local"))
    {
        findings.fail(format!(
            "synchronous_commit = {}: commits wait for no standby, so acknowledged writes are lost \
             in a failover; set it on, or synchronous = false in [instance.failover]",
            settings["synchronous_commit"]
        ));
    }
    if matches!(instance.database, Database::Postgresql(_)) {
        if is("wal_log_hints", "off") && is("data_checksums", "off") {
            findings.warn(
                "wal_log_hints = off, and no data checksums: pg_rewind cannot be used, so each \
                 rejoin copies the whole database; set wal_log_hints = on",
            );
        } else if is("full_page_writes", "off") {
            findings.warn("full_page_writes = off: pg_rewind cannot be used; set it on");
        } else {
            findings.ok("pg_rewind can be used");
        }
        let senders = settings.get("max_wal_senders").and_then(|value| value.parse().ok());
        let wanted = instance.peers.len() + 2;
        if senders.is_some_and(|senders: usize| senders < wanted) {
            findings.warn(format!(
                "max_wal_senders is too small for all standbys and a copy; set it to {wanted} or more"
            ));
        }
        let conninfo = settings.get("primary_conninfo").map_or("", String::as_str);
        if role == Role::Standby && !conninfo.is_empty() && !conninfo.contains(node) {
            findings.warn(format!(
                "primary_conninfo does not call this standby {node}; add application_name={node}, \
                 so that commits can wait for it by name"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EXAMPLE, Level};
    use super::*;

    #[test]
    fn settings_that_lose_writes_fail() {
        let config = crate::config::Config::parse(EXAMPLE, "ogha.toml".as_ref()).unwrap();
        let instance = &config.instances[0];
        let found = |pairs: &[(&str, &str)]| {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let settings = pairs.iter().map(own).collect();
            let mut findings = Findings::default();
            examine_settings(&mut findings, "db1", instance, Role::Standby, &settings);
            findings.all.into_iter().map(|finding| finding.level).max()
        };
        assert_eq!(found(&[("synchronous_commit", "on"), ("fsync", "on")]), Some(Level::Ok));
        assert_eq!(found(&[("synchronous_commit", "local")]), Some(Level::Fail));
        assert_eq!(found(&[("fsync", "off")]), Some(Level::Fail));
        let no_rewind = [("wal_log_hints", "off"), ("data_checksums", "off")];
        assert_eq!(found(&no_rewind), Some(Level::Warn));
        assert_eq!(
            found(&[("primary_conninfo", "host=x application_name=db7")]),
            Some(Level::Warn)
        );
        assert_eq!(found(&[("primary_conninfo", "application_name=db1")]), Some(Level::Ok));
    }
}
