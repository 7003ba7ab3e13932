//! The rules by which the cluster record, and the marks beside it, are written to disk.
//!
//! One write at a time, in the order of the wishes; a newer record replaces one that waits. A write that
//! hangs is reported as failed after `LIMIT`, for the core must not wait for it. It can't be taken back,
//! so the next write waits till it has ended, however long that is: two at a time could leave the older
//! record as the newer one. When it ends after all, and well, the disk may hold a record that the core
//! was told is not there, as after a crash between write and report. The record that the core goes by
//! is then written again, so that a restart finds that one.
//!
//! Each second it is checked that the record is there and could be written: a disk that is full, read-only or
//! gone must be noticed before a takeover needs it. A record that is missing, or is another one, is written
//! again.

use std::time::Duration;

use ogha_common::{
    failover::{Input, Marks, Record},
    units::{Instant, Term},
};

use tracing::warn;

use super::{
    ports::{End, Job, JobId, Lane, Ports, Slot},
    retry::Trouble,
};

/// After so long a write is reported as failed.
const LIMIT: Duration = Duration::from_secs(2);
/// The slot's own deadline: a write has none, and is never given up.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Between two checks.
const CHECK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Wish {
    record: Record,
    /// Who waits for it: this record's term, and those of records that it has replaced. None of a
    /// record that is only written again.
    terms: Vec<Term>,
    deadline: Instant,
}

impl Wish {
    fn report(&mut self, ok: bool, out: &mut Vec<Input>) {
        let report = if ok { Input::Persisted } else { Input::PersistFailed };
        out.extend(self.terms.drain(..).map(report));
    }
}

#[derive(Debug)]
enum Writing {
    Record(Wish, /* was reported as failed */ bool),
    Marks(Marks),
}

/// The disk of one instance.
#[derive(Debug)]
pub struct DiskWorker {
    slot: Slot,
    writing: Option<Writing>,
    waiting: Option<Wish>,
    marks: Option<Marks>,
    trouble: Trouble,
    marks_trouble: Trouble,
    instance: String,
    check: Slot,
    /// When the next check is due, or when the one under way is late; `None`: it was reported as late.
    check_at: Option<Instant>,
    check_trouble: Trouble,
}

