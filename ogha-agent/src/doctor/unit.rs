//! Who starts the database: the service of systemd that it lives in, and what that would do by itself.

use std::{collections::HashMap, fs, process::Command};

use super::Findings;
use crate::config::Server;

/// What is asked of a service.
const PROPERTIES: [&str; 4] = ["LoadState", "Restart", "ExecStart", "ExecStartPre"];
/// What ogha's own service runs.
const AGENT: &str = "ogha-agent run";
/// What keeps a database from coming up writable.
const GUARD: &str = "ogha-agent guard";

pub(super) fn examine(findings: &mut Findings, server: &Server, pid: u32) {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let lives_in = unit_of(&groups);
    if let Some(unit) = &server.unit {
        return configured(findings, unit.name(), lives_in);
    }
    let Some(unit) = lives_in else { return };
    let shown = show(unit);
    if is_agents(&shown) {
        return findings.warn(format!(
            "the database lives in ogha's own service {unit}, for ogha has started it by pg_ctl: its \
             limits and its log are ogha's; if a service is to start it, name that as `unit` in \
             [instance.database], and start it by that"
        ));
    }
    restart(findings, unit, &shown);
    findings.warn(format!(
        "the database is started by {unit}, and ogha does not know: set unit = \"{}\" in \
         [instance.database], so that ogha starts and stops it there",
        unit.trim_end_matches(".service")
    ));
}

fn configured(findings: &mut Findings, unit: &str, lives_in: Option<&str>) {
    let shown = show(unit);
    if get(&shown, "LoadState") == "not-found" {
        return findings.fail(format!(
            "unit = \"{unit}\": there is no such service; `systemctl list-unit-files` shows them"
        ));
    }
    match lives_in {
        Some(there) if there == unit => findings.ok(format!("the database lives in {unit}")),
        _ => findings.warn(format!(
            "the database does not live in {unit}, but in {}: stop it, and start it by systemctl \
             start {unit}",
            lives_in.unwrap_or("no service")
        )),
    }
    restart(findings, unit, &shown);
    if get(&shown, "ExecStartPre").contains(GUARD) {
        findings.ok(format!("{unit} is guarded: an old primary never comes up writable by it"));
    } else {
        findings.warn(format!(
            "{unit} has no guard: at a boot an old primary comes up writable until ogha stops it; \
             add ExecStartPre=+/usr/bin/ogha-agent guard --unit %n to its [Service] (systemctl edit \
             {unit})"
        ));
    }
}

fn restart(findings: &mut Findings, unit: &str, shown: &HashMap<String, String>) {
    match get(shown, "Restart") {
        "" | "no" => findings.ok(format!("systemd does not restart {unit} by itself")),
        restart => findings.warn(format!(
            "systemd restarts {unit} by itself (Restart={restart}): set Restart=no, for ogha decides \
             whether it may come back; `restart_attempts` restarts it in place"
        )),
    }
}

/// The properties of a service; none where there is no systemd.
fn show(unit: &str) -> HashMap<String, String> {
    let mut command = Command::new("systemctl");
    command.arg("show").arg(format!("--property={}", PROPERTIES.join(","))).args(["--", unit]);
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    properties(&String::from_utf8_lossy(&output))
}

fn properties(text: &str) -> HashMap<String, String> {
    let mut all = HashMap::<String, String>::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        // A service may have several commands, each on a line of its own.
        all.entry(key.to_owned()).or_default().push_str(value);
    }
    all
}

fn get<'a>(shown: &'a HashMap<String, String>, name: &str) -> &'a str {
    shown.get(name).map_or("", String::as_str)
}

fn is_agents(shown: &HashMap<String, String>) -> bool {
    get(shown, "ExecStart").contains(AGENT)
}

/// The service that a process belongs to.
fn unit_of(groups: &str) -> Option<&str> {
    let paths = groups.lines().filter_map(|line| line.rsplit(':').next());
    paths.filter_map(|path| path.split('/').rfind(|part| part.ends_with(".service"))).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_a_unit() {
        let text = "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n";
        assert_eq!(unit_of(text), Some("postgresql@15-main.service"));
        assert_eq!(unit_of("0::/user.slice/user-0.slice/session-3.scope\n"), None);
        assert_eq!(unit_of(""), None);
    }

    #[test]
    fn the_agents_own_service_is_known_by_its_command() {
        let agent = "Restart=always\nExecStart={ path=/usr/bin/ogha-agent ; argv[]=/usr/bin/ogha-agent \
                     run --config /etc/ogha/ogha.toml ; ignore_errors=no }\nLoadState=loaded\n";
        assert!(is_agents(&properties(agent)));
        let database = "ExecStart={ path=/usr/bin/pg_ctlcluster ; argv[]=/usr/bin/pg_ctlcluster start }\n\
                        ExecStartPre={ path=/bin/true }\nExecStartPre={ argv[]=/usr/bin/ogha-agent guard }\n";
        let shown = properties(database);
        assert!(!is_agents(&shown) && get(&shown, "ExecStartPre").contains(GUARD));
    }
}
