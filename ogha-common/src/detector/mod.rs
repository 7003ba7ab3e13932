//! The detector: signals -> verdict, with the evidence for it.
//!
//! One [`Detector`] a peer. An [`Input`] goes in with the time at which it happened; a [`Verdict`]
//! comes out when its kind has changed. Nothing here reads a clock or sends anything. Whoever
//! drives it hands in what has arrived *before* the tick, and ticks at least once a probe interval
//! ([`Detector::next_timer`]).
//!
//! The rules that it keeps, by the names that the tests use:
//!
//! * `misses_are_counted_in_probes_sent`: a miss is a probe that was sent and not answered within
//!   the grace of one probe interval. Time alone is no evidence; probes in a burst count as one.
//! * `a_late_timer_is_no_miss`: a tick that comes late gives what is outstanding a grace afresh,
//!   once for each probe, so that a node that is always late still comes to a verdict.
//! * `own_stall_is_never_blamed_on_the_peer`: after a stall of this node what was outstanding
//!   counts for nothing, and no bad verdict outlives it; fresh probes must be missed. So a node
//!   that stalls again and again judges nobody, and it must not.
//! * `lost_only_when_all_paths_are`: the host is lost when `detect_multiplier` probes in a row were
//!   missed on every path. A path that cannot be used at this end tells nothing about the peer.
//! * `a_sign_of_life_clears_the_host`: a reply, or a probe of the peer, on any path. After a bad
//!   verdict `return_multiplier` good replies in a row are wanted before the peer is healthy.
//! * `agent_dead_is_not_host_dead`: the peer's kernel answers without its agent, and says how long
//!   that has been silent. Silence while the host or this node was away does not count.
//! * `strangers_only_make_suspicion`: whoever can reach the port can fill an accept queue and have checks
//!   fail, so that a peer's database hangs is what its own agent reports. How that knows: [`Own`].

mod display;
mod health;
mod input;
mod judge;
mod own;
mod pace;
pub mod passive;
mod path;
mod verdict;
pub mod vitals;

pub use self::{
    input::{Facts, Input},
    own::Own,
    pace::{Beat, Pace, Stall},
    verdict::{
        AcceptQueue, CheckOutcome, Hang, HostLost, ListenerGone, Passive, Sign, Suspicion, Verdict,
    },
};

use core::time::Duration;

use self::{health::Health, path::Path};
use crate::units::Instant;

/// How many paths (pairs of addresses) to a peer are watched.
pub use crate::wire::probe::MAX_PATHS;

/// When a detector comes to its verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often a probe is sent on each path, and the grace that its reply is given.
    pub probe_interval: Duration,
    /// Misses in a row that make a path lost. 0 counts as 1.
    pub detect_multiplier: u8,
    /// Good replies in a row that make a peer healthy again.
    pub return_multiplier: u8,
    /// A gap between two ticks that makes a stall of this node.
    pub stall_after: Duration,
    /// Silence of the peer's agent that makes it slow.
    pub agent_slow: Duration,
    /// Silence of the peer's agent that makes it dead.
    pub agent_timeout: Duration,
}

impl Config {
    /// What follows from the configured numbers: a return takes twice the replies that a loss takes
    /// misses, a gap of five intervals is a stall, and a quarter of `agent_timeout` is slow.
    #[must_use]
    pub fn new(probe_interval: Duration, detect_multiplier: u8, agent_timeout: Duration) -> Self {
        Self {
            probe_interval,
            detect_multiplier,
            return_multiplier: detect_multiplier.saturating_mul(2),
            stall_after: probe_interval * 5,
            agent_slow: agent_timeout / 4,
            agent_timeout,
        }
    }

    fn misses_to_lose(&self) -> u32 {
        u32::from(self.detect_multiplier.max(1))
    }
}

/// What is known of one peer.
#[derive(Clone, Debug)]
pub struct Detector {
    config: Config,
    paths: [Path; MAX_PATHS],
    used: usize,
    pace: Pace,
    /// The last moment at which the peer is known to have been there.
    alive_at: Option<Instant>,
    health: Health,
    /// The last stall of this node, until the next reply.
    stall: Option<Stall>,
    /// Good replies in a row since a bad verdict; `None`: there is nothing to return from.
    returning: Option<u8>,
    verdict: Verdict,
}

