//! What is known of a server while it writes, without asking it: nobody who keeps it busy can change what is
//! seen, and nothing here waits for it or for its disks.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use ogha_common::{detector::vitals::Look, units::Instant};

use crate::{
    clock,
    guest::{
        devices::Devices,
        task::{any_is_traced, task},
    },
};

/// What the driver tells the loop of the session that writes, and the disks behind it.
#[derive(Clone, Debug, Default)]
pub struct Writing(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The session's process; 0: not known.
    pid: AtomicU32,
    /// When the write under way began, `CLOCK_BOOTTIME`; 0: none is.
    since: AtomicU64,
    devices: Mutex<Option<Devices>>,
}

impl Writing {
    /// The session is that of this process, and writes to these disks.
    pub(super) fn is_by(&self, pid: Option<u32>, devices: Option<Devices>) {
        self.0.pid.store(pid.unwrap_or(0), Ordering::Relaxed);
        *self.0.devices.lock().unwrap_or_else(PoisonError::into_inner) = devices;
    }

    /// A write begins; it is over when the guard is dropped.
    pub(super) fn begin(&self) -> Underway {
        self.0.since.store(clock::now().ns(), Ordering::Release);
        Underway(self.clone())
    }

    /// What there is to be seen. `main` is the main process; `thorough`: as something is suspect.
    #[must_use]
    pub fn look(&self, main: Option<u32>, thorough: bool) -> Look {
        let since = self.0.since.load(Ordering::Acquire);
        let pid = Some(self.0.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0 && since != 0);
        let devices = self.0.devices.lock().unwrap_or_else(PoisonError::into_inner);
        Look {
            main: main.map(task).unwrap_or_default(),
            writer: pid.map(task).unwrap_or_default(),
            writing_since: (since != 0).then(|| Instant::from_ns(since)),
            written: devices.as_ref().filter(|_| since != 0).and_then(Devices::written),
            traced: thorough && main.is_some_and(any_is_traced),
        }
    }
}

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Underway(Writing);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.0.since.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_under_way_until_it_is_over() {
        let writing = Writing::default();
        assert_eq!(writing.look(None, true), Look::default());
        let underway = writing.begin();
        assert!(writing.look(None, false).writing_since.is_some());
        drop(underway);
        assert_eq!(writing.look(None, false).writing_since, None);
    }
}
