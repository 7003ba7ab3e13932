//! Whether a standby keeps up with its primary.
//!
//! A connection may be called streaming for as long as TCP has hope, and nothing comes through: commits
//! that wait for such a standby hang. So who counts must have on disk what the primary had a moment ago.

use std::time::Duration;

use ogha_common::units::{Instant, Lsn};

/// How long ago that moment is, at least.
const MOMENT: Duration = Duration::from_millis(300);

/// The ends of the primary's log at the last two moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    before: Option<Lsn>,
    last: Option<(Instant, Lsn)>,
}

impl Pace {
    /// The primary's log ends there now; `None`: this is no primary.
    pub fn note(&mut self, now: Instant, end: Option<Lsn>) {
        match (self.last, end) {
            (_, None) => *self = Self::default(),
            (Some((at, _)), _) if now.since(at) < MOMENT => {}
            (last, Some(end)) => {
                self.before = last.map(|(_, end)| end);
                self.last = Some((now, end));
            }
        }
    }

    /// Whether a standby that lacks so many bytes of a log that ends there keeps up.
    #[must_use]
    pub fn keeps_up(&self, end: Option<Lsn>, lag: Option<u64>) -> bool {
        let (Some(before), Some(end), Some(lag)) = (self.before, end, lag) else { return false };
        end.get().saturating_sub(lag) >= before.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_what_was_there_a_moment_ago_keeps_up() {
        let at = |ms: u64| Instant::from_ns(ms * 1_000_000);
        let mut pace = Pace::default();
        assert!(!pace.keeps_up(Some(Lsn::new(100)), Some(0)), "nothing is known");
        pace.note(at(0), Some(Lsn::new(100)));
        pace.note(at(100), Some(Lsn::new(150)));
        assert!(!pace.keeps_up(Some(Lsn::new(150)), Some(0)), "that was no moment ago");
        pace.note(at(400), Some(Lsn::new(200)));
        assert!(pace.keeps_up(Some(Lsn::new(210)), Some(110)));
        assert!(!pace.keeps_up(Some(Lsn::new(210)), Some(111)), "it stands still");
        assert!(!pace.keeps_up(Some(Lsn::new(210)), None));
        pace.note(at(900), Some(Lsn::new(300)));
        assert!(!pace.keeps_up(Some(Lsn::new(310)), Some(111)));
        pace.note(at(1000), None);
        assert!(!pace.keeps_up(Some(Lsn::new(310)), Some(0)), "of another primary's log");
    }
}
