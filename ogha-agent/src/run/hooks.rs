//! The operator's own command, run on each transition: one after another, each with a deadline,
//! and never in the path of a failover. Nothing here is waited for.

use std::fmt::Display;

use ogha_common::{
    failover::{Core, Notice, PhaseName},
    units::{NodeId, Term},
};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::{hook_event::Event, peers::Peers, ports::Ports, supervise::Supervisor};
use crate::{config, database::process::Tool, guest::trusted};

/// What a hook finds the usual tools by.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What hooks hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `serving`, `fenced`, `standby`, `listening`; `None` on the way from one to another.
    place: Option<&'static str>,
    paused: bool,
    primary: Option<NodeId>,
}

impl State {
    /// Of an instance.
    pub fn of(core: &Core) -> Self {
        let place = match core.phase() {
            PhaseName::Serving => Some("serving"),
            PhaseName::Fenced => Some("fenced"),
            PhaseName::Standby => Some("standby"),
            PhaseName::Listening => Some("listening"),
            _ => None,
        };
        let primary = core.record().map(|record| record.primary);
        Self { place, paused: core.is_paused(), primary }
    }
}

/// The hooks of one instance.
#[derive(Debug)]
pub struct Hooks {
    instance: String,
    node: String,
    cause: String,
    state: State,
    /// There is a command.
    wanted: bool,
}

impl Hooks {
    /// The hooks of an instance on the node of that name.
    #[must_use]
    pub fn new(node: &str, config: &config::Instance) -> Self {
        Self {
            instance: config.name.clone(),
            node: node.to_owned(),
            cause: String::new(),
            state: State::default(),
            wanted: config.hooks.command.is_some(),
        }
    }

    /// This node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether there is a command from now on.
    pub fn reconfigure(&mut self, hooks: &config::Hooks) {
        self.wanted = hooks.command.is_some();
    }

    /// An event timeline has begun.
    pub fn cause(&mut self, cause: impl Display) {
        self.cause = cause.to_string();
    }

    /// Something has changed, perhaps.
    pub fn observe(&mut self, state: State, term: Term, peers: &Peers, ports: &mut impl Ports) {
        let before = std::mem::replace(&mut self.state, state);
        let after = State { place: state.place.or(before.place), ..state };
        self.state = after;
        if let Some(place) = after.place.filter(|_| after.place != before.place) {
            self.report(place, None, term, peers, ports);
        }
        if after.paused != before.paused {
            let name = if after.paused { "paused" } else { "resumed" };
            self.report(name, None, term, peers, ports);
        }
    }

    /// A node came into sync, or left it.
    pub fn notice(&self, notice: Notice, term: Term, peers: &Peers, ports: &mut impl Ports) {
        match notice {
            Notice::InSync(node) => self.report("in-sync", Some(node), term, peers, ports),
            Notice::OutOfSync(node) => self.report("out-of-sync", Some(node), term, peers, ports),
            _ => {}
        }
    }

    /// What a router without a database does, perhaps as before: `serving`, `standby`; `None` on the way
    /// from one to another. Gives what the command is to hear of it.
    pub fn place(&mut self, place: Option<&'static str>) -> Option<Event> {
        let place = place.filter(|_| place != self.state.place)?;
        self.state.place = Some(place);
        self.wanted.then(|| self.event(place, Term::ZERO, String::new(), String::new()))
    }

    fn report(
        &self,
        name: &'static str,
        about: Option<NodeId>,
        term: Term,
        peers: &Peers,
        ports: &mut impl Ports,
    ) {
        if !self.wanted {
            return;
        }
        let name_of = |node: Option<NodeId>| match node {
            Some(node) if node == peers.own() => self.node.clone(),
            Some(node) => peers.name_of(node).to_owned(),
            None => String::new(),
        };
        let (primary, about) = (name_of(self.state.primary), name_of(about));
        ports.run_hook(self.event(name, term, primary, about));
    }

    fn event(&self, name: &'static str, term: Term, primary: String, about: String) -> Event {
        let variables = [
            ("PATH", PATH.to_owned()),
            ("OGHA_INSTANCE", self.instance.clone()),
            ("OGHA_NODE", self.node.clone()),
            ("OGHA_EVENT", name.to_owned()),
            ("OGHA_TERM", term.to_string()),
            ("OGHA_CAUSE", self.cause.clone()),
            ("OGHA_PRIMARY", primary),
            ("OGHA_PEER", about),
        ];
        let variables = variables.map(|(key, value)| (key.into(), value.into())).into();
        Event { name, variables }
    }
}

/// The end of a worker at which events are put.
#[derive(Debug)]
pub struct Sender {
    events: mpsc::UnboundedSender<Event>,
    settings: watch::Sender<config::Hooks>,
}

