//! The one clock of the lab: `CLOCK_BOOTTIME`, as the gates' leases use it, so that what the
//! writer, the watcher and the agents saw can be put in one order.

use std::{
    thread,
    time::{Duration, Instant as Monotonic},
};

use anyhow::{Result, bail};
use nix::time::{ClockId, clock_gettime};
use ogha_common::units::Instant;

/// Now, on `CLOCK_BOOTTIME`.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME");
    Instant::from_ns(Duration::from(time).as_nanos() as u64)
}

/// Asks every `interval` until the answer is there.
///
/// # Errors
/// If `deadline` has passed; the error names `what` was waited for and the last reason why not.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Monotonic::now() + deadline;
    loop {
        let why_not = match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if Monotonic::now() >= end {
            bail!("waited {} s in vain for {what}{why_not}", deadline.as_secs_f32());
        }
        thread::sleep(interval);
    }
}
