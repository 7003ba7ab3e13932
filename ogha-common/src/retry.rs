//! When what failed is tried again: after growing pauses.

use ::core::time::Duration;

use crate::units::Instant;

/// The longest one.
const LONGEST: Duration = Duration::from_secs(5);

/// The pauses of one thing that may fail; the first one lasts `FIRST` milliseconds. What decides for the
/// cluster waits longer than what concerns this host alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Retry<const FIRST: u64 = 200> {
    at: Option<Instant>,
    failures: u8,
}

impl<const FIRST: u64> Retry<FIRST> {
    /// It failed: the next time is due after a pause, twice as long as the last one, 5 s at most.
    pub fn failed(&mut self, now: Instant) {
        let pause = Duration::from_millis(FIRST) * (1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        self.at = Some(now + pause.min(LONGEST));
    }

    /// It was done.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// How often in a row it failed.
    #[must_use]
    pub const fn failures(&self) -> u8 {
        self.failures
    }

    /// Whether it may be tried now: it never failed, or its pause is over.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| now >= at)
    }

    /// When its pause is over, while there is one.
    #[must_use]
    pub const fn at(&self) -> Option<Instant> {
        self.at
    }

    /// The pause is over, and the next try begins.
    pub fn begin(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_end() {
        let mut retry = Retry::<200>::default();
        let mut now = Instant::from_ns(1);
        assert!(retry.is_due(now));
        for pause in [200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            retry.failed(now);
            assert!(!retry.is_due(now + Duration::from_millis(pause - 1)), "{pause}");
            now = now + Duration::from_millis(pause);
            assert!(retry.is_due(now), "{pause}");
            retry.begin();
        }
        (0..300).for_each(|_| retry.failed(now));
        assert_eq!(retry.at(), Some(now + LONGEST));
        retry.succeeded();
        retry.failed(now);
        assert!(retry.is_due(now + Duration::from_millis(200)));
    }
}