impl Sender {
    /// The command is to hear of that.
    pub fn send(&self, event: Event) {
        // A worker that is gone has ended the agent.
        let _ = self.events.send(event);
    }

    /// Another command, or another deadline, from the next event on.
    pub fn reconfigure(&self, settings: config::Hooks) {
        self.settings.send_replace(settings);
    }
}

/// Starts the worker on the background threads.
pub fn start(config: &config::Instance, supervisor: &Supervisor) -> Sender {
    let (events, receiver) = mpsc::unbounded_channel();
    let (settings, watched) = watch::channel(config.hooks.clone());
    let instance = config.name.clone();
    supervisor.spawn(&format!("hooks of {instance}"), async move {
        run(instance, watched, receiver).await;
        Ok(())
    });
    Sender { events, settings }
}

async fn run(
    instance: String,
    settings: watch::Receiver<config::Hooks>,
    mut events: mpsc::UnboundedReceiver<Event>,
) {
    while let Some(event) = events.recv().await {
        let config::Hooks { command, timeout: deadline } = settings.borrow().clone();
        let Some(command) = command else { continue };
        let tool = Tool {
            program: &command,
            arguments: Vec::new(),
            environment: &event.variables,
            account: None,
            secrets: Vec::new(),
            listener: None,
            deadline,
        };
        let event = event.name;
        if let Err(error) = trusted::only_roots(&command) {
            warn!(instance, event, "the hook was not run: {error:#}");
            continue;
        }
        let command = command.display();
        match tool.run().await {
            Ok(outcome) if outcome.status.success() => {
                info!(instance, event, "the hook has run: {}", outcome.text().trim());
            }
            Ok(outcome) => warn!(
                instance,
                event,
                "the hook {command} failed ({}): {}",
                outcome.status,
                outcome.text().trim()
            ),
            Err(e) => warn!(instance, event, "the hook {command}: {e:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

    use super::*;

    fn event(name: &'static str) -> Event {
        let variables = [("PATH", PATH), ("OGHA_EVENT", name)];
        Event { name, variables: variables.map(|(k, v)| (k.into(), v.into())).into() }
    }

    fn settings(command: std::path::PathBuf, timeout: Duration) -> watch::Receiver<config::Hooks> {
        watch::channel(config::Hooks { command: Some(command), timeout }).1
    }

    async fn run_all(directory: &Path, script: &str, deadline: Duration, names: &[&'static str]) {
        let command = directory.join("hook");
        fs::write(&command, format!("#!/bin/sh\ncd {}\n{script}\n", directory.display())).unwrap();
        fs::set_permissions(&command, fs::Permissions::from_mode(0o700)).unwrap();
        let (send, events) = mpsc::unbounded_channel();
        names.iter().for_each(|name| send.send(event(name)).unwrap());
        drop(send);
        run("VI_1".to_owned(), settings(command, deadline), events).await;
    }

    #[tokio::test]
    async fn hooks_run_one_after_another() {
        let directory = tempfile::tempdir().unwrap();
        // One that begins before the last has ended leaves another order.
        let script = "echo begin $OGHA_EVENT >>log; sleep 0.05; echo end $OGHA_EVENT >>log";
        run_all(directory.path(), script, Duration::from_secs(30), &["fenced", "standby"]).await;
        let log = fs::read_to_string(directory.path().join("log")).unwrap();
        assert_eq!(log, "begin fenced\nend fenced\nbegin standby\nend standby\n");
    }

    #[tokio::test]
    async fn a_hook_that_does_not_end_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let script = "[ $OGHA_EVENT = serving ] && { sleep 600 & echo $! >child; wait; }\n\
                      echo $OGHA_EVENT >>log";
        let names = ["serving", "standby"];
        run_all(directory.path(), script, Duration::from_millis(500), &names).await;
        let read = |file| fs::read_to_string(directory.path().join(file)).unwrap();
        assert_eq!(read("log"), "standby\n");
        let child: i32 = read("child").trim().parse().unwrap();
        let gone = || {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        for _ in 0..500 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the hook's child {child} still runs");
    }

    #[tokio::test]
    async fn a_hook_that_fails_or_is_not_there_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let script = "echo $OGHA_EVENT >>log; exit 3";
        run_all(directory.path(), script, Duration::from_secs(30), &["paused", "resumed"]).await;
        assert_eq!(fs::read_to_string(directory.path().join("log")).unwrap(), "paused\nresumed\n");
        let (send, events) = mpsc::unbounded_channel();
        send.send(event("serving")).unwrap();
        drop(send);
        let settings = settings(directory.path().join("none"), Duration::from_secs(1));
        run("VI_1".to_owned(), settings, events).await;
    }
}
