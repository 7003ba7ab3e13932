//! Whether databases work: the counters of our own port, and active checks of all of them.

use std::time::Duration;

use ogha_common::{
    detector::{
        CheckOutcome, Own, Verdict,
        passive::Watcher,
        vitals::{Look, TaskState},
    },
    failover::Input,
    maps::PortCounters,
    units::{Instant, NodeId},
};
use tracing::{debug, error, info, warn};

use super::{
    ports::{End, Job, JobId, Lane, Ports, Slot},
    writes::Writes,
};
use crate::database::{Observation, Process, Role};

/// How often the database here is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A gap between two looks that makes a stall of this node.
const STALL: Duration = Duration::from_millis(500);
/// How long the process that writes may be stopped before another session writes.
const WRITER_STOPPED: Duration = Duration::from_millis(500);
/// How often a database is checked when nothing is suspect.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The least distance of two checks.
const CHECK_GAP: Duration = Duration::from_millis(200);
/// When a check is given up: it has a shorter deadline of its own.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// The health of this node's own database.
#[derive(Debug)]
pub struct Health {
    hang_timeout: Duration,
    watcher: Option<Watcher>,
    own: Own,
    /// The last look.
    look: Look,
    looked_at: Instant,
    /// Its main process, as far as is known.
    main: Option<u32>,
    /// It was a primary that accepts writes when it last answered.
    writable: bool,
    /// Since when it has not been healthy.
    suspect_since: Option<Instant>,
    /// That it is not healthy was told.
    told: bool,
    /// The core has heard that it hangs.
    hung: bool,
    next_look: Instant,
    writes: Writes,
}

impl Health {
    /// Of a database of which nothing is known; the first look is due now. (Not at the epoch: the
    /// loop would take all the time since for a stall of its own.)
    #[must_use]
    pub fn new(instance: &str, hang_timeout: Duration, now: Instant) -> Self {
        Self {
            hang_timeout,
            watcher: None,
            own: Own::new(hang_timeout, now),
            look: Look::default(),
            looked_at: now,
            main: None,
            writable: false,
            suspect_since: None,
            told: false,
            hung: false,
            next_look: now,
            writes: Writes::new(instance, hang_timeout, now),
        }
    }

    /// When the counters are to be looked at.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// What is thought of the database.
    pub fn verdict(&self) -> Verdict {
        self.own.verdict()
    }

    /// Whether a check is to be made at once, whatever has just been made.
    pub fn is_urgent(&self) -> bool {
        self.own.is_stopped() && !matches!(self.verdict(), Verdict::Hung(_))
    }

    /// What the core should hear: that it hangs, again and again, for whether that matters changes: by a
    /// pause, by who serves; and once that it does not any more.
    pub fn news(&mut self) -> Option<Input> {
        if let Verdict::Hung(_) = self.verdict() {
            self.hung = true;
            return self.suspect_since.map(|at| Input::DatabaseHung { at });
        }
        std::mem::take(&mut self.hung).then_some(Input::HangOver)
    }

    /// What the kernel shows of it. `serving`: it is served from here.
    pub fn look(&mut self, instance: &str, now: Instant, serving: bool, ports: &mut impl Ports) {
        self.next_look = now + LOOK_EVERY;
        if now.since(std::mem::replace(&mut self.looked_at, now)) >= STALL {
            self.own.stalled(now);
        }
        let thorough = !self.verdict().is_good() || self.look.writing_since.is_some();
        self.look = ports.look(self.main, thorough);
        let verdict = self.own.look(now, self.look);
        self.judged(instance, now, now, verdict);
        let held = matches!(self.look.writer.state, TaskState::Stopped | TaskState::Traced);
        if held && self.look.writing_since.is_some_and(|since| now.since(since) >= WRITER_STOPPED) {
            self.writes.abandon(ports);
        }
        if serving && self.writable {
            self.writes.tick(now, self.own.wrote_at(), ports);
        }
    }

    /// The database was observed; the question was asked then.
    pub fn observed(&mut self, instance: &str, now: Instant, asked: Instant, seen: &Observation) {
        match seen.process {
            Process::Running(pid) => self.main = Some(pid),
            Process::Gone => self.died(),
            Process::Unknown => {}
        }
        if seen.role != Role::Unknown {
            self.writable = seen.writable;
        }
        if seen.answers {
            let end = seen.lsn.filter(|_| seen.role == Role::Primary);
            let verdict = self.own.answered(now, asked, end);
            self.judged(instance, now, asked, verdict);
        }
    }

    /// Its main process has died.
    pub fn died(&mut self) {
        (self.main, self.writable) = (None, false);
    }

    /// A write has ended.
    pub fn wrote(&mut self, instance: &str, id: JobId, end: End, now: Instant) {
        if let Some(began) = self.writes.ended(id, end, now) {
            let verdict = self.own.wrote(now, began);
            self.judged(instance, now, began, verdict);
        }
    }

    /// The counters of its port now.
    pub fn observe(&mut self, instance: &str, now: Instant, counters: Option<PortCounters>) {
        let Some(counters) = counters else { return };
        let Some(watcher) = &mut self.watcher else {
            self.watcher = Some(Watcher::new(counters));
            return;
        };
        let passive = watcher.observe(now, counters);
        let verdict = self.own.passive(now, passive);
        self.judged(instance, now, now, verdict);
    }

