//! This node's own database, beside its process's end and its listener, which the kernel watches: whether
//! it works.
//!
//! A hang is a reason to stop a database, so it takes evidence that no client and no load can make:
//!
//! * `a_stopped_process_hangs`: the main process is stopped or frozen, look after look, and a check that
//!   was made meanwhile was not answered.
//! * `a_silent_process_hangs`: for `hang_timeout` the main process has not run once and did not even want
//!   to, though checks waited for it; the kept session did not answer, and no write was done.
//! * `storage_hangs`: for `hang_timeout` no write was done, and one is under way on an open session. Its
//!   process was asleep all the time, the disks have written nothing, and the server lives: it answered a
//!   check or a question since. A write that lasts ten times as long hangs whatever else is to be seen.
//!
//! Nothing else is more than suspicion: not a full accept queue, not checks without an answer, not
//! requests without a response. A server whose process a debugger holds does not hang, and a node that
//! stalled itself knows nothing about the time before.

use core::time::Duration;

use super::{
    CheckOutcome, Passive, Sign, Suspicion, Verdict,
    verdict::Hang,
    vitals::{Look, Still, TaskState},
};
use crate::units::{Instant, Lsn};

/// How long a process must have been stopped when a check ends without an answer.
const STOPPED_FOR: Duration = Duration::from_millis(200);
/// So many checks in a row without an answer say that nobody answers.
const CHECKS: u32 = 3;
/// How many times `hang_timeout` a write may last, whatever else is to be seen.
const PATIENCE: u32 = 10;

/// What is known of the database on this node.
#[derive(Clone, Debug)]
pub struct Own {
    hang_timeout: Duration,
    passive: Option<Passive>,
    /// Since when there are passive signs.
    passive_since: Instant,
    look: Look,
    /// Since when the main process is stopped or frozen.
    stopped_since: Option<Instant>,
    main: Still,
    /// Since when the process that writes has been asleep, look after look, in the write under way.
    asleep_since: Option<Instant>,
    checks: Checks,
    /// When the kept session answered last.
    session_at: Instant,
    /// When it was last known that writes are done.
    wrote_at: Instant,
    /// When the disks were last seen to write.
    disks_at: Instant,
    /// Where the WAL ended on disk.
    end: Option<Lsn>,
    verdict: Verdict,
}

/// What came of the active checks.
#[derive(Clone, Copy, Debug, Default)]
struct Checks {
    /// When the last one that counts began.
    began: Instant,
    /// When the last one began that was answered.
    answered_at: Instant,
    /// When the last one ended, if it was not answered.
    failed_at: Option<Instant>,
    /// What was wrong with it.
    wrong: Option<CheckOutcome>,
    /// So many in a row were not answered.
    unanswered: u32,
}

impl Own {
    /// A database of which nothing was seen yet.
    #[must_use]
    pub fn new(hang_timeout: Duration, now: Instant) -> Self {
        Self {
            hang_timeout,
            passive: None,
            passive_since: now,
            look: Look::default(),
            stopped_since: None,
            main: Still::default(),
            asleep_since: None,
            checks: Checks::default(),
            session_at: now,
            wrote_at: now,
            disks_at: now,
            end: None,
            verdict: Verdict::Healthy,
        }
    }

