//! Whether databases work: the counters of our own port, and active checks of all of them.

use std::time::Duration;

use ogha_common::{
    detector::{CheckOutcome, Own, Suspicion, Verdict, passive::Watcher},
    maps::PortCounters,
    units::{Instant, NodeId},
};
use tracing::{debug, error, info, warn};

use super::ports::{End, Job, JobId, Lane, Ports, Slot};

/// How often the counters are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a database is checked when nothing is suspect.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The least distance of two checks.
const CHECK_GAP: Duration = Duration::from_millis(200);
/// When a check is given up: it has a shorter deadline of its own.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// The health of this node's own database, as far as others can see it.
#[derive(Debug)]
pub struct Health {
    watcher: Option<Watcher>,
    own: Own,
    /// Since when it has not been healthy.
    suspect_since: Option<Instant>,
    /// That it is not healthy was told.
    told: bool,
    next_look: Instant,
}

impl Health {
    /// Of a database of which nothing is known; the first look is due now. (Not at the epoch: the
    /// loop would take all the time since for a stall of its own.)
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            watcher: None,
            own: Own::default(),
            suspect_since: None,
            told: false,
            next_look: now,
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

    /// The first sign of a hang, while the verdict is that it hangs.
    pub fn hung_since(&self) -> Option<Instant> {
        matches!(self.verdict(), Verdict::Hung(_)).then_some(self.suspect_since).flatten()
    }

    /// The counters of its port now.
    pub fn observe(&mut self, instance: &str, now: Instant, counters: Option<PortCounters>) {
        self.next_look = now + LOOK_EVERY;
        let Some(counters) = counters else { return };
        let Some(watcher) = &mut self.watcher else {
            self.watcher = Some(Watcher::new(counters));
            return;
        };
        let passive = watcher.observe(now, counters);
        let verdict = self.own.passive(now, passive);
        self.judged(instance, now, verdict);
    }

    /// An active check has ended.
    pub fn checked(&mut self, instance: &str, check: Check) {
        let verdict = self.own.checked(check.began, check.outcome);
        self.judged(instance, check.began, verdict);
    }

    fn judged(&mut self, instance: &str, sign: Instant, verdict: Option<Verdict>) {
        if self.verdict().is_good() {
            self.suspect_since = None;
        } else {
            self.suspect_since.get_or_insert(sign);
        }
        if let Some(verdict) = verdict {
            self.tell(instance, verdict);
        }
    }

    fn tell(&mut self, instance: &str, verdict: Verdict) {
        match verdict {
            Verdict::Healthy if !self.told => {}
            Verdict::Healthy => info!(instance, "the database here answers again"),
            Verdict::Hung(_) => error!(instance, "the database here is {verdict}"),
            // A check is on its way to say whether that is anything.
            Verdict::Suspect(Suspicion::Database(_)) => {
                return debug!(instance, "the database here is {verdict}");
            }
            _ => warn!(instance, "the database here is {verdict}"),
        }
        self.told = !verdict.is_good();
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