impl Detector {
    /// A peer that was never heard. `paths` is taken as 1 to [`MAX_PATHS`].
    #[must_use]
    pub fn new(config: Config, paths: usize) -> Self {
        Self {
            config,
            paths: [Path::default(); MAX_PATHS],
            used: paths.clamp(1, MAX_PATHS),
            pace: Pace::new(config.probe_interval, config.stall_after),
            alive_at: None,
            health: Health::default(),
            stall: None,
            returning: None,
            verdict: Verdict::Suspect(Suspicion::NeverHeard),
        }
    }

    /// The verdict, with its evidence as of the last input.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the newest reply said; `None` before the first one and after a stall that left
    /// something to be found out again.
    #[must_use]
    pub const fn facts(&self) -> Option<&Facts> {
        self.health.facts()
    }

    /// When the next tick is due: a probe's grace ends, or an interval has passed since the last.
    /// `None` before the first tick, which is due at once.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let tick = self.pace.next()?;
        let grace = self.paths().filter_map(Path::next_deadline).min();
        Some(grace.map_or(tick, |grace| grace.min(tick)))
    }

    /// One input; the verdict comes out when its kind has changed.
    pub fn handle(&mut self, now: Instant, input: Input) -> Option<Verdict> {
        let mut replied = false;
        match input {
            Input::Sent { path } => self.sent(now, path),
            Input::Reply { path, sent, facts } => replied = self.replied(path, sent, facts),
            Input::Heard { path } => self.heard(now, path),
            Input::Usable { path, usable } => self.set_usable(path, usable),
            Input::Passive(passive) => self.health.set_passive(passive),
            Input::Check { began, outcome } => self.health.checked(began, outcome),
            Input::Stalled(stall) => self.stalled(now, stall),
            Input::Tick { monotonic_ns } => self.tick(now, monotonic_ns),
        }
        self.rejudge(now, replied)
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths[..self.used].iter()
    }

    fn path(&mut self, path: u8) -> Option<&mut Path> {
        self.paths[..self.used].get_mut(usize::from(path))
    }

    fn sent(&mut self, now: Instant, path: u8) {
        let interval = self.config.probe_interval;
        if let Some(path) = self.path(path) {
            path.sent(now, interval);
        }
    }

    /// Whether the reply tells something new. One to a probe of ours shows at least that the peer
    /// was there after the probe was sent.
    fn replied(&mut self, path: u8, sent: Instant, facts: Facts) -> bool {
        if !self.path(path).is_some_and(|path| path.replied(sent)) {
            return false;
        }
        self.alive(sent);
        let learnt = self.health.learn(&self.config, sent, facts);
        if learnt {
            self.stall = None;
        }
        learnt
    }

    fn heard(&mut self, now: Instant, path: u8) {
        if self.path(path).is_some() {
            self.alive(now);
        }
    }

    /// A sign of life on one path speaks for the host, and so on all paths.
    fn alive(&mut self, at: Instant) {
        self.alive_at = self.alive_at.max(Some(at));
        self.paths.iter_mut().for_each(Path::host_lives);
    }

    fn set_usable(&mut self, path: u8, usable: bool) {
        if let Some(path) = self.path(path) {
            path.set_usable(usable);
        }
    }

    fn tick(&mut self, now: Instant, monotonic_ns: u64) {
        let interval = self.config.probe_interval;
        match self.pace.observe(now, monotonic_ns) {
            Beat::OnTime => {}
            Beat::Late => self.paths.iter_mut().for_each(|path| path.grace_afresh(now, interval)),
            Beat::Stalled(stall) => self.stalled(now, stall),
        }
        let alive_at = self.alive_at;
        self.paths.iter_mut().for_each(|path| path.expire(now, alive_at));
    }

    fn stalled(&mut self, now: Instant, stall: Stall) {
        self.paths.iter_mut().for_each(Path::forgive);
        let good = self.verdict.is_good();
        self.health.stalled(now, good, stall.length() >= self.config.agent_slow);
        self.stall = Some(stall);
    }
}

#[cfg(test)]
mod tests;