    /// What is thought of it: healthy, suspect, or hung.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether its main process is stopped or frozen: a check must not wait for its turn.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped_since.is_some()
    }

    /// When a write was last known to be done.
    #[must_use]
    pub const fn wrote_at(&self) -> Instant {
        self.wrote_at
    }

    /// What the counters of its port show. The verdict comes out when its kind has changed.
    pub fn passive(&mut self, now: Instant, passive: Option<Passive>) -> Option<Verdict> {
        if self.passive.is_none() {
            self.passive_since = now;
        }
        self.passive = passive;
        self.rejudge(now)
    }

    /// What the kernel shows of it now. The verdict comes out when its kind has changed.
    pub fn look(&mut self, now: Instant, look: Look) -> Option<Verdict> {
        let before = core::mem::replace(&mut self.look, look);
        match look.main.state {
            TaskState::Stopped | TaskState::Frozen => {
                self.stopped_since.get_or_insert(now);
            }
            _ => self.stopped_since = None,
        }
        self.main.observe(now, look.main);
        if self.main.lasted(now) == Duration::ZERO {
            // It has run: it may be on its way to the checks that wait.
            self.checks.unanswered = 0;
        }
        if look.writing_since.is_none() || look.writing_since != before.writing_since {
            self.asleep_since = None;
            // Before it nothing was tried.
            let began = look.writing_since.unwrap_or(self.wrote_at);
            self.wrote_at = self.wrote_at.max(began - self.hang_timeout / 4);
        }
        if look.writing_since.is_some() && look.writer.state == TaskState::Asleep {
            self.asleep_since.get_or_insert(now);
        } else {
            self.asleep_since = None;
        }
        if look.written.is_none() || look.written != before.written {
            self.disks_at = now;
        }
        self.rejudge(now)
    }

    /// An active check has ended. The verdict comes out when its kind has changed.
    pub fn checked(
        &mut self,
        now: Instant,
        began: Instant,
        outcome: CheckOutcome,
    ) -> Option<Verdict> {
        let checks = &mut self.checks;
        if outcome != CheckOutcome::Unknown && began > checks.began {
            checks.began = began;
            let answered = outcome == CheckOutcome::Answered;
            checks.wrong = (!answered).then_some(outcome);
            if outcome == CheckOutcome::NoAnswer {
                checks.failed_at = Some(now);
                checks.unanswered = checks.unanswered.saturating_add(1);
            } else {
                checks.failed_at = None;
                checks.unanswered = 0;
            }
            if answered {
                checks.answered_at = began;
            }
        }
        self.rejudge(now)
    }

    /// The kept session has answered, by whatever words, a question that was asked then. `end`: where a
    /// primary's WAL ends on disk.
    pub fn answered(&mut self, now: Instant, asked: Instant, end: Option<Lsn>) -> Option<Verdict> {
        self.session_at = self.session_at.max(asked);
        let end = end.or(self.end);
        if end != self.end {
            self.end = end;
            self.wrote_at = self.wrote_at.max(asked);
        }
        self.rejudge(now)
    }

    /// A write that began then was done, or the server has said why it does not.
    pub fn wrote(&mut self, now: Instant, began: Instant) -> Option<Verdict> {
        self.wrote_at = self.wrote_at.max(began);
        self.rejudge(now)
    }

    /// This node was away: what it knows is of the time before.
    pub fn stalled(&mut self, now: Instant) {
        self.stopped_since = None;
        self.main.forget();
        self.asleep_since = None;
        (self.session_at, self.wrote_at, self.disks_at) = (now, now, now);
        self.checks = Checks { began: now, ..Checks::default() };
    }

    fn rejudge(&mut self, now: Instant) -> Option<Verdict> {
        let verdict = match self.hang(now) {
            Some(_) if self.is_traced() => Verdict::Suspect(Suspicion::Traced),
            Some(hang) => Verdict::Hung(hang),
            None => self.suspicion().map_or(Verdict::Healthy, Verdict::Suspect),
        };
        let changed = !verdict.same_kind(&self.verdict);
        self.verdict = verdict;
        changed.then_some(verdict)
    }

    const fn is_traced(&self) -> bool {
        let Look { main, writer, traced, .. } = &self.look;
        matches!(main.state, TaskState::Traced)
            || matches!(writer.state, TaskState::Traced)
            || *traced
    }

    fn hang(&self, now: Instant) -> Option<Hang> {
        self.stopped(now).or_else(|| self.silent(now)).or_else(|| self.storage(now))
    }

    /// `a_stopped_process_hangs`.
    fn stopped(&self, now: Instant) -> Option<Hang> {
        let since = self.stopped_since?;
        let failed = self.checks.failed_at? >= since + STOPPED_FOR;
        let length = now.since(since);
        let frozen = self.look.main.state == TaskState::Frozen;
        failed.then_some(if frozen { Hang::Frozen(length) } else { Hang::Stopped(length) })
    }

    /// `a_silent_process_hangs`.
    fn silent(&self, now: Instant) -> Option<Hang> {
        let length = self.main.lasted(now);
        let over = |at: Instant| now.since(at) >= self.hang_timeout;
        let waits = self.checks.failed_at.is_some_and(|at| now.since(at) < self.hang_timeout);
        let silent = length >= self.hang_timeout
            && waits
            && self.checks.unanswered >= CHECKS
            && over(self.checks.answered_at)
            && over(self.session_at)
            && over(self.wrote_at);
        silent.then_some(Hang::Silent(length))
    }

    /// `storage_hangs`.
    fn storage(&self, now: Instant) -> Option<Hang> {
        let began = self.look.writing_since?;
        let length = now.since(self.wrote_at);
        // One that wants a processor is not held up by a disk, and one that was stopped not either.
        let asleep = now.since(self.asleep_since?);
        if length < self.hang_timeout || asleep < self.hang_timeout / 2 {
            return None;
        }
        let lives = self.checks.answered_at >= began || self.session_at >= began;
        // They are watched only since it began, a little after the last write that was done.
        let watched = self.hang_timeout - self.hang_timeout / 4;
        let disks = now.since(self.disks_at) < watched && self.look.written.is_some();
        let endless = now.since(began) >= self.hang_timeout * PATIENCE;
        (lives && !disks || endless).then_some(Hang::Storage(length))
    }

    /// What is a reason to look, and none to act.
    fn suspicion(&self) -> Option<Suspicion> {
        let cleared = self.checks.wrong.is_none() && self.checks.answered_at >= self.passive_since;
        match (self.passive.map(Sign::Passive), self.checks.wrong) {
            _ if self.look.main.state == TaskState::Traced => Some(Suspicion::Traced),
            (Some(_), None) if cleared => None,
            (Some(sign), _) => Some(Suspicion::Database(sign)),
            (None, Some(outcome)) => Some(Suspicion::CheckFailed(outcome)),
            (None, None) => None,
        }
    }
}