impl DiskWorker {
    /// A disk at rest.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            slot: Slot::new(Lane::Disk),
            writing: None,
            waiting: None,
            marks: None,
            trouble: Trouble::new(instance, "write the cluster record"),
            marks_trouble: Trouble::new(
                instance,
                "write that failovers are paused, or a switchover under way",
            ),
            instance: instance.to_owned(),
            check: Slot::new(Lane::DiskCheck),
            check_at: None,
            check_trouble: Trouble::new(instance, "keep the cluster record"),
        }
    }

    /// The disk is checked from now on.
    pub fn begin_checks(&mut self, now: Instant) {
        self.check_at = Some(now + CHECK_EVERY);
    }

    /// Why the record cannot be kept on disk, as far as is known.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.check_trouble.reason().or_else(|| self.trouble.reason())
    }

    /// A check has ended; `current` is the record that the core goes by.
    pub fn checked(
        &mut self,
        id: JobId,
        end: End,
        current: Option<Record>,
        ports: &mut impl Ports,
    ) {
        let End::Kept(kept) = end else { return };
        if !self.check.ended(id) {
            return;
        }
        let now = ports.now();
        self.check_at = Some(now + CHECK_EVERY);
        match kept {
            Ok(is_there) => {
                self.check_trouble.worked();
                let idle = self.writing.is_none() && self.waiting.is_none();
                if let Some(record) = current.filter(|_| !is_there && idle) {
                    let instance = &self.instance;
                    warn!(
                        instance,
                        "the cluster record on disk was removed or replaced; it is written again"
                    );
                    self.waiting = Some(Wish { record, terms: vec![], deadline: now + LIMIT });
                    self.go_on(ports);
                }
            }
            Err(reason) => drop(self.check_trouble.failed(now, &reason)),
        }
    }

    /// A check hangs with the disk, and can't be taken back: the next begins when it has ended.
    fn tick_check(&mut self, now: Instant, ports: &mut impl Ports) {
        if self.check_at.is_none_or(|at| now < at) {
            return;
        }
        if self.check.is_busy() {
            self.check_at = None;
            self.check_trouble.failed(now, &super::ports::no_end(LIMIT));
        } else {
            self.check_at = Some(now + LIMIT);
            self.check.start(NEVER, Job::CheckDisk, ports);
        }
    }

    /// The record is to be written.
    pub fn save(&mut self, record: Record, ports: &mut impl Ports) {
        let mut wish = Wish { record, terms: vec![record.term], deadline: ports.now() + LIMIT };
        wish.terms.extend(self.waiting.take().into_iter().flat_map(|replaced| replaced.terms));
        self.waiting = Some(wish);
        self.go_on(ports);
    }

    /// What else must outlive the agent is to be written.
    pub fn save_marks(&mut self, marks: Marks, ports: &mut impl Ports) {
        self.marks = Some(marks);
        self.marks_trouble.retry.succeeded();
        self.go_on(ports);
    }

    fn go_on(&mut self, ports: &mut impl Ports) {
        if self.slot.is_busy() {
            return;
        }
        let job = if let Some(wish) = self.waiting.take() {
            let job = Job::Save(wish.record);
            self.writing = Some(Writing::Record(wish, false));
            job
        } else if self.marks_trouble.retry.is_due(ports.now())
            && let Some(marks) = self.marks.take()
        {
            self.writing = Some(Writing::Marks(marks));
            Job::SaveMarks(marks)
        } else {
            return;
        };
        self.slot.start(NEVER, job, ports);
    }

    /// A write has ended; `current` is the record that the core goes by.
    pub fn ended(
        &mut self,
        id: JobId,
        end: End,
        current: Option<Record>,
        ports: &mut impl Ports,
        out: &mut Vec<Input>,
    ) {
        let End::Done(result) = end else { return };
        if !self.slot.ended(id) {
            return;
        }
        let now = ports.now();
        match self.writing.take() {
            Some(Writing::Record(mut wish, late)) => {
                match &result {
                    Ok(()) => self.trouble.worked(),
                    Err(reason) => drop(self.trouble.failed(now, reason)),
                }
                wish.report(result.is_ok(), out);
                let restore = current.filter(|current| late && *current != wish.record);
                if let (Some(record), None) = (restore, &self.waiting) {
                    self.waiting = Some(Wish { record, terms: vec![], deadline: now + LIMIT });
                }
            }
            Some(Writing::Marks(marks)) => match result {
                Ok(()) => self.marks_trouble.worked(),
                Err(reason) => {
                    self.marks_trouble.failed(now, &reason);
                    self.marks = self.marks.or(Some(marks));
                }
            },
            None => {}
        }
        self.go_on(ports);
    }

    /// When [`DiskWorker::tick`] is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let writing = match &self.writing {
            Some(Writing::Record(wish, false)) => Some(wish.deadline),
            _ => None,
        };
        let waiting = self.waiting.iter().map(|wish| wish.deadline);
        let idle = self.marks.is_some() && !self.slot.is_busy();
        let pause = self.marks_trouble.retry.at().filter(|_| idle);
        writing.into_iter().chain(waiting).chain(pause).chain(self.check_at).min()
    }

    /// Time has passed: a write may be late.
    pub fn tick(&mut self, now: Instant, ports: &mut impl Ports, out: &mut Vec<Input>) {
        self.tick_check(now, ports);
        let reason = super::ports::no_end(LIMIT);
        if let Some(Writing::Record(wish, late @ false)) = &mut self.writing
            && now >= wish.deadline
        {
            *late = true;
            wish.report(false, out);
            self.trouble.failed(now, &reason);
        }
        // One that was not begun is not written at all.
        if let Some(mut wish) = self.waiting.take_if(|wish| now >= wish.deadline) {
            wish.report(false, out);
        }
        self.go_on(ports);
    }
}

#[cfg(test)]
mod tests {
    use ogha_common::{failover::NodeSet, units::NodeId};

    use super::*;
    use crate::run::fake::Fake;

    fn record(term: u64) -> Record {
        let primary = NodeId::of("db1");
        Record { term: Term::new(term), primary, in_sync: NodeSet::of(primary) }
    }

    struct Disk {
        worker: DiskWorker,
        ports: Fake,
    }

    impl Disk {
        fn new() -> Self {
            Self { worker: DiskWorker::new("VI_1"), ports: Fake::default() }
        }

        fn save(&mut self, term: u64) {
            self.worker.save(record(term), &mut self.ports);
        }

        fn end(&mut self, result: Result<(), String>, current: Option<Record>) -> Vec<Input> {
            let (id, _) = self.ports.take_job();
            let mut out = vec![];
            self.worker.ended(id, End::Done(result), current, &mut self.ports, &mut out);
            out
        }

        fn pass(&mut self, ms: u64) -> Vec<Input> {
            self.ports.pass(ms);
            let mut out = vec![];
            self.worker.tick(self.ports.now(), &mut self.ports, &mut out);
            out
        }
    }

    fn paused(paused: bool) -> Marks {
        Marks { paused, ..Marks::default() }
    }

