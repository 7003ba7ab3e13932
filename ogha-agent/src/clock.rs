//! `CLOCK_BOOTTIME`, the clock of leases: the kernel programs read the same one.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use ogha_common::units::Instant;

/// The moment now.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .expect("every Linux that loads our programs has CLOCK_BOOTTIME");
    Instant::from_ns(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// `CLOCK_MONOTONIC`, nanoseconds: it stands still while the machine sleeps.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .expect("every Linux has CLOCK_MONOTONIC");
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How long it is until `moment`; zero if it has passed.
#[must_use]
pub fn until(moment: Instant) -> Duration {
    moment.since(now())
}
