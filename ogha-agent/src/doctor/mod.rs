//! What a person would check before trusting a node: the host, the files, the peers, the arbiter, the
//! database. Nothing is changed, and nothing that another node would take for this one's word is
//! sent.

mod access;
mod addresses;
mod database;
mod firewall;
mod host;
mod keepalived;
mod kernel;
mod neighbours;
mod unit;

use std::{fmt, path::Path};

pub(crate) use addresses::outside;

use serde::Serialize;

use crate::{
    config::{Arbiter, Config, Instance},
    control::{
        client,
        protocol::{Request, Response},
        socket_path, view,
    },
};

/// A node of a pair, for the tests of what is checked.
#[cfg(test)]
const EXAMPLE: &str = r#"
node.name = "db1"
[[instance]]
name = "VI_1"
interface = "eth0"
virtual_router_id = 59
virtual_addresses = ["192.168.1.10/32"]
peer = [{ name = "db2", address = "192.168.1.12" }]
database = { kind = "postgresql", data_dir = "/data", user = "postgres" }
arbiter.kind = "none"
"#;

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and a person should know what it costs.
    Warn,
    /// It does not work.
    Fail,
}

/// What was found, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good or bad it is.
    pub level: Level,
    /// What it is about: `host`, `node`, or an instance's name.
    pub about: String,
    /// In words.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        write!(f, "{level}  {}: {}", self.about, self.text)
    }
}

/// All that was found so far.
#[derive(Debug, Default)]
pub struct Findings {
    about: String,
    all: Vec<Finding>,
}

impl Findings {
    fn about(&mut self, about: &str) {
        about.clone_into(&mut self.about);
    }

    fn add(&mut self, level: Level, text: impl Into<String>) {
        self.all.push(Finding { level, about: self.about.clone(), text: text.into() });
    }

    fn ok(&mut self, text: impl Into<String>) {
        self.add(Level::Ok, text);
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.add(Level::Warn, text);
    }

    fn fail(&mut self, text: impl Into<String>) {
        self.add(Level::Fail, text);
    }

    /// An outcome: good, or why not.
    fn check(&mut self, good: impl Into<String>, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) => self.ok(good),
            Err(e) => self.fail(format!("{e:#}")),
        }
    }
}

/// Looks at everything. Must run within a runtime of tokio.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.about("host");
    kernel::examine(&mut findings, &config.node.bpf_dir);
    host::examine(&mut findings);
    findings.about("node");
    let running = running(&config.node.run_dir, &mut findings);
    // Without a database it holds the history alone.
    if config.instances.iter().any(|instance| instance.database.server().is_some()) {
        host::examine_state_dir(&mut findings, &config.node.state_dir, running.is_some());
    }
    for instance in &config.instances {
        findings.about(&instance.name);
        let here = |view: &&view::InstanceView| view.name == instance.name;
        let running = running.as_ref().and_then(|status| status.instances.iter().find(here));
        host::examine_instance(&mut findings, instance, running.is_some());
        addresses::examine_networks(&mut findings, instance);
        firewall::examine(&mut findings, instance);
        neighbours::examine_peers(&mut findings, instance, running).await;
        neighbours::examine_contradictions(&mut findings, running);
        examine_arbiter(&mut findings, &config.node.name, instance).await;
        database::examine(&mut findings, &config.node.name, instance).await;
    }
    findings.all
}

/// What the running agent says, if there is one.
fn running(run_dir: &Path, findings: &mut Findings) -> Option<view::Status> {
    match client::ask(&socket_path(run_dir), &Request::Status) {
        Ok(Response::Status(status)) => {
            findings.ok("the agent is running");
            for instance in &status.instances {
                if let Some(wait) = &instance.waits_for {
                    findings.warn(format!("instance {} waits for {wait}", instance.name));
                }
                if instance.paused {
                    findings.warn(format!(
                        "instance {} is paused: nobody takes over; `ogha-agent resume` ends that",
                        instance.name
                    ));
                }
            }
            Some(status)
        }
        Ok(_) => {
            findings.fail("the running agent gives no status; restart it after an update");
            None
        }
        Err(e) => {
            findings.warn(format!("{e:#}"));
            None
        }
    }
}

async fn examine_arbiter(findings: &mut Findings, node: &str, instance: &Instance) {
    match &instance.arbiter {
        Arbiter::None if instance.database.server().is_some() => findings.warn(
            "arbiter none cannot distinguish a dead peer from a network partition: both nodes may \
             serve then; gateway or etcd decide who continues",
        ),
        Arbiter::None => {}
        Arbiter::Gateway(_) => findings.warn(
            "arbiter gateway cannot detect a partition between nodes that both reach the gateway: \
             both may serve then; etcd detects it",
        ),
        Arbiter::Etcd(_) => {}
    }
    let arbiter = match crate::arbiter::open(node, instance) {
        Ok(arbiter) => arbiter,
        Err(e) => return findings.fail(format!("{e:#}")),
    };
    let answers = arbiter.probe().await;
    let answered = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    for (place, answer) in &answers {
        match answer {
            Ok(time) => findings.ok(format!(
                "arbiter {}: {place} answers in {:.1} ms",
                arbiter.kind(),
                time.as_secs_f64() * 1000.0
            )),
            Err(e) => findings.warn(format!("arbiter {}: {place}: {e:#}", arbiter.kind())),
        }
    }
    if !answers.is_empty() && answered * 2 <= answers.len() {
        findings.fail(format!(
            "arbiter {}: {answered} of {} answer, so nobody could go on without the others now",
            arbiter.kind(),
            answers.len()
        ));
    }
}
