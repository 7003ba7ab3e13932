//! One path to the peer: what was sent on it, and what came back.

use core::time::Duration;

use crate::units::Instant;

/// How many probes may be outstanding. Ticks come once an interval, so that two are usual; where
/// there are more, the oldest counts for nothing.
const OUTSTANDING: usize = 8;

/// A probe that waits for its reply.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    sent: Instant,
    deadline: Instant,
    /// It has been given a grace afresh.
    second_chance: bool,
}

/// One path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    unusable: bool,
    /// Oldest first; the free places are behind.
    waiting: [Option<Waiting>; OUTSTANDING],
    /// When the last probe was sent.
    last_sent: Option<Instant>,
    /// When the last probe that counts was sent.
    last_counted: Option<Instant>,
    /// When the newest probe that was answered was sent.
    answered: Option<Instant>,
    /// Probes in a row that were sent after the host's last sign of life, and missed.
    misses: u32,
    /// Probes in a row that were missed, whatever else was heard.
    unanswered: u32,
}

impl Path {
    pub(super) const fn is_usable(&self) -> bool {
        !self.unusable
    }

    pub(super) const fn misses(&self) -> u32 {
        self.misses
    }

    pub(super) const fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// When the first grace ends.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().flatten().map(|probe| probe.deadline).min()
    }

    /// A probe less than half an interval after the one before it is part of a burst, and one
    /// hiccup of the network takes a burst as a whole: it counts as one.
    pub(super) fn sent(&mut self, now: Instant, interval: Duration) {
        if self.unusable {
            return;
        }
        self.last_sent = self.last_sent.max(Some(now));
        if self.last_counted.is_some_and(|last| now.since(last) < interval / 2) {
            return;
        }
        self.last_counted = Some(now);
        self.push(Waiting { sent: now, deadline: now + interval, second_chance: false });
    }

    fn push(&mut self, probe: Waiting) {
        if self.waiting[OUTSTANDING - 1].is_some() {
            self.waiting.rotate_left(1);
            self.waiting[OUTSTANDING - 1] = None;
        }
        if let Some(free) = self.waiting.iter_mut().find(|place| place.is_none()) {
            *free = Some(probe);
        }
    }

    /// Whether the reply is one to a probe of ours, and newer than those before it.
    pub(super) fn replied(&mut self, sent: Instant) -> bool {
        let ours = self.last_sent.is_some_and(|last| sent <= last);
        if !ours || self.answered.is_some_and(|newest| sent <= newest) {
            return false;
        }
        self.answered = Some(sent);
        self.unanswered = 0;
        self.drop_waiting(|probe| probe.sent <= sent);
        true
    }

    /// A sign of life has come, by this path or another.
    pub(super) const fn host_lives(&mut self) {
        self.misses = 0;
    }

    /// Counts the misses. A probe that was sent no later than the last sign of life is unanswered, but
    /// says nothing against the host.
    pub(super) fn expire(&mut self, now: Instant, alive_at: Option<Instant>) {
        let overdue = |probe: &Waiting| probe.deadline <= now;
        for probe in self.waiting.iter().flatten().filter(|probe| overdue(probe)) {
            self.unanswered = self.unanswered.saturating_add(1);
            if alive_at.is_none_or(|alive| probe.sent > alive) {
                self.misses = self.misses.saturating_add(1);
            }
        }
        self.drop_waiting(overdue);
    }

    /// This node was late: a reply may just be about to be read. Once for each probe.
    pub(super) fn grace_afresh(&mut self, now: Instant, interval: Duration) {
        for probe in self.waiting.iter_mut().flatten() {
            if probe.deadline <= now && !probe.second_chance {
                *probe = Waiting { deadline: now + interval, second_chance: true, ..*probe };
            }
        }
    }

    /// This node was away: what was outstanding, and what was counted, counts for nothing.
    pub(super) fn forgive(&mut self) {
        self.waiting = Default::default();
        self.misses = 0;
        self.unanswered = 0;
    }

    /// Either way the counting begins afresh.
    pub(super) fn set_usable(&mut self, usable: bool) {
        if self.unusable == usable {
            self.unusable = !usable;
            self.forgive();
        }
    }

    /// Keeps the order, and the free places behind.
    fn drop_waiting(&mut self, drop: impl Fn(&Waiting) -> bool) {
        let mut kept = [None; OUTSTANDING];
        let stay = self.waiting.iter().flatten().filter(|probe| !drop(probe));
        kept.iter_mut().zip(stay).for_each(|(place, probe)| *place = Some(*probe));
        self.waiting = kept;
    }
}
