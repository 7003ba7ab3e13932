//! The rules by which the virtual addresses are put on the interface, or taken off it: the latest wish
//! counts, one attempt at a time, and what fails is tried again.

use std::time::Duration;

use ogha_common::units::Instant;

use super::{
    ports::{End, Job, JobId, Lane, Slot, Work, no_end},
    retry::Trouble,
};

/// When an attempt is given up.
const LIMIT: Duration = Duration::from_secs(2);

/// The addresses of one instance.
#[derive(Debug)]
pub struct AddressWorker {
    slot: Slot,
    at: bool,
    wanted: Option<bool>,
    trouble: Trouble,
}

impl AddressWorker {
    /// Nothing is wished yet.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        let trouble = Trouble::new(instance, "change the addresses of the interface");
        Self { slot: Slot::new(Lane::Addresses), at: false, wanted: None, trouble }
    }

    /// Wishes the addresses on the interface, or off it.
    pub fn hold(&mut self, hold: bool, ports: &mut impl Work) {
        self.wanted = Some(hold);
        self.trouble.retry.succeeded();
        self.go_on(ports);
    }

    fn go_on(&mut self, ports: &mut impl Work) {
        if !self.slot.is_busy()
            && self.trouble.retry.is_due(ports.now())
            && let Some(hold) = self.wanted.take()
        {
            self.at = hold;
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