    #[test]
    fn records_are_written_one_after_another_and_a_newer_one_replaces_one_that_waits() {
        let mut disk = Disk::new();
        (1..=3).for_each(|term| disk.save(term));
        assert_eq!(disk.ports.jobs(), [Job::Save(record(1))]);
        assert_eq!(disk.end(Ok(()), None), [Input::Persisted(Term::new(1))]);
        assert_eq!(disk.ports.jobs(), [Job::Save(record(3))]);
        let both = [Input::Persisted(Term::new(3)), Input::Persisted(Term::new(2))];
        assert_eq!(disk.end(Ok(()), None), both);
        assert!(disk.ports.jobs().is_empty());
    }

    #[test]
    fn a_write_that_hangs_fails_and_nothing_is_written_beside_it() {
        let mut disk = Disk::new();
        disk.save(1);
        assert_eq!(disk.worker.next_timer(), Some(disk.ports.now() + LIMIT));
        assert_eq!(disk.pass(2000), [Input::PersistFailed(Term::new(1))]);
        assert_eq!(disk.pass(10), [], "it is reported once");
        disk.save(2);
        assert_eq!(disk.pass(2000), [Input::PersistFailed(Term::new(2))], "one that waits too");
        assert_eq!(disk.ports.jobs().len(), 1);
        assert_eq!(disk.worker.next_timer(), None);
        // The late success is no success, and what the core goes by is written again.
        assert_eq!(disk.end(Ok(()), Some(record(0))), []);
        assert_eq!(disk.ports.jobs(), [Job::Save(record(0))]);
        assert_eq!(disk.end(Ok(()), Some(record(0))), [], "and nobody waits for that");
        assert!(disk.ports.jobs().is_empty());
    }

    fn check(disk: &mut Disk, kept: Result<bool, &str>) {
        disk.pass(1000);
        let id = disk.ports.take(|job| *job == Job::CheckDisk);
        let end = End::Kept(kept.map_err(str::to_owned));
        disk.worker.checked(id, end, Some(record(7)), &mut disk.ports);
    }

    #[test]
    fn a_disk_that_fails_is_noticed_and_a_record_that_is_gone_is_written_again() {
        let mut disk = Disk::new();
        disk.worker.begin_checks(disk.ports.now());
        check(&mut disk, Ok(true));
        assert_eq!((disk.worker.problem(), disk.ports.jobs()), (None, vec![]));
        check(&mut disk, Err("read-only"));
        assert_eq!((disk.worker.problem(), disk.ports.jobs()), (Some("read-only"), vec![]));
        check(&mut disk, Ok(false));
        assert_eq!(disk.worker.problem(), None);
        assert_eq!(disk.ports.jobs(), [Job::Save(record(7))]);
        assert_eq!(disk.end(Ok(()), Some(record(7))), [], "the core has heard of it long ago");
    }

    #[test]
    fn a_check_that_hangs_is_reported_and_no_other_begins() {
        let mut disk = Disk::new();
        disk.worker.begin_checks(disk.ports.now());
        disk.pass(1000);
        assert_eq!(disk.worker.problem(), None);
        disk.pass(2000);
        assert_eq!(disk.worker.problem(), Some("it did not end within 2s"));
        disk.pass(60_000);
        assert_eq!((disk.ports.jobs(), disk.worker.next_timer()), (vec![Job::CheckDisk], None));
        let id = disk.ports.take(|_| true);
        disk.worker.checked(id, End::Kept(Ok(true)), None, &mut disk.ports);
        assert_eq!(disk.worker.problem(), None);
        assert!(disk.worker.next_timer().is_some());
    }

    #[test]
    fn a_late_record_is_not_written_again_before_a_newer_one() {
        let mut disk = Disk::new();
        disk.save(1);
        disk.pass(2000);
        disk.save(2);
        assert_eq!(disk.end(Err("no space".to_owned()), Some(record(0))), []);
        assert_eq!(disk.ports.jobs(), [Job::Save(record(2))]);
    }

    #[test]
    fn a_pause_is_written_again_till_it_is_written() {
        let mut disk = Disk::new();
        disk.worker.save_marks(paused(true), &mut disk.ports);
        assert_eq!(disk.end(Err("read-only".to_owned()), None), []);
        assert!(disk.ports.jobs().is_empty());
        disk.pass(100);
        assert_eq!(disk.ports.jobs(), [Job::SaveMarks(paused(true))]);
        disk.worker.save_marks(paused(false), &mut disk.ports);
        disk.end(Err("read-only".to_owned()), None);
        assert_eq!(disk.ports.jobs(), [], "a pause before the next attempt");
        disk.pass(200);
        assert_eq!(disk.ports.jobs(), [Job::SaveMarks(paused(false))], "the newest wish");
    }
}
