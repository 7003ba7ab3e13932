//! The rules by which the virtual addresses are put on the interface, or taken off it: the latest wish
//! counts, one attempt at a time, and what fails is tried again. What somebody else changes afterwards is
//! changed back.

use std::time::Duration;

use ogha_common::units::Instant;

use tracing::{info, warn};

use super::{
    footing::AddressesSeen,
    ports::{End, Job, JobId, Lane, Slot, Work, no_end},
    retry::Trouble,
};

/// When an attempt is given up.
const LIMIT: Duration = Duration::from_secs(2);
/// So many changes in a row are changed back at once; further ones, which look like another program that
/// does the contrary, after a pause.
const AT_ONCE: u32 = 5;
/// That pause.
const PAUSE: Duration = Duration::from_millis(500);
/// After so long without a change, the next one is the first again, and is logged.
const CALM: Duration = Duration::from_secs(60);

/// The addresses of one instance.
#[derive(Debug)]
pub struct AddressWorker {
    slot: Slot,
    at: bool,
    wanted: Option<bool>,
    trouble: Trouble,
    instance: String,
    /// What was wished last is done, since then.
    settled: Option<(bool, Instant)>,
    /// What is under way puts right what somebody else has changed.
    repairs: bool,
    repaired: bool,
    changes: Changes,
}

/// Changes by somebody else.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    in_a_row: u32,
    last: Option<Instant>,
}

