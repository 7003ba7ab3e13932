//! What is known of the peer's agent and database: replies, counters, active checks.

use core::time::Duration;

use super::{CheckOutcome, Config, Facts, Passive, verdict::AcceptQueue};
use crate::units::Instant;

/// The evidence that is not about the host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    /// The newest reply's facts.
    facts: Option<Facts>,
    /// Facts count from the probe on that was sent then: the newest answered, or the first after
    /// a stall of this node.
    facts_from: Instant,
    /// The newest reply that showed a listener: when its probe was sent.
    listener_at: Option<Instant>,
    /// The host, or this node, was away: the agent's silence counts from the next reply on.
    was_away: bool,
    /// From when on the agent's silence counts; `None`: all of it.
    witnessed_from: Option<Instant>,
    /// Replies in a row in which the accept queue was not empty and not shorter than before.
    stuck: u32,
    passive: Option<Passive>,
    /// The last check that began, and what came of it if it found something wrong.
    checked: Option<(Instant, Option<CheckOutcome>)>,
}

impl Health {
    pub(super) const fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// The facts of a reply. False: they are old, as another path was faster or this node was
    /// away, and change nothing.
    pub(super) fn learn(&mut self, config: &Config, sent: Instant, mut facts: Facts) -> bool {
        if sent < self.facts_from {
            return false;
        }
        if core::mem::take(&mut self.was_away) {
            self.witnessed_from = Some(sent);
        }
        if facts.listener == Some(true) {
            self.listener_at = Some(sent);
        }
        self.count_stuck(facts.queue);
        facts.agent_age = self.witnessed(config, sent, facts.agent_age);
        self.facts = Some(facts);
        self.facts_from = sent;
        true
    }

    /// The part of an agent's silence that its host was seen to be up for. An agent whose host
    /// was paused had no chance to beat.
    fn witnessed(&mut self, config: &Config, sent: Instant, age: Duration) -> Duration {
        let Some(from) = self.witnessed_from else { return age };
        if age < config.agent_slow {
            self.witnessed_from = None;
        }
        age.min(sent.since(from))
    }

    fn count_stuck(&mut self, queue: Option<AcceptQueue>) {
        let before = self.facts().and_then(|facts| facts.queue).map_or(0, |queue| queue.waiting);
        self.stuck = match queue {
            Some(queue) if queue.waiting > 0 && queue.waiting >= before => {
                self.stuck.saturating_add(1)
            }
            _ => 0,
        };
    }

    pub(super) const fn set_passive(&mut self, passive: Option<Passive>) {
        self.passive = passive;
    }

    /// Checks count in the order in which they began.
    pub(super) fn checked(&mut self, began: Instant, outcome: CheckOutcome) {
        let newer = self.checked.is_none_or(|(last, _)| began > last);
        if newer && outcome != CheckOutcome::Unknown {
            self.checked = Some((began, Some(outcome).filter(|&o| o != CheckOutcome::Answered)));
        }
    }

    /// The host is lost; what it said is over.
    pub(super) const fn host_lost(&mut self) {
        self.was_away = true;
        self.forget();
    }

    /// This node was away. A check that was under way says nothing; facts stay only if they were
    /// good. `long`: the peer may have been away as well, unseen.
    pub(super) fn stalled(&mut self, now: Instant, good: bool, long: bool) {
        self.was_away |= long;
        self.checked = Some((now, None));
        self.facts_from = self.facts_from.max(now);
        self.stuck = 0;
        if !good {
            self.forget();
        }
    }

    const fn forget(&mut self) {
        self.facts = None;
        self.stuck = 0;
    }

    /// Time since a reply last showed a listener; `None`: none ever did.
    pub(super) fn listener_seen(&self, now: Instant) -> Option<Duration> {
        self.listener_at.map(|at| now.since(at))
    }

    /// The accept queue, if it is full or was stuck for so many replies.
    pub(super) fn stuck_queue(&self, replies: u32) -> Option<AcceptQueue> {
        let queue = self.facts()?.queue?;
        (self.stuck >= replies || queue.is_full()).then_some(queue)
    }

    pub(super) const fn passive(&self) -> Option<Passive> {
        self.passive
    }

    /// What the last check found wrong.
    pub(super) fn check_failed(&self) -> Option<CheckOutcome> {
        self.checked.and_then(|(_, outcome)| outcome)
    }
}
