//! The writes by which it is checked that the storage of a primary works.
//!
//! A primary whose WAL grows on disk by itself needs none of them.

use std::time::Duration;

use ogha_common::units::Instant;
use tracing::info;

use super::{
    ports::{End, Job, JobId, Lane, Ports, Slot},
    retry::Trouble,
};

/// A write that hangs is waited for: another session would hang as well, and so would the next. This is
/// for one whose end is lost.
const LIMIT: Duration = Duration::from_secs(3600);

/// The writes of one instance's primary.
#[derive(Debug)]
pub struct Writes {
    instance: String,
    every: Duration,
    slot: Slot,
    began: Instant,
    at: Instant,
    trouble: Trouble,
    unsupported: bool,
}

impl Writes {
    /// Nothing is written before [`Writes::tick`] says so.
    #[must_use]
    pub fn new(instance: &str, hang_timeout: Duration, now: Instant) -> Self {
        Self {
            instance: instance.to_owned(),
            every: hang_timeout / 4,
            slot: Slot::new(Lane::Write),
            began: now,
            at: now,
            trouble: Trouble::new(instance, "write to the database, to check its storage"),
            unsupported: false,
        }
    }

    /// Writes if it is time to. `wrote_at`: when a write was last known to be done.
    pub fn tick(&mut self, now: Instant, wrote_at: Instant, ports: &mut impl Ports) {
        let due = now >= self.at && now.since(wrote_at) >= self.every;
        if self.slot.give_up(now, ports) || due && !self.unsupported && !self.slot.is_busy() {
            self.began = now;
            self.slot.start(LIMIT, Job::Write, ports);
        }
    }

    /// The process that writes was stopped by somebody: another session may write.
    pub fn abandon(&mut self, ports: &mut impl Ports) {
        self.slot.abort(ports);
    }

    /// A write has ended. Comes out if the server has shown that it can: when it began.
    pub fn ended(&mut self, id: JobId, end: End, now: Instant) -> Option<Instant> {
        let End::Wrote(written) = end else { return None };
        if !self.slot.ended(id) {
            return None;
        }
        self.at = now + self.every;
        match written {
            Ok(true) => {
                self.trouble.worked();
                Some(self.began)
            }
            Ok(false) => {
                self.unsupported = true;
                info!(
                    instance = self.instance,
                    "this server has no pg_logical_emit_message(): a hang of its storage alone is not \
                     detected"
                );
                None
            }
            Err(reason) => {
                self.trouble.failed(now, &reason);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fake::Fake;

    const HANG_TIMEOUT: Duration = Duration::from_secs(2);

    #[test]
    fn what_writes_by_itself_is_not_written_to() {
        let mut ports = Fake::default();
        let mut writes = Writes::new("VI_1", HANG_TIMEOUT, ports.now());
        for _ in 0..50 {
            ports.pass(50);
            let wrote_at = ports.now();
            writes.tick(wrote_at, wrote_at, &mut ports);
        }
        assert_eq!(ports.jobs(), []);
        let (wrote_at, mut count) = (ports.now(), 0);
        for _ in 0..40 {
            ports.pass(50);
            writes.tick(ports.now(), wrote_at, &mut ports);
            for (id, _) in ports.jobs_with_ids() {
                ports.take_job();
                count += 1;
                assert_eq!(writes.ended(id, End::Wrote(Ok(true)), ports.now()), Some(ports.now()));
            }
        }
        assert_eq!(count, 4, "every half second");
    }

    #[test]
    fn one_that_hangs_is_waited_for_and_one_that_cannot_be_made_is_no_write() {
        let mut ports = Fake::default();
        let mut writes = Writes::new("VI_1", HANG_TIMEOUT, ports.now());
        let wrote_at = ports.now();
        for _ in 0..1000 {
            ports.pass(500);
            writes.tick(ports.now(), wrote_at, &mut ports);
        }
        assert_eq!(ports.jobs(), [Job::Write]);
        let (id, _) = ports.take_job();
        assert_eq!(writes.ended(id, End::Wrote(Err("no".to_owned())), ports.now()), None);
        ports.pass(500);
        writes.tick(ports.now(), wrote_at, &mut ports);
        let (id, _) = ports.take_job();
        assert_eq!(writes.ended(id, End::Wrote(Ok(false)), ports.now()), None);
        ports.pass(5000);
        writes.tick(ports.now(), wrote_at, &mut ports);
        assert_eq!(ports.jobs(), [], "it cannot be asked to write");
    }
}
