//! From the evidence to the verdict: what weighs more comes first.

use super::{
    CheckOutcome, Detector, Facts, Hang, HostLost, ListenerGone, MAX_PATHS, Sign, Suspicion,
    Verdict, path::Path,
};
use crate::{maps::Passage, units::Instant};

impl Detector {
    /// Judges afresh; the verdict comes out when its kind has changed.
    pub(super) fn rejudge(&mut self, now: Instant, replied: bool) -> Option<Verdict> {
        let found = self.found(now);
        if let Verdict::HostDead(_) = found {
            self.health.host_lost();
        }
        let verdict = self.settle(found, replied);
        let changed = !verdict.same_kind(&self.verdict);
        self.verdict = verdict;
        changed.then_some(verdict)
    }

    /// Hysteresis: after a bad verdict the peer is healthy when enough good replies in a row
    /// have come.
    fn settle(&mut self, found: Verdict, replied: bool) -> Verdict {
        if found.unsettles() {
            self.returning = Some(0);
        }
        let Some(before) = self.returning else { return found };
        if !found.is_good() {
            self.returning = Some(0);
            return found;
        }
        let replies = before + u8::from(replied);
        let wanted = self.config.return_multiplier;
        if replies >= wanted {
            self.returning = None;
            return found;
        }
        self.returning = Some(replies);
        Verdict::Suspect(Suspicion::Returning { replies, wanted })
    }

    fn found(&self, now: Instant) -> Verdict {
        if let Some(verdict) = self.host(now) {
            return verdict;
        }
        let Some(facts) = self.health.facts() else {
            return Verdict::Suspect(self.ignorance());
        };
        self.database(now, facts)
            .or_else(|| self.agent(facts))
            .or_else(|| self.hung(facts))
            .or_else(|| self.suspicion(facts).map(Verdict::Suspect))
            .or_else(|| self.slow(facts))
            .unwrap_or(Verdict::Healthy)
    }

    fn usable(&self) -> impl Iterator<Item = &Path> {
        self.paths().filter(|path| path.is_usable())
    }

    /// The host is lost only when all paths are. A path that cannot be used here has no say, and
    /// without any there is no verdict about the host.
    fn host(&self, now: Instant) -> Option<Verdict> {
        let wanted = self.config.misses_to_lose();
        let Some(misses) = self.usable().map(Path::misses).min() else {
            return Some(Verdict::Suspect(Suspicion::NoUsablePath));
        };
        if misses >= wanted {
            return Some(Verdict::HostDead(self.host_lost(now)));
        }
        let unanswered = self.usable().map(Path::unanswered).min().unwrap_or(0);
        (unanswered >= wanted).then_some(Verdict::Suspect(Suspicion::OneWay { unanswered }))
    }

    fn host_lost(&self, now: Instant) -> HostLost {
        let mut misses = [None; MAX_PATHS];
        for (place, path) in misses.iter_mut().zip(self.paths()) {
            *place = path.is_usable().then(|| path.misses());
        }
        HostLost { misses, silence: self.alive_at.map(|at| now.since(at)) }
    }

    /// Why there are no facts.
    fn ignorance(&self) -> Suspicion {
        match self.stall {
            _ if self.alive_at.is_none() => Suspicion::NeverHeard,
            Some(stall) => Suspicion::OwnStall(stall),
            None => Suspicion::NoReply,
        }
    }

    fn database(&self, now: Instant, facts: &Facts) -> Option<Verdict> {
        let seen = self.health.listener_seen(now);
        (facts.listener == Some(false)).then_some(Verdict::DatabaseDead(ListenerGone { seen }))
    }

    fn agent(&self, facts: &Facts) -> Option<Verdict> {
        let Facts { agent_age: age, agent_exited: exited, .. } = *facts;
        (age >= self.config.agent_timeout).then_some(Verdict::AgentDead { age, exited })
    }

    /// Only its own agent can tell a hang from what a stranger brings about.
    fn hung(&self, facts: &Facts) -> Option<Verdict> {
        let answered = self.health.check_failed() != Some(CheckOutcome::NoAnswer);
        facts.status.hung.then_some(Verdict::Hung(Hang::Reported { answered }))
    }

    /// What anybody could bring about who can reach the port.
    fn sign(&self) -> Option<Sign> {
        let queue = self.health.stuck_queue(self.config.misses_to_lose()).map(Sign::Queue);
        queue.or_else(|| self.health.passive().map(Sign::Passive))
    }

    fn suspicion(&self, facts: &Facts) -> Option<Suspicion> {
        let age = facts.agent_age;
        if let Some(sign) = self.sign() {
            Some(Suspicion::Database(sign))
        } else if let Some(outcome) = self.health.check_failed() {
            Some(Suspicion::CheckFailed(outcome))
        } else if facts.gate == Passage::Lapsed {
            Some(Suspicion::GateLapsed { age })
        } else if facts.agent_exited && !facts.status.restarting {
            Some(Suspicion::AgentExited { age })
        } else {
            self.lost_path()
        }
    }

    fn lost_path(&self) -> Option<Suspicion> {
        let wanted = self.config.misses_to_lose();
        let mut paths = (0u8..).zip(self.paths());
        let (path, lost) = paths.find(|(_, p)| p.is_usable() && p.unanswered() >= wanted)?;
        Some(Suspicion::PathLost { path, unanswered: lost.unanswered() })
    }

    fn slow(&self, facts: &Facts) -> Option<Verdict> {
        let age = facts.agent_age;
        (age >= self.config.agent_slow).then_some(Verdict::AgentSlow { age })
    }
}
