//! What is observed of the database here, and what the kernel saw: the watch of the tracepoints follows the
//! database's main process.

use ogha_common::{
    failover::{Input, Sign},
    maps::{self, Event},
    units::Instant as Moment,
};
use tracing::{info, warn};

use super::Instance;
use crate::{
    database::{Observation, Process},
    run::{decides::Decides, facts, ports::Ports},
};

impl<C: Decides> Instance<C> {
    /// The database was observed: the watch follows its main process.
    pub(super) fn observed(&mut self, seen: Observation, ports: &mut impl Ports) {
        if facts::is_of_the_dead(&seen, self.died, |pid| ports.is_gone(pid)) {
            return self.database.observe(ports);
        }
        let seen = facts::known(seen, &self.seen);
        self.health.observed(&self.config.name, ports.now(), self.database.asked(), &seen);
        self.follow_process(seen.process, ports);
        self.pace.note(ports.now(), facts::end_of_wal(&seen));
        let asynchronous = !self.config.failover.synchronous;
        let database = facts::database(&seen, &self.peers, &self.pace, asynchronous);
        if seen.role != self.seen.role {
            info!(instance = self.config.name, "the database is {}", seen.role.as_str());
        }
        self.peers.note_system(seen.system_identifier);
        self.seen = seen;
        self.input(Input::Database(database), ports);
    }

    fn follow_process(&mut self, process: Process, ports: &mut impl Ports) {
        let tgid = match process {
            Process::Running(pid) => pid,
            Process::Gone => 0,
            Process::Unknown => return,
        };
        if tgid == self.watch.tgid {
            return;
        }
        self.watch.tgid = tgid;
        if self.set_watch(ports) {
            // Whoever died between the observation and the watch was seen by neither.
            self.database.observe(ports);
        }
    }

    /// What fails is tried again after the next observation.
    pub(super) fn set_watch(&mut self, ports: &mut impl Ports) -> bool {
        match ports.set_watch(self.watch) {
            Ok(()) => {
                self.watch_trouble.worked();
                true
            }
            Err(e) => {
                self.watch.tgid = 0;
                self.watch_trouble.failed(ports.now(), &format!("{e:#}"));
                false
            }
        }
    }

    /// The kernel saw something of this instance.
    pub(super) fn event(&mut self, event: Event, ports: &mut impl Ports) {
        let at = Moment::from_ns(event.time_ns);
        match event.kind {
            maps::EVENT_PROCESS_EXIT if event.detail == u64::from(self.watch.tgid) => {
                self.database_died(at, Sign::ProcessExit, ports);
            }
            maps::EVENT_LISTENER_GONE => {
                // An event is a reason to poll; what is there now may be another listener.
                self.listening = ports.is_listening();
                // A reload closes listeners too; only with its process is a database dead.
                if self.watch.tgid != 0 && ports.is_gone(self.watch.tgid) {
                    self.database_died(at, Sign::ListenerGone, ports);
                } else {
                    self.database.observe(ports);
                }
            }
            maps::EVENT_LISTENER_UP => {
                self.listening = ports.is_listening();
                self.database.observe(ports);
            }
            maps::EVENT_PEER => self.poll_peers(ports),
            maps::EVENT_CONFLICT => warn!(
                instance = self.config.name,
                "{} claims a virtual address of this node",
                mac_of(event.detail)
            ),
            _ => {}
        }
    }

    fn database_died(&mut self, at: Moment, sign: Sign, ports: &mut impl Ports) {
        self.died = Some(self.watch.tgid);
        self.seen.process = Process::Gone;
        self.watch.tgid = 0;
        self.listening = false;
        self.health.died();
        self.input(Input::DatabaseDied { at, sign }, ports);
        self.set_watch(ports);
    }
}

pub(in crate::run) fn mac_of(detail: u64) -> String {
    let octets: Vec<String> =
        detail.to_be_bytes()[2..].iter().map(|o| format!("{o:02x}")).collect();
    octets.join(":")
}
