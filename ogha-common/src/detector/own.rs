//! This node's own database: the same evidence as of a peer's, without the way to it.

use super::{Outcome, Passive, Sign, Suspicion, Verdict, health::Health};
use crate::units::Instant;

/// What is known of the database on this node, beside its process and its listener, which the kernel
/// watches: whether it works.
///
/// Passive signs only make suspicion (`passive_signs_only_make_suspicion`); an active check confirms.
#[derive(Clone, Debug)]
pub struct Own {
    health: Health,
    verdict: Verdict,
}

impl Default for Own {
    fn default() -> Self {
        Self { health: Health::default(), verdict: Verdict::Healthy }
    }
}

impl Own {
    /// What is thought of it: healthy, suspect, or hung.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the counters of its port show. The verdict comes out when its kind has changed.
    pub fn passive(&mut self, passive: Option<Passive>) -> Option<Verdict> {
        self.health.set_passive(passive);
        self.rejudge()
    }

    /// An active check has ended. The verdict comes out when its kind has changed.
    pub fn checked(&mut self, began: Instant, outcome: Outcome) -> Option<Verdict> {
        self.health.checked(began, outcome);
        self.rejudge()
    }

    fn rejudge(&mut self) -> Option<Verdict> {
        let sign = self.health.passive().map(Sign::Passive);
        let verdict = match (sign, self.health.check_failed()) {
            (Some(sign), Some(Outcome::NoAnswer)) => Verdict::Hung(sign),
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
        let mut own = Own::default();
        let sign = Sign::Passive(STALL);
        assert_eq!(own.passive(Some(STALL)), Some(Verdict::Suspect(Suspicion::Database(sign))));
        let (first, second) = (Instant::from_ns(1), Instant::from_ns(2));
        assert_eq!(own.checked(first, Outcome::Answered), None);
        assert!(own.verdict().wants_check());
        assert_eq!(own.checked(second, Outcome::NoAnswer), Some(Verdict::Hung(sign)));
        assert_eq!(own.checked(first, Outcome::Answered), None, "it began before the other");
        assert_eq!(
            own.passive(None),
            Some(Verdict::Suspect(Suspicion::CheckFailed(Outcome::NoAnswer)))
        );
        assert_eq!(own.checked(Instant::from_ns(3), Outcome::Answered), Some(Verdict::Healthy));
    }
}