impl AddressWorker {
    /// Nothing is wished yet.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        let trouble = Trouble::new(instance, "change the addresses of the interface");
        Self {
            slot: Slot::new(Lane::Addresses),
            at: false,
            wanted: None,
            trouble,
            instance: instance.to_owned(),
            settled: None,
            repairs: false,
            repaired: false,
            changes: Changes::default(),
        }
    }

    /// Wishes the addresses on the interface, or off it.
    pub fn hold(&mut self, hold: bool, ports: &mut impl Work) {
        self.wanted = Some(hold);
        (self.repairs, self.repaired) = (false, false);
        self.trouble.retry.succeeded();
        self.go_on(ports);
    }

    /// The addresses were looked at. Where they are not as was last wished, though that was done, they are
    /// made so again; `what` says what is wrong, for the log.
    pub fn observed(
        &mut self,
        seen: AddressesSeen,
        what: impl FnOnce() -> Vec<String>,
        ports: &mut impl Work,
    ) {
        let Some((held, since)) = self.settled else { return };
        let well = if held { seen.all } else { seen.none };
        if self.slot.is_busy() || self.wanted.is_some() || seen.at <= since || well {
            return;
        }
        let now = ports.now();
        if self.changes.last.is_some_and(|last| now.since(last) >= CALM) {
            self.changes = Changes::default();
        }
        let Changes { in_a_row, last } = self.changes;
        if in_a_row >= AT_ONCE && last.is_some_and(|last| now.since(last) < PAUSE) {
            return;
        }
        self.changes = Changes { in_a_row: in_a_row.saturating_add(1), last: Some(now) };
        let (instance, what) = (&self.instance, what().join("; "));
        match (in_a_row, held) {
            (AT_ONCE, _) => warn!(
                instance,
                "another program changes the virtual addresses again and again ({what}); they are \
                 changed back each time"
            ),
            (AT_ONCE.., _) => {}
            (_, true) => warn!(instance, "{what}: the virtual addresses are put back"),
            (_, false) => {
                warn!(instance, "a virtual address is on this host, which does not serve: removed");
            }
        }
        (self.wanted, self.repairs) = (Some(held), true);
        self.go_on(ports);
    }

    /// Whether addresses that somebody else had changed are back since the last call.
    pub fn take_repaired(&mut self) -> bool {
        std::mem::take(&mut self.repaired)
    }

    /// What fails now, if anything does.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.reason()
    }

    fn go_on(&mut self, ports: &mut impl Work) {
        if !self.slot.is_busy()
            && self.trouble.retry.is_due(ports.now())
            && let Some(hold) = self.wanted.take()
        {
            (self.at, self.settled) = (hold, None);
            self.slot.start(LIMIT, Job::HoldAddresses(hold), ports);
        }
    }

    /// An attempt has ended. Says whether the addresses are on the interface, once they are as was last
    /// wished.
    pub fn ended(&mut self, id: JobId, end: End, ports: &mut impl Work) -> Option<bool> {
        match end {
            End::Done(result) if self.slot.ended(id) => self.attempted(&result, ports),
            _ => None,
        }
    }

    fn attempted(&mut self, result: &Result<(), String>, ports: &mut impl Work) -> Option<bool> {
        let mut settled = None;
        match result {
            Ok(()) => {
                self.trouble.worked();
                settled = Some(self.at).filter(|_| self.wanted.is_none());
                self.settled = settled.map(|held| (held, ports.now()));
                if std::mem::take(&mut self.repairs) && settled == Some(true) {
                    info!(instance = self.instance, "the virtual addresses are back");
                    self.repaired = true;
                }
            }
            Err(reason) => {
                self.trouble.failed(ports.now(), reason);
                self.wanted = self.wanted.or(Some(self.at));
            }
        }
        self.go_on(ports);
        settled
    }

    /// When [`AddressWorker::tick`] is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        match self.slot.deadline() {
            Some(deadline) => Some(deadline),
            None => self.trouble.retry.at().filter(|_| self.wanted.is_some()),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, ports: &mut impl Work) {
        if self.slot.give_up(now, ports) {
            self.attempted(&Err(no_end(LIMIT)), ports);
        } else {
            self.go_on(ports);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fake::Fake;

    fn end(
        worker: &mut AddressWorker,
        ports: &mut Fake,
        result: Result<(), String>,
    ) -> Option<bool> {
        let (id, _) = ports.take_job();
        worker.ended(id, End::Done(result), ports)
    }

    #[test]
    fn the_latest_wish_counts() {
        let (mut worker, mut ports) = (AddressWorker::new("VI_1"), Fake::default());
        worker.hold(true, &mut ports);
        worker.hold(false, &mut ports);
        worker.hold(true, &mut ports);
        worker.hold(false, &mut ports);
        assert_eq!(ports.jobs(), [Job::HoldAddresses(true)]);
        assert_eq!(end(&mut worker, &mut ports, Ok(())), None, "they are not wanted any more");
        assert_eq!(ports.jobs(), [Job::HoldAddresses(false)]);
        assert_eq!(end(&mut worker, &mut ports, Ok(())), Some(false));
        worker.hold(true, &mut ports);
        assert_eq!(end(&mut worker, &mut ports, Ok(())), Some(true));
    }

    fn seen(ports: &Fake, all: bool, none: bool) -> AddressesSeen {
        AddressesSeen { at: ports.now(), all, none }
    }

    fn observe(worker: &mut AddressWorker, ports: &mut Fake, all: bool, none: bool) {
        let seen = seen(ports, all, none);
        worker.observed(seen, Vec::new, ports);
    }

    #[test]
    fn what_somebody_else_changes_is_changed_back() {
        let (mut worker, mut ports) = (AddressWorker::new("VI_1"), Fake::default());
        observe(&mut worker, &mut ports, false, false);
        assert!(ports.jobs().is_empty(), "nothing was wished yet");
        worker.hold(true, &mut ports);
        observe(&mut worker, &mut ports, false, true);
        assert_eq!(ports.jobs().len(), 1, "that is under way");
        let stale = seen(&ports, false, true);
        end(&mut worker, &mut ports, Ok(()));
        worker.observed(stale, Vec::new, &mut ports);
        assert!(ports.jobs().is_empty(), "that was before");
        ports.pass(1);
        observe(&mut worker, &mut ports, true, false);
        assert!(ports.jobs().is_empty());
        observe(&mut worker, &mut ports, false, true);
        assert_eq!(ports.jobs(), [Job::HoldAddresses(true)]);
        assert!(!worker.take_repaired());
        assert_eq!(end(&mut worker, &mut ports, Ok(())), Some(true));
        assert!(worker.take_repaired() && !worker.take_repaired());
        worker.hold(false, &mut ports);
        end(&mut worker, &mut ports, Ok(()));
        ports.pass(1);
        observe(&mut worker, &mut ports, false, true);
        assert!(ports.jobs().is_empty());
        observe(&mut worker, &mut ports, true, false);
        assert_eq!(ports.jobs(), [Job::HoldAddresses(false)]);
        end(&mut worker, &mut ports, Ok(()));
        assert!(!worker.take_repaired(), "there is nothing to announce");
    }

    #[test]
    fn a_program_that_does_the_contrary_is_not_fought_at_full_speed() {
        let (mut worker, mut ports) = (AddressWorker::new("VI_1"), Fake::default());
        worker.hold(true, &mut ports);
        end(&mut worker, &mut ports, Ok(()));
        let mut repairs = 0;
        for _ in 0..1000 {
            ports.pass(1);
            observe(&mut worker, &mut ports, false, true);
            if !ports.jobs().is_empty() {
                repairs += 1;
                end(&mut worker, &mut ports, Ok(()));
            }
        }
        assert!((AT_ONCE..AT_ONCE + 3).contains(&repairs), "{repairs}");
        ports.pass(60_000);
        observe(&mut worker, &mut ports, false, true);
        assert_eq!(ports.jobs().len(), 1);
    }

    #[test]
    fn what_fails_or_hangs_is_tried_again_after_a_pause() {
        let (mut worker, mut ports) = (AddressWorker::new("VI_1"), Fake::default());
        worker.hold(true, &mut ports);
        assert_eq!(end(&mut worker, &mut ports, Err("no interface".to_owned())), None);
        assert!(ports.jobs().is_empty());
        ports.pass(100);
        worker.tick(ports.now(), &mut ports);
        assert_eq!(ports.jobs().len(), 1);
        ports.pass(2000);
        worker.tick(ports.now(), &mut ports);
        assert!(ports.jobs().is_empty(), "the one that hangs is given up");
        ports.pass(200);
        worker.tick(ports.now(), &mut ports);
        assert_eq!(end(&mut worker, &mut ports, Ok(())), Some(true));
        assert_eq!(worker.next_timer(), None);
    }
}
