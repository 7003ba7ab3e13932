//! This node's own pace: what it finds late may be its own lateness.

use core::{fmt, time::Duration};

use crate::units::Instant;

/// This node was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// It got no processor for so long: the gap between two ticks.
    Gap(Duration),
    /// The machine slept for so long: `CLOCK_BOOTTIME` went on, `CLOCK_MONOTONIC` did not.
    Suspended(Duration),
}

impl Stall {
    /// How long it was away.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::Gap(length) | Self::Suspended(length) => length,
        }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap(length) => write!(f, "this node got no processor for {length:.1?}"),
            Self::Suspended(length) => write!(f, "this node was suspended for {length:.1?}"),
        }
    }
}

/// How a tick came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// In time.
    OnTime,
    /// Later than a whole interval after it was due.
    Late,
    /// After a stall.
    Stalled(Stall),
}

/// Watches the distance between ticks.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    interval: Duration,
    stall_after: Duration,
    /// The last tick: `CLOCK_BOOTTIME`, and `CLOCK_MONOTONIC` in nanoseconds.
    last: Option<(Instant, u64)>,
}

impl Pace {
    /// Ticks are due every `interval`; a gap of `stall_after` is a stall.
    #[must_use]
    pub const fn new(interval: Duration, stall_after: Duration) -> Self {
        Self { interval, stall_after, last: None }
    }

    /// When the next tick is due; `None` before the first.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.last.map(|(at, _)| at + self.interval)
    }

    /// A tick. The first is in time. The two clocks cannot be read at one instant, so that a jump
    /// between them counts from one interval on.
    #[must_use]
    pub fn observe(&mut self, now: Instant, monotonic_ns: u64) -> Beat {
        let Some((at, monotonic_at)) = self.last.replace((now, monotonic_ns)) else {
            return Beat::OnTime;
        };
        let gap = now.since(at);
        let awake = Duration::from_nanos(monotonic_ns.saturating_sub(monotonic_at));
        let asleep = gap.saturating_sub(awake);
        if asleep >= self.interval {
            Beat::Stalled(Stall::Suspended(asleep))
        } else if gap >= self.stall_after {
            Beat::Stalled(Stall::Gap(gap))
        } else if gap > self.interval * 2 {
            Beat::Late
        } else {
            Beat::OnTime
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn gaps_and_jumps() {
        let stall = |ms| Beat::Stalled(Stall::Gap(Duration::from_millis(ms)));
        let slept = |ms| Beat::Stalled(Stall::Suspended(Duration::from_millis(ms)));
        // Gap of CLOCK_BOOTTIME, of CLOCK_MONOTONIC, in ms; ticks every 10 ms, a stall from 50.
        let rows = [
            (10, 10, Beat::OnTime),
            (0, 0, Beat::OnTime),
            (20, 20, Beat::OnTime),
            (21, 21, Beat::Late),
            (49, 49, Beat::Late),
            (50, 50, stall(50)),
            (19, 10, Beat::OnTime),
            (20, 10, slept(10)),
            (3_600_010, 10, slept(3_600_000)),
            // Read in the other order, or a clock that ran backwards: no sleep.
            (10, 19, Beat::OnTime),
            (0, 5, Beat::OnTime),
        ];
        for (gap, awake, expected) in rows {
            let mut pace = Pace::new(Duration::from_millis(10), Duration::from_millis(50));
            assert_eq!(pace.next(), None);
            assert_eq!(pace.observe(Instant::from_ns(MS), 7 * MS), Beat::OnTime);
            assert_eq!(pace.next(), Some(Instant::from_ns(11 * MS)));
            let beat = pace.observe(Instant::from_ns((1 + gap) * MS), (7 + awake) * MS);
            assert_eq!(beat, expected, "{gap} {awake}");
        }
    }
}
