//! What the kernel shows of a server's processes and disks: signs of life that need no answer, and that
//! no client can take away.

use core::time::Duration;

use crate::units::Instant;

/// What a process does at the moment (proc(5), `stat`, and its cgroup).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// It could not be observed.
    #[default]
    Unknown,
    /// It runs, or waits for a processor.
    Runnable,
    /// It waits for something to happen, or for a disk.
    Asleep,
    /// It was stopped by a signal, and waits for SIGCONT.
    Stopped,
    /// Its cgroup is frozen.
    Frozen,
    /// A debugger holds it.
    Traced,
}

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Task {
    /// What it does.
    pub state: TaskState,
    /// How often it gave its processor up so far; `None`: not known.
    pub switches: Option<u64>,
}

/// All that one look shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Look {
    /// The main process.
    pub main: Task,
    /// The process of the session that writes.
    pub writer: Task,
    /// Since when a write is under way on an open session; `None`: none is.
    pub writing_since: Option<Instant>,
    /// How much was written so far by the disks of the data directory; `None`: not known.
    pub written: Option<u64>,
    /// A debugger holds one of the server's processes.
    pub traced: bool,
}

/// Since when a process has not run, as far as looks at it can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Still {
    since: Option<Instant>,
    last: Task,
}

impl Still {
    /// A look at it.
    pub fn observe(&mut self, now: Instant, task: Task) {
        let before = core::mem::replace(&mut self.last, task);
        let waits =
            matches!(task.state, TaskState::Asleep | TaskState::Stopped | TaskState::Frozen);
        let ran = before.switches.is_none() || before.switches != task.switches;
        if !waits || ran {
            self.since = None;
        } else {
            self.since.get_or_insert(now);
        }
    }

    /// What was seen says nothing about the time from now on.
    pub const fn forget(&mut self) {
        self.since = None;
        self.last = Task { state: TaskState::Unknown, switches: None };
    }

    /// For how long it has been known not to run.
    pub fn lasted(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.since(since))
    }
}
