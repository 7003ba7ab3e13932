//! This node's own database: the same evidence as of a peer's, without the way to it.

use super::{CheckOutcome, Passive, Sign, Suspicion, Verdict, health::Health};
use crate::units::Instant;

/// What is known of the database on this node, beside its process and its listener, which the kernel
/// watches: whether it works.
///
/// Passive signs only make suspicion (`passive_signs_only_make_suspicion`); an active check confirms, or
/// clears: a standby's words to an idle primary get no response either.
#[derive(Clone, Debug)]
pub struct Own {
    health: Health,
    /// Since when there are passive signs.
    since: Instant,
    verdict: Verdict,
}

impl Default for Own {
    fn default() -> Self {
        Self { health: Health::default(), since: Instant::default(), verdict: Verdict::Healthy }
    }
}

impl Own {
    /// What is thought of it: healthy, suspect, or hung.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the counters of its port show. The verdict comes out when its kind has changed.
    pub fn passive(&mut self, now: Instant, passive: Option<Passive>) -> Option<Verdict> {
        if self.health.passive().is_none() {
            self.since = now;
        }
        self.health.set_passive(passive);
        self.rejudge()
    }

    /// An active check has ended. The verdict comes out when its kind has changed.
    pub fn checked(&mut self, began: Instant, outcome: CheckOutcome) -> Option<Verdict> {
        self.health.checked(began, outcome);
        self.rejudge()
    }

    fn rejudge(&mut self) -> Option<Verdict> {
        let sign = self.health.passive().map(Sign::Passive);
        let verdict = match (sign, self.health.check_failed()) {
            (Some(sign), Some(CheckOutcome::NoAnswer)) => Verdict::Hung(sign),
            (Some(_), None) if self.health.answered_since(self.since) => Verdict::Healthy,
            (Some(sign), _) => Verdict::Suspect(Suspicion::Database(sign)),
            (None, Some(outcome)) => Verdict::Suspect(Suspicion::CheckFailed(outcome)),
            (None, None) => Verdict::Healthy,
        };
        let changed = !verdict.same_kind(&self.verdict);
        self.verdict = verdict;
        changed.then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const STALL: Passive = Passive::RequestStall(Duration::from_secs(1));

    #[test]
    fn passive_signs_only_make_suspicion() {
        let at = Instant::from_ns;
        let mut own = Own::default();
        let sign = Sign::Passive(STALL);
        let suspect = Verdict::Suspect(Suspicion::Database(sign));
        assert_eq!(own.passive(at(2), Some(STALL)), Some(suspect));
        assert!(own.verdict().wants_check());
        assert_eq!(own.checked(at(1), CheckOutcome::Answered), None, "it began before the sign");
        assert_eq!(own.checked(at(3), CheckOutcome::Answered), Some(Verdict::Healthy));
        assert_eq!(own.passive(at(4), Some(STALL)), None, "the same sign");
        assert_eq!(own.checked(at(5), CheckOutcome::NoAnswer), Some(Verdict::Hung(sign)));
        assert_eq!(own.checked(at(4), CheckOutcome::Answered), None, "it began before the other");
        assert_eq!(
            own.passive(at(6), None),
            Some(Verdict::Suspect(Suspicion::CheckFailed(CheckOutcome::NoAnswer)))
        );
        assert_eq!(own.checked(at(7), CheckOutcome::Answered), Some(Verdict::Healthy));
        assert_eq!(own.passive(at(8), Some(STALL)), Some(suspect), "another sign");
    }
}