    /// An active check has ended.
    pub fn checked(&mut self, instance: &str, now: Instant, check: Check) {
        let verdict = self.own.checked(now, check.began, check.outcome);
        self.judged(instance, now, check.began, verdict);
    }

    fn judged(&mut self, instance: &str, now: Instant, sign: Instant, changed: Option<Verdict>) {
        let verdict = self.verdict();
        if verdict.is_good() {
            self.suspect_since = None;
        } else {
            self.suspect_since.get_or_insert(sign);
        }
        let lasts = self.suspect_since.is_some_and(|since| now.since(since) >= self.hang_timeout);
        match verdict {
            Verdict::Hung(_) if changed.is_some() => {
                error!(instance, "the database here is {verdict}");
                self.told = true;
            }
            // A stranger can bring that about as often as he likes: what is over soon is not reported.
            Verdict::Suspect(_) if lasts && !self.told => {
                warn!(instance, "the database here is {verdict}");
                self.told = true;
            }
            Verdict::Suspect(_) if changed.is_some() => {
                debug!(instance, "the database here is {verdict}");
            }
            verdict if verdict.is_good() && std::mem::take(&mut self.told) => {
                info!(instance, "the database here answers again");
            }
            _ => {}
        }
    }
}

/// An active check that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Whose database; `None`: this node's own.
    pub of: Option<NodeId>,
    /// When it began.
    pub began: Instant,
    /// What came of it.
    pub outcome: CheckOutcome,
}

/// The checks of one instance's databases, each in a lane of its own.
#[derive(Debug, Default)]
pub struct Checks(Vec<Checked>);

#[derive(Debug)]
struct Checked {
    of: Option<NodeId>,
    slot: Slot,
    began: Instant,
    /// When its turn comes.
    at: Option<Instant>,
    /// When it may be checked again at the earliest.
    gap: Instant,
}

impl Checks {
    /// Checks of these databases; `None` is this node's own.
    #[must_use]
    pub fn new(servers: impl Iterator<Item = Option<NodeId>>, now: Instant) -> Self {
        let checked = |of| Checked {
            of,
            slot: Slot::new(Lane::Check(of)),
            began: now,
            at: Some(now),
            gap: now,
        };
        Self(servers.map(checked).collect())
    }

    /// One is suspect: do not wait for the next turn.
    pub fn now(&mut self, of: Option<NodeId>) {
        for checked in self.0.iter_mut().filter(|checked| checked.of == of) {
            checked.at = checked.at.map(|at| at.min(checked.gap));
        }
    }

    /// There is reason to act: do not wait for anything.
    pub fn at_once(&mut self, of: Option<NodeId>, now: Instant) {
        for checked in self.0.iter_mut().filter(|checked| checked.of == of) {
            checked.at = checked.at.map(|at| at.min(now));
        }
    }

    /// When [`Checks::tick`] is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let timers = self.0.iter().flat_map(|checked| [checked.slot.deadline(), checked.at]);
        timers.flatten().min()
    }

    /// Starts the checks that are due.
    pub fn tick(&mut self, now: Instant, ports: &mut impl Ports) {
        for checked in &mut self.0 {
            if checked.slot.give_up(now, ports) {
                checked.ended(now);
            }
            if checked.at.is_some_and(|at| now >= at) {
                checked.at = None;
                checked.began = now;
                checked.slot.start(CHECK_LIMIT, Job::Check(checked.of), ports);
            }
        }
    }

    /// A check has ended.
    pub fn ended(&mut self, id: JobId, end: End, now: Instant) -> Option<Check> {
        let End::Checked(outcome) = end else { return None };
        let checked = self.0.iter_mut().find(|checked| Lane::Check(checked.of) == id.lane)?;
        if !checked.slot.ended(id) {
            return None;
        }
        checked.ended(now);
        Some(Check { of: checked.of, began: checked.began, outcome })
    }
}

impl Checked {
    fn ended(&mut self, now: Instant) {
        self.gap = now + CHECK_GAP;
        self.at = Some(now + CHECK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fake::Fake;

    #[test]
    fn what_is_suspect_is_checked_before_its_turn_but_not_all_the_time() {
        let mut ports = Fake::default();
        let mut checks = Checks::new([None].into_iter(), ports.now());
        let mut count = 0;
        let mut pass = |suspect: bool| {
            for _ in 0..100 {
                ports.pass(20);
                if suspect {
                    checks.now(None);
                }
                checks.tick(ports.now(), &mut ports);
                for (id, _) in ports.jobs_with_ids() {
                    ports.take_job();
                    count += 1;
                    assert!(
                        checks
                            .ended(id, End::Checked(CheckOutcome::Answered), ports.now())
                            .is_some()
                    );
                }
            }
            std::mem::take(&mut count)
        };
        assert_eq!(pass(false), 2);
        assert_eq!(pass(true), 10);
    }

    #[test]
    fn a_check_that_does_not_end_is_begun_anew() {
        let mut ports = Fake::default();
        let mut checks = Checks::new([None].into_iter(), ports.now());
        checks.tick(ports.now(), &mut ports);
        ports.pass(5000);
        checks.tick(ports.now(), &mut ports);
        assert!(ports.jobs().is_empty());
        ports.pass(1000);
        checks.tick(ports.now(), &mut ports);
        assert_eq!(ports.jobs(), [Job::Check(None)]);
    }
}
