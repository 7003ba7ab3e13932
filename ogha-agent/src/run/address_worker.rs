//! The rules by which the virtual addresses are put on the interface, or taken off it: the latest wish
//! counts, one attempt at a time, and what fails is tried again.

use std::time::Duration;

use ogha_common::{failover::Input, units::Instant};

use super::{
    ports::{End, Job, JobId, Lane, Ports, Slot, no_end},
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
    pub fn hold(&mut self, hold: bool, ports: &mut impl Ports) {
        self.wanted = Some(hold);
        self.trouble.retry.worked();
        self.go_on(ports);
    }

    fn go_on(&mut self, ports: &mut impl Ports) {
        if !self.slot.is_busy()
            && self.trouble.retry.is_due(ports.now())
            && let Some(hold) = self.wanted.take()
        {
            self.at = hold;
            self.slot.start(LIMIT, Job::HoldAddresses(hold), ports);
        }
    }

    /// An attempt has ended.
    pub fn ended(&mut self, id: JobId, end: End, ports: &mut impl Ports, out: &mut Vec<Input>) {
        if let End::Done(result) = end
            && self.slot.ended(id)
        {
            self.attempted(&result, ports, out);
        }
    }

    fn attempted(
        &mut self,
        result: &Result<(), String>,
        ports: &mut impl Ports,
        out: &mut Vec<Input>,
    ) {
        match result {
            Ok(()) => {
                self.trouble.worked();
                if self.at && self.wanted.is_none() {
                    out.push(Input::AddressesHeld);
                }
            }
            Err(reason) => {
                self.trouble.failed(ports.now(), reason);
                self.wanted = self.wanted.or(Some(self.at));
            }
        }
        self.go_on(ports);
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
    pub fn tick(&mut self, now: Instant, ports: &mut impl Ports, out: &mut Vec<Input>) {
        if self.slot.give_up(now, ports) {
            self.attempted(&Err(no_end(LIMIT)), ports, out);
        } else {
            self.go_on(ports);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fake::Fake;

    fn end(worker: &mut AddressWorker, ports: &mut Fake, result: Result<(), String>) -> Vec<Input> {
        let (id, _) = ports.take_job();
        let mut out = vec![];
        worker.ended(id, End::Done(result), ports, &mut out);
        out
    }

    #[test]
    fn the_latest_wish_counts() {
        let (mut worker, mut ports) = (AddressWorker::new("VI_1"), Fake::default());
        worker.hold(true, &mut ports);
        worker.hold(false, &mut ports);
        worker.hold(true, &mut ports);
        worker.hold(false, &mut ports);
        assert_eq!(ports.jobs(), [Job::HoldAddresses(true)]);
        assert_eq!(end(&mut worker, &mut ports, Ok(())), [], "they are not wanted any more");
        assert_eq!(ports.jobs(), [Job::HoldAddresses(false)]);
        assert_eq!(end(&mut worker, &mut ports, Ok(())), []);
        worker.hold(true, &mut ports);
        assert_eq!(end(&mut worker, &mut ports, Ok(())), [Input::AddressesHeld]);
    }

    #[test]
    fn what_fails_or_hangs_is_tried_again_after_a_pause() {
        let (mut worker, mut ports) = (AddressWorker::new("VI_1"), Fake::default());
        worker.hold(true, &mut ports);
        assert_eq!(end(&mut worker, &mut ports, Err("no interface".to_owned())), []);
        assert!(ports.jobs().is_empty());
        let mut out = vec![];
        ports.pass(100);
        worker.tick(ports.now(), &mut ports, &mut out);
        assert_eq!(ports.jobs().len(), 1);
        ports.pass(2000);
        worker.tick(ports.now(), &mut ports, &mut out);
        assert!(ports.jobs().is_empty(), "the one that hangs is given up");
        ports.pass(200);
        worker.tick(ports.now(), &mut ports, &mut out);
        assert_eq!(end(&mut worker, &mut ports, Ok(())), [Input::AddressesHeld]);
        assert_eq!((worker.next_timer(), out), (None, vec![]));
    }
}
